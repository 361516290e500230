import os
import sys
from pathlib import Path

import pytest

from orchestra.errors import OperationNotFound, OrchestraError, ScriptError
from orchestra.model.flags import check, format_flags
from orchestra.model.operation import FlagDef, Operation, choices_of
from orchestra.project.find import find_operation

SAMPLES = Path(__file__).parent.parent / "samples"


def find(spec: str | None, cwd: Path) -> Operation:
    return find_operation(spec, cwd=cwd, cache_dir=None, python=sys.executable)


def error_of(spec: str | None, cwd: Path) -> OrchestraError:
    with pytest.raises(OrchestraError) as caught:
        find(spec, cwd)
    return caught.value


def test_a_script_of_the_project_takes_the_project_along() -> None:
    operation = find("say.py", SAMPLES / "batch")
    assert operation == Operation(
        name="say.py",
        kind="script",
        source=str(SAMPLES / "batch"),
        main="say.py",
        flags=(
            FlagDef(name="msg", default="hello", description="what to say", origin="say.py:6"),
            FlagDef(
                name="loud",
                default=False,
                type="boolean",
                description="say it in capitals",
                choices=choices_of(True, False),
                arg_switch=True,
                origin="say.py:7",
            ),
        ),
        flags_dest="args",
        discovered_by="argparse",
    )
    assert format_flags(check(operation, {})) == "loud=no msg=hello"


def test_globals_of_a_script_are_its_flags() -> None:
    operation = find("echo.py", SAMPLES / "optimizers")
    assert (operation.flags_dest, operation.discovered_by) == ("globals", "globals")
    assert check(operation, {}) == {"x": 1.0, "y": 2, "z": "a"}


def test_a_script_in_a_folder_is_named_by_its_path_in_the_project(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_text("x = 1\n")
    for spec in ("a/b.py", "./a/../a/b.py", str(tmp_path / "a" / "b.py")):
        operation = find(spec, tmp_path)
        assert (operation.name, operation.source, operation.main) == ("a/b.py", str(tmp_path), "a/b.py")


def test_a_script_from_elsewhere_brings_its_own_folder(tmp_path: Path) -> None:
    project, other = tmp_path / "project", tmp_path / "other"
    project.mkdir()
    other.mkdir()
    (other / "b.py").write_text("x = 1\n")
    for spec in ("../other/b.py", str(other / "b.py")):
        operation = find(spec, project)
        assert (operation.name, operation.source, operation.main) == ("b.py", str(other), "b.py")


def test_an_executable_takes_any_flag(tmp_path: Path) -> None:
    program = tmp_path / "go.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    inside = find("go.sh", tmp_path)
    assert inside == Operation(
        name="go.sh",
        kind="executable",
        source=str(tmp_path),
        main="go.sh",
        flags_dest="args",
        accepts_any_flag=True,
    )
    outside = find("/bin/true", tmp_path)
    assert (outside.name, outside.source, outside.main) == ("true", None, "/bin/true")


def test_the_queue_is_found_by_its_exact_name_alone(tmp_path: Path) -> None:
    queue = find("queue", tmp_path)
    assert (queue.kind, queue.source) == ("queue", None)
    assert format_flags(check(queue, {})) == "gpus=null ignore-running=no poll-interval=10 run-once=no"
    for spec in ("que", "Queue", "queue "):
        assert isinstance(error_of(spec, tmp_path), OperationNotFound)


def test_a_file_named_queue_does_not_hide_the_queue(tmp_path: Path) -> None:
    (tmp_path / "queue").write_text("")
    assert find("queue", tmp_path).kind == "queue"


def test_an_unknown_operation_is_answered_with_names_that_are_close(tmp_path: Path) -> None:
    for name in ("train.py", "train2.py", "prepare.py", "trains.txt"):
        (tmp_path / name).write_text("")
    error = error_of("trian.py", tmp_path)
    assert isinstance(error, OperationNotFound)
    assert error.message == "operation 'trian.py' is not defined for this project"
    assert error.hint is not None
    assert error.hint.splitlines() == [
        "Try 'orchestra operations' for a list of available operations.",
        "Did you mean 'train.py', 'train2.py'?",
    ]


def test_at_most_five_close_names_are_shown(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"train{number}.py").write_text("")
    hint = error_of("train.py", tmp_path).hint
    assert hint is not None and hint.count("train") == 5


@pytest.mark.parametrize("spec", ["", "a\0b", "nope/x.py", "a\nb", "é", "x" * 300, "say.py/x"])
def test_names_that_no_file_can_have_are_not_found(spec: str) -> None:
    error = error_of(spec, SAMPLES / "batch")
    assert isinstance(error, OperationNotFound | ScriptError)
    assert error.message.isprintable()


def test_no_name_at_all_is_answered_with_what_was_looked_for(tmp_path: Path) -> None:
    error = error_of(None, tmp_path)
    assert isinstance(error, OperationNotFound)
    assert "orchestra.yml or guild.yml" in error.message and str(tmp_path) in error.message


def test_what_is_no_regular_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    assert error_of("folder.py", tmp_path).message == "cannot run 'folder.py': Is a directory"
    assert "named pipe" in error_of("pipe.py", tmp_path).message
    assert "device" in error_of("/dev/null", tmp_path).message


def test_a_file_that_is_not_executable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a\n")
    error = error_of("data.csv", tmp_path)
    assert isinstance(error, ScriptError)
    assert error.message == "cannot run 'data.csv': must be an executable file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_script_that_may_not_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    (tmp_path / "a.py").chmod(0)
    assert "Permission denied" in error_of("a.py", tmp_path).message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\ny = = 2\n", "line 2: invalid syntax\n    y = = 2"),
        ("def f(:\n  pass\n", "line 1: invalid syntax\n    def f(:"),
        ("if x:\npass\n", "line 2: expected an indented block after 'if' statement on line 1\n    pass"),
        ("x = 1\0", "source code string cannot contain null bytes"),
    ],
)
def test_a_script_that_is_not_python_is_refused_with_line_and_problem(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "bad.py").write_text(text)
    error = error_of("bad.py", tmp_path)
    assert isinstance(error, ScriptError)
    assert error.message == f"'{tmp_path / 'bad.py'}' is not valid Python: {problem}"


def test_a_link_to_a_script_that_is_missing_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.py").symlink_to("gone.py")
    with pytest.raises(
        ScriptError, match=r"cannot run 'a\.py': it is a link to 'gone\.py', which is missing"
    ):
        find_operation("a.py", cwd=tmp_path, cache_dir=None, python=sys.executable)
