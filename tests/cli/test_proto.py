"""`run --proto RUN`, and `--force-sourcecode`: whose operation and source a run has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.process import Shell

FIRST = "x = 1\ny = 2\nprint('first', x, y)\nopen('made', 'w').close()\n"
SECOND = "x = 1\ny = 2\nz = 3\nprint('second', x, y, z)\n"


@pytest.fixture
def proto(shell: Shell, tmp_path: Path) -> str:
    """A run of a script that has changed since."""
    (tmp_path / "train.py").write_text(FIRST)
    assert shell.run("run", "train.py", "x=7", "-y", "--run-id", "proto", "-l", "mine ${x}").code == 0
    (tmp_path / "train.py").write_text(SECOND)
    return "proto"


def test_a_new_run_has_the_operation_flags_and_source_of_its_proto(
    shell: Shell, proto: str, tmp_path: Path
) -> None:
    ended = shell.run("run", "--proto", proto, "y=5", "-y", "--run-id", "new")

    assert ended.output == "first 7 5\n"
    assert (shell.home / "runs" / "new" / "train.py").read_text() == FIRST
    assert "mine 7" in shell.run("runs", "info", "new").output
    assert shell.run("runs", "info", "proto").output.count("first") == 0


def test_what_the_proto_has_written_is_not_taken_along(shell: Shell, proto: str) -> None:
    shell.run("run", "--proto", proto, "--stage", "-y", "--run-id", "new")

    assert not (shell.home / "runs" / "new" / "made").exists()
    assert (shell.home / "runs" / "proto" / "made").exists()


def test_a_proto_needs_no_project(shell: Shell, proto: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").unlink()

    assert shell.run("run", "--proto", proto, "-y").output == "first 7 2\n"


def test_the_source_of_the_project_can_be_asked_for(shell: Shell, proto: str) -> None:
    ended = shell.run("run", "--proto", proto, "z=9", "--force-sourcecode", "-y")

    assert ended.output == "second 7 2 9\n"


def test_a_batch_can_be_made_of_a_run_and_of_a_batch(shell: Shell, proto: str) -> None:
    first = shell.run("run", "--proto", proto, "y=[3,4]", "-y", "--run-id", "batch")
    again = shell.run("run", "--proto", "batch", "x=1", "-y")

    assert [line for line in first.output.splitlines() if "first" in line] == ["first 7 3", "first 7 4"]
    assert [line for line in again.output.splitlines() if "first" in line] == ["first 1 3", "first 1 4"]


def test_a_batch_searches_what_its_proto_has_searched(shell: Shell, proto: str) -> None:
    shell.run("run", "train.py", "x=[5:6]", "-o", "random", "-m", "2", "--stage", "-y", "--run-id", "search")

    shown = shell.run("run", "--proto", "search", "--print-trials", "--random-seed", "1").output

    rows = [line.split() for line in shown.splitlines()]
    assert len(rows) == 3
    assert {row[rows[0].index("x")] for row in rows[1:]} <= {"5", "6"}


def test_a_restart_takes_the_source_again_when_it_is_told_to(shell: Shell, proto: str) -> None:
    kept = shell.run("run", "--restart", proto, "-y")
    taken = shell.run("run", "--restart", proto, "-y", "--force-sourcecode")

    assert kept.output.splitlines()[-1] == "first 7 2"
    assert taken.output.splitlines()[-1] == "second 7 2 3"
    assert (shell.home / "runs" / "proto" / "train.py").read_text() == SECOND
    assert shell.run("run", "--restart", proto, "-y").output.splitlines()[-1] == "second 7 2 3"


@pytest.mark.parametrize("option", ["--restart", "--proto"])
def test_source_that_is_gone_can_not_be_taken_again(
    shell: Shell, proto: str, tmp_path: Path, option: str
) -> None:
    (tmp_path / "train.py").unlink()

    refused = shell.run("run", option, proto, "-y", "--force-sourcecode")

    assert refused.code == 1
    assert refused.output.startswith(
        "orchestra: cannot find definition for operation 'train.py' in run proto\n"
    )
    assert (shell.home / "runs" / "proto" / "train.py").read_text() == FIRST


def test_a_proto_that_there_is_not_is_told(call: Call) -> None:
    assert call("run", "--proto", "nope", "-y").error.startswith(
        "orchestra: could not find a run matching 'nope'\n"
    )


def test_options_that_do_not_go_with_a_proto_are_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(FIRST)

    assert "--force-sourcecode can only be used with" in call("run", "train.py", "--force-sourcecode").error
    assert "--proto cannot be used with --restart" in call("run", "--restart", "a", "--proto", "b").error
