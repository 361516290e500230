"""The synchronous facade: what it returns, raises, and does when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestra import api
from orchestra.errors import OrchestraError
from orchestra.model.series import Series
from orchestra.testing.builders import a_run


@pytest.fixture
def project(tmp_path: Path, home: Path) -> api.Project:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "job.py").write_text("x = 1\nprint('x is', x)\nif x > 5:\n    raise SystemExit(x)\n")
    return api.Project(folder, home)


@pytest.mark.parametrize("again", [False, True])
def test_a_run_that_is_skipped_is_captured_as_the_one_that_matches(project: api.Project, again: bool) -> None:
    first, _ = project.run_capture("job.py", flags={"x": 2})
    if again:
        skipped, text = project.run_capture(restart=first.id, needed=True)
    else:
        skipped, text = project.run_capture("job.py", flags={"x": 2}, needed=True)

    assert skipped.id == first.id
    assert "needed specified" in text
    assert len(project.list_runs()) == 1


def test_the_error_of_a_captured_run_has_the_output_up_to_there(project: api.Project) -> None:
    with pytest.raises(api.RunError) as caught:
        project.run_capture("job.py", flags={"x": 7})
    assert (caught.value.returncode, caught.value.output) == (7, "x is 7\n")

    with pytest.raises(api.RunError) as caught:
        project.run_capture("nowhere.py")
    assert caught.value.output.startswith("orchestra: ")


def test_a_batch_is_finished_and_extended(project: api.Project) -> None:
    project.run("job.py", flags={"x": [1, 7]})
    (batch,) = [run for run in project.list_runs() if run.kind == "batch"]

    _, nothing = project.run_capture(restart=batch.id, redo="lost")
    project.run(restart=batch.id, redo=["failed"], max_fails=3)
    project.run(extend=batch.id, flags={"x": 2})

    assert nothing == f"Nothing to do: batch {batch.id} has no lost trial\n"
    trials = {run.flags["x"]: run for run in project.list_runs() if run.batch == batch.id}
    assert {x: (run.state, run.attempt) for x, run in trials.items()} == {
        1: ("completed", 1),
        7: ("error", 2),
        2: ("completed", 1),
    }


@pytest.mark.parametrize("state", ["error", "terminated", "lost", "aborted", "broken"])
def test_a_run_that_did_not_end_well_is_an_error(
    project: api.Project, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    async def ended(*_: object, **__: object) -> object:
        return a_run(state=state)

    monkeypatch.setattr("orchestra.engine.orchestra.execute", ended)
    with pytest.raises(api.RunError, match=f"ended as {state}"):
        api.run("job.py", cwd=project.cwd, home=project.home)


INTERRUPTED = """
import asyncio, os, sys, threading
from orchestra import api
from orchestra.errors import OrchestraError

async def main():
    try:
        api.run("sleep.py", cwd=sys.argv[1], home=sys.argv[2])
    except KeyboardInterrupt:
        print("interrupted", threading.active_count(), flush=True)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
os._exit(0)
"""


def test_an_interrupt_within_an_event_loop_stops_the_run_and_is_raised_when_it_has_ended(
    project: api.Project,
) -> None:
    (project.cwd / "sleep.py").write_text("import time\nprint('sleeps', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-c", INTERRUPTED, str(project.cwd), str(project.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sleeps\n"
        os.kill(process.pid, signal.SIGINT)
        begun = time.monotonic()
        assert process.stdout.read().splitlines()[-1].startswith("interrupted")
        assert time.monotonic() - begun < 30

    assert [run.state for run in project.list_runs()] == ["terminated"]


def test_the_numbers_of_a_run_are_at_hand(project: api.Project) -> None:
    (project.cwd / "fit.py").write_text("for i in range(3):\n    print('loss:', 3 - i)\nprint('kind: a')\n")
    run, _ = project.run_capture("fit.py")

    scalars = project.scalars(run)
    assert (scalars["loss"].first, scalars["loss"].last, scalars["loss"].last_step) == (3.0, 1.0, 2)
    assert "sys/wall_seconds" in scalars
    assert project.scalar(run.id, "max loss") == 3.0
    assert project.scalar(run, "loss step") == 2
    assert project.scalar(run, "other") is None
    assert project.series(run, ["loss", "other"]) == {
        "loss": Series(steps=(0, 1, 2), values=(3.0, 2.0, 1.0), count=3)
    }
    assert api.attributes(run, home=project.home) == {"kind": "a"}


def test_runs_are_compared(project: api.Project) -> None:
    (project.cwd / "fit.py").write_text("lr = 1\nseed = 1\nprint('loss:', lr + seed)\n")
    project.run_capture("fit.py", flags={"lr": [1, 2], "seed": [0, 2]})
    runs = project.list_runs()

    assert project.compare(strict_cols="=lr,loss", min="loss", top=2)[::2] == [
        ["run", "lr", "loss"],
        [runs[1].short_id, 2, 2.0],
    ]
    assert project.compare(group_by="lr", agg="mean,n") == [
        ["lr", "runs", "loss mean", "loss n"],
        [1, 2, 2.0, 2],
        [2, 2, 3.0, 2],
    ]
    assert len(api.compare(runs[:2], home=project.home)) == 3


def test_batch_files_tags_and_comments_are_given_as_they_come(project: api.Project, home: Path) -> None:
    (project.cwd / "t.csv").write_text("x\n2\n3\n")

    batch, text = project.run_capture(
        "job.py",
        batch_files="t.csv",
        tags=["a", "b"],
        comment="of each",
        batch_tags=("c",),
        batch_comment="of all",
        batch_label="all",
    )

    assert [line for line in text.splitlines() if line.startswith("x is")] == ["x is 2", "x is 3"]
    assert (batch.label, batch.tags, batch.get("comments")[0]["body"]) == ("all", ("c",), "of all")
    trial = api.runs_list(home=home)[0]
    assert (trial.label, trial.tags, trial.get("comments")[0]["body"]) == ("a b x=3", ("a", "b"), "of each")


def test_runs_are_annotated_deleted_and_restored(
    project: api.Project, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("job.py", quiet=True)
    project.run("job.py", quiet=True)
    newest, oldest = project.list_runs()
    capsys.readouterr()

    project.label(set="best")
    project.tag([oldest, newest.id], add="t")
    project.mark([oldest])
    project.mark([oldest], clear=True)
    project.label([oldest], clear=True)
    (commented,) = api.runs_comment([newest], "looks good", user="ada@lab", home=home)
    api.runs_comment([newest], delete=1, home=home)
    assert [run.id for run in api.mark(home=home)] == [newest.id]

    assert [comment["body"] for comment in commented.get("comments")] == ["looks good"]
    found = [(run.label, run.tags, run.marked, run.comments) for run in project.list_runs()]
    assert found == [("best", ("t",), True, ()), ("", ("t",), False, ())]
    project.delete_runs([oldest])
    assert [run.id for run in api.runs_restore([oldest], home=home)] == [oldest.id]
    project.delete_runs(permanent=True)
    assert capsys.readouterr().out.splitlines() == [
        "Labeled 1 run(s)",
        "Modified tags for 2 run(s)",
        "Marked 1 run(s)",
        "Unmarked 1 run(s)",
        "Cleared label for 1 run(s)",
        "Deleted 1 run(s)",
        "Permanently deleted 2 run(s)",
    ]


def test_runs_are_filtered_by_keywords_as_on_the_command_line(project: api.Project, home: Path) -> None:
    for x, tag in ((1, "odd"), (2, "even"), (3, "odd")):
        project.run_capture("job.py", flags={"x": x}, tags=[tag], label=f"run {x}")

    def left(**filters: Any) -> list[int]:
        return [run.flags["x"] for run in api.runs_list(home=home, **filters)]

    assert left() == [3, 2, 1]
    assert left(tags="odd") == [3, 1]
    assert left(tags=["odd", "even"], expr="x < 3") == [2, 1]
    assert left(expr=["x > 1", "tags contains odd"]) == [3]
    assert left(expr="#sys/wall_seconds >= 0", ops="job.py", limit=1) == [3]
    assert left(labels="run 2", completed=True, started="today") == [2]
    assert left(not_completed=True) == []
    assert [run.flags["x"] for run in project.list_runs(unmarked=True, unlabeled=False)] == [3, 2, 1]
    with pytest.raises(TypeError, match="there is no filter 'operation'"):
        left(operation="job.py")
    with pytest.raises(OrchestraError, match="unexpected end"):
        left(expr="x =")
