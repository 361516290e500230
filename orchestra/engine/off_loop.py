"""Work that may take long or must be finished, with an event loop or without one."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def off_loop(work: Callable[[], T]) -> T:
    """The result of ``work``: from a worker thread inside of an event loop, called here outside of one."""
    if not _in_event_loop():
        return work()
    import anyio

    return await anyio.to_thread.run_sync(work)


async def shielded(work: Callable[[], Awaitable[T]]) -> T:
    """The result of ``work``, which is brought to its end even if the caller is cancelled meanwhile."""
    if not _in_event_loop():
        return await work()
    import anyio

    results: list[T] = []
    with anyio.CancelScope(shield=True):
        results.append(await work())
    return results[0]


async def shielded_for(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Bring ``work`` to its end even if the caller is cancelled meanwhile; inside of an event loop for ``seconds``."""
    if not _in_event_loop():
        await work()
        return
    import anyio

    with anyio.move_on_after(seconds, shield=True):
        await work()


def _in_event_loop() -> bool:
    anyio = sys.modules.get("anyio")
    if anyio is None:
        return False
    try:
        anyio.get_cancelled_exc_class()
    except (AttributeError, RuntimeError):
        # No loop runs, or another thread has only begun to import anyio.
        return False
    return True
