"""What tests of faults do: stage runs, start queues, wait for events, kill, and look at what is left."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import anyio
from msgspec import structs

from orchestra.builtin.store_sqlite import Options, open_store
from orchestra.cli.context import drive
from orchestra.engine.judge import settle_active
from orchestra.engine.orchestra import Orchestra
from orchestra.model.run import Run
from orchestra.workspace import records
from orchestra.workspace.layout import Layout
from orchestra.workspace.output import read_output
from tests.invariants import Execution, assert_invariants, executions, stored_runs
from tests.process import Ran, Shell

T = TypeVar("T")
OPERATIONS = Path(__file__).parent.parent / "operations"
PATIENCE = 40.0
"""Seconds to wait for what takes none."""


def wait_for(look: Callable[[], T], what: str = "it", patience: float = PATIENCE) -> T:
    """Wait until ``look`` returns something true, and return that."""
    deadline = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
    return found


class Site:
    """One home, its processes and its journal."""

    def __init__(self, shell: Shell, folder: Path) -> None:
        self.shell = shell
        self.home = shell.home
        self.layout = Layout(shell.home)
        self.journal = folder / "journal"
        self.gate = folder / "gate"
        shell.environment["JOURNAL"] = str(self.journal)
        self.deleted: set[str] = set()
        """The runs that somebody has begun to delete."""
        self.processes: list[subprocess.Popen[str]] = []

    # -- doing

    def run_under(self, command: list[str], *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command that runs ours under some condition, in this home, with both streams in ``stdout``."""
        return subprocess.run(
            command,
            cwd=OPERATIONS,
            env=self.shell.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def stage(self, operation: str = "work.py", count: int = 1, **flags: Any) -> list[Run]:
        """Stage runs of an operation, in this process."""

        async def stage() -> list[Run]:
            async with Orchestra(self.home, cwd=OPERATIONS) as orchestra:
                return [await orchestra.stage(operation, flags) for _ in range(count)]

        return anyio.run(stage)

    def start(self, *arguments: str, failpoint: str | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start a process of orchestra's in the folder of operations."""
        environment = {"ORCHESTRA_FAILPOINT": failpoint} if failpoint else {}
        process = self.shell.start(*arguments, cwd=OPERATIONS, env=environment, **options)
        self.processes.append(process)
        return process

    def run(self, *arguments: str, failpoint: str | None = None, **options: Any) -> Ran:
        """Run a process of orchestra's to its end in the folder of operations."""
        if failpoint:
            options["ORCHESTRA_FAILPOINT"] = failpoint
        return self.shell.run(*arguments, cwd=OPERATIONS, **options)

    def queue(self, *flags: str, failpoint: str | None = None) -> Ran:
        """Run a queue until nothing is staged any more."""
        return self.run("run", "-y", "queue", "run-once=yes", *flags, failpoint=failpoint)

    def start_queue(self, *flags: str, failpoint: str | None = None) -> subprocess.Popen[str]:
        """Start a queue that waits for work."""
        return self.start("run", "-y", "queue", *flags, failpoint=failpoint)

    def open_gate(self) -> None:
        """Let the operations that wait go on to their end."""
        self.gate.touch()

    def judge(self) -> list[Run]:
        """Do what every listing does first: judge the runs that nobody watches."""

        async def judge() -> None:
            async with Orchestra(self.home) as orchestra:
                await settle_active(orchestra.session)

        anyio.run(judge)
        return stored_runs(self.home)

    def change(self, run: Run, **fields: Any) -> None:
        """Change a run in the store behind everybody's back."""

        async def change() -> None:
            async with open_store(Options(home=self.home)) as store:
                await store.update((structs.replace(await store.get(run.id), **fields),))

        drive(change())

    def end_leases(self) -> None:
        """Let the leases of all runs be over, as if nobody had renewed them for long."""
        with closing(sqlite3.connect(self.layout.store_path, timeout=PATIENCE)) as connection, connection:
            connection.execute("UPDATE runs SET lease = 1 WHERE lease IS NOT NULL")

    def forget(self, run: Run) -> None:
        """Take a run that the test has damaged out of the home, so that the rest can be checked."""

        async def forget() -> None:
            async with open_store(Options(home=self.home)) as store:
                await store.delete((run.id,))

        drive(forget())
        shutil.rmtree(self.layout.run_directory(run), ignore_errors=True)
        noted = self.journal.read_text().splitlines(keepends=True) if self.journal.exists() else []
        self.journal.write_text("".join(line for line in noted if run.id not in line))

    # -- looking

    def runs(self, kind: str = "run") -> list[Run]:
        """The runs as the store has them, oldest first."""
        if not self.layout.store_path.exists():
            return []
        return [run for run in stored_runs(self.home) if run.kind == kind]

    def states(self) -> list[str]:
        """The states of the plain runs, oldest first."""
        return [run.state for run in self.runs()]

    def executions(self) -> list[Execution]:
        """What really was executed."""
        return executions(self.journal)

    def output(self, run: Run, attempt: int | None = None) -> bytes:
        """The output of a run's attempt."""
        directory = self.layout.run_directory(run)
        return b"".join(read_output(self.layout.attempt_directory(directory, attempt or run.attempt)))

    def supervisor_of(self, run: Run) -> int:
        """The pid above a run."""
        directory = self.layout.attempt_directory(self.layout.run_directory(run), run.attempt)
        fence = wait_for(lambda: records.read_fence(directory), "the fence")
        return fence.identity.pid

    def wait_for_starts(self, count: int = 1) -> None:
        """Wait until so many operations have started."""
        wait_for(lambda: len(self.executions()) >= count, f"{count} starts")

    def wait_for_rest(self) -> list[Run]:
        """Wait until no run is active any more, judging as a listing does."""

        wait_for(lambda: not any(run.worker for run in self.judge()), "the end of all runs")
        return self.runs()

    # -- the end

    def check(self, **options: Any) -> None:
        """Every invariant of the home."""
        assert_invariants(self.home, self.journal, deleted=self.deleted, **options)

    def close(self) -> None:
        """End what the test has started, and check that nothing is left of anything."""
        self.open_gate()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        if self.layout.store_path.exists():
            self.wait_for_rest()
            self.check()


def kill(process: subprocess.Popen[str] | int) -> None:
    """kill -9, and wait until it is dead."""
    if isinstance(process, int):
        os.kill(process, signal.SIGKILL)
    else:
        process.kill()
        process.wait()
