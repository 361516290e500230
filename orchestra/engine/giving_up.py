"""What becomes of a claim when its holder fails, or is cancelled, before the run was started."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from orchestra.console import Console
from orchestra.engine.changes import change, tell
from orchestra.engine.control import TOLD_PATIENCE, Control, Wish
from orchestra.engine.judge import may_be_scheduled, settle_or_spoil
from orchestra.engine.off_loop import shielded_for
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model import lifecycle
from orchestra.model.run import Run

ANSWER_PATIENCE = 1.2
"""Seconds that a scheduler has to say whether it was given the job of a run whose claim is given up."""


@asynccontextmanager
async def given_up_on_failure(
    session: Session, run: Run, *, console: Console | None = None, control: Control | None = None
) -> AsyncGenerator[None]:
    """A block that starts ``run``, which this session has claimed: where it raises, the claim is given up.

    Else the session would renew it for as long as it lives, for nobody. An executor may have started the run by
    then: it is stopped where ``control`` says that its caller owns it, else it goes on.
    """
    try:
        yield
    except BaseException:
        patience = math.inf
        if control is not None and control.wish == Wish.LEAVE:
            # Nor may the store answer; then the claim runs out, too.
            patience = ANSWER_PATIENCE if may_be_scheduled(run) else TOLD_PATIENCE
        await shielded_for(patience, lambda: _give_up(session, run, console, control))
        raise


async def put_back(session: Session, run: Run, *, console: Console | None = None) -> Run:
    """End this session's claim of a run of which nothing was handed out yet, because its directory is away.

    There no fence can be made, and none is needed: nobody else starts what we have claimed.
    """

    def released(current: Run) -> Run:
        ours = current.claimed and current.worker == session.worker and current.attempt == run.attempt
        return lifecycle.release(current) if ours else current

    kept = await change(session, run, released)
    if not kept.claimed:
        tell(session, "run.released", kept, console=console)
    return kept


async def _give_up(session: Session, run: Run, console: Console | None, control: Control | None) -> None:
    if run.id in session.unsettled:
        # It has ended, and its exit record says how.
        return
    try:
        current = await session.store.get(run.id)
    except OrchestraError:
        # It was deleted; or the store is away, and the claim runs out like that of somebody who died.
        return
    if current.attempt != run.attempt:
        return
    if may_be_scheduled(current):
        import anyio

        # Its scheduler may not answer: whoever looks once the claim has run out asks again.
        left = current
        with anyio.move_on_after(ANSWER_PATIENCE):
            left = await settle_or_spoil(session, current, console=console, given_up=True)
    else:
        left = await settle_or_spoil(session, current, console=console, given_up=True)
    goes_on = left is not None and (left.state == "running" or left.submitted)
    if left is not None and goes_on and control is not None and control.owned:
        from orchestra.engine.stopping import stop_runs

        await stop_runs(session, (left,), force=True)
