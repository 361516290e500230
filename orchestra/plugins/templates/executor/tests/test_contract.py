"""The executor keeps its contract, and is found where it is installed."""

from __future__ import annotations

from functools import partial

import pytest
from orchestra import plugins
from orchestra.testing.executors import ExecutorContract, ExecutorOpener

from orchestra_newname import Options, open_executor


class TestContract(ExecutorContract):
    many = 20

    @pytest.fixture
    def opener(self) -> ExecutorOpener:
        return partial(open_executor, Options(poll=0.01))


def test_it_is_installed_under_its_name() -> None:
    assert plugins.load(plugins.find("executor", "newname")) is open_executor
