"""The resolver kit notices what is wrong: each broken resolver fails the test that is meant for it."""

from __future__ import annotations

import pytest

from tests.kits import broken_resolvers
from tests.kits.failures import broken, outcomes

BROKEN = broken(broken_resolvers)


@pytest.fixture(scope="module")
def found():
    meant = (f"{name}::{test}" for name, test in BROKEN.items())
    return outcomes("broken_resolvers.py", "TestSound", *meant)


def test_a_sound_resolver_passes_the_whole_kit(found):
    assert not found["TestSound"]["FAILED"]
    assert len(found["TestSound"]["PASSED"]) > 8


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_resolver_fails_the_test_that_is_meant_for_it(found, name):
    assert BROKEN[name] in found[name]["FAILED"]


def test_every_test_of_the_kit_has_a_plugin_that_fails_it(found):
    assert found["TestSound"]["PASSED"] == set(BROKEN.values())
