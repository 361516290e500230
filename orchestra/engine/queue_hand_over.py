"""What a queue that is told to end leaves to the next one."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from orchestra.console import Console
from orchestra.engine.changes import change, tell
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model import lifecycle
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, Run
from orchestra.workspace import records


async def stage_batches_again(session: Session, batches: Sequence[Run], console: Console) -> None:
    """Let a queue go on with ``batches``, which end with the queue that executed them: in their turn, with the trial
    that runs on and those that wait."""
    for batch in batches:
        try:
            await _stage_again(session, batch, console)
        except OrchestraError as error:
            # It was deleted, or the store is away: it is terminated, as it was recorded.
            message = f"batch {batch.id} is not staged again: {error.message}"
            session.emit("log.message", batch, level="warning", message=message, console=console)


async def _stage_again(session: Session, batch: Run, console: Console) -> None:
    def staged(now: Run) -> Run:
        if (now.attempt, now.state) != (batch.attempt, "terminated"):
            return now
        again = lifecycle.restage(now, session.clock.now())
        return structs.replace(again, staged=batch.staged, queued=batch.turn[1])

    run = await change(session, await session.store.get(batch.id), staged)
    if run.state != "staged":
        return
    records.write_run(session.directory(run), run, fsync=session.fsync)
    tell(session, "run.released", run, console=console)
    going = (await session.store.query(RunQuery(batch=run.id, states=ACTIVE))).runs
    names = ", ".join(trial.id for trial in going if trial.state == "running")
    text = f"Staging batch {run.id} again, for the next queue to go on with it"
    message = f"{text} (left running: {names})" if names else text
    session.emit("queue.stopping", run, level="warning", message=message, console=console, logger="queue")
