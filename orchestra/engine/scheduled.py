"""Runs whose executor is a scheduler of its own: it is asked before anything is concluded about them.

What it says is a hint. The exit record decides; the scheduler tells why, where the record can't know it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import structs

from orchestra.contracts import Executor, Scheduling
from orchestra.engine.judge import may_be_scheduler
from orchestra.engine.session import Session
from orchestra.errors import ExecutorError, PluginError, RunBusy, Stopped
from orchestra.model import lifecycle
from orchestra.model.execution import Exit, Handle, Job, JobStatus
from orchestra.model.run import Run
from orchestra.workspace import records

FRESH = 120.0
"""Seconds after its orders were written for which a job that its scheduler does not know may only be on its way."""
END_PATIENCE = 15.0
"""Seconds to wait for a scheduler to say how a job ended of which all else is known."""
END_POLL = 0.25


async def scheduler_of(session: Session, spec: str) -> Scheduling | None:
    """The executor that ``spec`` stands for, if it is a scheduler.

    Raises:
        PluginError: it can't be opened.
    """
    if not may_be_scheduler(spec):
        return None
    executor = await session.executor(spec)
    return executor if isinstance(executor, Scheduling) else None


async def schedulers_among(session: Session, specs: Iterable[str]) -> frozenset[str]:
    """Those of these executors that are schedulers. One that can't be opened is said to be none: its runs tell."""
    found: set[str] = set()
    for spec in set(specs):
        try:
            if await scheduler_of(session, spec) is not None:
                found.add(spec)
        except PluginError:
            continue
    return frozenset(found)


async def job_status(session: Session, run: Run) -> JobStatus | None:
    """What the scheduler of a submitted run says of it; None if it has none.

    Raises:
        PluginError: the executor can't be opened.
    """
    scheduler = await scheduler_of(session, run.executor)
    if scheduler is None or run.handle is None:
        return None
    return await _status(scheduler, run.handle)


async def job_statuses(session: Session, runs: Iterable[Run]) -> dict[str, JobStatus]:
    """As :func:`job_status`, of all that have one, by the runs' ids."""
    by_executor: dict[str, dict[str, Handle]] = {}
    for run in runs:
        if run.handle is not None:
            by_executor.setdefault(run.executor, {})[run.id] = run.handle
    found: dict[str, JobStatus] = {}
    for spec, handles in by_executor.items():
        try:
            scheduler = await scheduler_of(session, spec)
        except PluginError as error:
            found |= {run: JobStatus(phase="unknown", reason=error.message) for run in handles}
            continue
        if scheduler is not None:
            found |= zip(handles, await scheduler.status(tuple(handles.values())), strict=True)
    return found


async def _status(scheduler: Scheduling, handle: Handle) -> JobStatus:
    (status,) = await scheduler.status((handle,))
    return status


async def how_it_ended(session: Session, run: Run) -> JobStatus | None:
    """As :func:`job_status`, of a job that is over or about to be: its scheduler may take a moment to notice."""
    end = session.clock.monotonic() + END_PATIENCE
    while True:
        try:
            status = await job_status(session, run)
        except PluginError:
            return None
        if status is None or status.phase not in ("waiting", "running"):
            return status
        if session.clock.monotonic() >= end:
            return status
        await session.clock.sleep(END_POLL)


async def explained(session: Session, run: Run, exit_record: Exit) -> Exit:
    """The exit record, and in it the scheduler's reason for a bad end that the record has no cause of.

    It is kept with the record: a store that is rebuilt must know it, too.
    """
    if exit_record.code == 0 or exit_record.cause is not None:
        return exit_record
    status = await how_it_ended(session, run)
    if status is None or status.cause is None:
        return exit_record
    reason = "; ".join(filter(None, (status.reason, exit_record.reason)))
    exit_record = structs.replace(exit_record, cause=status.cause, reason=reason)
    records.write_exit(session.attempt_directory(run), exit_record, fsync=session.fsync)
    return exit_record


async def end_without_record(session: Session, run: Run, reason: str) -> Run:
    """The end of a started run whose supervisor is gone and has left no record.

    Terminated if the scheduler says that it ended the job, and why; else lost, as with its node: nobody can know how
    it ended.
    """
    status = await how_it_ended(session, run)
    now = session.clock.now()
    if status is None or status.cause in (None, "lost"):
        reason = status.reason if status is not None and status.reason else reason
        return lifecycle.lose(run, now, reason)
    directory = session.attempt_directory(run)
    fence = records.read_fence(directory)
    ended = Exit(
        code=-9,
        started=now if fence is None else fence.time,
        stopped=now,
        size=_size(directory / "output"),
        cause=status.cause,
        reason=f"{status.reason}, its supervisor, too",
    )
    records.write_exit(directory, ended, fsync=session.fsync)
    return lifecycle.finish(run, ended)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


async def is_over(session: Session, run: Run) -> bool:
    """Whether the scheduler says that the job of a started run is no more."""
    try:
        status = await job_status(session, run)
    except PluginError:
        return False
    return status is not None and status.phase in ("ended", "gone")


async def left_with_scheduler(session: Session, run: Run) -> Run | None:
    """A claimed run that nobody watches or has started, if its job waits with its scheduler, or may do so.

    Its handle is noted if nobody came to do that. None: it will never begin. If it was submitted, it has a record
    that says why.
    """
    try:
        scheduler = await scheduler_of(session, run.executor)
    except PluginError as error:
        message = f"run {run.id} can't be judged here: {error.message}"
        session.emit("log.message", run, level="warning", message=message)
        return run
    if scheduler is None:
        return None
    directory = session.attempt_directory(run)
    if run.handle is None:
        job = Job(name=f"{run.id}.{run.attempt}", argv=(), directory=str(directory))
        try:
            handle = await scheduler.find(job)
        except ExecutorError:
            return run
        return None if handle is None else lifecycle.submit(run, handle)
    status = await _status(scheduler, run.handle)
    if status.phase in ("waiting", "running", "unknown"):
        return run
    if status.phase == "gone" and _is_fresh(session, directory):
        return run
    _record_unstarted(session, run, never_began(status))
    return None


def never_began(status: JobStatus | None) -> ExecutorError | Stopped:
    """Why a job that is over has not come to start its operation."""
    reason = "its job ended before it was started"
    if status is not None and status.reason:
        reason = f"{reason}: {status.reason}"
    if status is not None and status.cause == "stopped":
        return Stopped(reason, "TERM", -15)
    return ExecutorError(reason)


def _is_fresh(session: Session, directory: Path) -> bool:
    try:
        written = (directory / "orders").stat().st_mtime
    except OSError:
        return False
    return session.clock.now() / 1e6 - written < FRESH


def _record_unstarted(session: Session, run: Run, error: ExecutorError | Stopped) -> None:
    now = session.clock.now()
    ended = Exit(code=1, started=now, stopped=now, cause="not_started", reason=error.message)
    if isinstance(error, Stopped):
        ended = structs.replace(ended, code=error.code, cause=None, stopped_by=error.signal)
    directory = session.attempt_directory(run)
    try:
        with records.hold(directory, session.worker.nonce, fsync=session.fsync):
            records.write_exit(directory, ended, fsync=session.fsync)
    except RunBusy:
        pass  # It was started all the same: whoever looks next finds that.


async def withdraw_job(session: Session, run: Run, executor: Executor, handle: Handle) -> None:
    """Take a job back that its scheduler was given for nothing: somebody has ended the attempt meanwhile."""
    try:
        await executor.stop(handle, "terminate")
    except ExecutorError as error:
        # It will find the fence taken, and end by itself.
        session.emit("log.message", run, level="warning", message=f"run {run.id}: {error.message}")
