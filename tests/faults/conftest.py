"""A home with real processes, operations that keep a journal, and a bystander that nobody may touch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.site import Site
from tests.process import Shell

CANARY = """
import signal, sys, time
def note(number, frame):
    sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, note)
sys.stdout.write("ready\\n"); sys.stdout.flush()
while True: time.sleep(3600)
"""


@pytest.fixture
def site(shell: Shell, tmp_path: Path) -> Iterator[Site]:
    """Where faults happen. At the end everything must be at rest and every invariant hold."""
    site = Site(shell, tmp_path)
    yield site
    site.close()


@pytest.fixture
def canary() -> Iterator[subprocess.Popen[str]]:
    """A process that is none of ours: it must be alive and without a signal at the end."""
    process = subprocess.Popen([sys.executable, "-c", CANARY], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    assert process.poll() is None, "a process that is none of ours was ended"
    os.kill(process.pid, signal.SIGKILL)
    assert process.stdout.read() == "", "a process that is none of ours was signalled"
    process.stdout.close()
    process.wait()
