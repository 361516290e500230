"""Plugins whose openers hold a task group work wherever they are first needed, and are opened once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestra import plugins
from orchestra.engine.orchestra import Orchestra
from orchestra.model.filters import RunQuery

SAMPLES = Path(__file__).parent.parent / "samples"
pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


class Opened:
    """Opens plugins as usual, but each within a task group of its own that does something until the end."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.closed: list[str] = []

    @asynccontextmanager
    async def __call__(self, kind: str, name: str, *arguments: Any, **options: Any) -> AsyncGenerator[Any]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            async with plugins.open_plugin(kind, name, *arguments, **options) as plugin:  # type: ignore[arg-type]
                self.names.append(name)
                await anyio.sleep(0.05)
                yield plugin
            self.closed.append(name)
            group.cancel_scope.cancel()


async def test_a_queue_and_a_batch_in_it_share_plugins_that_hold_task_groups(home: Path) -> None:
    opened = Opened()
    async with Orchestra(home, cwd=SAMPLES / "batch") as orch:
        orch.session._open_plugin = opened  # pyright: ignore[reportPrivateUsage]
        await orch.stage("say.py", {"msg": ["a", "b"]})
        for text in ("c", "d", "e"):
            await orch.stage("say.py", {"msg": text})

        await orch.queue(jobs=3)

        runs = await orch.list(RunQuery(kinds=frozenset(("run", "batch"))))
        assert [run.state for run in runs] == ["completed"] * 6
        assert sorted(opened.names) == ["grid", "local"]
    assert sorted(opened.closed) == ["grid", "local"]
