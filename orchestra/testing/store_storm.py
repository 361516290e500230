"""The storm for stores: real queues work on one home and are killed at random, until all is done.

    def test_a_storm_of_kills_loses_nothing_and_runs_nothing_twice(tmp_path):
        storm = Storm(tmp_path, {"ORCHESTRA_STORE": "mine url=..."})
        storm.rage(random.Random(1))

Whatever else may happen is given as ``strikes``; ``on_host`` makes each queue one of another host.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

OnHost: TypeAlias = Callable[[int, list[str]], list[str]]
"""The command that runs a command as the host of the queue with this number."""

_OPERATION = """#!/bin/sh
echo "begin $ORCHESTRA_ATTEMPT" >>"$STORM_JOURNAL"
sleep 0.1
echo "end $ORCHESTRA_ATTEMPT" >>"$STORM_JOURNAL"
"""
_GOING_ON = {"staged", "pending", "running"}


class Storm:
    """One home below ``folder``, the queues that work on it, and a journal of what was really executed."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        runs: int = 40,
        queues: int = 3,
        on_host: OnHost = lambda number, command: command,
        strikes: Sequence[Callable[[], object]] = (),
    ) -> None:
        self.home = folder / "home"
        self._folder = folder
        self._journal = folder / "journal"
        self._environment = {
            **os.environ,
            "ORCHESTRA_HOME": str(self.home),
            "ORCHESTRA_CONFIG": os.devnull,
            "STORM_JOURNAL": str(self._journal),
            **environment,
        }
        self._runs = runs
        self._on_host = on_host
        self._strikes = strikes
        self._queues: list[subprocess.Popen[bytes] | None] = [None] * queues
        self.kills = 0
        """How many queues were killed."""
        script = folder / "operation.sh"
        script.write_text(_OPERATION)
        script.chmod(0o755)

    def rage(self, chance: random.Random, *, seconds: float = 5.0, patience: float = 90.0) -> None:
        """Stage runs, let queues be killed for so long, and see that each run was executed once, and is completed."""
        staged = self.orchestra("run", "-y", "operation.sh", f"n=range[1:{self._runs}]", "--stage-trials")
        assert staged.returncode == 0, staged.stdout
        acknowledged = set(self.states())
        assert len(acknowledged) == self._runs
        try:
            self._revive()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(chance.uniform(0.1, 0.6))
                chance.choice([self._kill_one(chance), *self._strikes])()
                self._revive()
            self._wait(patience)
        finally:
            self._end()
        assert self.kills, "the storm was no storm"
        assert self.states() == dict.fromkeys(acknowledged, "completed")
        self._check_journal(acknowledged)

    def states(self) -> dict[str, str]:
        """The states of the runs, by their ids."""
        listed = self.orchestra("runs", "--json", stderr=subprocess.DEVNULL)
        assert listed.returncode == 0, listed.stdout
        found: list[dict[str, Any]] = json.loads(listed.stdout)
        return {run["id"]: run["status"] for run in found if run["operation"] == "operation.sh"}

    def orchestra(self, *arguments: str, stderr: int = subprocess.STDOUT) -> subprocess.CompletedProcess[str]:
        """Run a command in the home, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "orchestra", *arguments],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=120,
        )

    def _revive(self) -> None:
        for number, queue in enumerate(self._queues):
            if queue is None or queue.poll() is not None:
                command = [sys.executable, "-m", "orchestra", "run", "-y", "queue"]
                command += ["jobs=2", "poll-interval=1", "ignore-running=yes"]
                with open(self._folder / f"queue-{number}.log", "ab") as log:
                    self._queues[number] = subprocess.Popen(
                        self._on_host(number, command),
                        cwd=self._folder,
                        env=self._environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )

    def _kill_one(self, chance: random.Random) -> Callable[[], None]:
        def kill() -> None:
            queue = chance.choice([queue for queue in self._queues if queue is not None])
            queue.kill()
            queue.wait()
            self.kills += 1

        return kill

    def _wait(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while _GOING_ON & set((states := self.states()).values()):
            assert time.monotonic() < deadline, (
                f"waited in vain for the end of all runs: {Counter(states.values())}"
            )
            self._revive()
            time.sleep(0.5)

    def _end(self) -> None:
        queues = [queue for queue in self._queues if queue is not None]
        for queue in queues:
            queue.terminate()
        for queue in queues:
            try:
                queue.wait(timeout=30)
            except subprocess.TimeoutExpired:
                queue.kill()
                queue.wait()

    def _check_journal(self, acknowledged: set[str]) -> None:
        noted = [line.split() for line in self._journal.read_text().splitlines()]
        for what in ("begin", "end"):
            runs = Counter(attempt.split(".")[0] for word, attempt in noted if word == what)
            assert runs == Counter(acknowledged), f"not each run was executed once: {runs.most_common(3)}"
