"""What a queue that is told to end leaves to the next one."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from orchestra.console import Console
from orchestra.engine.changes import change, tell
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model import lifecycle
from orchestra.model.run import Run
from orchestra.workspace import records


async def hand_over_guests(session: Session, guests: Sequence[Run], console: Console) -> None:
    """Let a queue go on with the batches among ``guests``, which end with the queue that executed them: in their turn,
    with the trial that runs on and those that wait. A pipeline would run its first steps once more: that is left to
    a person."""
    for guest in guests:
        try:
            if guest.kind == "batch":
                await _stage_again(session, guest, console)
            else:
                _tell_of_pipeline(session, guest, console)
        except OrchestraError as error:
            # It was deleted, or the store is away: it is terminated, as it was recorded.
            message = f"run {guest.id} is not handed over: {error.message}"
            session.emit("log.message", guest, level="warning", message=message, console=console)


async def _stage_again(session: Session, batch: Run, console: Console) -> None:
    def staged(now: Run) -> Run:
        if (now.attempt, now.state) != (batch.attempt, "terminated"):
            return now
        again = lifecycle.restage(now, session.clock.now())
        return structs.replace(again, staged=batch.staged, queued=batch.turn[1])

    run = await change(session, await session.store.get(batch.id), staged)
    if run.state != "staged":
        return
    records.write_run(session.directory(run), run, fsync=session.fsync, create=False)
    tell(session, "run.released", run, console=console)
    _say(session, run, f"Staging batch {run.id} again, for the next queue to go on with it", console)


def _tell_of_pipeline(session: Session, pipeline: Run, console: Console) -> None:
    text = f"Pipeline {pipeline.id} ends with its queue: 'orchestra run --restart {pipeline.short_id}' starts it again"
    _say(session, pipeline, text, console)


def _say(session: Session, run: Run, text: str, console: Console) -> None:
    session.emit("queue.stopping", run, level="warning", message=text, console=console, logger="queue")
