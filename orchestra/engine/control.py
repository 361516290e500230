"""How a person's wish to stop reaches what is going on: signals in a command, calls in a program."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anyio


class Wish(IntEnum):
    """What is wished for. A stronger wish replaces a weaker one, never the other way round."""

    NONE = 0
    DRAIN = 1
    """A queue: claim nothing more, wait for what runs."""
    LEAVE = 2
    """End at once and leave what runs running."""
    INTERRUPT = 3
    """Stop the operation as Ctrl-C would."""
    TERMINATE = 4
    KILL = 5


class Control:
    """A wish that grows. Safe to change from a signal handler; ``stronger_than`` waits for it."""

    def __init__(self, *, owned: bool = False) -> None:
        self.wish = Wish.NONE
        self.owned = owned
        """Whether cancelling the watch of a run stops its operation."""
        self.interrupted = False
        """Whether the wish came from Ctrl-C."""
        self._changed: anyio.Event | None = None

    def raise_to(self, wish: Wish) -> None:
        """Wish for ``wish`` if it is stronger than what was wished for before."""
        if wish > self.wish:
            self.wish = wish
            if self._changed is not None:
                self._changed.set()
                self._changed = None

    async def stronger_than(self, seen: Wish) -> None:
        """Wait for a wish that is stronger than ``seen``, the one that the caller has acted on."""
        import anyio

        while self.wish <= seen:
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()
