"""Work that may take long, kept away from an event loop if there is one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def off_loop(work: Callable[[], T]) -> T:
    """The result of ``work``: from a worker thread inside of an event loop, called here outside of one."""
    if not _in_event_loop():
        return work()
    import anyio

    return await anyio.to_thread.run_sync(work)


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
