"""What became of a run: decided from the attempt's records alone, the same for whoever asks.

Every branch may be taken twice, by two processes at once, without harm: the store's compare-and-set lets one
win, and the other reads what became of it.
"""

from __future__ import annotations

import time

from orchestra.child import supervisor
from orchestra.console import Console
from orchestra.engine.changes import tell
from orchestra.engine.session import Session
from orchestra.errors import IllegalTransition, OrchestraError, RevisionConflict, RunNotFound
from orchestra.model import lifecycle
from orchestra.model.execution import Fence, Identity
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, Run
from orchestra.workspace import durable, records

GONE_GRACE = 120.0
"""Seconds to wait for an exit record of a job that its executor no longer knows: shared files may be late."""


async def settle(session: Session, run: Run, *, console: Console | None = None) -> Run:
    """Bring an active run to the state that its records say, and return it; others are returned as they are.

    A run that is alive, or that can't be judged from this host, stays as it is.
    """
    while run.state in ACTIVE and run.worker is not None:
        judged = _judged(session, run)
        if judged is run:
            return run
        try:
            (kept,) = await session.store.update((judged,))
        except RevisionConflict:
            run = await session.store.get(run.id)
            continue
        _tell(session, kept, console)
        run = kept
    return run


def _judged(session: Session, run: Run) -> Run:
    status = records.attempt_status(session.directory(run), run.attempt)
    if status.exit is not None:
        return lifecycle.finish(run, status.exit)
    fence = status.fence
    if fence is None:
        return _without_fence(session, run)
    if fence.fence == "revoked":
        return lifecycle.release(run)
    if status.alive is not False:
        return run if run.state == "running" else lifecycle.start(run, fence)
    _end_what_is_left(run, fence)
    return lifecycle.lose(run, session.clock.now(), _why_lost(fence))


def _without_fence(session: Session, run: Run) -> Run:
    """Nobody has started the attempt. If its starter can't any more, make sure that it stays so."""
    if not watcher_is_gone(run):
        return run
    directory = session.attempt_directory(run)
    if not session.directory(run).is_dir():
        return lifecycle.lose(run, session.clock.now(), "its directory is gone")
    durable.make_dirs(directory)
    if not records.revoke(directory, fsync=session.fsync):
        return _judged(session, run)
    return lifecycle.release(run)


def watcher_is_gone(run: Run) -> bool:
    """Whether the run's worker no longer lives (on this host and boot), or let its lease run out."""
    if run.worker is None:
        return True
    if is_alive(run.worker.identity) is False:
        return True
    return run.lease is None or run.lease <= time.time_ns() // 1000


def is_alive(identity: Identity) -> bool | None:
    """Whether that very process lives; None where it can't be known (another host)."""
    if identity.host != supervisor.host_id():
        return None
    if identity.boot != supervisor.boot_id():
        return False
    return supervisor.process_start(identity.pid) == identity.start


def _why_lost(fence: Fence) -> str:
    if fence.identity.host == supervisor.host_id() and fence.identity.boot != supervisor.boot_id():
        return "the machine restarted"
    return "its supervisor died" if fence.kind == "supervisor" else "its process died"


def _end_what_is_left(run: Run, fence: Fence) -> None:
    same_life = fence.identity.host == supervisor.host_id() and fence.identity.boot == supervisor.boot_id()
    if same_life and fence.kind == "supervisor":
        supervisor.end_tree(f"{run.id}.{run.attempt}.{fence.nonce}")


def _tell(session: Session, run: Run, console: Console | None) -> None:
    match run.state:
        case "running":
            tell(session, "run.started", run, console=console)
        case "lost":
            tell(session, "run.lost", run, console=console, reason=run.reason)
        case "aborted":
            tell(session, "run.aborted", run, console=console, reason=run.reason)
        case "staged" | "pending":
            tell(session, "run.released", run, console=console)
        case _:
            tell(session, "run.exited", run, console=console, code=run.exit_code, reason=run.reason)


async def settle_active(session: Session, *, batch: str | None = None) -> tuple[Run, ...]:
    """Settle every active run that nobody lives to watch; return those that are still active.

    One run that can't be judged (unreadable, gone) never keeps the others from being judged.
    """
    page = await session.store.query(RunQuery(states=ACTIVE, batch=batch, oldest_first=True))
    active: list[Run] = []
    for run in page.runs:
        try:
            run = await settle(session, run) if run.worker is not None and watcher_is_gone(run) else run
        except (OrchestraError, OSError) as error:
            if isinstance(error, IllegalTransition):
                raise
            if not isinstance(error, RunNotFound):
                session.emit("log.message", run, level="warning", message=f"run {run.id}: {error}")
            continue
        if run.state in ACTIVE:
            active.append(run)
    return tuple(active)
