"""What a project says of the trials and runs of its operations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call

FLAGS = "flags: {x: {default: 1, min: 0, max: 9}, y: 2}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text("x = 1\ny = 2\nprint('x is', x)\n")
    return tmp_path


def describe(project: Path, text: str) -> None:
    (project / "orchestra.yml").write_text(f"train:\n  main: train\n  {FLAGS}\n{text}")


def trials(call: Call, *options: str) -> int:
    printed = call("run", "train", "--print-trials", *options)
    assert printed.code == 0, printed.error
    return len(printed.lines) - 1


def test_an_operation_limits_the_trials_of_a_search_but_not_of_a_grid(call: Call, project: Path) -> None:
    describe(project, "  default-max-trials: 5\n")

    assert trials(call, "x=[0:9]") == 5
    assert trials(call, "--optimizer", "random") == 5
    assert trials(call, "x=[0:9]", "--max-trials", "7") == 7
    assert trials(call, "x=range[1:8]") == 8
    describe(project, "")
    assert trials(call, "x=[0:9]") == 20


def test_attributes_of_runs_are_shown_and_can_be_selected_by(call: Call, project: Path) -> None:
    describe(project, "  run-attrs: {team: blue, cost: 3, label: mine}\n")

    ran = call("run", "train", "-y", "--run-id", "r")

    assert "the attribute 'label' is ignored: each run has one of that name" in ran.error
    assert call("runs", "info", "r", "--json").json["attributes"] == {"team": "blue", "cost": 3}
    assert "attributes:\n  cost: 3\n  team: blue\n" in call("runs", "info", "r").output
    assert call("select", "--attr", "team").output == "blue\n"


def test_what_a_run_prints_wins_over_what_its_project_says(call: Call, project: Path) -> None:
    describe(project, "  run-attrs: {team: blue}\n")
    (project / "train.py").write_text("x = y = 1\nprint('team: red')\n")
    call("run", "train", "-y", "--run-id", "r")

    assert call("runs", "info", "r", "--json").json["attributes"] == {"team": "red"}
