"""The expander kit notices what is wrong: each broken expander fails the test that is meant for it."""

from __future__ import annotations

import pytest

from tests.kits import broken_expanders
from tests.kits.failures import broken, outcomes

BROKEN = broken(broken_expanders)


@pytest.fixture(scope="module")
def found():
    meant = (f"{name}::{test}" for name, test in BROKEN.items())
    return outcomes("broken_expanders.py", "TestSound", "TestOverridesATestOpenly", *meant)


def test_a_sound_expander_passes_the_whole_kit(found):
    assert not found["TestSound"]["FAILED"]
    assert len(found["TestSound"]["PASSED"]) > 20


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_expander_fails_the_test_that_is_meant_for_it(found, name):
    assert BROKEN[name] in found[name]["FAILED"]


def test_every_test_of_the_kit_has_a_plugin_that_fails_it(found):
    assert found["TestSound"]["PASSED"] == set(BROKEN.values())


def test_a_test_may_be_overridden_with_a_reason(found):
    assert found["TestOverridesATestOpenly"]["XFAIL"] == {"test_never_proposes_more_than_max_trials"}
    assert not found["TestOverridesATestOpenly"]["FAILED"]
