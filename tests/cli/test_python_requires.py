"""An operation runs with a version of Python that it can do with, or it does not run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.process import Shell

OWN = ".".join(map(str, sys.version_info[:3]))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text("import sys\nprint('ran')\n")
    (tmp_path / "orchestra.yml").write_text(
        "new: {main: train, python-requires: '>=4'}\n"
        "old: {main: train, python-requires: '>=2.7,<3'}\n"
        f"own: {{main: train, python-requires: '=={OWN}', pip-freeze: no}}\n"
        "trained: {exec: echo hello, python-requires: '>=4'}\n"
    )
    return tmp_path


def python_that_says(project: Path, version: str) -> str:
    fake = project / "python2"
    fake.write_text(f"#!/bin/sh\necho {version}\n")
    fake.chmod(0o755)
    return str(fake)


@pytest.mark.parametrize("words", [["new"], ["new", "--stage"], ["trained"]])
def test_a_version_that_is_not_wanted_is_refused_before_anything_is_made(
    shell: Shell, project: Path, words: list[str]
) -> None:
    ended = shell.run("run", "-y", *words)

    assert ended.code == 1
    assert f"operation '{words[0]}' needs Python >=4, and '" in ended.output
    assert f"is {OWN}" in ended.output and "ORCHESTRA_PYTHON" in ended.output
    assert os.listdir(shell.home / "runs") == []


def test_the_interpreter_that_counts_is_the_operations(shell: Shell, project: Path) -> None:
    python = python_that_says(project, "2.7.18")
    assert shell.run("run", "-y", "old").code == 1
    ended = shell.run("run", "-y", "old", ORCHESTRA_PYTHON=python)
    assert (ended.code, ended.output) == (0, "2.7.18\n")

    ended = shell.run("run", "-y", "old", ORCHESTRA_PYTHON=str(project / "none"))
    assert ended.code == 1
    assert f"'{project / 'none'}' does not tell which version of Python it is" in ended.output


def test_a_staged_run_is_started_with_such_a_version_only(shell: Shell, project: Path) -> None:
    python = python_that_says(project, "2.7.18")
    assert shell.run("run", "-y", "old", "--stage", ORCHESTRA_PYTHON=python).code == 0
    shell.run("run", "-y", "queue", "run-once=yes")

    listed = json.loads(shell.run("runs", "list", "--json").output)
    (run,) = [run for run in listed if run["operation"] == "old"]
    assert run["status"] == "error"
    assert "operation 'old' needs Python >=2.7,<3" in shell.run("runs", "info", run["id"]).output


def test_without_pip_freeze_no_packages_are_recorded(shell: Shell, project: Path) -> None:
    assert shell.run("run", "-y", "own").code == 0
    assert shell.run("run", "-y", "train.py").code == 0
    records = sorted((shell.home / "runs").glob("*/.orchestra/attempts/*/environment.json"))
    packages = [json.loads(path.read_text())["python"].get("packages") for path in records]
    assert len(packages) == 2
    assert sorted(found is None for found in packages) == [False, True]
