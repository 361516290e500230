"""The execution of one trial, of several that are under way at once, and how one is taken back that has not begun."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from orchestra.console import Console
from orchestra.engine.control import Control
from orchestra.engine.judge import settle_or_spoil
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run
from orchestra.workspace import durable, records

AT_ONCE = 16
"""Jobs that a scheduler is told at once to drop."""


class TrialExecution:
    """The execution of one trial, which may still be brought to its end while the next one runs."""

    def __init__(self, trial: Run, console: Console, control: Control) -> None:
        self.trial = trial
        self.console = console
        self.control = control
        self.scope = anyio.CancelScope()
        """What ends the watch alone."""
        self.withdrawn = False
        """Nothing of it has begun, and nothing will."""
        self.over = anyio.Event()
        """Set once the operation has ended, at the latest with the execution itself."""
        self.ended = anyio.Event()
        self.error: Exception | None = None

    async def result(self) -> Run:
        """The trial at its end; raises what the execution raised."""
        await self.ended.wait()
        if self.error is not None:
            raise self.error
        return self.trial


async def take_back(session: Session, watches: Sequence[TrialExecution]) -> None:
    """Let those of the trials wait for their batch again whose jobs have not begun, and drop the jobs."""
    await drop_jobs(session, await keep_from_starting(session, watches))


async def keep_from_starting(session: Session, watches: Sequence[TrialExecution]) -> list[TrialExecution]:
    """Those of the trials that have not begun, and that nothing will begin from now on; no scheduler is asked.

    Their jobs are there still: see :func:`drop_jobs`.
    """
    going = {watch.trial.id: watch for watch in watches if not watch.ended.is_set() and not watch.withdrawn}
    if not going:
        return []
    try:
        runs = (await session.store.query(RunQuery(ids=tuple(going)))).runs
    except OrchestraError as error:
        for watch in going.values():
            _tell_of_job(session, watch, error)
        return []
    return [going[run.id] for run in runs if run.claimed and _keep_from_starting(session, going[run.id], run)]


def _keep_from_starting(session: Session, watch: TrialExecution, run: Run) -> bool:
    # It may have been withdrawn, or have ended, while the store was asked.
    if watch.withdrawn or watch.ended.is_set():
        return False
    try:
        if not _is_kept_from_starting(session, run):
            return False
    except OrchestraError as error:
        _tell_of_job(session, watch, error)
        return False
    watch.withdrawn, watch.control.owned = True, False
    watch.scope.cancel()
    return True


async def drop_jobs(session: Session, watches: Sequence[TrialExecution]) -> None:
    """Let trials that were kept from starting wait for their batch again, and drop their jobs."""
    limiter = anyio.CapacityLimiter(AT_ONCE)
    async with anyio.create_task_group() as group:
        for watch in watches:
            group.start_soon(_drop_job, session, watch, limiter)


async def _drop_job(session: Session, watch: TrialExecution, limiter: anyio.CapacityLimiter) -> None:
    try:
        async with limiter:
            await watch.ended.wait()
            await _release(session, await session.store.get(watch.trial.id))
    except OrchestraError as error:
        _tell_of_job(session, watch, error)


def _tell_of_job(session: Session, watch: TrialExecution, error: OrchestraError) -> None:
    # Its job finds the fence taken, or whoever looks next does.
    message = f"trial {watch.trial.id} is not dropped: {error.message}"
    session.emit("log.message", watch.trial, level="warning", message=message, console=watch.console)


def _is_kept_from_starting(session: Session, run: Run) -> bool:
    """Whether the right to start it could be taken from its job: then it has not begun."""
    directory = session.attempt_directory(run)
    durable.make_dirs(directory)
    return records.revoke(directory, fsync=session.fsync)


async def _release(session: Session, run: Run) -> None:
    handle = run.handle
    await settle_or_spoil(session, run, given_up=True)
    if handle is not None:
        from orchestra.engine.scheduled import withdraw_job

        await withdraw_job(session, run, await session.executor(run.executor), handle)
