"""Resources for a run that no queue starts: taken when they are free, waited for until then."""

from __future__ import annotations

from msgspec import structs

from orchestra.console import Console
from orchestra.engine.choosing import elsewhere, grant, holding, situation_of, turn
from orchestra.engine.control import Control, Wish
from orchestra.engine.judge import settle_active
from orchestra.engine.machine import ThisMachine
from orchestra.engine.session import Session
from orchestra.errors import ResolveError, Stopped
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, Run
from orchestra.model.scheduling import choose

LOOK_EVERY = 0.5
"""Seconds between two looks at what is free."""


async def wait_for_resources(
    session: Session, run: Run, *, console: Console | None = None, control: Control | None = None
) -> Run:
    """Give a claimed run the devices that it asks for, once they and all else that it needs are free; nothing to one
    that a scheduler places.

    Raises:
        ResolveError: this computer never has so much.
        Stopped: it was told to stop.
    """
    if await elsewhere(session, (run,)):
        # A scheduler finds a place for it.
        return run
    machine, told = ThisMachine(), False
    control = control or Control()
    while True:
        # Those whose watcher is gone have perhaps ended, and hold nothing any more.
        await settle_active(session)
        async with turn(session, control) as mine:
            if not mine:
                break
            page = await session.store.query(RunQuery(states=ACTIVE))
            others = await holding(session, [other for other in page.runs if other.id != run.id])
            # What a queue would wait for, a person who starts the run by hand has decided.
            alone = structs.replace(run, group=None, after=(), not_before=None)
            situation = situation_of(session, machine.machine, 1, others, {})
            situation = structs.replace(
                situation, busy=machine.busy(others), elsewhere=await elsewhere(session, others)
            )
            choice = choose([alone], situation)
            if choice.starts:
                return await grant(session, run, choice.starts[0].devices)
        reason = choice.waits[run.id]
        if choice.never:
            raise ResolveError(f"it needs {reason} here")
        if not told:
            message = f"Waiting for {reason}"
            session.emit("log.message", run, level="info", message=message, console=console, logger="")
            told = True
        if control.wish > Wish.DRAIN:
            break
        await session.clock.sleep(LOOK_EVERY)
    name, code = control.signal
    raise Stopped("stopped while it waited for resources", name, code)
