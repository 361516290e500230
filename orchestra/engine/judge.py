"""What became of a run: decided from the attempt's records alone, the same for whoever asks.

Every branch may be taken twice, by two processes at once, without harm: the store's compare-and-set lets one
win, and the other reads what became of it.
"""

from __future__ import annotations

import os

from msgspec import structs

from orchestra.child import supervisor
from orchestra.child.supervisor import failpoint
from orchestra.console import Console
from orchestra.engine.changes import tell, write_record
from orchestra.engine.off_loop import off_loop
from orchestra.engine.presence import is_reachable
from orchestra.engine.session import LEASE, Session
from orchestra.errors import OrchestraError, RevisionConflict, RunBroken, RunNotFound
from orchestra.model import lifecycle
from orchestra.model.execution import Exit, Fence, Identity
from orchestra.model.filters import RunQuery
from orchestra.model.marks import bears_marks
from orchestra.model.run import ACTIVE, FINAL, Run
from orchestra.workspace import durable, records
from orchestra.workspace.fence import shares_our_kernel, shares_our_pids
from orchestra.workspace.layout import CONTROL, REPLACING

GONE_GRACE = 120.0
"""Seconds to wait for an exit record of a job that its executor no longer knows: shared files may be late."""
UNSCHEDULED = frozenset(("local", "warm"))
"""Executors that are known to start each job at once, here: nobody need open them to ask."""


async def settle(
    session: Session,
    run: Run,
    *,
    console: Console | None = None,
    given_up: bool = False,
    gone: bool = False,
    retrying: bool = False,
    exit_record: Exit | None = None,
) -> Run:
    """Bring an active run to the state that its records say, and return it; others are returned as they are.

    One that is alive, or that can't be judged from this host or while its disk is away, stays as it is. One that is
    to be tried again by a queue is staged again, and returned as it ended.
    ``given_up``: we hold its claim and won't start it any more.
    ``gone``: its executor has not known its job for :data:`GONE_GRACE`. ``retrying``: we watch it, and try it again
    where that is due; it is claimed for that at once, so that nobody takes it for ended meanwhile. ``exit_record``: of
    its present attempt, which was read already.

    Raises:
        RunBroken: its records can't be read.
    """
    attempt = run.attempt
    while run.state in ACTIVE and run.worker is not None and not session.read_only:
        mine = given_up and run.worker.nonce == session.worker.nonce
        # We live, and need not look for ourselves.
        watched = run.worker == session.worker or not watcher_is_gone(run, session.clock.now())
        watched = watched and not mine
        known = exit_record if run.attempt == attempt else None
        judged = await _judged(session, run, watched=watched, gone=gone, known=known)
        if judged is run:
            return run
        if judged.state != "running" and bears_marks(run):
            _conceal_orders(session, run)
        again = _next_try(session, judged, ours=retrying)
        try:
            (kept,) = await session.store.update((again or judged,))
        except RevisionConflict:
            current = await session.store.get(run.id)
            # A claim that came after the one that was given up is another matter.
            given_up = given_up and current.attempt == run.attempt
            run = current
            continue
        if again is None:
            _tell(session, kept, console)
            run = kept
            continue
        run = structs.replace(judged, revision=kept.revision)
        _tell(session, run, console)
        if kept.state == "staged":
            _keep_retry(session, kept)
            tell(session, "run.retrying", kept, console=console, not_before=kept.not_before)
    return run


def _next_try(session: Session, judged: Run, *, ours: bool) -> Run | None:
    """The run as it is to be tried again: staged where queues do that, claimed where it is ours to do."""
    if judged.retry is None or judged.state not in FINAL or not session.directory(judged).is_dir():
        return None
    now = session.clock.now()
    again = lifecycle.try_again(judged, now)
    if again is None and ours:
        again = lifecycle.claim_again(judged, session.worker, now + round(LEASE * 1e6))
    return again


def _keep_retry(session: Session, run: Run) -> None:
    """Note in its record that it is staged again, and for when: that must outlive the store."""
    try:
        write_record(session, run)
    except OrchestraError as error:
        # The store knows it; only a rebuilt one would take the run for ended.
        session.emit("log.message", run, level="warning", message=f"run {run.id}: {error.message}")


def _conceal_orders(session: Session, run: Run) -> None:
    """The attempt is over: who reads what it was told to do need not read its secrets."""
    from orchestra.workspace.vault import conceal_orders

    try:
        conceal_orders(session.attempt_directory(run), run, session.vault)
    except OrchestraError as error:
        # Damaged or on a full disk: no reason not to say how the run has ended.
        message = f"the orders of run {run.id} may still hold secrets: {error.message}"
        session.emit("log.message", run, level="warning", message=message)


async def _judged(
    session: Session, run: Run, *, watched: bool, gone: bool = False, known: Exit | None = None
) -> Run:
    if known is not None and not may_be_scheduled(run):
        failpoint("run.exited")
        return lifecycle.finish(run, known)
    status = records.attempt_status(session.directory(run), run.attempt)
    if status.exit is not None:
        failpoint("run.exited")
        exit_record = status.exit
        # One that was not written by a supervisor is of an attempt that has never begun: it says all there is to say.
        is_supervised = status.fence is not None and status.fence.kind == "supervisor"
        if exit_record.code and is_supervised and may_be_scheduled(run):
            from orchestra.engine.scheduled import explained

            exit_record = await explained(session, run, exit_record)
        return lifecycle.finish(run, exit_record)
    fence = status.fence
    if fence is None:
        return run if watched or _is_away(session, run) else await _unwatched(session, run)
    if fence.fence == "revoked":
        return lifecycle.release(run)
    # A start that nobody has noted counts as well: so often may a run be tried again.
    run = run if run.state == "running" else lifecycle.start(run, fence)
    if status.alive is None and not _was_seen(session, status):
        gone = gone or (not watched and may_be_scheduled(run) and await _is_over(session, run))
        if gone:
            return await _lost(session, run, "its executor no longer knows it")
    if status.alive is not False:
        return run
    # What is left may take its time to die.
    left = await off_loop(lambda: _end_what_is_left(run, fence))
    return await _lost(session, run, _why_lost(fence) + left)


async def _lost(session: Session, run: Run, reason: str) -> Run:
    """A started run that has left no record, and of which nothing lives."""
    if not may_be_scheduled(run):
        return lifecycle.lose(run, session.clock.now(), reason)
    from orchestra.engine.scheduled import end_without_record

    return await end_without_record(session, run, reason)


async def _is_over(session: Session, run: Run) -> bool:
    from orchestra.engine.scheduled import is_over

    return await is_over(session, run)


async def _unwatched(session: Session, run: Run) -> Run:
    """A claim that nobody watches, or that was given up, and an attempt that nobody has started yet."""
    if run.state == "pending" and may_be_scheduled(run):
        from orchestra.engine.scheduled import left_with_scheduler

        left = await left_with_scheduler(session, run)
        if left is not None:
            return left
    return await _without_fence(session, run)


async def _without_fence(session: Session, run: Run) -> Run:
    """Nobody has started the attempt, and its starter won't any more: make sure that it stays so."""
    directory = session.attempt_directory(run)
    if not is_reachable(run) or not session.directory(run).is_dir():
        return lifecycle.lose(run, session.clock.now(), "its directory is gone")
    if run.state == "running":
        return lifecycle.lose(run, session.clock.now(), "its records are gone")
    if directory.parent.exists() and not directory.parent.is_dir():
        raise RunBroken(f"'{directory.parent}' is not a directory")
    durable.make_dirs(directory)
    if not records.revoke(directory, fsync=session.fsync):
        return await _judged(session, run, watched=False)
    scratch = session.layout.scratch(run)
    if scratch.is_dir():
        # Its starter was killed while it provided what the run needs. Few commands come here: shutil is slow to load.
        import shutil

        await off_loop(lambda: shutil.rmtree(scratch, ignore_errors=True))
    return lifecycle.release(run)


def _is_away(session: Session, run: Run) -> bool:
    """Whether what is known of the run may be on a disk that is not here now: that is read when it is back.

    The home's link to a directory that a person has chosen stays as long as the run is meant to be there.
    """
    return not is_reachable(run) and os.path.lexists(session.layout.directory_of(run.id))


def _was_seen(session: Session, status: records.AttemptStatus) -> bool:
    """Whether the process, on whatever host, has shown lately that it lives."""
    return status.seen is not None and session.clock.now() - status.seen <= GONE_GRACE * 1e6


def may_be_scheduled(run: Run) -> bool:
    """Whether the run's executor may be a scheduler of its own."""
    return run.kind == "run" and may_be_scheduler(run.executor)


def may_be_scheduler(executor: str) -> bool:
    """Whether an executor, named with its options, may be a scheduler of its own: a quick look at its name."""
    return executor.partition(" ")[0] not in UNSCHEDULED


def watcher_is_gone(run: Run, now: int) -> bool:
    """Whether the run's worker no longer lives (on this host and boot), or let its lease run out by ``now``
    (microseconds since the epoch)."""
    if run.worker is None:
        return True
    if is_alive(run.worker.identity) is False:
        return True
    return run.lease is None or run.lease <= now


def is_alive(identity: Identity) -> bool | None:
    """Whether that very process lives; None where it can't be known (another host, or a container on this one)."""
    if identity.host != supervisor.host_id():
        return None
    if identity.boot != supervisor.boot_id():
        return False
    if not shares_our_pids(identity):
        return None
    return supervisor.process_start(identity.pid) == identity.start


def _why_lost(fence: Fence) -> str:
    if fence.identity.host == supervisor.host_id() and fence.identity.boot != supervisor.boot_id():
        return "the machine restarted"
    return "its supervisor died" if fence.kind == "supervisor" else "its process died"


def _end_what_is_left(run: Run, fence: Fence) -> str:
    """End the tree of a supervisor that died, and say what could not be ended."""
    if not shares_our_kernel(fence.identity) or fence.kind != "supervisor":
        return ""
    left = supervisor.end_tree(f"{run.id}.{run.attempt}.{fence.nonce}")
    return "; could not end " + " ".join(str(pid) for pid, _ in left) if left else ""


def _tell(session: Session, run: Run, console: Console | None) -> None:
    match run.state:
        case "running":
            tell(session, "run.started", run, console=console)
        case "lost":
            tell(session, "run.lost", run, console=console, reason=run.reason)
        case "aborted":
            tell(session, "run.aborted", run, console=console, reason=run.reason)
        case "staged" | "pending":
            # Else its handle was noted for whoever started it.
            if run.worker is None:
                tell(session, "run.released", run, console=console)
        case _:
            tell(session, "run.exited", run, console=console, code=run.exit_code, reason=run.reason)


async def settle_active(session: Session, *, batch: str | None = None) -> tuple[Run, ...]:
    """Settle every active run that nobody lives to watch; return those that are still active.

    A run whose records can't be read becomes ``broken``: it must not keep the others from being judged.
    """
    page = await session.store.query(RunQuery(states=ACTIVE, batch=batch, oldest_first=True))
    active: list[Run] = []
    for run in page.runs:
        if run.worker is not None and watcher_is_gone(run, session.clock.now()):
            settled = await settle_or_spoil(session, run)
            if settled is None:
                continue
            run = settled
        if run.state in ACTIVE:
            active.append(run)
    return tuple(active)


async def settle_or_spoil(
    session: Session, run: Run, *, console: Console | None = None, given_up: bool = False
) -> Run | None:
    """:func:`settle` for one of many, which must not keep the others from being judged.

    A run whose records can't be read becomes ``broken``; what else is wrong is told, and the run returned as
    it is. None: it was deleted.
    """
    try:
        try:
            return await settle(session, run, console=console, given_up=given_up)
        except RunBroken as error:
            return await _spoil(session, run, error)
    except RunNotFound:
        return None
    except (OrchestraError, OSError) as error:
        session.emit("log.message", run, level="warning", message=f"run {run.id}: {error}", console=console)
        return run


async def require_record(session: Session, run: Run) -> None:
    """Make sure that the record of a run that we have claimed can be read; else the run is ``broken``.

    Its source is made whole again if somebody died while replacing it.

    Raises:
        RunBroken: it can't; the message names the file.
    """
    try:
        records.read_run(session.directory(run))
    except RunBroken as error:
        await _spoil(session, run, error)
        raise
    except RunNotFound:
        # Its directory is gone, or was never ours alone: what becomes of it is judged elsewhere.
        pass
    directory = session.directory(run)
    if os.path.exists(os.path.join(directory, CONTROL, REPLACING)):
        from orchestra.workspace.replacing import undo

        await off_loop(lambda: undo(directory))


async def _spoil(session: Session, run: Run, error: RunBroken) -> Run:
    try:
        (broken,) = await session.store.update((lifecycle.spoil(run, error.message),))
    except RevisionConflict:
        return await session.store.get(run.id)
    message = f"run {run.id} can't be read: {error.message}"
    session.emit("log.message", broken, level="warning", message=message)
    return broken
