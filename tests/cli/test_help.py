"""`orchestra help` and `run --help-model`: of commands, operations, models and projects."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.cli.command_list import top_help
from tests.cli.conftest import Call

PROJECT = """
- model: m
  description: Of words.
  resources:
    data: [file: x]
  operations:
    train:
      description: Train it.
      main: train
    _hidden: train
    eval: train
- model: other
  operations:
    more: train
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text('"""Train by hand."""\nx = 1\n')
    (tmp_path / "orchestra.yml").write_text(PROJECT)
    return tmp_path


def test_help_alone_lists_the_commands(call: Call) -> None:
    assert call("help").output == top_help()


@pytest.mark.parametrize("columns", ["25", "40"])
@pytest.mark.parametrize("words", [("--help",), ("runs", "--help")])
def test_help_fits_into_a_narrow_terminal(
    call: Call, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], columns: str
) -> None:
    wide = call(*words).output
    monkeypatch.setenv("COLUMNS", columns)
    narrow = call(*words).output

    assert max(map(len, narrow.splitlines())) <= int(columns) < max(map(len, wide.splitlines()))
    assert narrow.replace(":", "").split() == wide.replace(":", "").split()


@pytest.mark.parametrize("words", [("run",), ("runs", "rm"), ("runs",), ("ops",), ("help",)])
def test_help_of_a_command_is_the_one_that_the_command_gives(call: Call, words: tuple[str, ...]) -> None:
    helped = call("help", *words)

    assert (helped.code, helped.output) == (0, call(*words, "--help").output)


def test_help_in_a_project_lists_its_operations_too(call: Call, project: Path) -> None:
    shown = call("help").output

    assert shown.startswith(top_help())
    assert f"Operations of {project}/orchestra.yml:\n  m:eval\n  m:train     Train it.\n" in shown
    assert "Models:\n  m      Of words.\n  other\n" in shown
    assert "_hidden" not in shown


def test_help_of_a_directory_or_file_is_that_of_the_project_in_it(call: Call, project: Path) -> None:
    (project / "inner").mkdir()
    inner = call("help", "inner")

    assert "train.py" not in inner.output and inner.output.startswith(f"Operations of {project}/inner:")
    assert call("help", "inner/..").output == call("help", str(project / "orchestra.yml")).output
    assert call("help", ".").output in call("help").output


def test_help_of_an_operation_tells_its_flags(call: Call, project: Path) -> None:
    assert call("help", "train.py").output == call("run", "train.py", "--help-op").output
    assert call("help", "m:train").output == call("run", "m:train", "--help-op").output


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("trian.py",), 1, "there is no command, operation or project 'trian.py'"),
        (("runs", "nix"), 2, "no such command 'runs nix'"),
        (("nix", "nix"), 2, "no such command 'nix nix'"),
    ],
)
def test_help_of_what_there_is_not_says_so(
    call: Call, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    refused = call("help", *words)

    assert (refused.code, refused.output) == (code, "")
    assert refused.error.splitlines()[0] == f"orchestra: {message}"
    assert len(words) > 1 or "Did you mean 'train.py'?" in refused.error


def test_the_model_of_an_operation_tells_its_operations_and_resources(call: Call, project: Path) -> None:
    assert call("run", "m:train", "--help-model").lines == [
        "Usage: orchestra run [OPTIONS] m:OPERATION [FLAG]...",
        "",
        "Of words.",
        "",
        "Operations:",
        "  eval",
        "  train  Train it.",
        "",
        "Resources:",
        "  data",
        "",
        "Try 'orchestra run m:OPERATION --help-op' for the flags of an operation.",
    ]


def test_a_script_has_no_model_to_help_with(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")

    refused = call("run", "train.py", "--help-model")

    assert (refused.code, refused.error.splitlines()[0]) == (
        1,
        "orchestra: operation 'train.py' is of no model",
    )


def test_the_model_of_a_run_is_told_as_its_project_has_it_now(call: Call, project: Path) -> None:
    assert call("run", "m:train", "--stage", "-y", "--run-id", "r").code == 0
    (project / "orchestra.yml").write_text(PROJECT.replace("model: m", "model: renamed"))

    refused = call("run", "--start", "r", "--help-model")

    assert refused.error.startswith(f"orchestra: '{project}/orchestra.yml' has no model 'm' any more\n")
