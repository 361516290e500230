"""What blocks the event loop is told of while it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import anyio
import pytest

from orchestra.engine.session import LEASE
from orchestra.engine.watchdog import watch_loop
from orchestra.model.filters import Wanted
from orchestra.testing.builders import a_worker
from tests.engine.workbench import Bench

pytestmark = pytest.mark.anyio
LOOK = 0.1


def a_plugin_that_blocks(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not until():
        assert time.monotonic() < deadline
        time.sleep(LOOK / 10)


def is_told(bench: Bench, text: str = "blocked") -> bool:
    return any(text in line for line in bench.lines)


async def test_a_loop_that_is_blocked_is_told_of_once_with_what_blocks_it_and_when_it_goes_on(
    bench: Bench,
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: watch_loop(bench.session, look=LOOK))
        await anyio.sleep(LOOK)
        a_plugin_that_blocks(lambda: is_told(bench))
        # It is not told of again.
        later = time.monotonic() + 2 * LOOK
        a_plugin_that_blocks(lambda: time.monotonic() > later)
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


async def test_leases_are_renewed_while_the_loop_is_blocked(bench: Bench) -> None:
    run = await bench.claim(await bench.make())
    bench.clock.advance(LEASE - 1)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: watch_loop(bench.session, look=LOOK))
        await anyio.sleep(LOOK)
        lease = bench.data.runs[run.id].lease
        a_plugin_that_blocks(lambda: bench.data.runs[run.id].lease != lease)
        bench.clock.advance(LEASE - 1)
        others = await bench.store.claim(a_worker(), LEASE, 1, Wanted(ids=(run.id,), expired=True))
        group.cancel_scope.cancel()

    assert others == ()
    assert (await bench.store.get(run.id)).worker == bench.session.worker


async def test_a_loop_that_does_not_come_back_leaves_its_runs_to_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra.engine.watchdog.MOST_RENEWED", 0.0)
    run = await bench.claim(await bench.make())
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: watch_loop(bench.session, look=LOOK))
        await anyio.sleep(LOOK)
        bench.clock.advance(LEASE + 1)
        a_plugin_that_blocks(lambda: is_told(bench, "its runs are left to others"))
        (taken,) = await bench.store.claim(a_worker(), LEASE, 1, Wanted(ids=(run.id,), expired=True))
        group.cancel_scope.cancel()

    assert taken.id == run.id


async def test_a_queue_is_watched(bench: Bench) -> None:
    async with bench.a_queue():
        await bench.until(
            lambda: any(thread.name == "orchestra-watchdog" for thread in threading.enumerate())
        )
