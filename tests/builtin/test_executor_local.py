"""The executor of this machine."""

from __future__ import annotations

from functools import partial

import pytest

from orchestra.builtin.executor_local import Options, open_executor
from orchestra.testing.executors import ExecutorContract, HintingContract


class TestKit(HintingContract, ExecutorContract):
    @pytest.fixture
    def opener(self, tmp_path_factory):
        home = tmp_path_factory.getbasetemp() / "home"
        home.mkdir(exist_ok=True)
        return partial(open_executor, Options(home=home))
