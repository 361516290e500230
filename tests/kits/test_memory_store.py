"""The store in memory keeps the store's contract, so what is tested with it holds for others."""

from __future__ import annotations

from functools import partial

import pytest

from orchestra.testing.memory_store import MemoryData, MemoryOptions, open_memory_store
from orchestra.testing.stores import (
    EnduringContract,
    MarkingContract,
    StoreContract,
    StoreOpener,
    WatchableContract,
)


class TestMemoryStore(WatchableContract, EnduringContract, MarkingContract, StoreContract):
    @pytest.fixture
    def opener(self) -> StoreOpener:
        return partial(open_memory_store, MemoryOptions(data=MemoryData()))
