"""Homes with thousands of runs, made in bulk: records as the product writes them, nothing is run."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path

import anyio
from msgspec import structs

from orchestra.builtin.store_sqlite import Options, open_store
from orchestra.child import supervisor
from orchestra.model.encoding import encode
from orchestra.model.execution import Exit, Fence, Identity
from orchestra.model.operation import FlagDef, Operation
from orchestra.model.run import Run, Worker
from orchestra.workspace.layout import Layout, attempt_directory, control

ROOT = Path(__file__).parent.parent.parent
CHUNK = 5_000


def finished_run(number: int, source: Path) -> Run:
    """A run of ``say.py`` that completed, the ``number``-th of its home."""
    begin = time.time_ns() // 1000 - 10_000_000_000 + number * 1000
    flags = (FlagDef(name="loud", default=False), FlagDef(name="msg", default="hello"))
    operation = Operation(
        name="say.py", kind="script", source=str(source), main="say.py", flags=flags, flags_dest="args"
    )
    return Run(
        id=f"{number:032x}",
        operation=operation,
        flags={"loud": False, "msg": f"message {number}"},
        label=f"loud=no msg='message {number}'",
        state="completed",
        attempt=1,
        executions=1,
        created=begin,
        started=begin + 100,
        stopped=begin + 900,
        exit_code=0,
        command=("python", "-u", "say.py", "--msg", f"message {number}"),
        user="ada",
        host="host-a",
    )


def staged_run(number: int, source: Path) -> Run:
    """A run that waits for a queue."""
    run = finished_run(number, source)
    return structs.replace(
        run,
        state="staged",
        attempt=0,
        executions=0,
        started=None,
        stopped=None,
        exit_code=None,
        staged=run.created,
    )


def active_run(number: int, source: Path) -> Run:
    """A run that a queue had claimed (even numbers) or running (odd ones) when it was killed."""
    run = staged_run(number, source)
    return structs.replace(
        run,
        state="running" if number % 2 else "pending",
        started=run.staged if number % 2 else None,
        attempt=1,
        rest="staged",
        worker=Worker(identity=dead_process(), nonce="dead", starter="queue"),
        lease=run.created,
        starter="queue",
    )


def dead_process() -> Identity:
    """The identity of a process of this host and boot that is no more."""
    own = Identity(**supervisor.own_identity())
    return structs.replace(own, pid=2**22 + 1, start=1)


def fill_store(home: Path, runs: list[Run]) -> None:
    """Put ``runs`` into the home's store."""
    Layout(home).ensure_home()

    async def fill() -> None:
        async with open_store(Options(home=home)) as store:
            for first in range(0, len(runs), CHUNK):
                await store.create(runs[first : first + CHUNK])

    anyio.run(fill)


def make_directories(home: Path, runs: list[Run], *, records: bool) -> None:
    """Give every run its directory; with ``records``, the records that make it what it is, too."""
    for run in runs:
        directory = Layout(home).run_directory(run)
        if not records:
            directory.mkdir()
            continue
        os.makedirs(control(directory))
        _write(control(directory) / "run.json", run)
        if run.attempt:
            _make_attempt(directory, run)


def _make_attempt(directory: Path, run: Run) -> None:
    attempt = attempt_directory(directory, run.attempt)
    os.makedirs(attempt)
    if run.state == "pending":
        return
    identity = dead_process()
    fence = Fence(fence="started", nonce="dead", identity=identity, time=run.started or run.created)
    _write(attempt / "fence", fence)
    _write(attempt / "exit", Exit(code=0, started=fence.time, stopped=fence.time + 800))


def _write(path: Path, record: object) -> None:
    path.write_bytes(encode(record) + b"\n")


def remove(directory: Path) -> None:
    """Remove a directory tree of ours."""
    shutil.rmtree(directory, ignore_errors=True)


def states(home: Path) -> dict[str, int]:
    """How many runs are in which state, as the store tells it."""
    connection = sqlite3.connect(Layout(home).store_path)
    try:
        return dict(connection.execute("SELECT state, count(*) FROM runs GROUP BY state"))
    finally:
        connection.close()
