"""`run --stop-after`: an operation whose time is over is stopped, and says so."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.process import Shell

SLEEPS = "import time\nx = 1\nprint('begun')\ntime.sleep(60)\n"
STOPPED = re.compile(r"INFO: \[orchestra\] Stopping process early \(pid \d+\) - 0.005 minute\(s\) elapsed")


def test_an_operation_is_stopped_when_its_time_is_over(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SLEEPS)

    ended = shell.run("run", "train.py", "-y", "--stop-after", "0.005")

    begun, stopped = ended.output.splitlines()[:2]
    assert (ended.code, begun) == (241, "begun")
    assert STOPPED.fullmatch(stopped)
    assert "terminated" in shell.run("runs", "list").output


def test_a_staged_run_keeps_its_time(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SLEEPS)
    shell.run("run", "train.py", "-y", "--stage", "--stop-after", "0.005", "--run-id", "timed")

    assert shell.run("run", "--start", "timed", "-y").code == 241


def test_each_trial_of_a_batch_has_the_time(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SLEEPS)

    ended = shell.run("run", "train.py", "x=[1,2]", "-y", "--stop-after", "0.005")

    assert sum(bool(STOPPED.fullmatch(line)) for line in ended.output.splitlines()) == 2
    assert ended.code == 0


def test_the_time_can_be_given_at_a_restart(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SLEEPS)
    shell.run("run", "train.py", "-y", "--stage", "--run-id", "timed")

    assert shell.run("run", "--start", "timed", "-y", "--stop-after", "0.005").code == 241


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_refused(call: Call, tmp_path: Path, minutes: str) -> None:
    (tmp_path / "train.py").write_text(SLEEPS)

    refused = call("run", "train.py", "-y", f"--stop-after={minutes}")

    assert refused.code == 1
    assert refused.error.startswith(f"orchestra: invalid value {minutes} for --stop-after\n")


def test_a_queue_has_no_time(call: Call) -> None:
    refused = call("run", "queue", "-y", "--stop-after", "1")

    assert (refused.code, refused.error.splitlines()[0]) == (
        1,
        "orchestra: --stop-after can't be used with a queue",
    )


def test_an_operation_says_how_long_it_may_take_to_end(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "deaf.sh").write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n")
    (tmp_path / "leaves.sh").write_text("#!/bin/sh\nsleep 600 &\necho done\n")
    for name in ("deaf.sh", "leaves.sh"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "orchestra.yml").write_text(
        "deaf: {exec: ./deaf.sh, stop-timeout: 0.2}\nleaves: {exec: ./leaves.sh, grace: 0.1}\n"
    )

    begun = time.monotonic()
    assert shell.run("run", "deaf", "-y", "--stop-after", "0.005").code == 247
    assert shell.run("run", "leaves", "-y").code == 0
    assert time.monotonic() - begun < 5, "that is what a run has that says nothing of it"


@pytest.mark.parametrize("wrong", ["grace: -1", "stop-timeout: soon"])
def test_a_time_to_end_is_a_number_of_seconds(call: Call, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "orchestra.yml").write_text(f"a: {{exec: 'true', {wrong}}}\n")
    refused = call("run", "a", "-y")
    assert (refused.code, wrong.partition(":")[0] in refused.error) == (1, True)
