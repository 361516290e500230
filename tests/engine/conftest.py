"""Fixtures for the tests of the engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.engine.workbench import Bench, open_bench


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop that a test runs on."""
    return request.param


@pytest.fixture
async def bench(home: Path) -> AsyncGenerator[Bench]:
    """An engine with a store in memory and an executor that goes by scripts."""
    async with open_bench(home) as opened:
        yield opened
