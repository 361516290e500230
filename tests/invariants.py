"""What must hold after every fault, whatever was killed: one checker for all tests.

It reads the records, the store, the operations' own journal and the processes of this machine, and takes
nobody's word for anything. The numbers are those of the fault matrix.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from orchestra.builtin.store_sqlite import Options, open_store
from orchestra.child import supervisor
from orchestra.cli.context import drive
from orchestra.model import lifecycle
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, FINAL, Run
from orchestra.workspace import records
from orchestra.workspace.layout import Layout, attempt_directory, control
from orchestra.workspace.output import read_output

JOURNALING = ("work.py", "quick.sh")
"""The operations that keep a journal."""


class Execution(NamedTuple):
    """One execution of an operation, as it noted it itself."""

    run: str
    attempt: int
    pid: int
    start: int
    end: int | None = None
    size: int | None = None
    """Bytes that it wrote to its output."""
    code: int | None = None


def executions(journal: Path) -> list[Execution]:
    """What the operations' journal says was executed, in order."""
    found: dict[tuple[str, str, str], Execution] = {}
    for line in journal.read_text().splitlines() if journal.exists() else ():
        what, run, attempt, pid, at, *more = line.split()
        key = (run, attempt, pid)
        if what == "S":
            assert key not in found, f"{key} was started twice"
            found[key] = Execution(run, int(attempt), int(pid), int(at))
        else:
            found[key] = found[key]._replace(end=int(at), size=int(more[0]), code=int(more[1]))
    return list(found.values())


def stored_runs(home: Path) -> list[Run]:
    """The runs as the store has them, oldest first: judged by nobody."""

    async def read() -> list[Run]:
        async with open_store(Options(home=home)) as store:
            return list((await store.query(RunQuery(oldest_first=True))).runs)

    return drive(read())


def assert_invariants(
    home: Path,
    journal: Path | None = None,
    *,
    acknowledged: Iterable[str] = (),
    deleted: Collection[str] = (),
    at_rest: bool = True,
) -> None:
    """Check everything. ``at_rest``: all is over, so nothing may be running, claimed or left behind.

    ``deleted``: what was to be deleted, whether it came to that or not.
    """
    layout = Layout(home)
    runs = stored_runs(home)
    known = {run.id for run in runs}
    noted = executions(journal) if journal else []
    noted = [one for one in noted if one.run in known or one.run not in deleted]
    _nothing_is_lost(layout, runs, acknowledged)
    for run in runs:
        directory = layout.run_directory(run)
        _state_is_what_the_records_say(run, directory, at_rest)
        if journal and run.kind == "run":
            _executed_at_most_once(run, directory, [one for one in noted if one.run == run.id], at_rest)
    assert {one.run for one in noted} <= known, "something ran that is no run"
    if at_rest:
        _nothing_is_left(layout, runs)


def _nothing_is_lost(layout: Layout, runs: list[Run], acknowledged: Iterable[str]) -> None:
    """I1 and I5: every run that somebody was told of is in the store and has a directory."""
    known = {run.id for run in runs}
    assert set(acknowledged) <= known, "a run that was acknowledged is gone"
    assert len(known) == len(runs)
    for run in runs:
        recorded = records.read_run(layout.run_directory(run))
        assert (recorded.id, recorded.flags, recorded.batch) == (run.id, run.flags, run.batch)
    for name in set(os.listdir(layout.runs_dir)) - known:
        # Its maker died before it said so. It must never have been started.
        attempts = records.attempts(layout.runs_dir / name)
        assert not any(records.read_fence(attempt_directory(layout.runs_dir / name, n)) for n in attempts)
    trials = [(run.batch, run.generation, run.trial) for run in runs if run.batch]
    assert len(trials) == len(set(trials)), "a trial was made twice"


def _state_is_what_the_records_say(run: Run, directory: Path, at_rest: bool) -> None:
    """I3: a state is a record, not a guess."""
    status = records.attempt_status(directory, run.attempt)
    started = [
        number
        for number in records.attempts(directory)
        if (fence := records.read_fence(attempt_directory(directory, number))) and fence.fence == "started"
    ]
    if run.state in ("completed", "error", "terminated"):
        assert status.exit is not None, f"{run.id} is {run.state} without an exit record"
        assert (lifecycle.outcome(status.exit), status.exit.code) == (run.state, run.exit_code)
    elif run.state == "lost":
        assert status.exit is None and status.alive is False and run.exit_code is None and run.reason
    elif run.state in ("staged", "pending", "aborted") and run.worker is None:
        assert run.attempt not in started, f"{run.id} is {run.state} and was started"
    elif run.state == "running":
        assert status.fence is not None and status.fence.fence == "started"
    if run.state in FINAL:
        assert run.executions == len(started), f"{run.id}: {run.executions} executions, fences of {started}"
    if at_rest:
        assert run.state != "running", f"{run.id} is running though all is over: {status}"
        assert run.worker is None, f"{run.id} is {run.state} and still claimed by {run.worker}"


def _executed_at_most_once(run: Run, directory: Path, noted: list[Execution], at_rest: bool) -> None:
    """I2 and I4: no attempt ran twice, no two at once, and what each wrote is there byte for byte."""
    attempts = [one.attempt for one in noted]
    assert len(attempts) == len(set(attempts)), f"an attempt of {run.id} was executed twice: {noted}"
    for before, after in itertools.pairwise(noted):
        assert before.attempt < after.attempt
        assert before.end is None or before.end <= after.start, f"{run.id} was executed twice at once"
    for one in noted:
        fence = records.read_fence(attempt_directory(directory, one.attempt))
        assert fence is not None and fence.fence == "started", f"{run.id} ran without a fence"
        _output_is_whole(run, directory, one)
    if at_rest and run.state == "completed" and run.operation.name in JOURNALING:
        assert noted and noted[-1].attempt == run.attempt, f"{run.id} is completed and never ran"
    if at_rest and run.state in ("completed", "error"):
        assert noted[-1:] == [] or noted[-1].code == run.exit_code


def _output_is_whole(run: Run, directory: Path, one: Execution) -> None:
    output = b"".join(read_output(attempt_directory(directory, one.attempt)))
    lines = output.split(b"\n")
    assert lines[:-1] == [b"%06d" % number for number in range(len(lines) - 1)], f"{run.id}: {output!r}"
    end = records.read_exit(attempt_directory(directory, one.attempt))
    if end is not None:
        assert end.size == len(output), f"{run.id}: {end.size} bytes are recorded, {len(output)} are there"
        assert one.size in (None, len(output)), f"{run.id} wrote {one.size} bytes, {len(output)} are there"


def _nothing_is_left(layout: Layout, runs: list[Run]) -> None:
    """I7: no process, no file of a writer that ended well, no claim."""
    ids = {run.id for run in runs}
    deadline = time.monotonic() + 5
    while left := _processes_of(ids):
        # Their exit record is written before they end themselves.
        assert time.monotonic() < deadline, f"processes are left: {left}"
        time.sleep(0.02)
    was_killed = any(run.state == "lost" for run in runs)
    for run in runs:
        directory = layout.run_directory(run)
        folders = [control(directory)]
        if run.state in FINAL - {"lost", "aborted"}:
            folders.append(attempt_directory(directory, run.attempt))
        parts = [path for folder in folders for path in folder.glob("*.tmp")]
        # A queue that was killed while it wrote a record leaves a part of it; the supervisors go on.
        unfinished = [path for path in parts if not was_killed or path.name.startswith(("exit.", "fence."))]
        assert unfinished == []
        assert run.state not in ACTIVE or run.batch, f"{run.id} is {run.state}"


def _processes_of(ids: set[str]) -> dict[int, str]:
    """The processes that carry the cookie of an attempt of one of these runs."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in environment:
            key, _, value = os.fsdecode(variable).partition("=")
            if key == supervisor.COOKIE and value.partition(".")[0] in ids:
                found[int(name)] = value
    return found
