"""The executor kit passes a sound executor; each broken one fails the test that is meant for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestra.testing.executors import ExecutorContract
from orchestra.testing.hinting import (
    ForetellingContract,
    HintingContract,
    PreparingContract,
    WarmingContract,
)
from orchestra.testing.kit import Kit
from orchestra.testing.scripted import open_executor
from tests.kits import broken_executors

BROKEN = {
    name: found.caught_by
    for name, found in vars(broken_executors).items()
    if name.startswith("Test") and found.caught_by
}


class TestScripted(ExecutorContract):
    many = 20

    @pytest.fixture
    def opener(self):
        return open_executor


@pytest.fixture(scope="module")
def report():
    """What pytest says of each broken executor and the test that must catch it."""
    chosen = " or ".join(f"({name} and {test})" for name, test in BROKEN.items())
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--tb=no", "-rA", "-p", "no:cacheprovider"),
            *("-p", "no:xdist", "-o", "python_files=*.py", "-k", f"({chosen}) and not trio"),
            "tests/kits/broken_executors.py",
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return result.stdout.splitlines()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_executor_fails_the_test_that_is_meant_for_it(report, name):
    assert any(line.startswith("FAILED") and f"::{name}::{BROKEN[name]}" in line for line in report), report


def test_every_test_of_the_kit_has_caught_something():
    kits = (ExecutorContract, HintingContract, ForetellingContract, WarmingContract, PreparingContract, Kit)
    tests = {name for kit in kits for name in vars(kit) if "test_" in name}

    assert tests == set(BROKEN.values())
