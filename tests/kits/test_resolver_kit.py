"""The resolver kit notices what is wrong: each broken resolver fails the test that is meant for it."""

from __future__ import annotations

from tests.kits import broken_resolvers
from tests.kits.failures import broken, outcomes, unnoticed

BROKEN = broken(broken_resolvers)


def test_a_sound_resolver_passes_the_whole_kit_and_each_broken_one_fails_the_test_that_is_meant_for_it():
    meant = (f"{name}::{test}" for name, test in BROKEN.items())
    found = outcomes("broken_resolvers.py", "TestSound", *meant)

    assert not unnoticed(BROKEN, found)
    assert not found["TestSound"]["FAILED"]
    assert found["TestSound"]["PASSED"] == set(BROKEN.values())
