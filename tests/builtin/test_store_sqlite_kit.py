"""The SQLite store keeps the store's contract."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from orchestra.builtin.store_sqlite import Options, open_store
from orchestra.testing.stores import (
    EnduringContract,
    MarkingContract,
    StoreContract,
    StoreOpener,
    WatchableContract,
)


class TestSqliteStore(WatchableContract, EnduringContract, MarkingContract, StoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> StoreOpener:
        return partial(open_store, Options(home=tmp_path / "home"))
