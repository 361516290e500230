"""What blocks the event loop is told of while it does."""

from __future__ import annotations

import threading
import time

import anyio
import pytest

from orchestra.engine.watchdog import watch_loop
from tests.engine.workbench import Bench

pytestmark = pytest.mark.anyio
LOOK = 0.1


def a_plugin_that_blocks(bench: Bench) -> None:
    deadline = time.monotonic() + 20
    while not any("blocked" in line for line in bench.lines):
        assert time.monotonic() < deadline
        time.sleep(LOOK / 10)
    # It is not told of again.
    time.sleep(2 * LOOK)


async def test_a_loop_that_is_blocked_is_told_of_once_with_what_blocks_it_and_when_it_goes_on(
    bench: Bench,
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: watch_loop(bench.session, look=LOOK))
        await anyio.sleep(LOOK)
        a_plugin_that_blocks(bench)
        await bench.until(lambda: len(bench.lines) > 1)
        group.cancel_scope.cancel()

    blocked, goes_on = bench.lines[:2]
    assert blocked.startswith("WARNING: [orchestra] The event loop has been blocked for 0.3 seconds")
    assert f"a_plugin_that_blocks {__file__}:" in blocked
    assert goes_on == "WARNING: [orchestra] The event loop goes on"


async def test_a_loop_that_comes_round_is_not_told_of_and_its_thread_ends_with_the_watch(
    bench: Bench,
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: watch_loop(bench.session, look=0.3))
        await anyio.sleep(0.5)
        group.cancel_scope.cancel()

    assert bench.lines == []
    await bench.until(lambda: all(thread.name != "orchestra-watchdog" for thread in threading.enumerate()))


async def test_a_queue_is_watched(bench: Bench) -> None:
    async with bench.a_queue():
        await bench.until(
            lambda: any(thread.name == "orchestra-watchdog" for thread in threading.enumerate())
        )
