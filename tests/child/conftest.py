"""Fixtures for tests of supervisors."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.child.attempts import Bench


@pytest.fixture
def make_bench(tmp_path, tmp_path_factory):
    """A function that makes a bench."""
    benches = []

    def make(forked: bool = False) -> Bench:
        benches.append(Bench(tmp_path, tmp_path_factory.getbasetemp() / "orchestra-lib", forked))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture(params=["plain", "forked"])
def bench(make_bench, request):
    """Supervisors started plainly, and forked by a launcher."""
    return make_bench(request.param == "forked")


@pytest.fixture
def plain(make_bench):
    """Supervisors started plainly: where the way of starting makes no difference."""
    return make_bench()


_CANARY = """
import signal, sys, time
def caught(number, frame):
    print(number, flush=True)
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, caught)
print("ready", flush=True)
while True:
    time.sleep(10)
"""


@pytest.fixture
def canary():
    """A process that nobody may signal. It reports each signal, and its own death."""
    process = subprocess.Popen([sys.executable, "-I", "-c", _CANARY], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    told, _ = process.communicate()
    assert alive, "the canary is dead"
    assert told == "", f"the canary was signalled: {told}"
