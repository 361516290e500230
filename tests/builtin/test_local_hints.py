"""How those who wait for hints share the looking."""

from __future__ import annotations

import anyio
import pytest

from orchestra.builtin.local_hints import Turns, Watched

pytestmark = pytest.mark.anyio


async def test_a_follower_that_is_woken_to_lead_and_need_not_passes_the_lead_on() -> None:
    facts: set[str] = set()
    arrived = anyio.Event()

    async def look() -> None:
        if "first" in facts:
            facts.add("third")
            return
        await arrived.wait()
        facts.update(("first", "second"))
        watchers["first"].wake()
        watchers["second"].wake()

    turns = Turns(look)
    watchers = {name: Watched() for name in ("first", "second", "third")}

    async def wait_for(name: str) -> None:
        assert await turns.until(watchers[name], lambda: name in facts, 10)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for name in watchers:
                group.start_soon(wait_for, name)
                await anyio.sleep(0.01)
            arrived.set()
