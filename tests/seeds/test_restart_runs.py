"""The second seed, line by line: runs are restarted with old and new flags, or skipped when nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestra import api
from tests.process import Shell

PROJECT = Path(__file__).parent.parent / "samples" / "optimizers"
SKIPPED = "Skipping run because flags have not changed (--needed specified)"
Run = Callable[..., str]


@pytest.fixture
def run(home: Path) -> Run:
    def call(restart: str | None = None, needed: bool = False, **flags: Any) -> str:
        return api.run_capture_output(
            "echo.py", flags=flags, restart=restart, needed=needed, cwd=PROJECT, orchestra_home=home
        ).strip()

    return call


def flags_of(home: Path) -> list[Any]:
    return [run.get("flags") for run in api.runs_list(orchestra_home=home)]


def test_a_run_without_flags_uses_the_defaults_and_keeps_their_types(run: Run, home: Path) -> None:
    assert run() == "1.0 2 'a'"
    assert flags_of(home) == [{"x": 1.0, "y": 2, "z": "a"}]
    assert isinstance(flags_of(home)[0]["x"], float)


def test_a_restart_uses_the_flags_that_the_run_had_last(run: Run, home: Path) -> None:
    run()
    assert run(x=2.0, y=3, z="b") == "2.0 3 'b'"
    first = api.runs_list(orchestra_home=home)[0].id
    again = f"Restarting {first}\n"

    assert run(restart=first) == again + "2.0 3 'b'"
    assert run(restart=first, x=10) == again + "10 3 'b'"
    assert run(restart=first) == again + "10 3 'b'"
    assert flags_of(home) == [{"x": 10, "y": 3, "z": "b"}, {"x": 1.0, "y": 2, "z": "a"}]


def test_a_needed_restart_runs_only_when_a_flag_differs(run: Run, home: Path) -> None:
    run()
    run(x=10, y=3, z="b")
    first, second = (each.id for each in api.runs_list(orchestra_home=home))
    again = f"Restarting {first}\n"

    assert run(restart=first, needed=True) == again + SKIPPED
    assert run(restart=first, x=10, y=3, z="b", needed=True) == again + SKIPPED
    assert run(restart=first, x=100, y=3, z="b", needed=True) == again + "100 3 'b'"

    assert run(restart=second, z="d", needed=True) == f"Restarting {second}\n1.0 2 'd'"
    assert run(restart=second, z="d", needed=True) == f"Restarting {second}\n{SKIPPED}"


def test_a_restart_moves_the_run_to_the_top_and_makes_no_new_one(run: Run, home: Path) -> None:
    run()
    run(x=2.0)
    older = api.runs_list(orchestra_home=home)[1].id

    run(restart=older)

    assert [each.id for each in api.runs_list(orchestra_home=home)][0] == older
    assert len(api.runs_list(orchestra_home=home)) == 2


def test_the_command_line_restarts_as_the_api_does(shell: Shell) -> None:
    shell.run("run", "-y", "echo.py", "x=2.0", cwd=PROJECT)
    run_id = shell.run("select", "--attr", "id").output.strip()

    restarted = shell.run("run", "-y", "--restart", run_id[:6], "x=10")
    skipped = shell.run("run", "-y", "echo.py", "--restart", run_id, "--needed", cwd=PROJECT)

    assert restarted.output == f"Restarting {run_id}\n10 2 'a'\n"
    assert (skipped.code, skipped.output) == (0, f"Restarting {run_id}\n{SKIPPED}\n")


def test_the_first_start_of_a_staged_run_is_no_restart(shell: Shell) -> None:
    shell.run("run", "-y", "--stage", "echo.py", cwd=PROJECT)
    run_id = shell.run("select", "--attr", "id").output.strip()

    assert shell.run("run", "-y", "--start", run_id).output == "1.0 2 'a'\n"
    assert shell.run("run", "-y", "--start", run_id).output == f"Restarting {run_id}\n1.0 2 'a'\n"
