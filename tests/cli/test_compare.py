"""``orchestra compare``: tables for people, CSV and JSON for programs."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestra.cli import compare, screen, terminal
from orchestra.cli.tables import text_width
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch, an_operation
from orchestra.workspace.layout import Layout
from tests.cli.conftest import Call
from tests.cli.test_results import printed
from tests.saved_runs import ended, saved
from tests.workspace.event_samples import scalar_event

CORE = ["run", "operation", "started", "time", "status", "label"]


def a_sweep(home: Path) -> list[Run]:
    """Four runs of two learning rates and two seeds, newest last."""
    made: list[Run] = []
    for rate, seed in ((0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)):
        flags = {"lr": rate, "seed": seed}
        label = f"lr={rate} seed={seed}"
        made.append(printed(home, f"loss: {rate * seed}\nacc: 0.5\n", flags=flags, label=label))
    return made


def window(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(terminal, "width", lambda: columns)
    monkeypatch.setenv("NO_COLOR", "1")


# the table


def test_in_a_pipe_a_table_has_all_columns_and_a_line_a_run_newest_first(call: Call, home: Path) -> None:
    runs = a_sweep(home)

    called = call("compare", "-t")

    heading, *lines = called.lines
    assert heading.split() == [*CORE, "lr", "seed", "step", "acc", "loss"]
    assert [line.split()[0] for line in lines] == [run.short_id for run in reversed(runs)]
    assert lines[0].split()[4:] == ["0:00:05", "completed", "lr=0.2", "seed=2", "0.2", "2", "0", "0.5", "0.4"]
    assert call("compare").output == call("runs", "compare", "--table").output == called.output


def test_on_a_terminal_what_is_the_same_in_all_is_said_once(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_sweep(home)
    window(monkeypatch, 100)

    first, blank, heading, *rows = call("compare", "-t").lines

    assert (first, blank) == ("all 4: operation=train.py time=0:00:05 status=completed step=0 acc=0.5", "")
    assert heading.split() == ["run", "started", "lr", "seed", "loss"]
    assert len(rows) == 4


def test_on_a_terminal_labels_are_shown_that_say_more_than_the_flags(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window(monkeypatch, 100)
    saved(home, ended(label="lr=0.1 epochs=3"))
    assert "label" not in call("compare").output
    saved(home, ended(label="my label", label_template="my label"))
    assert "my label" in call("compare").output


@pytest.mark.parametrize("columns", [8, 20, 40, 79])
def test_a_narrow_terminal_shows_all_columns_in_lines_that_fit(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    for number in range(3):
        flags = {"sehr_langer_name": number, "日本語": f"値{number}" * 9, "msg": f"a\nb\x1b[2J{number}"}
        printed(home, f"loss: {number}.123456789\n", flags=flags)
    window(monkeypatch, columns)

    shown = call("compare", "-t").output

    assert max(map(text_width, shown.splitlines())) <= columns
    assert "\x1b" not in shown
    if columns >= 20:
        for word in ("run", "started", "sehr_lan", "日本語", "msg", "loss", "2.123456"):
            assert word in shown
        assert shown.count(call("select", "-s").output.strip()) > 1


def test_wide_characters_leave_columns_aligned(call: Call, home: Path) -> None:
    for text in ("値値", "ab"):
        printed(home, "loss: 1\n", flags={"a": text, "b": "x"})

    heading, *rows = call("compare", "-r").lines

    place = heading.index("b")
    assert [text_width(row[: row.index("x")]) for row in rows] == [place, place]


def test_headings_are_bold_on_a_terminal_unless_colours_are_unwanted(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed(home, "loss: 1\n")
    window(monkeypatch, 200)
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)
    assert "\x1b" not in call("compare", "-t").output
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[1mrun " in call("compare", "-t").output


def test_a_thousand_columns_are_limited_on_a_terminal_and_whole_in_a_pipe(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (1, 2):
        saved(home, ended(flags={f"f{number}": value for number in range(1000)}))

    assert len(call("compare", "-r").lines[0].split()) == 1001
    window(monkeypatch, 80)
    shown = call("compare", "-r").output
    assert shown.endswith("941 more columns: choose with --cols, or use --csv\n")
    assert len(shown) < 10_000


def test_numbers_are_cut_to_six_decimals_and_words_are_those_of_flags(call: Call, home: Path) -> None:
    flags = {"a": 0.99999999, "b": True, "c": None, "d": [1, "x"], "e": "no", "f": 1e-5}
    printed(home, "loss: 3\n", flags=flags)

    _, row = call("compare", "-r").lines

    assert row.split()[1:] == ["0.999999", "yes", "[1,", "x]", "no", "1e-05", "0", "3.0"]


def test_marked_runs_say_so_behind_their_operation(call: Call, home: Path) -> None:
    saved(home, ended(marked=True))

    assert "train.py [marked]" in call("compare", "-t").output
    assert "[marked]" not in call("compare", "--csv", "-").output


def test_on_a_terminal_marks_are_shown_where_runs_differ_in_nothing_else(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(home, ended(marked=True), ended())
    window(monkeypatch, 100)

    assert "train.py [marked]" in call("compare", "-t").output


def test_no_runs_print_nothing(call: Call) -> None:
    for options in (["-t"], ["--csv", "-"], ["--min", "loss"], ["--repeats"], ["--print-scalars"]):
        called = call("compare", *options)
        assert (called.code, called.output, called.error) == (0, "", "")


# the interactive table


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits at a terminal."""
    window(monkeypatch, 100)
    monkeypatch.setattr(screen, "can_draw", lambda: True)
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)


@pytest.mark.usefixtures("person")
def test_without_textual_the_table_is_printed_and_a_sentence_tells_how_to_get_more(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = printed(home, "loss: 1\n")
    monkeypatch.setattr(compare, "find_spec", lambda name: None)

    called = call("compare")

    assert called.error.startswith("For a table to sort, filter and look into, install textual: pip install ")
    assert "'orchestra-runs[tui]'" in called.error
    assert run.short_id in called.output
    for form in (["-t"], ["--json"], ["--csv", "-"], ["--print-scalars"]):
        assert call("compare", *form).error == ""


@pytest.mark.usefixtures("person")
def test_on_a_terminal_the_table_is_interactive_unless_a_form_is_asked_for(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("textual")
    from orchestra.cli import compare_view

    seen: list[compare.Asked] = []
    monkeypatch.setattr(compare_view, "show_view", lambda asked: seen.append(asked) or 0)

    called = call("compare", "-u", "--min", "loss", "1")

    assert (called.code, called.output, called.error) == (0, "", "")
    assert [(asked.specs, asked.request.order, asked.skip_unchanged) for asked in seen] == [
        (("1",), "loss", True)
    ]
    call("compare", "-t", "2:")
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor != 0)
    call("compare")
    assert len(seen) == 1


# which runs, which columns, which order


def test_runs_are_chosen_by_words_and_filters(call: Call, home: Path) -> None:
    runs = a_sweep(home)

    def ids(*arguments: str) -> list[str]:
        return [line.split()[0] for line in call("compare", "-t", *arguments).lines[1:]]

    assert ids("1", runs[0].id) == [runs[3].short_id, runs[0].short_id]
    assert ids("-Fl", "seed=1") == [runs[2].short_id, runs[0].short_id]
    assert ids("-Se") == []
    assert call("compare", "99").code == 1


def test_batches_and_queues_are_left_out_unless_asked_for(call: Call, home: Path) -> None:
    batch = ended(batch_spec=a_batch(), kind="batch", flags={})
    saved(home, ended(), batch, ended(kind="queue", operation=an_operation(name="queue")))

    assert len(call("compare", "-t").lines) == 2
    shown = call("compare", "-t", "--include-batch").output
    assert len(shown.splitlines()) == 4
    assert "train.py+" in shown
    called = call("compare", batch.id)
    assert called.output == ""
    assert called.error == "WARNING: Only batches and queues were chosen: --include-batch shows them, too\n"


def test_the_project_file_of_today_says_the_columns_of_its_operations(
    call: Call, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "orchestra.yml"
    operation = an_operation(name="train", project_file=str(file), compare=("=epochs",))
    printed(home, "loss: 1\nacc: 2\n", operation=operation)

    def headings() -> list[str]:
        return call("compare", "-r").lines[0].split()

    assert headings() == ["run", "epochs"]
    file.write_text("train: {main: train, compare: [acc as a]}\n")
    assert headings() == ["run", "a"]
    file.write_text("train: {main: train}\n")
    assert headings() == ["run", "epochs", "lr", "step", "acc", "loss"]
    file.write_text("train: [")
    assert headings() == ["run", "epochs"]


def test_rows_are_sorted_and_limited(call: Call, home: Path) -> None:
    a_sweep(home)

    def losses(*arguments: str) -> list[str]:
        return [line.split()[-1] for line in call("compare", "-cc", "loss", *arguments).lines[1:]]

    assert losses("--min", "loss") == ["0.1", "0.2", "0.2", "0.4"]
    assert losses("--max", "=lr", "-n", "1") == ["0.4"]
    assert losses("--top", "2", "--max", "loss") == ["0.4", "0.2"]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--min", "loss", "--max", "loss"], "--min and --max cannot both be used", 2),
        (["-n", "0"], "invalid value 0 for --top: it is 1 or more", 2),
        (["-c", "=a", "-cc", "=b"], "--cols cannot be used with --strict-cols", 2),
        (["-c", "min loss"], None, 0),
        (["-c", "a b"], "invalid column 'a b': unexpected 'b'", 1),
        (["--min", "los"], "no run has 'los'", 1),
        (["--csv", "-", "--json"], "--csv and --json cannot both be used", 2),
        (["-t", "--csv", "x.csv"], "--table and --csv cannot both be used", 2),
        (["--csv", ""], "--csv needs a file to write, or '-'", 2),
        (["--csv-raw"], "--csv-raw needs --csv", 2),
        (["--agg", "mean"], "--agg needs --group-by or --repeats", 2),
        (["--repeats", "--agg", "mode"], "unknown statistic 'mode'", 2),
        (["--group-by", "los"], "no run has 'los'", 1),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    call: Call, home: Path, arguments: list[str], message: str | None, code: int
) -> None:
    printed(home, "loss: 1\n")

    called = call("compare", *arguments)

    assert called.code == code
    assert called.error.partition("\n")[0] == ("" if message is None else f"orchestra: {message}")


def test_unchanged_columns_can_be_left_out_of_every_form(call: Call, home: Path) -> None:
    a_sweep(home)

    assert call("compare", "-r", "-u").lines[0].split() == ["run", "lr", "seed", "loss"]
    assert call("compare", "-r", "-u", "--csv", "-").lines[0] == "run,lr,seed,loss"


def test_columns_that_can_not_be_read_are_warned_of(call: Call, home: Path) -> None:
    saved(home, ended(operation=an_operation(compare=("a b c",))))

    called = call("compare", "-t")

    assert called.code == 0
    assert "WARNING: A column of operation 'train.py': invalid column 'a b c'" in called.error


def test_results_that_can_not_be_read_are_warned_of(call: Call, home: Path) -> None:
    run = printed(home, "")
    directory = Layout(home).run_directory(run)
    (directory / "events.out.tfevents.1").write_bytes(scalar_event("loss", 0.5, step=7) + b"x" * 20)

    called = call("compare", "-cc", "loss")

    assert called.lines[1].split() == [run.short_id, "0.5"]
    assert called.error.startswith(f"WARNING: run {run.short_id}: ")
    assert "events.out.tfevents.1' is damaged at byte" in called.error


def test_scalars_of_each_run_are_printed(call: Call, home: Path) -> None:
    run = printed(home, "loss: 3\nloss: 1\n", flags={})

    lines = call("compare", "--print-scalars").lines

    assert lines[:2] == [f"[{run.short_id}] train.py", "  loss: 1.000000 (step 1)"]


# CSV and JSON

MOMENT = 1_735_822_272_000_000


def test_csv_has_the_values_as_they_are(call: Call, home: Path) -> None:
    flags = {"a": 0.123456789, "b": True, "c": None, "d": [1, "x"], "e": 'x,"y"\nz', "f": 3}
    printed(home, "loss: 3\n", flags=flags, started=MOMENT + 123_456, stopped=MOMENT + 7_000_001)

    heading, row = csv.reader(io.StringIO(call("compare", "--csv", "-").output))

    assert heading == [*CORE, "a", "b", "c", "d", "e", "f", "step", "loss"]
    assert row[2:5] == ["2025-01-02T12:51:12.123456Z", "6.876545", "completed"]
    assert row[6:] == ["0.123456789", "True", "", "[1, x]", 'x,"y"\nz', "3", "0", "3.0"]


def test_csv_is_written_to_a_file_and_said_to_be(call: Call, home: Path, tmp_path: Path) -> None:
    a_sweep(home)

    missing = call("compare", "--csv", "out/runs.csv")
    assert (missing.code, missing.output) == (1, "")
    assert missing.error.startswith(f"orchestra: '{tmp_path}/out' is not a directory\n")
    (tmp_path / "out").mkdir()
    called = call("compare", "--csv", "out/runs.csv")

    assert (called.output, called.error) == ("", "Wrote 4 row(s) to out/runs.csv\n")
    assert (tmp_path / "out/runs.csv").read_text() == call("compare", "--csv", "-").output
    refused = call("compare", "--csv", "out")
    assert (refused.code, refused.error) == (1, "orchestra: cannot write 'out': Is a directory\n")


HOSTILE = ["=1+1", "+1", "-1", "@x", "\tx", "\rx"]


def test_a_text_that_a_spreadsheet_would_execute_is_disarmed_and_a_number_is_not(
    call: Call, home: Path
) -> None:
    flags: dict[str, Any] = {f"f{number}": text for number, text in enumerate(HOSTILE)}
    printed(home, "loss: -1\n", flags={**flags, "n": -5, "=h": "x"}, label="=cmd")

    def row(*arguments: str) -> dict[str, str]:
        heading, values = csv.reader(
            io.StringIO(call("compare", "--csv", "-", *arguments).output, newline="")
        )
        return dict(zip(heading, values, strict=True))

    found = row()
    assert [found[f"f{number}"] for number in range(len(HOSTILE))] == [f"'{text}" for text in HOSTILE]
    assert (found["n"], found["loss"], found["label"], found["'=h"]) == ("-5", "-1.0", "'=cmd", "x")
    found = row("--csv-raw")
    assert [found[f"f{number}"] for number in range(len(HOSTILE))] == HOSTILE
    assert (found["label"], found["=h"]) == ("=cmd", "x")


@pytest.mark.usefixtures("person")
def test_csv_on_a_terminal_drives_it_nowhere(call: Call, home: Path) -> None:
    printed(home, "", flags={"a": "x\x1b[2Jy", "b": "\x1b[31mred"})

    output = call("compare", "--csv", "-").output
    assert "x\\x1b[2Jy" in output
    assert "\\x1b[31mred" in output
    assert "\x1b" not in output


def test_json_has_whole_ids_and_exact_values(call: Call, home: Path) -> None:
    run = printed(home, "loss: nan\nacc: 0.123456789\n", flags={"a": [1], "b": True})

    told = call("compare", "--json").json

    assert told["schema"] == 1
    assert {column["name"]: column["kind"] for column in told["columns"]} == {
        **dict.fromkeys(CORE, "attribute"),
        "a": "flag",
        "b": "flag",
        "step": "scalar",
        "acc": "scalar",
        "loss": "scalar",
    }
    (row,) = told["rows"]
    assert row["runs"] == [run.id]
    assert row["values"] == {
        "run": run.short_id,
        "operation": "train.py",
        "started": run.started,
        "time": 5.0,
        "status": "completed",
        "label": None,
        "a": [1],
        "b": True,
        "step": 0,
        "acc": 0.123456789,
        "loss": None,
    }


def test_json_of_no_runs_is_a_document_too(call: Call) -> None:
    assert call("compare", "--json").json == {"schema": 1, "columns": [], "rows": []}


# repeats


def test_repeats_are_one_row_in_every_form(call: Call, home: Path) -> None:
    runs = a_sweep(home)

    lines = call("compare", "--repeats", "-c", ".time", "--max", "loss").lines
    assert lines[0].split("  ")[0:1] == ["operation"]
    assert [line.split()[:3] for line in lines] == [
        ["operation", "lr", "runs"],
        ["train.py", "0.2", "2"],
        ["train.py", "0.1", "2"],
    ]
    rows = list(csv.DictReader(io.StringIO(call("compare", "--group-by", "lr", "--csv", "-").output)))
    assert [float(row["loss mean"]) for row in rows] == pytest.approx([0.15, 0.3])
    assert {row["acc std"] for row in rows} == {"0.0"}
    told = call("compare", "--group-by", "lr", "--agg", "mean,n", "--json").json
    assert [column["name"] for column in told["columns"]] == [
        *("lr", "runs", "acc mean", "acc n", "loss mean", "loss n"),
    ]
    assert told["rows"][0]["runs"] == [runs[1].id, runs[0].id]
    assert told["rows"][0]["seeds"] == [2, 1]


def test_one_run_has_no_deviation_in_any_form(call: Call, home: Path) -> None:
    printed(home, "loss: 1\n", flags={"lr": 1})

    assert call("compare", "--repeats", "--agg", "std", "--csv", "-").lines[1] == "train.py,1,1,"
    assert (
        call("compare", "--repeats", "--agg", "std", "--json").json["rows"][0]["values"]["loss std"] is None
    )


def test_runs_that_have_not_completed_are_no_repeats_unless_they_are_asked_for(
    call: Call, home: Path
) -> None:
    printed(home, "loss: 1\n", flags={"lr": 1})
    run = printed(home, "loss: 9\n", flags={"lr": 1}, state="error", exit_code=1)

    called = call("compare", "--repeats", "--agg", "mean", "--csv", "-")
    assert called.lines[1] == "train.py,1,1,1.0"
    assert called.error == "WARNING: 1 run(s) that have not completed are left out\n"
    called = call("compare", "--repeats", "--agg", "mean", "--csv", "-", "-Sec")
    assert (called.lines[1], called.error) == ("train.py,1,2,5.0", "")
    assert structs.replace(run).state == "error"


# api compare


def test_the_table_is_json_for_programs_of_the_predecessor(call: Call, home: Path) -> None:
    run = printed(home, "loss: nan\n", flags={"msg": "Yo"}, label="msg=Yo")
    printed(home, "", flags={"file": "a.txt"}, label="file=a.txt")

    called = call("api", "compare", "-f")

    headings, newest, oldest = called.json
    assert headings == ["id", *CORE[1:], "file", "msg", "step", "loss"]
    assert oldest[0] == run.id
    assert oldest[3:] == ["0:00:05", "completed", "msg=Yo", None, "Yo", 0, None]
    assert newest[5:] == ["file=a.txt", "a.txt", None, None, None]
    assert called.output.startswith("[\n  [\n")
    in_one_line = call("api", "compare", "-Fl", "Yo")
    assert len(in_one_line.json) == 2
    assert len(in_one_line.lines) == 1
