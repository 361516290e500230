"""The kit notices: stores that are broken on purpose fail the test that is about what they break."""

from __future__ import annotations

from orchestra.testing.stores import EnduringContract, MarkingContract, StoreContract, WatchableContract
from tests.kits.broken_stores import BROKEN
from tests.kits.failures import outcomes, unnoticed

OVERRIDDEN = "test_no_test_of_the_kit_is_overridden"

# Not about a promise that a store could break without breaking another one.
UNBROKEN = {
    OVERRIDDEN,
    "test_a_big_record_survives",
    "test_no_runs_are_no_trouble",
    "test_an_update_is_kept_at_the_next_revision",
    "test_a_changed_run_is_found_where_it_belongs_now",
    "test_a_released_run_can_be_claimed_again",
    "test_a_run_that_ended_is_claimed_again_for_its_next_attempt",
    "test_a_change_by_the_same_handle_wakes",
    "test_a_change_between_two_waits_is_not_missed",
    "test_waiting_can_be_cancelled_and_begun_again",
}


def test_each_broken_store_fails_the_test_about_what_it_breaks() -> None:
    meant = {f"Test{name}": test for name, (_, test) in BROKEN.items()}
    others = (f"{name}::{OVERRIDDEN}" for name in ("TestOverrides", "TestExplains"))

    found = outcomes("broken_store_suite.py", *(f"{name}::{test}" for name, test in meant.items()), *others)

    assert not unnoticed(meant, found)
    # A test of the kit is not overridden without a reason.
    assert found["TestOverrides"] == {"FAILED": {OVERRIDDEN}}
    assert found["TestExplains"] == {"PASSED": {OVERRIDDEN}}


def test_every_test_of_the_kit_has_failed_for_somebody() -> None:
    tests = {
        name
        for kit in (WatchableContract, EnduringContract, MarkingContract, StoreContract)
        for name in dir(kit)
        if name.startswith("test_")
    }

    assert tests == UNBROKEN | {test for _, test in BROKEN.values()}
