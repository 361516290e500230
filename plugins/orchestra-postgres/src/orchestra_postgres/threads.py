"""Calls that block, off the event loop, if there is one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from orchestra_postgres.connection import Haste, in_haste

T = TypeVar("T")


class Threads:
    """As many calls at once as there are threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Of each event loop that it is used in: one at a time, usually.
        self._limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar(
            f"limit {id(self)}"
        )

    async def call(self, work: Callable[[], T]) -> T:
        """What ``work`` returns: from a thread where an event loop runs, else from here.

        Who is cancelled meanwhile leaves when it has ended. From then on it is in :class:`Haste`.
        """
        if not event_loop_runs():
            return work()
        haste, ended = Haste(), anyio.Event()
        results: list[T] = []
        failures: list[Exception] = []

        async def in_thread() -> None:
            try:
                with anyio.CancelScope(shield=True):
                    called = anyio.to_thread.run_sync(in_haste, haste, work, limiter=self._limit())
                    results.append(await called)
            except Exception as error:
                # The group would wrap it.
                failures.append(error)
            finally:
                ended.set()

        async with anyio.create_task_group() as group:
            group.start_soon(in_thread)
            try:
                await ended.wait()
            finally:
                haste.make()
        for failure in failures:
            raise failure
        return results[0]

    def _limit(self) -> anyio.CapacityLimiter:
        try:
            return self._limiter.get()
        except LookupError:
            limiter = anyio.CapacityLimiter(self._most)
            self._limiter.set(limiter)
            return limiter


def event_loop_runs() -> bool:
    """Whether this thread runs an event loop."""
    try:
        anyio.get_cancelled_exc_class()
    except RuntimeError:
        return False
    return True


async def pause(seconds: float) -> None:
    """Sleep, with an event loop or without one."""
    if seconds <= 0:
        return
    if event_loop_runs():
        await anyio.sleep(seconds)
    else:
        time.sleep(seconds)  # noqa: ASYNC251  no loop waits for it
