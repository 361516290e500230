"""The store's kit for each broken store: run by ``test_store_kit.py`` in a process of its own, to fail."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestra.testing.memory_store import MemoryData, MemoryStore
from orchestra.testing.stores import (
    EnduringContract,
    MarkingContract,
    StoreContract,
    StoreOpener,
    WatchableContract,
)
from tests.kits.broken_stores import BROKEN


def _kit(store: type[MemoryStore]) -> type:
    def opener(self: Any) -> StoreOpener:
        data = MemoryData()

        @asynccontextmanager
        async def open_it() -> Any:
            yield store(data)

        return open_it

    members = {"opener": pytest.fixture(opener), "prompt": 0.5, "__module__": __name__}
    return type("Kit", (WatchableContract, EnduringContract, MarkingContract, StoreContract), members)


for _name, (_store, _) in BROKEN.items():
    globals()[f"Test{_name}"] = _kit(_store)


class TestOverrides(_kit(MemoryStore)):  # type: ignore[misc]
    async def test_flags_keep_their_types(self) -> None:
        """Gone without a word."""


class TestExplains(_kit(MemoryStore)):  # type: ignore[misc]
    @pytest.mark.xfail(reason="this store takes strings only")
    async def test_flags_keep_their_types(self) -> None:
        raise AssertionError
