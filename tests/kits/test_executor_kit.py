"""The executor kit passes a sound executor; each broken one fails the test that is meant for it."""

from __future__ import annotations

import pytest

from orchestra.testing.executors import ExecutorContract
from orchestra.testing.hinting import (
    ForetellingContract,
    HintingContract,
    PreparingContract,
    WarmingContract,
)
from orchestra.testing.kit import Kit
from orchestra.testing.scheduling import PersistingContract, SchedulingContract
from orchestra.testing.scripted import open_executor
from tests.kits import broken_executors, broken_schedulers
from tests.kits.failures import broken, outcomes, unnoticed

BROKEN = broken(broken_executors)
BROKEN_SCHEDULERS = broken(broken_schedulers)


class TestScripted(ExecutorContract):
    many = 20

    @pytest.fixture
    def opener(self):
        return open_executor


def test_each_broken_executor_fails_the_test_that_is_meant_for_it():
    found = outcomes("broken_executors.py", *(f"{name}::{test}" for name, test in BROKEN.items()))

    assert not unnoticed(BROKEN, found)


def test_each_broken_scheduler_fails_the_test_that_is_meant_for_it_and_a_sound_one_none():
    named = set(BROKEN_SCHEDULERS.values())
    sound = [f"TestIsSound::{test}" for test in named]
    found = outcomes(
        "broken_schedulers.py", *sound, *(f"{name}::{test}" for name, test in BROKEN_SCHEDULERS.items())
    )

    assert not unnoticed(BROKEN_SCHEDULERS, found)
    assert found["TestIsSound"]["PASSED"] == named


def test_every_test_of_the_kit_has_caught_something():
    kits = (ExecutorContract, HintingContract, ForetellingContract, WarmingContract, PreparingContract, Kit)
    tests = {name for kit in kits for name in vars(kit) if "test_" in name}
    of_schedulers = {
        name for kit in (SchedulingContract, PersistingContract) for name in vars(kit) if "test_" in name
    }

    assert tests == set(BROKEN.values())
    assert of_schedulers == set(BROKEN_SCHEDULERS.values())
