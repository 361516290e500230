"""Further tries of a run that has failed under its starter's eyes. What a queue started is staged again instead."""

from __future__ import annotations

from collections.abc import Callable

from orchestra.console import Console
from orchestra.engine.control import Control, Wish
from orchestra.engine.launch import Launch, launch
from orchestra.engine.session import LEASE, Session
from orchestra.engine.supervise import supervise
from orchestra.model import lifecycle
from orchestra.model.filters import Wanted
from orchestra.model.run import Run


async def with_retries(
    session: Session,
    ended: Run,
    *,
    console: Console,
    control: Control,
    how: Launch,
    foretold: Callable[[], object] | None = None,
) -> Run:
    """``ended``, or what it came to in the end, where it was to be tried again; each try is an attempt of its own."""
    while ended.retry is not None and ended.starter != "queue" and control.wish == Wish.NONE:
        pause = ended.retry.pause(ended.executions)
        if not ended.retry.wants(lifecycle.causes(ended), ended.executions):
            break
        session.emit(
            "run.retrying",
            ended,
            level="warning",
            message=again_message(ended, pause),
            console=console,
            data={"causes": lifecycle.causes(ended), "pause": pause},
        )
        if not await _paused(session, control, pause):
            break
        wanted = Wanted(ids=(ended.id,), states=frozenset((ended.state,)))
        claimed = await session.store.claim(session.worker, LEASE, 1, wanted)
        if not claimed:
            break
        started = await launch(session, claimed[0], how, console=console, control=control)
        ended = await supervise(session, started, console=console, control=control, foretold=foretold)
    return ended


def again_message(ended: Run, pause: float) -> str:
    """What is said of a run that is to be tried again after so many seconds."""
    assert ended.retry is not None
    why = ", ".join(lifecycle.causes(ended))
    when = f" in {pause:g} s" if pause else ""
    return f"Trying {ended.id} again{when} ({why}; retry {ended.executions} of {ended.retry.limit})"


async def _paused(session: Session, control: Control, pause: float) -> bool:
    """Wait so long; False if somebody wished for something meanwhile."""
    import anyio

    wished = anyio.Event()
    with control.calling(wished.set):
        if pause and control.wish == Wish.NONE:
            await session.clock.wait(wished, pause)
    return control.wish == Wish.NONE
