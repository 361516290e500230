"""A long time of everything: people stage, run, search, restart, delete, list and repair while processes are
killed and paused at random. Nothing may be lost, run twice, stay for ever, or grow.

``SOAK_SECONDS`` says how long the nightly one takes (240 if it is not set).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestra.child.supervisor import COOKIE
from orchestra.model.run import FINAL, Run
from orchestra.workspace import records
from orchestra.workspace.trash import Trash
from tests.faults.site import Site, kill, wait_for

STAGED = 12
"""Runs that are kept waiting."""
WORK = ("work.py", "lines=20", "pause=0.01")


def is_claimed(run: Run) -> bool:
    """Whether somebody is about to start it."""
    return run.state == "pending" and run.worker is not None


class Soak:
    """What happens in one home, decided by one seed."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.queues: list[subprocess.Popen[str]] = []
        self.people: list[subprocess.Popen[str]] = []
        """Commands that go on by themselves, or are killed."""
        self.acknowledged: set[str] = set()
        self.done = Counter[str]()
        self.events = {
            self.kill_a_queue: 4,
            self.kill_a_supervisor: 2,
            self.kill_a_launcher: 1,
            self.kill_a_person: 3,
            self.pause_a_queue: 1,
            self.run: 2,
            self.search: 1,
            self.restart: 1,
            self.annotate: 2,
            self.delete: 1,
            self.restore: 1,
            self.list_all: 1,
            self.repair: 1,
        }

    def go_on(self, seconds: float, *, events: int = 0) -> None:
        """Let things happen for so long, and at least so many."""
        end = time.monotonic() + seconds
        deck: list[Callable[[], None]] = []
        while time.monotonic() < end or self.done.total() < events:
            self.stage()
            self.keep_queues()
            if not deck:
                deck = [event for event, count in self.events.items() for _ in range(count)]
                self.random.shuffle(deck)
            event = deck.pop()
            event()
            self.done[event.__name__] += 1
            time.sleep(self.random.uniform(0.05, 0.4))

    def finish(self) -> None:
        """Let everybody come to an end: the people theirs, the queues what is staged."""
        for person in self.people:
            person.wait(timeout=60)
        self.keep_queues()
        # What a queue has claimed and not started yet is staged again once that queue is told to end.
        wait_for(
            lambda: not any(run.state == "staged" or is_claimed(run) for run in self.site.runs()),
            "the last staged run",
            patience=90,
        )
        for queue in self.queues:
            queue.terminate()
            # One that has only just begun does not know yet what it is.
            assert queue.wait(timeout=60) in (0, -signal.SIGTERM)
        self.site.wait_for_rest()
        assert self.site.run("check", "--runs", "--fix").code == 0
        self.site.check(acknowledged=self.acknowledged - self.site.deleted)
        trash = Trash(self.site.layout)
        for run_id in self.site.deleted:
            is_there = (self.site.layout.runs_dir / run_id).exists()
            assert is_there != trash.holds(run_id), f"{run_id} is in two places, or in none"
        for run in self.site.runs():
            assert run.state in FINAL or run.batch is not None, f"{run.id} never ends: {run.state}"

    # -- what happens

    def stage(self) -> None:
        missing = STAGED - self.site.states().count("staged")
        if missing > 0:
            staged = self.site.stage(count=missing, lines=20, pause=0.01)
            self.acknowledged.update(run.id for run in staged)

    def keep_queues(self) -> None:
        self.queues = [queue for queue in self.queues if queue.poll() is None]
        while len(self.queues) < 2:
            self.queues.append(
                self._start("run", "-y", "queue", "jobs=2", "poll-interval=0.5", "ignore-running=yes")
            )

    def kill_a_queue(self) -> None:
        kill(self.random.choice(self.queues))

    def pause_a_queue(self) -> None:
        queue = self.random.choice(self.queues)
        queue.send_signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.1, 0.5))
        queue.send_signal(signal.SIGCONT)

    def kill_a_supervisor(self) -> None:
        running = [run for run in self.site.runs() if run.state == "running"]
        if not running:
            return
        run = self.random.choice(running)
        directory = self.site.layout.attempt_directory(self.site.layout.run_directory(run), run.attempt)
        fence = records.read_fence(directory)
        if fence is not None and records.alive(directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(fence.identity.pid, signal.SIGKILL)

    def kill_a_launcher(self) -> None:
        for pid in launchers(self.random.choice(self.queues).pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_a_person(self) -> None:
        alive = [person for person in self.people if person.poll() is None]
        if alive:
            kill(self.random.choice(alive))

    def run(self) -> None:
        self.people.append(self._start("run", "-y", *WORK))

    def search(self) -> None:
        self.people.append(self._start("run", "-y", *WORK, "number=[1,2,3]"))

    def restart(self) -> None:
        ended = [run.id for run in self.site.runs() if run.state in ("completed", "lost")]
        if ended:
            self.people.append(self._start("run", "-y", "--restart", self.random.choice(ended)))

    def delete(self) -> None:
        ended = [run.id for run in self.site.runs() if run.state in ("completed", "lost")]
        if ended:
            run_id = self.random.choice(ended)
            self.site.deleted.add(run_id)
            self.people.append(self._start("runs", "delete", "-y", run_id))

    def restore(self) -> None:
        self.people.append(self._start("runs", "restore", "-y"))

    def annotate(self) -> None:
        words = self.random.choice((["label", "-s", "x ${number}"], ["tag", "-a", "t"], ["mark"]))
        self.people.append(self._start(*words, "-y", "1:3"))

    def list_all(self) -> None:
        assert self.site.run("runs", "--json").code == 0

    def repair(self) -> None:
        assert self.site.run("check", "--runs", "--fix").code in (0, 3)

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return self.site.start(*arguments, stdout=subprocess.DEVNULL)


def launchers(pid: int) -> Iterator[int]:
    """The processes that start supervisors for an orchestra process: those below it that are of no attempt."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if f"{COOKIE}=".encode() not in Path(f"/proc/{child}/environ").read_bytes():
                yield int(child)


def take(pid: int) -> tuple[int, int]:
    """KiB of memory and open files of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return resident, len(os.listdir(f"/proc/{pid}/fd"))


def test_a_while_of_everything_loses_nothing_and_leaves_nothing(site: Site) -> None:
    soak = Soak(site, 7)

    soak.go_on(4, events=8)

    soak.finish()
    assert soak.done["kill_a_queue"] and len(site.executions()) > STAGED / 2, soak.done


@pytest.mark.nightly
@pytest.mark.timeout(0)
def test_a_long_time_of_everything_loses_nothing_and_lets_nothing_grow(site: Site) -> None:
    seconds = float(os.environ.get("SOAK_SECONDS", "240"))
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    soak = Soak(site, seed)
    spared = site.start("run", "-y", "queue", "jobs=2", "ignore-running=yes", stdout=subprocess.DEVNULL)
    soak.go_on(seconds / 4)
    memory, files = take(spared.pid)

    soak.go_on(seconds * 3 / 4)

    later = take(spared.pid)
    spared.terminate()
    assert spared.wait(timeout=60) == 0
    soak.finish()
    assert later[0] - memory < 20_000, f"{later[0] - memory} KiB more"
    assert later[1] - files < 20, f"{later[1] - files} open files more"
    assert {event.__name__ for event in soak.events} <= soak.done.keys(), "too short: not everything happened"
