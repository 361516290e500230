"""What a queue that is told to end leaves to the next one."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from msgspec import structs

from orchestra.console import Console
from orchestra.engine.changes import change, tell, write_record
from orchestra.engine.judge import settle
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model import lifecycle
from orchestra.model.run import Run


async def hand_over_guests(
    session: Session, guests: Sequence[Run], console: Console, patience: float
) -> None:
    """Let a queue go on with the batches among ``guests``, which end with the queue that executed them: in their turn,
    with the trial that runs on and those that wait. A pipeline would run its first steps once more: that is left to
    a person, and so is what can't be handed over in ``patience`` seconds."""
    left = list(guests)
    with anyio.move_on_after(patience, shield=True):
        while left:
            await _hand_over(session, left[0], console)
            del left[0]
    for guest in left:
        again = f"'orchestra run --restart {guest.short_id}' starts it again"
        text = f"{_what(guest)} may stay terminated, for the store does not answer in time: {again}"
        _say(session, guest, text, console)


async def _hand_over(session: Session, guest: Run, console: Console) -> None:
    try:
        # The store may have been away as it ended.
        now = await settle(session, await session.store.get(guest.id), console=console)
        if guest.kind == "batch":
            await _stage_again(session, guest, now, console)
        elif (now.attempt, now.state) == (guest.attempt, "terminated"):
            again = f"'orchestra run --restart {now.short_id}' starts it again"
            _say(session, now, f"{_what(now)} ends with its queue: {again}", console)
    except OrchestraError as error:
        # It was deleted, or the store is away: it is terminated, as it was recorded.
        message = f"run {guest.id} is not handed over: {error.message}"
        session.emit("log.message", guest, level="warning", message=message, console=console)


async def _stage_again(session: Session, batch: Run, now: Run, console: Console) -> None:
    is_ours = False

    def staged(now: Run) -> Run:
        nonlocal is_ours
        is_ours = (now.attempt, now.state) == (batch.attempt, "terminated")
        if not is_ours:
            return now
        again = lifecycle.restage(now, session.clock.now())
        return structs.replace(again, staged=batch.staged, queued=batch.turn[1])

    run = await change(session, now, staged)
    if is_ours:
        write_record(session, run)
        tell(session, "run.released", run, console=console)
        _say(session, run, f"Staging batch {run.id} again, for the next queue to go on with it", console)
    elif run.state != "completed":
        _say(session, run, f"{_what(run)} is not staged again: it is {run.state}", console)


def _what(guest: Run) -> str:
    return f"{'Batch' if guest.kind == 'batch' else 'Pipeline'} {guest.id}"


def _say(session: Session, run: Run, text: str, console: Console) -> None:
    session.emit("queue.stopping", run, level="warning", message=text, console=console, logger="queue")
