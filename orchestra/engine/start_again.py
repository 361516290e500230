"""Claim a run that is there for its next start, or stage it again: with all that was changed of it, or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

from msgspec import structs

from orchestra.child.supervisor import failpoint
from orchestra.engine.capture import after_making
from orchestra.engine.changes import change, tell, write_record
from orchestra.engine.judge import settle
from orchestra.engine.off_loop import off_loop, shielded
from orchestra.engine.restart import Restart
from orchestra.engine.session import LEASE, Session
from orchestra.engine.terms import TERMS
from orchestra.errors import OrchestraError, RunBusy
from orchestra.model import lifecycle
from orchestra.model.filters import Wanted
from orchestra.model.marks import bears_marks
from orchestra.model.run import FINAL, Run, State
from orchestra.workspace import records

STARTABLE: frozenset[State] = frozenset(("staged", "pending", *FINAL)) - {"broken"}
KEPT = (
    "operation",
    "sourcecode_digest",
    "vcs_commit",
    "flags",
    "batch_spec",
    "label",
    "label_template",
    "tags",
    "comments",
    "trial_tags",
    "trial_comments",
    "executor",
    "environment",
    "needed",
    "stop_after",
    "force_deps",
    "random_seed",
    "gpus",
    *TERMS,
)
"""What a request may change of a run that is there."""


async def claim_restart(session: Session, restart: Restart) -> Run:
    """Claim the run and keep what it will be started with, in the store and in its record.

    Where that can't be done, the run is what it was before.

    Raises:
        RunBusy: somebody else was faster.
        UserError, StoreUnavailable: its source can't be replaced.
    """
    async with _taken(session, restart) as claimed:
        return await _keep(session, restart, claimed, lambda current: current)


async def restage(session: Session, restart: Restart) -> Run:
    """Make the run ready for a queue (again), with what the request changed.

    It is claimed meanwhile: a queue gets it with all that was changed, or not at all.

    Raises:
        RunBusy: somebody has started it meanwhile.
        UserError, StoreUnavailable: its source can't be replaced.
    """
    async with _taken(session, restart) as claimed:

        def staged(current: Run) -> Run:
            if _is_untouched(session, restart, current):
                current = lifecycle.withdraw(current, restart.run)
            else:
                current = lifecycle.release(current)
            return lifecycle.restage(current, session.clock.now())

        run = await _keep(session, restart, claimed, staged)
    tell(session, "run.staged", run)
    return run


@asynccontextmanager
async def _taken(session: Session, restart: Restart) -> AsyncGenerator[Run]:
    """The claimed run, its source replaced if that is due; as it was before when the block raises."""
    async with _incoming_source(session, restart) as swap:
        wanted = Wanted(ids=(restart.run.id,), states=STARTABLE)
        claimed = await shielded(lambda: session.store.claim(session.worker, LEASE, 1, wanted))
        if not claimed:
            raise RunBusy(f"run {restart.run.id} is already being started by somebody else")
        try:
            with swap():
                yield claimed[0]
        except BaseException:
            await shielded(lambda: _give_back(session, restart, claimed[0]))
            raise


@asynccontextmanager
async def _incoming_source(
    session: Session, restart: Restart
) -> AsyncGenerator[Callable[[], AbstractContextManager[object]]]:
    """Have the source ready that is to replace the run's; what is given makes the replacement, for a block."""
    if restart.snapshot is None:
        yield nullcontext
        return
    # Loaded only by those who take the source anew.
    from orchestra.workspace.replacing import Incoming

    selection, directory = restart.snapshot.selection, session.directory(restart.run)
    incoming = Incoming(directory, session.worker.nonce)
    try:
        await off_loop(lambda: incoming.copy(selection))
        failpoint("source.copied")
        yield incoming.swapped
    finally:
        incoming.discard()


async def _keep(session: Session, restart: Restart, claimed: Run, how: Callable[[Run], Run]) -> Run:
    """Carry the settings of the restart over to the run that we have claimed, all at once, and what ``how`` does.

    What somebody has changed since it was planned, its label say, is kept unless the request is about that.
    """
    wished, before = restart.run, restart.before
    changes = {name: getattr(wished, name) for name in KEPT if getattr(wished, name) != getattr(before, name)}

    def kept(current: Run) -> Run:
        if not current.claimed or current.worker != session.worker or current.attempt != claimed.attempt:
            raise RunBusy(f"run {current.id} is already being started by somebody else")
        changed = how(current)
        return structs.replace(changed, **changes) if changes else changed

    if changes and bears_marks(wished):
        session.vault.keep(wished, fsync=session.fsync)
    run = await change(session, claimed, kept)
    if run is not claimed:
        write_record(session, run)
    if restart.snapshot is not None:
        after_making(session, run)
    return run


async def _give_back(session: Session, restart: Restart, claimed: Run) -> None:
    """End our claim: the run is what it was, unless somebody has looked at the attempt meanwhile."""

    def given_back(current: Run) -> Run:
        nonlocal released
        ours = current.claimed and current.worker == session.worker and current.attempt == claimed.attempt
        released = ours and _is_untouched(session, restart, current)
        if not released:
            return current
        settings = {name: getattr(claimed, name) for name in KEPT}
        return structs.replace(lifecycle.withdraw(current, restart.run), **settings)

    released = False
    try:
        run = await change(session, claimed, given_back)
        if released:
            tell(session, "run.released", run)
        else:
            await settle(session, run, given_up=True)
    except OrchestraError as error:
        # What went wrong first is raised; our claim runs out by itself.
        session.emit("log.message", claimed, level="warning", message=f"run {claimed.id}: {error.message}")


def _is_untouched(session: Session, restart: Restart, current: Run) -> bool:
    """Whether the claim is the one after the run as it was planned, and nobody has started or revoked it."""
    fence = records.read_fence(session.attempt_directory(current))
    return current.attempt == restart.run.attempt + 1 and fence is None
