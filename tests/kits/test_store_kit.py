"""The kit notices: stores that are broken on purpose fail the test that is about what they break."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

from orchestra.testing.stores import EnduringContract, MarkingContract, StoreContract, WatchableContract
from tests.kits.broken_stores import BROKEN

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "tests" / "kits" / "broken_store_suite.py"
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


def outcomes(report: Path) -> dict[tuple[str, str], set[str]]:
    """What became of each test: ``passed``, ``failure`` or ``error``, by class and test name."""
    nodes = [f"{SUITE}::Test{name}::{test}" for name, (_, test) in BROKEN.items()]
    nodes += [f"{SUITE}::Test{name}::{OVERRIDDEN}" for name in ("Overrides", "Explains")]
    options = ["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"]
    options += ["-k", "not trio", "--timeout", "60", f"--junitxml={report}"]
    subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", str(report.parent), *options, *nodes],
        cwd=report.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    found: dict[tuple[str, str], set[str]] = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        key = case.attrib["classname"].rpartition(".")[2], case.attrib["name"].partition("[")[0]
        found.setdefault(key, set()).update([child.tag for child in case] or ["passed"])
    return found


def test_each_broken_store_fails_the_test_about_what_it_breaks(tmp_path: Path) -> None:
    found = outcomes(tmp_path / "report.xml")

    assert not [name for name, (_, test) in BROKEN.items() if "failure" not in found[f"Test{name}", test]]
    # A test of the kit is not overridden without a reason.
    assert found["TestOverrides", OVERRIDDEN] == {"failure"}
    assert found["TestExplains", OVERRIDDEN] == {"passed"}


def test_every_test_of_the_kit_has_failed_for_somebody() -> None:
    tests = {
        name
        for kit in (WatchableContract, EnduringContract, MarkingContract, StoreContract)
        for name in dir(kit)
        if name.startswith("test_")
    }

    assert tests == UNBROKEN | {test for _, test in BROKEN.values()}
