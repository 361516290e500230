"""Time, as the engine knows it: what a test replaces in order not to wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anyio


class Clock:
    """The system's clocks, the wall's made to never stand still: no two events share a microsecond."""

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> int:
        """The time in microseconds since the epoch, later than any answer before."""
        self._last = max(time.time_ns() // 1000, self._last + 1)
        return self._last

    def monotonic(self) -> float:
        """Seconds since some moment; only differences mean something."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return when so many seconds are over."""
        import anyio

        await anyio.sleep(seconds)

    async def wait(self, event: anyio.Event, seconds: float) -> None:
        """Return when ``event`` is set, or so many seconds are over."""
        import anyio

        with anyio.move_on_after(seconds):
            await event.wait()
