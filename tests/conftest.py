"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.process import Shell

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Started in the background of a script: what is started in turn would ignore an interrupt, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings, the home or the terminal of whoever runs it."""
    for name in ("ORCHESTRA_HOME", "ORCHESTRA_FAILPOINT", "ORCHESTRA_STORE", "ORCHESTRA_ATTEMPT", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORCHESTRA_CONFIG", "/dev/null")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that is not there yet."""
    return tmp_path / "home"


@pytest.fixture
def shell(home: Path, tmp_path: Path) -> Shell:
    """Real processes in that home."""
    return Shell(home, tmp_path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as there are processors: half of what tests do is to wait for processes."""
    return (os.cpu_count() or 1) * 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Who has nothing left to do takes over tests of others: in shares the last one ran alone for a minute.

    Each begins with tests that are next to each other, so what a module sets up is seldom set up twice.
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
