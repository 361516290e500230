"""A sweep is finished and extended by real processes: killed, resumed, given more while it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from orchestra.workspace import records
from tests.cli.conftest import Call
from tests.faults.site import wait_for
from tests.process import Shell

TRAIN = """
import os, sys, time
lr = 1
print("lr is", lr, flush=True)
place = os.environ["PLACE"]
open(f"{place}/began.{lr}", "a").write("x")
while os.path.exists(f"{place}/hold.{lr}"):
    time.sleep(0.01)
sys.exit(3 if os.path.exists(f"{place}/fail.{lr}") else 0)
"""


class Sweep:
    """A project, and what its trials do."""

    def __init__(self, shell: Shell, place: Path) -> None:
        self.shell = shell
        self.place = place
        shell.environment["PLACE"] = str(place)
        (place / "train.py").write_text(TRAIN)

    def mark(self, what: str) -> Path:
        path = self.place / what
        path.touch()
        return path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return self.shell.start("run", "train.py", *arguments, "-y", "--run-id", "sweep")

    def wait_for_start(self, lr: int, times: int = 1) -> None:
        began = self.place / f"began.{lr}"
        wait_for(lambda: began.exists() and len(began.read_text()) == times, f"start {times} of trial {lr}")

    def states(self) -> list[str]:
        """The states of the trials, by their ``lr``."""
        listed = self.shell.run("runs", "list", "--json", "--all", separate=True)
        runs = [run for run in json.loads(listed.output) if run["id"] != "sweep"]
        return [run["status"] for run in sorted(runs, key=lambda run: run["flags"]["lr"])]

    def starts(self) -> list[int]:
        """How often each trial was started."""
        began = sorted(self.place.glob("began.*"), key=lambda path: int(path.suffix[1:]))
        return [len(path.read_text()) for path in began]


@pytest.fixture
def sweep(shell: Shell, tmp_path: Path) -> Sweep:
    return Sweep(shell, tmp_path)


def test_a_sweep_that_was_killed_is_resumed_where_it_was(sweep: Sweep) -> None:
    held = sweep.mark("hold.2")
    sweep.mark("fail.1")
    batch = sweep.start("lr=[1,2,3]")
    sweep.wait_for_start(2)
    os.kill(batch.pid, signal.SIGKILL)
    batch.communicate(timeout=30)
    held.unlink()
    wait_for(lambda: sweep.states()[1] == "completed", "the end of the trial that was running")
    assert sweep.states() == ["error", "completed", "pending"]

    resumed = sweep.shell.run("run", "--restart", "sweep", "--missing", "-y")

    assert (resumed.code, sweep.states()) == (0, ["error", "completed", "completed"])
    assert sweep.starts() == [1, 1, 1]

    (sweep.place / "fail.1").unlink()
    finished = sweep.shell.run("run", "--restart", "sweep", "--failed", "--missing", "--lost", "-y")

    assert (finished.code, sweep.states()) == (0, ["completed"] * 3)
    assert sweep.starts() == [2, 1, 1]


def test_a_sweep_that_was_killed_while_it_is_finished_goes_on_with_the_rest(sweep: Sweep) -> None:
    for lr in (1, 2, 3):
        sweep.mark(f"fail.{lr}")
    assert sweep.shell.run("run", "train.py", "lr=[1,2,3]", "-y", "--run-id", "sweep").code == 0
    for lr in (1, 2, 3):
        (sweep.place / f"fail.{lr}").unlink()
    held = sweep.mark("hold.2")
    finishing = sweep.shell.start("run", "--restart", "sweep", "--failed", "-y")
    sweep.wait_for_start(2, times=2)
    os.kill(finishing.pid, signal.SIGKILL)
    finishing.communicate(timeout=30)
    held.unlink()
    wait_for(lambda: sweep.states()[1] == "completed", "the end of the trial that was running")

    finished = sweep.shell.run("run", "--restart", "sweep", "--failed", "-y")

    assert (finished.code, sweep.states()) == (0, ["completed"] * 3)
    assert sweep.starts() == [2, 2, 2]


def test_a_lost_trial_is_run_again_and_what_it_printed_before_stays(sweep: Sweep) -> None:
    held = sweep.mark("hold.1")
    batch = sweep.start("lr=[1,2]")
    sweep.wait_for_start(1)
    trial = next(
        path for path in (sweep.shell.home / "runs").iterdir() if path.name != "sweep" and is_running(path)
    )
    attempt = trial / ".orchestra" / "attempts" / "1"
    wait_for(lambda: (attempt / "output").read_text() == "lr is 1\n", "what it prints")
    fence = records.read_fence(attempt)
    assert fence is not None
    os.kill(fence.identity.pid, signal.SIGKILL)
    held.unlink()
    batch.communicate(timeout=60)
    assert sweep.states() == ["lost", "completed"]

    again = sweep.shell.run("run", "--restart", "sweep", "--lost", "-y")

    assert (again.code, sweep.states()) == (0, ["completed"] * 2)
    outputs = sorted(trial.glob(".orchestra/attempts/*/output"))
    assert [path.read_text() for path in outputs] == ["lr is 1\n"] * 2


def is_running(run: Path) -> bool:
    return (run / ".orchestra" / "attempts" / "1" / "fence").exists()


def test_a_sweep_that_runs_is_extended_from_another_terminal(sweep: Sweep) -> None:
    held = sweep.mark("hold.2")
    batch = sweep.start("lr=[1,2]")
    sweep.wait_for_start(2)

    extended = sweep.shell.run("run", "--extend", "sweep", "lr=[2,3,4]", "-y")

    assert (extended.code, extended.output) == (0, "Extended batch sweep, which is running\n")
    held.unlink()
    output = batch.communicate(timeout=60)[0]
    assert (batch.returncode, sweep.states()) == (0, ["completed"] * 4), output
    assert sweep.starts() == [1, 1, 1, 1]


def test_a_sweep_that_was_killed_is_extended_and_goes_on(sweep: Sweep) -> None:
    held = sweep.mark("hold.1")
    batch = sweep.start("lr=[1,2]")
    sweep.wait_for_start(1)
    os.kill(batch.pid, signal.SIGKILL)
    batch.communicate(timeout=30)
    held.unlink()

    extended = sweep.shell.run("run", "--extend", "sweep", "lr=3", "-y")

    assert (extended.code, sweep.states()) == (0, ["completed"] * 3), extended.output
    assert sweep.starts() == [1, 1, 1]


def test_a_sweep_is_extended_in_the_background(sweep: Sweep) -> None:
    assert sweep.shell.run("run", "train.py", "lr=[1,2]", "-y", "--run-id", "sweep").code == 0

    assert sweep.shell.run("run", "--extend", "sweep", "lr=3", "-y", "--background").code == 0

    wait_for(lambda: sweep.states() == ["completed"] * 3, "the new trial")


def test_what_is_about_to_be_done_is_shown_before_the_question(sweep: Sweep) -> None:
    sweep.mark("fail.1")
    sweep.shell.run("run", "train.py", "lr=[1,2]", "-y", "--run-id", "sweep")

    asked = sweep.shell.run("run", "--restart", "sweep", "--failed", stdin="n\n")
    extending = sweep.shell.run("run", "--extend", "sweep", "lr=3", stdin="n\n")
    idle = sweep.shell.run("run", "--restart", "sweep", "--lost")

    assert asked.output.startswith(
        "You are about to start sweep (train.py+) for 1 trial that ended\n  lr: [1, 2]\n"
    )
    assert extending.output.startswith(
        "You are about to extend sweep (train.py+) as a batch (3 trials)\n  lr: [1, 2, 3]\n"
    )
    assert (idle.code, idle.output) == (0, "Nothing to do: batch sweep has no lost trial\n")
    assert sweep.starts() == [1, 1]


def test_the_trials_that_are_to_be_run_can_be_looked_at(sweep: Sweep) -> None:
    sweep.mark("fail.1")
    sweep.shell.run("run", "train.py", "lr=[1,2]", "-y", "--run-id", "sweep")

    failed = sweep.shell.run("run", "--restart", "sweep", "--failed", "--print-trials")
    new = sweep.shell.run("run", "--extend", "sweep", "lr=[3,4]", "--print-trials")
    command = sweep.shell.run("run", "--extend", "sweep", "lr=3", "--print-cmd")

    assert failed.output == "#  lr\n1  1\n"
    assert new.output == "#  lr\n1  3\n2  4\n"
    assert command.output.splitlines()[0] == "orchestra run -y --extend sweep lr=3"
    assert len(command.output.splitlines()) == 2


def test_a_batch_and_a_queue_stop_when_too_much_fails(sweep: Sweep) -> None:
    for lr in (1, 3):
        sweep.mark(f"fail.{lr}")

    batch = sweep.shell.run("run", "train.py", "lr=[1,2,3,4]", "-y", "--max-fails", "2", "--run-id", "sweep")

    assert (batch.code, sweep.states()) == (3, ["error", "completed", "error", "pending"])
    assert batch.output.splitlines()[-1].endswith(
        "Stopping batch because 2 trials failed (pending trials can be started as needed)"
    )

    sweep.shell.run("run", "--restart", "sweep", "--failed", "-y", "--stage")
    sweep.shell.run("run", "train.py", "lr=5", "-y", "--stage")
    queue = sweep.shell.run("queue", "run-once=yes", "--max-fails", "1")

    assert queue.code == 1
    assert "Stopping queue because 1 run failed (max-fails is 1)" in queue.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train.py", "--failed"], 1, "--failed can only be used with --restart"),
        (["--extend", "nosuch", "lr=1"], 1, "could not find a run matching 'nosuch'"),
        (["--extend", "nosuch"], 1, "there is nothing to extend the batch by"),
        (["train.py", "lr=[1,2]", "--max-fails", "0"], 1, "invalid value 0 for --max-fails"),
        (["queue", "--max-fails", "0"], 1, "invalid value 0 for max-fails"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    call: Call, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "train.py").write_text(TRAIN)

    refused = call("run", *arguments, "-y")

    assert refused.code == code
    assert refused.error.startswith(f"orchestra: {message}")


def test_max_fails_means_nothing_to_a_single_run(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("lr = 1\n")

    ended = call("run", "train.py", "-y", "--max-fails", "2")

    assert ended.code == 0
    assert "not a batch run - ignoring --max-fails" in ended.error
