"""The small foreign plugins keep their contracts: whoever takes them as a start has a sound one."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from orchestra.contracts import Source
from orchestra.model.batch import Choices
from orchestra.testing.executors import ExecutorContract
from orchestra.testing.expanders import ChoicesContract, ExpanderContract, StaticContract
from orchestra.testing.resolvers import HostileSourcesContract, ResolverContract
from orchestra.testing.stores import StoreContract

sys.path.append(str(Path(__file__).parent / "orchestra-foreign" / "src"))

from orchestra_foreign import executor, expander, resolver, store


class TestShell(ExecutorContract):
    @pytest.fixture
    def opener(self):
        return partial(executor.open_executor, executor.Options(poll=0.01))


class TestZip(ChoicesContract, StaticContract, ExpanderContract):
    choices: ClassVar = {
        "mixed": Choices(values=(1, True, "1", None, 1.5)),
        "one": Choices(values=("only",) * 5),
    }
    space: ClassVar = {
        "shape": Choices(values=tuple("abcdefghijkl")),
        "size": Choices(values=tuple(range(12))),
    }

    @pytest.fixture
    def opener(self):
        return partial(expander.open_expander, expander.Options())


class TestEnv(HostileSourcesContract, ResolverContract):
    @pytest.fixture
    def opener(self, monkeypatch):
        monkeypatch.setenv("NAME", "value")
        return partial(resolver.open_resolver, resolver.Options())

    @pytest.fixture
    def source(self, base):
        return Source(scheme="env", value="NAME", base=base)

    @pytest.fixture
    def missing(self, base):
        return Source(scheme="env", value="NOT_SET_BY_ANYBODY", base=base)

    @pytest.fixture
    def hostile(self, base):
        return [Source(scheme="env", value=value, base=base) for value in ("", "../x", "A/B")]


class TestJson(StoreContract):
    @pytest.fixture
    def opener(self, tmp_path):
        return partial(store.open_store, store.Options(home=tmp_path))
