"""A thread that says so when the event loop does not come round: a plugin that blocks it holds up all else."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import anyio

from orchestra.engine.session import Session

LOOK = 2.0
"""Seconds between two looks."""
MOST_MISSED = 3
"""Looks in a row at which the loop has not come round. Looks are counted, not seconds: a computer that slept, or a
process that was stopped, has missed none."""
FRAMES = 5
"""Innermost calls that are named."""


async def watch_loop(session: Session, *, look: float = LOOK) -> None:
    """Until cancelled, let a warning name what blocks this thread's event loop."""

    def tell(message: str) -> None:
        session.emit("log.message", level="warning", message=message)

    dog = _Watchdog(tell, look)
    dog.start()
    try:
        while True:
            dog.come_round()
            await anyio.sleep(look)
    finally:
        dog.end()


class _Watchdog:
    def __init__(self, tell: Callable[[str], object], look: float) -> None:
        self._tell = tell
        self._look = look
        self._missed = 0
        self._ended = threading.Event()
        self._watched = threading.get_ident()

    def start(self) -> None:
        threading.Thread(target=self._work, name="orchestra-watchdog", daemon=True).start()

    def come_round(self) -> None:
        missed, self._missed = self._missed, 0
        if missed >= MOST_MISSED:
            self._tell("The event loop goes on")

    def end(self) -> None:
        self._ended.set()

    def _work(self) -> None:
        while not self._ended.wait(self._look):
            self._missed += 1
            if self._missed == MOST_MISSED:
                seconds = self._look * MOST_MISSED
                self._tell(
                    f"The event loop has been blocked for {seconds:g} seconds: leases are not renewed, and no run is "
                    f"started or watched (it is in {self._place()})"
                )

    def _place(self) -> str:
        import traceback

        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]  it is documented
        frame = frames.get(self._watched)
        calls = traceback.extract_stack(frame)[-FRAMES:] if frame is not None else []
        return ", ".join(f"{call.name} {call.filename}:{call.lineno}" for call in reversed(calls))
