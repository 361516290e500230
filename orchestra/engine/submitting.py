"""Giving a job to a scheduler that may be away for long: what is in the way is said, and a wish for an end heeded."""

from __future__ import annotations

import anyio

from orchestra.console import Console
from orchestra.contracts import Executor, Persisting, Scheduling
from orchestra.engine.control import Control, Wish
from orchestra.engine.session import Session
from orchestra.errors import ExecutorError, Stopped
from orchestra.model.execution import Handle, Job
from orchestra.model.run import Run

LOOK = 0.5
"""Seconds between two looks at what is in the way."""
LAST_PATIENCE = 2.0
"""Seconds for which a scheduler is asked, when all is to end, whether it has taken the job."""


async def submit_heedfully(
    session: Session, run: Run, job: Job, *, console: Console | None, control: Control | None
) -> Handle:
    """The handle of a job that was taken, also if ``control`` wished for an end meanwhile.

    Raises:
        Stopped: it was not, and somebody wished the run to stop.
        ExecutorError: it can't be taken.
    """
    executor = await session.executor(run.executor)
    if not isinstance(executor, Scheduling):
        return await executor.submit(job)
    control = control or Control()
    taken: Handle | Exception | None = None
    async with anyio.create_task_group() as group:
        if isinstance(executor, Persisting):
            group.start_soon(_tell_obstacles, session, run, job, executor, console)
        taken = await _submitted(executor, job, control)
        group.cancel_scope.cancel()
    if isinstance(taken, Exception):
        raise taken
    taken = taken or await _found(executor, job)
    if taken is None:
        raise Stopped("stopped before it was submitted", *control.signal)
    return taken


async def _submitted(executor: Executor, job: Job, control: Control) -> Handle | Exception | None:
    """The handle, or what is wrong; None: it was wished that this ends."""

    def heed() -> None:
        # One that is to be left running is to be submitted first.
        if control.wish > Wish.LEAVE:
            scope.cancel()

    with anyio.CancelScope() as scope, control.calling(heed):
        heed()
        try:
            return await executor.submit(job)
        except Exception as error:
            # Raised by the caller: a task group would wrap it.
            return error
    return None


async def _found(scheduler: Scheduling, job: Job) -> Handle | None:
    """A job that was taken after all. One that comes to be known later finds that its attempt was revoked."""
    with anyio.move_on_after(LAST_PATIENCE):
        try:
            return await scheduler.find(job)
        except ExecutorError:
            return None
    return None


async def _tell_obstacles(
    session: Session, run: Run, job: Job, executor: Persisting, console: Console | None
) -> None:
    """Say what is in the way: once for all jobs that wait for that."""
    while True:
        await anyio.sleep(LOOK)
        obstacle = executor.obstacle(job)
        if obstacle and obstacle not in session.warned:
            session.warned.add(obstacle)
            session.emit("log.message", run, level="warning", message=obstacle, console=console)
