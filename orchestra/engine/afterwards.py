"""Work that a run need not wait for: done beside it in threads, and finished before its session is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestra.errors import OrchestraError

if TYPE_CHECKING:
    from orchestra.engine.surroundings import Surroundings


class Afterwards:
    """What is still to be done. Each piece of work returns a warning, or None."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Who waits for the threads does so in one, too."""
        self._threads: list[threading.Thread] = []
        self._warnings: list[str] = []
        self.surroundings: Surroundings | None = None
        """What is known of them by now."""
        self.patches_due: set[str] = set()
        """Ids of runs made here whose patch is written when they have been started: who starts a run that was
        made long ago finds another working tree."""

    def do(self, work: Callable[[], str | None]) -> None:
        """Begin with ``work`` in a thread of its own."""
        thread = threading.Thread(target=self._guarded, args=(work,))
        with self._lock:
            thread.start()
            self._threads = [*(one for one in self._threads if one.is_alive()), thread]

    def do_now(self, work: Callable[[], str | None]) -> None:
        """Do ``work`` here, where that takes less than a millisecond."""
        self._guarded(work)

    def finish(self) -> tuple[str, ...]:
        """Wait for all of it, and return the warnings since the last time."""
        with self._lock:
            threads, self._threads = self._threads, []
        for thread in threads:
            thread.join()
        warnings, self._warnings = tuple(self._warnings), []
        return warnings

    def _guarded(self, work: Callable[[], str | None]) -> None:
        try:
            warning = work()
        except OrchestraError as error:
            warning = error.message
        except OSError as error:
            warning = str(error)
        except Exception as error:
            # Nobody waits for it whom it could be raised to.
            warning = f"internal error beside the run: {type(error).__name__}: {error}"
        if warning is not None:
            self._warnings.append(warning)
