"""Wait for a coroutine from code that is not async, inside of a running event loop, too (Jupyter)."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


def wait(call: Callable[[], Awaitable[T]]) -> T:
    """The result of ``call``, from an event loop of its own: in another thread if one runs in this."""
    if not _loop_runs_here():
        return anyio.run(call)
    return _wait_in_thread(call)


def _wait_in_thread(call: Callable[[], Awaitable[T]]) -> T:
    """As :func:`wait`. What interrupts the waiting, Ctrl-C above all, cancels ``call`` and waits for its end."""
    outcome: list[Callable[[], T]] = []
    cancel: list[Callable[[], object]] = []
    begun, ended = threading.Event(), threading.Event()

    async def cancellable() -> None:
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scope:
            cancel.append(lambda: loop.call_soon_threadsafe(scope.cancel))
            begun.set()
            result = await call()
            outcome.append(lambda: result)

    def in_thread() -> None:
        try:
            anyio.run(cancellable)
        except BaseException as error:
            failure = error

            def again() -> T:
                raise failure

            outcome.append(again)
        finally:
            begun.set()
            ended.set()

    # A daemon: who interrupts a second time wants the program to end, and the run goes on without us.
    threading.Thread(target=in_thread, name="orchestra", daemon=True).start()
    try:
        ended.wait()
    except BaseException:
        begun.wait()
        for each in cancel:
            with contextlib.suppress(RuntimeError):
                # The loop may have ended by itself meanwhile.
                each()
        ended.wait()
        raise
    return outcome[0]()


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        return True
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())
