"""A connection that gives up a server that says nothing: soon, where nobody waits for the answer any more."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")
GRACE = 0.5
"""Seconds of silence after which who is in haste gives up."""

_thread = threading.local()


class Haste:
    """Whether who waits for a call wants to be gone."""

    def __init__(self) -> None:
        self.made = False

    def make(self) -> None:
        """From now on."""
        self.made = True


def in_haste(haste: Haste, work: Callable[[], T]) -> T:
    """What ``work`` returns, which is done in this thread for who may come to be in ``haste``."""
    _thread.haste = haste
    try:
        return work()
    finally:
        del _thread.haste


def is_in_haste() -> bool:
    """Whether who waits for what this thread does wants to be gone."""
    haste: Haste | None = getattr(_thread, "haste", None)
    return haste is not None and haste.made


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """Is closed when the server says nothing for too long: a network that is gone, or a frozen computer, may never."""

    name = ""
    """What the server knows it by."""
    silence = 60.0
    """Seconds that the server may say nothing."""

    @contextmanager
    def patient(self) -> Generator[None]:
        """While inside, the server is waited for however long it takes: it may have much to do."""
        silence, self.silence = self.silence, math.inf
        try:
            yield
        finally:
            self.silence = silence

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        """See psycopg: all that waits for the server comes here."""
        return super().wait(self._impatiently(gen), *arguments, **options)

    def _impatiently(self, waiting: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        # psycopg comes here every 0.1 seconds, too, when there is nothing.
        try:
            wanted = next(waiting)
            since = time.monotonic()
            while True:
                ready = yield wanted
                if ready:
                    since = time.monotonic()
                else:
                    self._check(time.monotonic() - since)
                wanted = waiting.send(ready)
        except StopIteration as end:
            return end.value

    def _check(self, silent: float) -> None:
        if silent > self.silence or (silent > GRACE and is_in_haste()):
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server has said nothing for {silent:.0f} seconds")
