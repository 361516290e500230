"""``orchestra queue status --live``: the view is drawn again as things change, until nothing more is due."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Collection, Sequence

import anyio
import anyio.abc

from orchestra.cli import screen
from orchestra.cli.context import current, in_event_loop
from orchestra.cli.frame import Changes, frame
from orchestra.engine.overview import Overseer, Overview
from orchestra.engine.session import Session
from orchestra.errors import StoreUnavailable
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

INTERVAL = 0.5
"""Seconds from one look to the next; longer where a look takes long."""
LEAST_INTERVAL = 0.25
"""Seconds between two frames, however often the window's size changes."""
SHARE = 10
"""Looking takes less than one part in so many of the time."""
MOST_LOOKED_AT = 20
KEPT = 10
"""Runs that have ended that may be shown."""
_FATAL = (signal.SIGTERM, signal.SIGHUP)


def show_live() -> int:
    """Show what the queues do until nothing more is due, or somebody has seen enough."""
    current().require_home()
    live = _Live()
    try:
        in_event_loop(live.on_terminal if screen.can_draw() else live.in_lines)
    except KeyboardInterrupt:
        # There is no other way to leave it.
        return 0
    if live.killed_by is not None:
        signal.signal(live.killed_by, signal.SIG_DFL)
        os.kill(os.getpid(), live.killed_by)
    return live.code


class Due:
    """Whether there is more to be seen, as view follows view."""

    def __init__(self) -> None:
        self.was_any = False
        """Whether something was at work or staged."""
        self.queues: dict[str, None] = {}
        """Those that were seen at work."""

    def is_over(self, view: Overview) -> bool:
        """Whether nothing is at work in ``view``, nor staged for a queue that is still to come.

        What queues that were seen at work have left staged when they ended is no longer waited for.
        """
        self.queues |= {queue.id: None for queue in view.status.queues}
        self.was_any = self.was_any or view.is_at_work or bool(view.status.staged)
        return not view.is_at_work and (bool(self.queues) or not view.status.staged)


class _Live:
    def __init__(self) -> None:
        self._here = str(current().cwd)
        self._ended: deque[Run] = deque(maxlen=KEPT)
        self._due = Due()
        self._coloured = not os.environ.get("NO_COLOR")
        self._resized = anyio.Event()
        self.killed_by: signal.Signals | None = None
        self.code = 0
        """That of the queues which were seen at work."""

    async def in_lines(self) -> None:
        """A line for each change, for a file or a pipe."""
        async with current().session(looking=True, absent="make") as session:
            overseer, changes = Overseer(session), Changes(self._here)
            while True:
                began = time.monotonic()
                view = await _look(overseer, session, 0)
                if view is not None:
                    for line in changes.since(view):
                        session.console.say(line)
                    if getattr(session.console, "broken_pipe", False):
                        return
                    if self._due.is_over(view):
                        self.code = await _code_of(session, self._due.queues)
                        return
                await anyio.sleep(_rest(began))

    async def on_terminal(self) -> None:
        """The view, drawn over and over; what was seen last stays when it ends."""
        async with current().session(looking=True, absent="make") as session:
            last: Sequence[str] = ()
            with screen.Screen() as drawn:
                async with anyio.create_task_group() as group:
                    await group.start(self._heed_signals, group.cancel_scope, drawn)
                    last = await self._draw(session, drawn)
                    self.code = await _code_of(session, self._due.queues)
                    group.cancel_scope.cancel()
            for line in last:
                session.console.say(line)

    async def _draw(self, session: Session, drawn: screen.Screen) -> list[str]:
        """Draw until nothing more is due; the last frame, without colours."""
        overseer = Overseer(session)
        view: Overview | None = None
        while True:
            began = time.monotonic()
            view = await _look(overseer, session, MOST_LOOKED_AT) or view
            if view is not None:
                self._ended.extend(view.ended)
                drawn.draw(self._frame(view, coloured=self._coloured))
                # Where nothing has been due yet, somebody has opened the view ahead of the work.
                if self._due.is_over(view) and self._due.was_any:
                    return self._frame(view, coloured=False)
            self._resized = anyio.Event()
            rest = _rest(began)
            await anyio.sleep(min(rest, LEAST_INTERVAL))
            with anyio.move_on_after(max(0.0, rest - LEAST_INTERVAL)):
                await self._resized.wait()

    def _frame(self, view: Overview, *, coloured: bool) -> list[str]:
        columns, lines = screen.size()
        return frame(view, list(self._ended), self._here, columns, lines, coloured=coloured)

    async def _heed_signals(
        self,
        scope: anyio.CancelScope,
        drawn: screen.Screen,
        *,
        task_status: anyio.abc.TaskStatus[None],
    ) -> None:
        """Leave the terminal as it was, also when we are stopped or ended."""
        heeded = (*_FATAL, signal.SIGWINCH, signal.SIGTSTP)
        with anyio.open_signal_receiver(*heeded) as signals:
            task_status.started()
            async for number in signals:
                if number in _FATAL:
                    self.killed_by = number
                    scope.cancel()
                elif number == signal.SIGTSTP:
                    drawn.suspend()
                    os.kill(os.getpid(), signal.SIGSTOP)
                    drawn.resume()
                self._resized.set()


async def _look(overseer: Overseer, session: Session, most: int) -> Overview | None:
    """What there is now; None while the store can't be used."""
    try:
        return await overseer.look(most)
    except StoreUnavailable as error:
        session.emit("log.message", message=f"The store can't be used: {error.message}")
        return None


async def _code_of(session: Session, queues: Collection[str]) -> int:
    """The highest exit code of queues that have ended; 0 for those that were deleted with their success."""
    from orchestra.cli.command import LOST

    runs = (await session.store.query(RunQuery(ids=tuple(queues)))).runs
    codes = [LOST if run.state == "lost" else run.exit_code or 0 for run in runs]
    return max((code if code >= 0 else 256 + code for code in codes), default=0)


def _rest(began: float) -> float:
    return max(INTERVAL, SHARE * (time.monotonic() - began))
