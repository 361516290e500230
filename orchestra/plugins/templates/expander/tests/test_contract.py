"""The expander keeps its contract, and is found where it is installed."""

from __future__ import annotations

from functools import partial

import pytest
from orchestra import plugins
from orchestra.testing.expanders import (
    ChoicesContract,
    CountingContract,
    ExpanderContract,
    ExpanderOpener,
    InitialContract,
    IntegerIntervalContract,
    IntervalContract,
    LogIntervalContract,
    SeededContract,
    StaticContract,
)

from orchestra_newname import Options, open_expander


class TestContract(
    ChoicesContract,
    IntervalContract,
    IntegerIntervalContract,
    LogIntervalContract,
    InitialContract,
    SeededContract,
    StaticContract,
    CountingContract,
    ExpanderContract,
):
    """Leave out the kits of what the expander can't do, or does on purpose in another way."""

    @pytest.fixture
    def opener(self) -> ExpanderOpener:
        return partial(open_expander, Options())


def test_it_is_installed_under_its_name() -> None:
    assert plugins.load(plugins.find("expander", "newname")) is open_expander
