"""The resolver keeps its contract, and is found where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from orchestra import plugins
from orchestra.contracts import Source
from orchestra.testing.resolvers import HostileSourcesContract, ResolverContract, ResolverOpener

from orchestra_newname import Options, open_resolver

SCHEME = "newname"


class TestContract(HostileSourcesContract, ResolverContract):
    @pytest.fixture
    def opener(self) -> ResolverOpener:
        return partial(open_resolver, Options())

    @pytest.fixture
    def source(self, base: Path) -> Source:
        (base / "data").mkdir()
        (base / "data" / "points.csv").write_text("1,2\n")
        return Source(scheme=SCHEME, value="data", base=base)

    @pytest.fixture
    def missing(self, base: Path) -> Source:
        return Source(scheme=SCHEME, value="none.csv", base=base)

    @pytest.fixture
    def hostile(self, base: Path) -> Sequence[Source]:
        (base / "out").symlink_to("/etc")
        values = ("", ".", "..", "../run", "/etc/hostname", "out/hostname", ".orchestra", "a\0b")
        return [Source(scheme=SCHEME, value=value, base=base) for value in values]


def test_it_is_installed_under_its_name() -> None:
    assert plugins.load(plugins.find("resolver", SCHEME)) is open_resolver
