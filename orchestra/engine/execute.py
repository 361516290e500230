"""From the claim to the end: the one path of foreground runs, trials and what a queue starts."""

from __future__ import annotations

from orchestra.console import Console
from orchestra.engine.control import Control
from orchestra.engine.launch import Launch, launch
from orchestra.engine.session import Session
from orchestra.model.run import Run


async def execute(
    session: Session,
    run: Run,
    *,
    console: Console,
    control: Control | None = None,
    how: Launch | None = None,
) -> Run:
    """Start a claimed run of any kind, watch it to its end, and return it in its final state."""
    control = control or Control()
    if run.kind == "batch":
        from orchestra.engine.batch import run_batch

        return await run_batch(session, run, console=console, control=control)
    if run.kind == "queue":
        from orchestra.engine.queue import run_queue

        return await run_queue(session, run, console=console, control=control)
    from orchestra.engine.supervise import supervise

    started = await launch(session, run, how or Launch())
    return await supervise(session, started, console=console, control=control)
