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


def files_of(shell: Shell, run: str) -> dict[str, str]:
    """The paths below a run's directory with their content, without the records of its attempts."""
    directory = shell.home / "runs" / run
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in directory.rglob("*")
        if path.is_file() and path.name in ("train.py", "made", "manifest", "deep.py", "more")
    }


def state_of(shell: Shell, run: str) -> str:
    lines = shell.run("runs", "info", run).output.splitlines()
    return next(line.split()[-1] for line in lines if line.startswith("status:"))


@pytest.mark.parametrize("stage", [(), ("--stage",)])
def test_source_that_has_no_place_is_refused_and_the_run_is_as_it_was(
    shell: Shell, proto: str, tmp_path: Path, stage: tuple[str, ...]
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "deep.py").write_text("deep = 1\n")
    before = files_of(shell, proto)

    refused = shell.run("run", "--restart", proto, "-y", "--force-sourcecode", *stage)

    assert refused.code == 1
    assert "made' is a file, and the project has a folder of that name" in refused.output
    assert (files_of(shell, proto), state_of(shell, proto)) == (before, "completed")


def test_whoever_is_killed_while_the_source_is_copied_leaves_the_run_as_it_was(
    shell: Shell, proto: str
) -> None:
    before = files_of(shell, proto)
    arguments = ("run", "--restart", proto, "-y", "--force-sourcecode")

    assert shell.run(*arguments, ORCHESTRA_FAILPOINT="source.copied:kill9").code == -9

    kept = {path: text for path, text in files_of(shell, proto).items() if "incoming" not in path}
    assert (kept, state_of(shell, proto)) == (before, "completed")
    assert shell.run(*arguments).output.splitlines()[-1] == "second 7 2 3"
    assert not list((shell.home / "runs" / proto / ".orchestra").glob("incoming*"))


@pytest.mark.parametrize("action", ["kill9", "raise"])
def test_a_run_whose_source_was_being_replaced_runs_what_it_had(
    shell: Shell, proto: str, action: str
) -> None:
    before = files_of(shell, proto)
    failpoint = f"source.swapping:{action}"

    failed = shell.run("run", "--restart", proto, "-y", "--force-sourcecode", ORCHESTRA_FAILPOINT=failpoint)

    assert failed.code == (-9 if action == "kill9" else 70)
    assert state_of(shell, proto) == ("aborted" if action == "kill9" else "completed")
    assert shell.run("run", "--restart", proto, "-y").output.splitlines()[-1] == "first 7 2"
    assert files_of(shell, proto) == before


def test_folders_and_files_of_the_source_may_take_each_others_places(
    shell: Shell, proto: str, tmp_path: Path
) -> None:
    (tmp_path / "more").write_text("a file\n")
    assert shell.run("run", "--restart", proto, "-y", "--force-sourcecode").code == 0
    (tmp_path / "more").unlink()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "deep.py").write_text("deep = 1\n")
    assert shell.run("run", "--restart", proto, "-y", "--force-sourcecode").code == 0
    assert "more/deep.py" in files_of(shell, proto)
    (tmp_path / "more" / "deep.py").unlink()
    (tmp_path / "more").rmdir()
    (tmp_path / "more").write_text("a file\n")

    assert shell.run("run", "--restart", proto, "-y", "--force-sourcecode").code == 0

    assert files_of(shell, proto)["more"] == "a file\n"


@pytest.mark.parametrize("spec", ["9" * 5_000, "9" * 5_000 + ":", "٣", "²"])
@pytest.mark.parametrize("command", [("run", "-y", "--restart"), ("run", "-y", "--proto"), ("runs", "info")])
def test_no_number_is_too_long_to_be_told_that_there_is_no_such_run(
    call: Call, tmp_path: Path, command: tuple[str, ...], spec: str
) -> None:
    (tmp_path / "train.py").write_text(FIRST)
    assert call("run", "train.py", "-y").code == 0

    refused = call(*command, spec)

    assert refused.code == 1
    assert refused.error.startswith("orchestra: could not find a run matching '")


def test_of_a_proto_another_operation_gets_the_flags_that_it_has_and_the_source(
    shell: Shell, proto: str, tmp_path: Path
) -> None:
    shell.run("run", "--proto", proto, "--stage", "-y", "--run-id", "staged", "-t", "old")
    (tmp_path / "other.py").write_text("x = 1\nz = 2\nprint('other', x, z, open('train.py').read() == '')\n")
    refused = shell.run("run", "other.py", "--proto", proto, "-y")
    assert refused.code == 1
    assert refused.output == (
        "orchestra: run proto has no 'other.py' in its source code\n"
        "Use --force-sourcecode to take the project's instead.\n"
    )

    ended = shell.run("run", "other.py", "--proto", "staged", "--force-sourcecode", "-y", "--run-id", "n")
    assert ended.output == "other 7 2 False\n"
    info = shell.run("runs", "info", "n").output
    assert "mine" not in info and "old" not in info and "  y:" not in info


def test_a_restart_with_another_operation_is_refused(shell: Shell, proto: str, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("x = 1\n")
    refused = shell.run("run", "other.py", "--restart", proto, "-y")

    assert refused.code == 1
    assert refused.output.startswith("orchestra: run proto is of train.py, not of other.py\n")
    for same in ("train.py", "./train.py", str(tmp_path / "train.py")):
        assert shell.run("run", same, "--restart", proto, "-y").output == "Restarting proto\nfirst 7 2\n"


def test_a_proto_that_there_is_not_is_told(call: Call) -> None:
    assert call("run", "--proto", "nope", "-y").error.startswith(
        "orchestra: could not find a run matching 'nope'\n"
    )


def test_options_that_do_not_go_with_a_proto_are_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(FIRST)

    assert "--force-sourcecode can only be used with" in call("run", "train.py", "--force-sourcecode").error
    assert "--proto cannot be used with --restart" in call("run", "--restart", "a", "--proto", "b").error
