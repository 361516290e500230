"""Fill an empty store from the run directories, which are the records: nothing is lost with a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias, cast

from msgspec import structs

from orchestra.child import supervisor
from orchestra.engine.off_loop import off_loop
from orchestra.engine.session import LEASE, Session
from orchestra.errors import IdTaken, OrchestraError, RunBroken, RunNotFound, UserError
from orchestra.model import lifecycle
from orchestra.model.execution import Exit, Fence, Identity
from orchestra.model.filters import RunQuery
from orchestra.model.ids import check_run_id
from orchestra.model.run import Run, Starter, State, Worker, unreadable_run
from orchestra.workspace import records
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.orders import read_orders

TrialKey: TypeAlias = tuple[str, int, int]
CHUNK = 1000
"""How many runs are entered in one transaction."""


async def rebuild_store(session: Session) -> int:
    """Enter all runs that have a directory in the home into the store, and return how many that were.

    A run that can't be read is entered as ``broken``, with the reason; it keeps no other from being entered.
    Runs that go on are entered as such: who asks for them judges them by their records, as always.
    """
    entered = 0
    chunk: list[Run] = []
    for run in without_doubles(read_all_runs(session), set()):
        chunk.append(run)
        if len(chunk) == CHUNK:
            entered += await enter(session, chunk)
            chunk = []
    entered += await enter(session, chunk)
    if entered:
        message = f"Rebuilt the store from the records of {entered} run{'' if entered == 1 else 's'}"
        session.emit("store.rebuilt", level="info", message=message, count=entered)
    return entered


async def adopt_unknown(session: Session, *, batch: str | None = None) -> tuple[Run, ...]:
    """Enter the runs (the trials of ``batch``, if given) that have a directory and are not in the store.

    They were made by somebody who was killed before entering them, or the store is older than they are.
    Returns those that were entered; trials that the store has already are left alone.
    """
    known = (await session.store.query(RunQuery())).runs
    ids = {run.id for run in known}
    names = await off_loop(lambda: sorted(set(os.listdir(session.layout.runs_dir)) - ids))
    unknown = (run for name in names if (run := read_recorded(session, name)) is not None)
    wanted = (run for run in unknown if batch is None or run.batch == batch)
    fresh = list(without_doubles(wanted, {key for run in known if (key := trial_key(run))}))
    await enter(session, fresh)
    return tuple(fresh)


def trial_key(run: Run) -> TrialKey | None:
    """What there is to be one trial for: batch, generation and number. None for what is no trial."""
    return None if run.batch is None or run.trial is None else (run.batch, run.generation or 0, run.trial)


def without_doubles(runs: Iterable[Run], known: set[TrialKey]) -> Iterator[Run]:
    """``runs`` but for the trials that never started and are there, or in ``known``, a second time."""
    waiting: list[tuple[TrialKey, Run]] = []
    for run in runs:
        key = trial_key(run)
        if key is not None and run.attempt == 0:
            waiting.append((key, run))
            continue
        if key is not None:
            known.add(key)
        yield run
    for key, run in waiting:
        if key not in known:
            known.add(key)
            yield run


async def enter(session: Session, runs: list[Run]) -> int:
    """Enter ``runs`` into the store, but for those that it has; return how many were entered."""
    try:
        return len(await session.store.create(runs, lease=LEASE)) if runs else 0
    except IdTaken:
        if len(runs) == 1:
            return 0
    # Somebody has made runs meanwhile: halve until the one that is there already is alone.
    middle = len(runs) // 2
    return await enter(session, runs[:middle]) + await enter(session, runs[middle:])


def read_all_runs(session: Session) -> Iterator[Run]:
    """Every run that has a directory in the home, as its records tell it."""
    with os.scandir(session.layout.runs_dir) as entries:
        for entry in entries:
            run = read_recorded(session, entry.name)
            if run is not None:
                yield run


def read_recorded(session: Session, name: str) -> Run | None:
    """The run in the directory ``name`` of the home, in the state its records say; None if it is no run's.

    A run whose records can't be read is ``broken``. One that has started and not ended is ``running``,
    whether its process lives or not, and one that somebody may be starting is claimed: that is to be judged.
    """
    try:
        check_run_id(name)
    except UserError:
        return None
    try:
        return run_in(Path(session.layout.runs_dir, name), name)
    except RunNotFound:
        return None


def run_in(directory: Path, run_id: str) -> Run:
    """The run with this id that is in ``directory``, as of :func:`read_recorded`.

    Raises:
        RunNotFound: no run is there.
    """
    try:
        run = records.read_run(directory)
        if run.id != run_id:
            raise RunBroken(f"'{directory}' holds the record of another run, {run.id}")
        return _in_its_state(run, directory)
    except RunNotFound:
        raise
    except (OrchestraError, OSError) as error:
        return _broken(run_id, directory, str(error))


def as_found(run: Run) -> Run:
    """A ``broken`` run of which the store has the rest, for a record from which its attempts tell its state."""
    return structs.replace(run, state="pending", reason=None, worker=_nobody(), lease=None)


def _broken(name: str, directory: Path, reason: str) -> Run:
    try:
        created = os.stat(directory).st_mtime_ns // 1000
    except OSError:
        created = 0
    return unreadable_run(name, reason, created)


def _in_its_state(run: Run, directory: Path) -> Run:
    attempts = records.attempts(directory)
    if attempts and attempts[-1] > run.attempt and not _has_begun(directory, attempts[-1]):
        attempts.pop()
    newest = attempts[-1] if attempts else 0
    if newest == 0 or (run.worker is None and run.attempt >= newest):
        # It has rested since its record was written (only a claim or a start makes a newer attempt).
        return run if run.worker is None else _claimed(run, max(run.attempt, 1), run.rest)
    exit_record = records.read_exit(attempt_directory(directory, newest))
    earlier = _executions(directory, attempts[:-1])
    at_start = structs.replace(run, attempt=newest, state="pending", executions=earlier)
    if exit_record is not None:
        return _settled(at_start, exit_record)
    fence = records.read_fence(attempt_directory(directory, newest))
    rest = _rest(run, earlier)
    if fence is None:
        return _claimed(at_start, newest, rest)
    if fence.fence == "revoked":
        return lifecycle.release(_claimed(at_start, newest, rest))
    # Whoever took it from where it rested tries it again, too.
    started = structs.replace(at_start, rest=_rest(run, 0))
    return lifecycle.start(_watched(started, fence, attempt_directory(directory, newest)), fence)


def _has_begun(directory: Path, attempt: int) -> bool:
    """Whether there is more of an attempt than its folder, which may be made ahead."""
    return bool(os.listdir(attempt_directory(directory, attempt)))


def _executions(directory: Path, attempts: list[int]) -> int:
    """How many of ``attempts`` were started."""
    count = 0
    for attempt in attempts:
        fence = records.read_fence(attempt_directory(directory, attempt))
        count += fence is not None and fence.fence == "started"
    return count


def _rest(run: Run, executions: int) -> State:
    """Where a run goes whose newest claim ended before the start."""
    if executions:
        return "aborted"
    if run.state == "staged" or run.rest == "staged":
        return "staged"
    waits = run.batch is not None or (run.state == "pending" and run.worker is None)
    return "pending" if waits else "aborted"


def _settled(run: Run, exit_record: Exit) -> Run:
    return lifecycle.finish(run, exit_record)


def _claimed(run: Run, attempt: int, rest: State) -> Run:
    """Claimed by whoever the record names, else by nobody who lives: then it is to be judged at once."""
    worker = run.worker or _nobody()
    return structs.replace(run, state="pending", attempt=attempt, rest=rest, worker=worker)


def _nobody() -> Worker:
    identity = Identity(host=supervisor.host_id(), boot="", pid=0, start=0)
    return Worker(identity=identity, nonce="nobody", starter="command")


def _watched(run: Run, fence: Fence, attempt: Path) -> Run:
    """Watched by the process that runs it: nobody else is known. Queues adopt it once the lease is over."""
    try:
        orders = read_orders(attempt)
    except OrchestraError:
        orders = None
    starter = cast(Starter, orders.starter) if orders is not None else run.starter or "command"
    queue = orders.queue if orders is not None else run.queue
    worker = Worker(identity=fence.identity, nonce=fence.nonce, starter=starter, queue=queue)
    return structs.replace(run, worker=worker, starter=starter, queue=queue)
