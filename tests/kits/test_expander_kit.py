"""The expander kit notices what is wrong: each broken expander fails the test that is meant for it."""

from __future__ import annotations

from tests.kits import broken_expanders
from tests.kits.failures import broken, outcomes, unnoticed

BROKEN = broken(broken_expanders)


def test_a_sound_expander_passes_the_whole_kit_and_each_broken_one_fails_the_test_that_is_meant_for_it():
    meant = (f"{name}::{test}" for name, test in BROKEN.items())
    found = outcomes("broken_expanders.py", "TestSound", "TestOverridesATestOpenly", *meant)

    assert not unnoticed(BROKEN, found)
    assert not found["TestSound"]["FAILED"]
    assert found["TestSound"]["PASSED"] == set(BROKEN.values())
    # A test may be overridden with a reason.
    assert found["TestOverridesATestOpenly"]["XFAIL"] == {"test_never_proposes_more_than_max_trials"}
    assert not found["TestOverridesATestOpenly"]["FAILED"]
