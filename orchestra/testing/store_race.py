"""Handles that act at the same time, as processes would: each in a thread, with an event loop of its own."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias, TypeVar

import anyio
import anyio.to_thread

from orchestra.contracts import Store

T = TypeVar("T")

StoreOpener: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]
"""Each call gives one more handle on the same store."""

HANDLES = 8
ROUNDS = 20
"""One round shows few races; a store whose claims are not exclusive passes it most of the time."""


async def race(
    opener: StoreOpener,
    backend: str,
    step: Callable[[Store, int, int], Awaitable[T]],
    *,
    handles: int = HANDLES,
    rounds: int = ROUNDS,
) -> list[list[T]]:
    """Let each handle take ``step(store, contestant, round)`` at the same time, ``rounds`` times.

    The result has a list for each round, with one item for each contestant.
    """
    barrier = threading.Barrier(handles, timeout=60.0)
    results: dict[int, list[T]] = {}

    async def contest(contestant: int) -> list[T]:
        async with opener() as store:
            taken: list[T] = []
            for round_ in range(rounds):
                barrier.wait()
                taken.append(await step(store, contestant, round_))
            return taken

    def in_thread(contestant: int) -> None:
        try:
            results[contestant] = anyio.run(contest, contestant, backend=backend)
        except BaseException:
            barrier.abort()
            raise

    limiter = anyio.CapacityLimiter(handles)
    async with anyio.create_task_group() as tasks:
        for contestant in range(handles):
            tasks.start_soon(
                lambda number: anyio.to_thread.run_sync(in_thread, number, limiter=limiter), contestant
            )
    return [[results[contestant][round_] for contestant in range(handles)] for round_ in range(rounds)]
