"""Run a file of broken plugins against their kit, in a pytest of its own, and tell which tests failed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

_LINE = re.compile(r"^(PASSED|FAILED|ERROR|XFAIL) \S+?::(\w+)::(\w+)")
_ROOT = Path(__file__).parents[2]


def outcomes(file: str, *tests: str) -> dict[str, dict[str, set[str]]]:
    """By class and outcome, the names of the ``tests`` (``CLASS`` or ``CLASS::NAME``) of ``tests/kits/FILE``.

    A test that runs with several parameters may be there with several outcomes. What is broken is broken on each
    event loop: one is enough.
    """
    without = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest", "--noconftest")
    options = ("-q", "--tb=no", "-rA", "-k", "not trio", "-o", "python_files=*.py", *without)
    chosen = [f"tests/kits/{file}::{test}" for test in tests]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *chosen],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=100,
    )
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for line in result.stdout.splitlines():
        if match := _LINE.match(line):
            outcome, name, test = match.groups()
            found[name][outcome].add(test)
    assert found, result.stdout + result.stderr
    return found


def broken(module: ModuleType) -> dict[str, str]:
    """The broken plugins of a module, and which test is meant to catch each."""
    return {
        name: found.caught_by
        for name, found in vars(module).items()
        if name.startswith("Test") and found.caught_by
    }


def unnoticed(meant: dict[str, str], found: dict[str, dict[str, set[str]]]) -> dict[str, str]:
    """The broken plugins that passed the test that is meant for them."""
    return {name: test for name, test in meant.items() if test not in found[name]["FAILED"]}
