"""Wall-clock time that never stands still: two events of one process never share a microsecond."""

from __future__ import annotations

import time


class Clock:
    """Strictly increasing microseconds since the epoch, also when the system's clock is set back."""

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> int:
        """The time in microseconds since the epoch, later than any answer before."""
        self._last = max(time.time_ns() // 1000, self._last + 1)
        return self._last
