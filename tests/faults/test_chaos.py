"""Everything at once: queues and supervisors are killed and paused at random moments, until all is done."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter

import pytest

from orchestra.workspace import records
from tests.faults.site import Site, kill, wait_for


class Chaos:
    """Queues that work, and somebody who kills them and what they have started."""

    def __init__(self, site: Site, seed: int, queues: int, *, pauses: bool) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.queues: list[subprocess.Popen[str] | None] = [None] * queues
        self.pauses = pauses
        self.done = Counter[str]()

    def strike(self) -> None:
        """Do one bad thing, and see that every queue that is dead has a successor."""
        what = self.random.choice(["queue", "queue", "supervisor", *(["pause"] if self.pauses else [])])
        self.done[what] += 1
        slot = self.random.randrange(len(self.queues))
        queue = self.queues[slot]
        if what == "supervisor":
            self.kill_a_supervisor()
        elif what == "queue" and queue is not None:
            kill(queue)
            queue.communicate()
            self.queues[slot] = None
        elif what == "pause" and queue is not None:
            queue.send_signal(signal.SIGSTOP)
            time.sleep(self.random.uniform(0.1, 0.5))
            queue.send_signal(signal.SIGCONT)
        self.revive()

    def revive(self) -> None:
        for slot, queue in enumerate(self.queues):
            if queue is None:
                arguments = ("run", "-y", "queue", "jobs=2", "poll-interval=0.5")
                self.queues[slot] = self.site.start(*arguments, stdout=subprocess.DEVNULL)

    def kill_a_supervisor(self) -> None:
        running = [run for run in self.site.runs() if run.state == "running"]
        if running:
            run = self.random.choice(running)
            directory = self.site.layout.attempt_directory(self.site.layout.run_directory(run), run.attempt)
            fence = records.read_fence(directory)
            if fence is not None and records.alive(directory):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(fence.identity.pid, signal.SIGKILL)

    def over(self) -> bool:
        return not set(self.site.states()) & {"staged", "pending", "running"}


def storm(site: Site, seed: int, *, runs: int, queues: int, pauses: bool, patience: float) -> None:
    chaos = Chaos(site, seed, queues, pauses=pauses)
    staged = site.run(
        "run", "-y", "work.py", f"number=range[1:{runs}]", "lines=20", "pause=0.02", "--stage-trials"
    )
    assert staged.code == 0, staged.output
    acknowledged = {run.id for run in site.runs()}
    assert len(acknowledged) == runs
    chaos.revive()
    deadline = time.monotonic() + patience
    while not chaos.over() and time.monotonic() < deadline:
        time.sleep(chaos.random.uniform(0.1, 0.6))
        chaos.strike()
    wait_for(chaos.over, f"the end of all runs {Counter(site.states())}", patience=90)
    for queue in chaos.queues:
        if queue is not None:
            queue.terminate()
            # One that has only just begun does not know yet what it is.
            assert queue.wait(timeout=60) in (0, -signal.SIGTERM)
    site.wait_for_rest()
    site.check(acknowledged=acknowledged)
    assert set(site.states()) <= {"completed", "lost"}
    assert site.states().count("lost") <= chaos.done["supervisor"]
    assert chaos.done["queue"] and chaos.done["supervisor"], "the storm was no storm"


def test_a_storm_of_kills_loses_nothing_and_runs_nothing_twice(site: Site) -> None:
    storm(site, 1, runs=60, queues=4, pauses=False, patience=60)


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(6))
def test_a_longer_storm_with_pauses_loses_nothing_and_runs_nothing_twice(site: Site, seed: int) -> None:
    storm(site, seed, runs=150, queues=4, pauses=True, patience=240)
