"""The store keeps its contract, and is found where it is installed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from orchestra import plugins
from orchestra.testing.stores import StoreContract, StoreOpener

from orchestra_newname import Options, open_store


class TestContract(StoreContract):
    """Add WatchableContract for a store with changes(), MarkingContract for one with marks()."""

    @pytest.fixture
    def opener(self, tmp_path: Path) -> StoreOpener:
        return partial(open_store, Options(home=tmp_path))


def test_it_is_installed_under_its_name() -> None:
    assert plugins.load(plugins.find("store", "newname")) is open_store
