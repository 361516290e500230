"""Runs are started on the terms of their project's file, unless options say otherwise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from orchestra.engine.terms import DEFINED
from orchestra.model.resources import Resources
from orchestra.model.retry import Retry
from orchestra.workspace.records import read_run
from tests.cli.conftest import Call
from tests.process import Shell

PROJECT = """\
train:
  main: train
  flags-import: all
  resources: {cpus: 1, memory: 64M}
  priority: 3
  time-limit: 1h
  retry: {max: 2, on: exit:75}
pipe:
  flags: {limit: 5m}
  steps:
    - train x=2 --retries 0
    - {run: train, name: b, flags: {x: 9}, resources: {memory: 1M}, time-limit: '${limit}', priority: 7}
"""
SCRIPT = """\
import os, sys
x = 1
print("ran", x, os.environ["RUN_ATTEMPT"])
sys.exit(75 if x == 9 and os.environ["RUN_ATTEMPT"] == "1" else 0)
"""
FILE_TERMS = {
    "resources": Resources(cpus=1, memory=64 << 20),
    "priority": 3,
    "time_limit": 3600.0,
    "retry": Retry(limit=2, on=("exit:75",)),
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> None:
    (tmp_path / "orchestra.yml").write_text(PROJECT)
    (tmp_path / "train.py").write_text(SCRIPT)


def terms(home: Path, run_id: str) -> dict[str, Any]:
    """What the run's record says beyond its operation."""
    run = read_run(home / "runs" / run_id)
    named = {name: getattr(run, name) for name in DEFINED}
    return {name: value for name, value in named.items() if value not in (None, 0, Resources())}


def stage(call: Call, run_id: str, *words: str) -> None:
    staged = call("run", *words, "--stage", "-y", "--run-id", run_id)
    assert staged.code == 0, staged.error


def test_the_file_says_the_terms_and_options_go_over_them(call: Call, home: Path) -> None:
    stage(call, "plain", "train")
    stage(call, "given", "train", "--resources", "", "--priority", "0", "--retries", "0", "--warn", "USR1@9")

    assert terms(home, "plain") == FILE_TERMS
    assert terms(home, "given") == {"time_limit": 3600.0, "warning": "USR1@9", "retry": Retry(limit=0)}


def test_an_executor_of_the_file_is_that_of_runs_and_trials_unless_an_option_says_another(
    call: Call, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "orchestra.yml").write_text(
        "train: {main: train, flags-import: all, executor: {warm: {imports: json}}}\n"
    )
    stage(call, "plain", "train")
    stage(call, "given", "train", "--executor", "local")
    call("run", "train", "x=[1,2]", "--stage-trials", "-y")

    found = {run["id"]: run["executor"] for run in call("runs", "--json").json if run["kind"] == "run"}

    assert found.pop("given") == "local"
    assert sorted(found.values()) == ["warm imports=json"] * 3


def test_trials_and_runs_after_others_have_them_too(call: Call, home: Path) -> None:
    stage(call, "given", "train", "--resources", "", "--time-limit", "2h")
    call("run", "train", "x=[1,2]", "--stage-trials", "-y")
    stage(call, "copy", "--proto", "given")

    trials = [run["id"] for run in call("runs", "--json").json if run["trial"]]
    assert [terms(home, trial) for trial in trials] == [FILE_TERMS, FILE_TERMS]
    expected = FILE_TERMS | {"time_limit": 7200.0}
    del expected["resources"]
    assert terms(home, "copy") == expected


def test_today_s_definition_replaces_what_the_file_said_and_not_what_was_asked_for(
    call: Call, home: Path, tmp_path: Path
) -> None:
    stage(call, "given", "train", "--time-limit", "2h")
    (tmp_path / "orchestra.yml").write_text(
        "train: {main: train, flags-import: all, time-limit: 5h, group: db, retry: 1}\n"
    )

    assert call("run", "--restart", "given", "--stage", "-y", "--warn", "USR1@5").code == 0
    assert terms(home, "given") == FILE_TERMS | {"time_limit": 7200.0, "warning": "USR1@5"}
    assert call("run", "--restart", "given", "--stage", "-y", "--force-sourcecode").code == 0
    assert terms(home, "given") == {
        "time_limit": 7200.0,
        "warning": "USR1@5",
        "group": "db",
        "retry": Retry(limit=1),
    }


def test_steps_run_on_their_own_terms(shell: Shell) -> None:
    ran = shell.run("run", "pipe", "-y", "--run-id", "p")

    assert ran.code == 0, ran.output
    assert "running train: train --retries 0 x=2\n" in ran.output
    assert "running b: train --resources memory=1M --time-limit 5m --priority 7 x=9\n" in ran.output
    assert "ran 9 2\n" in ran.output
    first, second = (Path(os.readlink(shell.home / "runs" / "p" / step)).name for step in ("train", "b"))
    assert terms(shell.home, first) == FILE_TERMS | {"retry": Retry(limit=0)}
    assert terms(shell.home, second) == FILE_TERMS | {
        "resources": Resources(memory=1 << 20),
        "time_limit": 300.0,
        "priority": 7,
    }


def test_a_flag_that_is_no_time_ends_the_pipeline_with_a_sentence(shell: Shell) -> None:
    ran = shell.run("run", "pipe", "limit=soon", "-y")

    assert (ran.code, "step 'b' can't be run: invalid time 'soon'" in ran.output) == (1, True), ran.output


def test_help_and_explain_show_them(call: Call) -> None:
    assert call("run", "train", "--help-op").output.partition("options are given:\n")[2] == (
        "  --resources   cpus=1 memory=64M\n  --priority    3\n  --time-limit  1h\n"
        "  --retries     2\n  --retry-on    exit:75\n"
    )
    assert "  --resources   cpus=1 memory=64M  orchestra.yml:4\n" in call("explain", "train").output
    assert call("explain", "train", "--json").json["terms"][1] == {
        "name": "priority",
        "value": "3",
        "origin": "orchestra.yml:5",
    }
    assert call("explain", "train.py", "--json").json["terms"] == []
    assert "other options" not in call("run", "train.py", "--help-op").output
