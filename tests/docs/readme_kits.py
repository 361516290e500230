"""The kits that the plugins of README pass: copied beside them by the test, and run there."""

from __future__ import annotations

from functools import partial

import my_executor
import my_expander
import my_resolver
import my_store
import pytest

from orchestra.contracts import Source
from orchestra.testing.executors import ExecutorContract
from orchestra.testing.expanders import ExpanderContract
from orchestra.testing.resolvers import HostileSourcesContract, ResolverContract
from orchestra.testing.stores import StoreContract


class TestDiagonal(ExpanderContract):
    @pytest.fixture
    def opener(self):
        return partial(my_expander.open_expander, my_expander.Options())


class TestEnv(HostileSourcesContract, ResolverContract):
    @pytest.fixture
    def opener(self, monkeypatch):
        monkeypatch.setenv("NAME", "value")
        return partial(my_resolver.open_resolver, my_resolver.Options())

    @pytest.fixture
    def source(self, base):
        return Source(scheme="env", value="NAME", base=base)

    @pytest.fixture
    def missing(self, base):
        return Source(scheme="env", value="NOT_SET_BY_ANYBODY", base=base)

    @pytest.fixture
    def hostile(self, base):
        return [Source(scheme="env", value=value, base=base) for value in ("", "../x", "A/B")]


class TestNice(ExecutorContract):
    many = 20

    @pytest.fixture
    def opener(self):
        return partial(my_executor.open_executor, my_executor.Options(by=1))


class TestLines(StoreContract):
    @pytest.fixture
    def opener(self, tmp_path):
        return partial(my_store.open_store, my_store.Options(home=tmp_path))
