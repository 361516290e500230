"""``orchestra plot``: which runs, which kinds, where to."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestra.cli import plot
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch, a_run, an_exit, an_operation, some_runs
from orchestra.workspace import records
from orchestra.workspace.layout import Layout, attempt_directory
from tests.cli.conftest import Call
from tests.cli.test_results import printed
from tests.process import Shell
from tests.saved_runs import ended, saved
from tests.workspace.event_samples import scalar_event


def sweep(home: Path, **fields: Any) -> list[Run]:
    """Six runs, of which the learning rate decides."""
    return [
        printed(
            home,
            "".join(f"loss: {lr * 10 / (step + 1)}\nacc: {depth}\n" for step in range(4)),
            flags={"lr": lr, "depth": depth, "seed": 1},
            **fields,
        )
        for lr in (0.1, 0.2, 0.3)
        for depth in (1, 2)
    ]


def test_without_a_file_text_is_printed_and_none_is_written(call: Call, home: Path, tmp_path: Path) -> None:
    sweep(home)

    shown = call("plot")

    assert (shown.code, shown.lines[0]) == (0, "loss over steps")
    assert shown == call("plot", "--text")
    assert "\x1b" not in shown.output
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_page_has_each_kind(call: Call, home: Path, tmp_path: Path) -> None:
    sweep(home)

    assert call("plot", "--html", "plot.html") == (0, "Wrote 6 run(s) to plot.html\n", "")

    page = (tmp_path / "plot.html").read_text()
    assert all(f'<svg class="{kind}"' in page for kind in ("curves", "parallel", "bars", "scatter"))
    assert page.count("lr=0.1 depth=2") == 0
    assert "depth=2 lr=0.1" in page


def test_all_that_is_drawn_is_there_as_json(call: Call, home: Path) -> None:
    runs = sweep(home)

    told = call("plot", "--json").json

    assert (told["version"], told["objective"], told["maximize"]) == (1, "loss", False)
    assert [one["id"] for one in told["runs"]] == [run.id for run in reversed(runs)]
    assert told["runs"][-1]["flags"] == {"depth": 1, "lr": 0.1}
    assert [one["scalar"] for one in told["curves"]] == ["loss", "acc"]
    assert told["curves"][0]["runs"][-1] == {
        "run": runs[0].id,
        "steps": [0, 1, 2, 3],
        "values": [1.0, 0.5, pytest.approx(1 / 3), 0.25],
        "count": 4,
    }
    assert told["parallel"]["columns"] == ["depth", "lr", "loss"]
    assert told["parallel"]["rows"][-1] == {"run": runs[0].id, "values": [1, 0.1, 0.25]}
    assert {(one["x"], one["y"]) for one in told["scatter"]} == {("lr", "loss"), ("depth", "loss")}
    assert [one["name"] for one in told["importance"][0]["flags"]] == ["lr", "depth"]
    assert told["notes"] == []


def test_only_what_is_asked_for_is_drawn(call: Call, home: Path) -> None:
    sweep(home)

    told = call("plot", "--curves", "acc", "--scatter", "=depth,min loss", "--json").json

    assert [one["scalar"] for one in told["curves"]] == ["acc"]
    assert [(one["x"], one["y"]) for one in told["scatter"]] == [("depth", "min loss")]
    assert (told["parallel"], told["importance"]) == (None, [])
    assert call("plot", "--parallel", "--json").json["parallel"] is not None
    assert [one["scalar"] for one in call("plot", "--importance", "acc", "--json").json["importance"]] == [
        "acc"
    ]


@pytest.mark.parametrize(
    ("options", "objective", "maximize"),
    [(("--min", "acc"), "acc", False), (("--max", "first loss"), "first loss", True)],
)
def test_the_objective_is_what_is_asked_for(
    call: Call, home: Path, options: tuple[str, ...], objective: str, maximize: bool
) -> None:
    sweep(home)

    told = call("plot", *options, "--json").json

    assert (told["objective"], told["maximize"]) == (objective, maximize)
    assert told["parallel"]["columns"][-1] == objective


def test_a_batch_stands_for_its_trials_and_its_objective(call: Call, home: Path) -> None:
    batch = ended(kind="batch", batch_spec=a_batch(objective="-acc"))
    saved(home, batch)
    trials = sweep(home, batch=batch.id)
    printed(home, "loss: 3\n")

    told = call("plot", batch.id, "--json").json

    assert {one["id"] for one in told["runs"]} == {run.id for run in trials}
    assert (told["objective"], told["maximize"]) == ("acc", True)


def test_an_objective_that_no_trial_has_is_not_shown(call: Call, home: Path) -> None:
    batch = ended(kind="batch", batch_spec=a_batch(objective="zzz"))
    saved(home, batch)
    sweep(home, batch=batch.id)

    told = call("plot", "--json").json

    assert told["objective"] == "loss"
    assert told["notes"] == ["No run has the objective of the batch, 'zzz'."]


def test_filters_choose_among_all_runs(call: Call, home: Path) -> None:
    sweep(home, label="mine")
    sweep(home, label="other")

    assert len(call("plot", "--label", "mine", "--json").json["runs"]) == 6
    assert len(call("plot", "1:2", "--label", "mine", "--json").json["runs"]) == 2


def test_runs_without_scalars_are_left_out_and_it_is_said(call: Call, home: Path) -> None:
    sweep(home)
    saved(home, a_run())
    printed(home, "nothing\n")
    printed(home, "loss: nan\n", flags={"lr": 0.4})

    told = call("plot", "--json").json

    assert len(told["runs"]) == 7
    assert told["notes"] == [
        "2 runs without scalars are left out.",
        "1 run has no finite 'loss'.",
    ]
    assert len(told["parallel"]["rows"]) == 6


def test_a_pipeline_has_the_curves_of_its_steps(call: Call, home: Path) -> None:
    step = printed(home, "loss: 2\nloss: 1\n")
    pipeline = printed(home, "loss: 7\n", operation=an_operation(kind="steps", name="all"))
    layout = Layout(home)
    (layout.run_directory(pipeline) / "train").symlink_to(layout.run_directory(step))

    told = call("plot", pipeline.id, "--curves", "loss", "--json").json["curves"][0]

    assert (told["scalar"], told["runs"][0]["values"]) == ("loss", [2.0, 1.0])
    assert (
        call("plot", pipeline.id, "--curves", "train#loss", "--json").json["curves"][0]["runs"]
        == told["runs"]
    )


def test_of_several_series_that_are_asked_for_by_one_name_each_run_has_the_first(
    call: Call, home: Path
) -> None:
    run = printed(home, "acc: 1\n")
    for folder in ("b", "a"):
        place = Layout(home).run_directory(run) / folder
        place.mkdir()
        (place / "events.out.tfevents.1").write_bytes(scalar_event("loss", float(ord(folder)), step=1))

    told = call("plot", "1", "--curves", "loss,b#loss", "--json").json["curves"]

    assert [one["runs"][0]["values"] for one in told] == [[97.0], [98.0]]


def test_what_was_measured_is_drawn_if_it_is_asked_for(call: Call, home: Path) -> None:
    run = printed(home, "nothing\n")
    (attempt_directory(Layout(home).run_directory(run), 1) / "samples").write_text(
        "1.0 0.5 100\n2.0 1.5 200\n"
    )

    told = call("plot", "--curves", "sys/rss", "--json").json

    assert told["curves"][0]["runs"][0]["values"] == [102400.0, 204800.0]


def test_a_scalar_without_a_finite_value_has_no_chart_and_it_is_said(call: Call, home: Path) -> None:
    printed(home, "loss: 2\nacc: nan\nloss: 1\nacc: inf\n")

    told = call("plot", "--curves", "loss,acc", "--json").json

    assert [one["scalar"] for one in told["curves"]] == ["loss"]
    assert told["notes"] == ["No run has a finite 'acc'."]


def test_runs_are_looked_through_beside_the_event_loop(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed(home, "loss: 2\nloss: 1\n")
    beside: list[str] = []

    async def off_loop(work: Callable[[], Any]) -> Any:
        beside.append("work")
        return work()

    monkeypatch.setattr(plot, "off_loop", off_loop)

    assert call("plot", "--json").json["curves"] and beside == ["work"]


def test_one_run_has_its_curves(call: Call, home: Path) -> None:
    printed(home, "loss: 2\nloss: 1\n")

    shown = call("plot", "1", "--text")

    assert shown.code == 0
    assert shown.lines[0] == "loss over steps"


def test_a_terminal_gets_a_drawing(shell: Shell, home: Path) -> None:
    printed(home, "loss: 2\nloss: 1\n")
    outer, inner = pty.openpty()
    try:
        ended = subprocess.run(
            shell.command("plot"), stdout=inner, env={**shell.environment, "COLUMNS": "40"}, cwd=shell.cwd
        )
        shown = os.read(outer, 1 << 16).decode()
    finally:
        os.close(inner)
        os.close(outer)

    assert ended.returncode == 0
    assert shown.startswith("loss over steps")
    assert "\x1b[34m" in shown
    assert not (shell.cwd / "plot.html").exists()


def test_several_files_are_written_at_once_and_replaced_as_a_whole(
    call: Call, home: Path, tmp_path: Path
) -> None:
    sweep(home)
    (tmp_path / "a.html").write_text("old")
    (tmp_path / "a.html").chmod(0o600)
    (tmp_path / "link.html").symlink_to("a.html")

    shown = call("plot", "--html", "link.html", "--png", "b.png")

    assert shown == (0, "Wrote 6 run(s) to link.html\nWrote 6 run(s) to b.png\n", "")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.png", "home", "link.html"]
    assert (tmp_path / "a.html").stat().st_mode & 0o777 == 0o600


def test_a_page_can_go_to_standard_output(call: Call, home: Path) -> None:
    sweep(home)

    assert call("plot", "--html", "-").output.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--curves", "zzz"), 1, "no run has 'zzz'"),
        (("--scatter", "zzz,loss"), 1, "no run has 'zzz'"),
        (("--importance", "zzz"), 1, "no run has 'zzz'"),
        (("--max", "zzz"), 1, "no run has 'zzz'"),
        (("--curves", "=lr"), 2, "--curves takes scalars, not 'lr'"),
        (("--curves", "min loss"), 2, "--curves takes scalars, not 'min loss'"),
        (("--scatter", "lr"), 2, "--scatter takes two columns, not 'lr'"),
        (("--min", "loss", "--max", "loss"), 2, "--min and --max cannot both be used"),
        (("--text", "--json"), 2, "only one thing can go to standard output"),
        (("--html", "-", "--png", "-"), 2, "only one thing can go to standard output"),
        (("--html", "home"), 1, "cannot write 'home': Is a directory"),
        (("--html", "plots/a.html"), 1, "'{here}/plots' is not a directory"),
        (("--png", "a.JPG"), 2, "--png writes no jpg file: 'a.JPG'"),
        (("--html", "a.png"), 2, "--html writes no png file: 'a.png'"),
        (("1", "--parallel"), 1, "there is nothing to plot"),
        (("zzz",), 1, "could not find a run matching 'zzz'"),
        (("--label", "zzz"), 1, "no matching runs"),
    ],
)
def test_what_can_not_be_drawn_is_refused_in_a_sentence(
    call: Call, home: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    sweep(home)

    refused = call("plot", *arguments)

    assert refused.code == code
    assert refused.error.splitlines()[0] == f"orchestra: {message.format(here=tmp_path)}"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_without_runs_there_is_nothing_to_plot(call: Call) -> None:
    assert call("plot").error.splitlines()[0] == "orchestra: no matching runs"


def test_without_scalars_there_is_nothing_to_plot(call: Call, home: Path) -> None:
    saved(home, *some_runs(2))

    assert call("plot").error.splitlines() == [
        "orchestra: there is nothing to plot",
        "2 runs without scalars are left out.",
    ]


def test_a_thousand_runs_are_drawn(call: Call, home: Path, tmp_path: Path) -> None:
    runs = [ended(flags={"lr": number / 1000, "kind": f"k{number % 5}"}) for number in range(1000)]
    saved(home, *runs)
    layout = Layout(home)
    for number, run in enumerate(runs):
        directory = attempt_directory(layout.run_directory(run), 1)
        directory.mkdir(parents=True)
        (directory / "output").write_text(f"loss: 1\nloss: {number % 7}\n")
        records.write_exit(directory, an_exit(size=16), fsync=False)

    assert call("plot", "--html", "plot.html").output == "Wrote 1000 run(s) to plot.html\n"
    assert (tmp_path / "plot.html").stat().st_size < 3_000_000


def test_it_is_a_verb_of_runs_too(call: Call, home: Path) -> None:
    sweep(home)

    assert call("runs", "plot", "--json").json == call("plot", "--json").json
