"""How a person's wish to stop reaches what is going on: signals in a command, calls in a program."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import IntEnum

TOLD_PATIENCE = 0.5
"""Seconds that who is told to end, and to leave its runs running, gives the store: one that is away, or locked, may
take long."""


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


SIGNALS = {Wish.INTERRUPT: ("INT", -2), Wish.TERMINATE: ("TERM", -15), Wish.KILL: ("KILL", -9)}
"""How the exit record of what was stopped by a wish tells so: name and exit code."""


class Control:
    """A wish that grows, and who is to be called when it does."""

    def __init__(self, *, owned: bool = False) -> None:
        self.wish = Wish.NONE
        self.owned = owned
        """Whether cancelling the watch of a run stops its operation."""
        self.interrupted = False
        """Whether the wish came from Ctrl-C."""
        self._listeners: list[Callable[[], object]] = []

    @property
    def signal(self) -> tuple[str, int]:
        """Name and exit code of the signal that an exit record tells of."""
        return SIGNALS.get(Wish.INTERRUPT if self.interrupted else self.wish, ("TERM", -15))

    def raise_to(self, wish: Wish) -> None:
        """Wish for ``wish`` if it is stronger than what was wished for before."""
        if wish > self.wish:
            self.wish = wish
            for listener in tuple(self._listeners):
                listener()

    @contextmanager
    def calling(self, listener: Callable[[], object]) -> Generator[None]:
        """While inside, each growth of the wish calls ``listener``: no task has to wait for one."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @contextmanager
    def hurrying(
        self, patience: float, is_urgent: Callable[[], bool], *, shield: bool = False
    ) -> Generator[None]:
        """A scope that ends ``patience`` seconds after the wish has come to be one that ``is_urgent``, at the latest;
        with ``shield`` nothing else ends it."""
        import anyio

        with anyio.CancelScope(shield=shield) as scope:

            def hurry() -> None:
                if is_urgent():
                    scope.deadline = min(scope.deadline, anyio.current_time() + patience)

            with self.calling(hurry):
                hurry()
                yield
