"""What runs wait for in their scheduler, as a person is told: once, and again when that changes."""

from __future__ import annotations

from collections.abc import Callable

from orchestra.console import Console
from orchestra.contracts import Scheduling
from orchestra.engine.session import Session
from orchestra.model.run import Run

FIRST_LOOK = 2.0
"""Seconds that a job may wait without that being told."""
LOOK = 2.0
"""Seconds between two looks."""
REST = 5.0
"""Least seconds between two lines of a session, but for a run that was told of last."""


class Waits:
    """The runs of one session that wait, and what was told of them: of the one that has waited longest."""

    def __init__(self) -> None:
        self.tell: Callable[[str], object] | None = None
        """How a queue tells."""
        self._reasons: dict[str, str] = {}
        self._told = ("", "")
        self._told_more = False
        self._next = 0.0

    def note(self, session: Session, run: Run, reason: str, console: Console) -> None:
        """``run`` waits for this."""
        if self._reasons.get(run.id) != reason:
            session.emit("run.waiting", run, console=console, reason=reason)
        self._reasons[run.id] = reason
        first = next(iter(self._reasons))
        news, now = (first, self._reasons[first]), session.clock.monotonic()
        more = len(self._reasons) > 1
        if news == self._told and self._told_more >= more:
            return
        is_change = first == self._told[0] and news != self._told
        if now < self._next and not is_change:
            return
        self._told, self._told_more, self._next = news, more, now + REST
        if self.tell is not None:
            self.tell(self._text(*news))
            return
        text = reason[:1].upper() + reason[1:] if run.batch is None else self._text(*news)
        session.emit("log.message", run, level="info", message=text, console=console, logger="")

    def drop(self, run: Run) -> None:
        """``run`` waits no more."""
        self._reasons.pop(run.id, None)

    def _text(self, run: str, reason: str) -> str:
        others = len(self._reasons) - 1
        return f"{run}: {reason}" + (
            f"; {others} more wait{'s' if others == 1 else ''}, too" if others else ""
        )


async def tell_waits(
    session: Session, scheduler: Scheduling, current: Callable[[], Run], console: Console
) -> None:
    """Tell what a run waits for, until ``current`` is a run that has begun."""
    await session.clock.sleep(FIRST_LOOK)
    try:
        while (run := current()).state == "pending" and run.handle is not None:
            (status,) = await scheduler.status((run.handle,))
            if status.phase != "waiting":
                session.waits.drop(run)
            elif current().state == "pending":
                session.waits.note(session, run, status.reason, console)
            await session.clock.sleep(LOOK)
    finally:
        session.waits.drop(current())
