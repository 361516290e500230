"""Pauses that are longer than a lease, and starts that nobody hears of: slow, so not with every merge."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from orchestra.engine.session import LEASE
from tests.faults.site import Site, kill, wait_for

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(300)]


def paused(process: subprocess.Popen[str] | int, seconds: float) -> None:
    pid = process if isinstance(process, int) else process.pid

    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def test_a_queue_that_wakes_after_its_lease_finds_its_runs_in_other_hands(site: Site) -> None:
    site.stage(gate=str(site.gate))
    first = site.start_queue()
    site.wait_for_starts()
    wait_for(lambda: site.states() == ["running"], "the start")
    second = site.start_queue()

    paused(first, LEASE + 4)

    (run,) = site.runs()
    assert run.worker is not None and run.worker.identity.pid == second.pid
    site.open_gate()
    wait_for(lambda: site.states() == ["completed"], "the end")
    assert first.poll() is None and second.poll() is None
    assert len(site.executions()) == 1


def test_the_next_queue_watches_the_runs_of_a_killed_one_once_the_lease_is_over(site: Site) -> None:
    site.stage(gate=str(site.gate))
    first = site.start_queue()
    site.wait_for_starts()
    wait_for(lambda: site.states() == ["running"], "the start")
    kill(first)

    second = site.start_queue()

    wait_for(lambda: [run for run in site.runs() if run.worker and run.worker.identity.pid == second.pid])
    site.open_gate()
    wait_for(lambda: site.states() == ["completed"], "the end")


def test_a_supervisor_that_is_paused_is_alive(site: Site) -> None:
    site.stage(gate=str(site.gate))
    queue = site.start_queue()
    site.wait_for_starts()
    (run,) = wait_for(lambda: [run for run in site.runs() if run.state == "running"], "the start")
    kill(queue)
    site.start_queue()

    paused(site.supervisor_of(run), LEASE + 10)

    assert site.states() == ["running"]
    site.open_gate()
    wait_for(lambda: site.states() == ["completed"], "the end")
    assert len(site.executions()) == 1


@pytest.mark.parametrize("point", ["supervisor.started", "supervisor.fence.before"])
def test_a_supervisor_that_dies_before_its_fence_ends_the_run_in_time(site: Site, point: str) -> None:
    site.stage()

    ended = site.run("run", "-y", "queue", "run-once=yes", failpoint=f"{point}:kill9", timeout=120)

    assert ended.code in (0, -signal.SIGKILL), ended.output
    site.wait_for_rest()
    assert site.states()[0] in ("error", "staged")
    assert site.executions() == []
