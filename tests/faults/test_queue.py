"""Queues that are killed, told to end, or given runs that can't be run."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from orchestra.child.supervisor import process_start
from orchestra.model.run import Run
from orchestra.workspace.layout import control
from tests.faults.site import Site, kill, wait_for


def running(site: Site, count: int) -> list[Run]:
    """Wait until so many runs are running, as the store has it."""
    wait_for(lambda: site.states().count("running") == count, f"{count} running runs")
    return [run for run in site.runs() if run.state == "running"]


def test_runs_outlive_the_queue_that_started_them_and_the_next_goes_on(site: Site) -> None:
    site.stage(count=3, lines=2000, gate=str(site.gate))
    queue = site.start_queue("jobs=3")
    site.wait_for_starts(3)
    running(site, 3)

    kill(queue)

    assert site.run("runs", "-s").output.count("  running  ") == 3
    site.stage()
    assert site.queue("jobs=4").code == 0
    assert sorted(site.states()) == ["completed"] + ["running"] * 3
    site.open_gate()
    site.wait_for_rest()
    assert site.states() == ["completed"] * 4
    assert [queue.state for queue in site.runs("queue")] == ["lost", "completed"]


def test_a_queue_that_is_to_run_once_waits_for_the_slots_of_runs_that_a_killed_one_left(site: Site) -> None:
    site.stage(gate=str(site.gate))
    queue = site.start_queue("jobs=1")
    site.wait_for_starts(1)
    running(site, 1)
    site.stage()
    kill(queue)

    following = site.start_queue("jobs=1", "run-once=yes")
    wait_for(lambda: any(run.state == "running" for run in site.runs("queue")), "the next queue")
    time.sleep(0.3)
    assert (site.states(), following.poll()) == (["running", "staged"], None)
    site.open_gate()
    assert following.wait(timeout=30) == 0
    assert site.states() == ["completed"] * 2


def test_told_to_end_a_queue_leaves_its_runs_running_and_the_next_watches_them(site: Site) -> None:
    site.stage(count=2, gate=str(site.gate))
    queue = site.start_queue("jobs=2")
    site.wait_for_starts(2)
    running(site, 2)
    began = time.monotonic()

    queue.send_signal(signal.SIGTERM)

    output = queue.communicate(timeout=30)[0]
    assert (queue.returncode, time.monotonic() - began < 2) == (0, True), output
    assert "Leaving runs running" in output
    assert site.states() == ["running"] * 2
    other = site.start_queue()
    adopter = lambda: {run.worker.identity.pid for run in site.runs() if run.worker}  # noqa: E731
    wait_for(lambda: adopter() == {other.pid}, "the adoption")
    site.open_gate()
    wait_for(lambda: site.states() == ["completed"] * 2, "the end that the adopter sees")


def test_a_queue_ends_with_its_terminal_and_leaves_its_runs_running(site: Site) -> None:
    site.stage(gate=str(site.gate))
    queue = site.start_queue()
    site.wait_for_starts(1)
    running(site, 1)

    queue.send_signal(signal.SIGHUP)

    assert queue.wait(timeout=30) == 0
    assert site.states() == ["running"]
    site.open_gate()
    site.wait_for_rest()
    assert site.states() == ["completed"]


def test_a_queue_in_the_background_has_no_terminal_to_lose(site: Site) -> None:
    site.run("run", "queue", "-y", "--background", "--run-id", "q")
    pid = int((site.home / "runs" / "q" / ".orchestra" / "pid").read_text())
    wait_for(lambda: [queue.state for queue in site.runs("queue")] == ["running"], "the queue")

    os.kill(pid, signal.SIGHUP)
    site.stage()
    wait_for(lambda: site.states() == ["completed"], "the run of the queue")

    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: process_start(pid) is None, "its end")
    assert [queue.state for queue in site.runs("queue")] == ["completed"]


def test_the_first_interrupt_drains_a_queue_and_the_second_leaves(site: Site) -> None:
    site.stage(count=2, gate=str(site.gate))
    queue = site.start_queue()
    assert queue.stdout is not None
    site.wait_for_starts(1)
    running(site, 1)

    queue.send_signal(signal.SIGINT)
    while "Stopping queue" not in queue.stdout.readline():
        pass
    assert "Waiting for a run to end (interrupt again to leave it running)" in queue.stdout.readline()
    queue.send_signal(signal.SIGINT)

    assert queue.wait(timeout=30) == 0
    assert sorted(site.states()) == ["running", "staged"]


def test_a_queue_that_is_to_stop_its_runs_does(site: Site) -> None:
    site.stage(gate=str(site.gate))
    queue = site.start_queue("--stop-runs")
    site.wait_for_starts(1)
    running(site, 1)

    queue.send_signal(signal.SIGTERM)

    assert queue.wait(timeout=30) == 0
    assert site.states() == ["terminated"]


def test_an_unstarted_claim_is_given_back_at_once_when_a_queue_is_told_to_end(site: Site) -> None:
    queue = site.start_queue(failpoint="supervisor.started:stop")
    site.stage()
    wait_for(lambda: [run for run in site.runs() if run.claimed], "the claim")

    queue.send_signal(signal.SIGTERM)

    assert queue.wait(timeout=30) == 0
    assert site.states() == ["staged"]
    for pid in stopped_supervisors(site):
        kill(pid)


def stopped_supervisors(site: Site) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment, status = (entry / "environ").read_bytes(), (entry / "stat").read_text()
            except OSError:
                continue
            if str(site.home).encode() in environment and status.rpartition(")")[2].split()[0] == "T":
                found.append(int(entry.name))
    return found


def test_what_can_not_be_run_fails_with_a_reason_and_the_queue_goes_on(site: Site) -> None:
    missing, plugin, gone, fine = site.stage(count=4)
    (site.layout.run_directory(missing) / "work.py").unlink()
    shutil.rmtree(site.layout.run_directory(gone))
    site.change(plugin, executor="nowhere")

    ended = site.queue()

    assert ended.code == 0, ended.output
    by_id = {run.id: run for run in site.runs()}
    assert by_id[missing.id].state == "error"
    assert by_id[plugin.id].state == "error"
    assert "nowhere" in (by_id[plugin.id].reason or "")
    assert (by_id[gone.id].state, by_id[gone.id].reason) == ("lost", "its directory is gone")
    assert by_id[fine.id].state == "completed"
    site.forget(gone)


@pytest.mark.parametrize(
    "file", ["run.json", "attempts/1/fence", "attempts/1/exit", "attempts", "events.jsonl"]
)
def test_one_unreadable_run_never_keeps_a_queue_from_the_others(site: Site, file: str) -> None:
    sick, fine = site.stage(count=2)
    kill_after_claim = site.queue(failpoint="queue.claimed:kill9")
    assert kill_after_claim.code < 0
    path = control(site.layout.run_directory(sick)) / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if file == "events.jsonl":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b'{"torn')

    ended = site.queue()

    assert ended.code == 0, ended.output
    assert "Traceback" not in ended.output
    states = {run.id: run.state for run in site.runs()}
    assert states[fine.id] == "completed"
    assert states[sick.id] in ("broken", "completed")
    site.forget(sick)


def test_told_twice_to_end_a_queue_is_gone_at_once_and_leaves_no_claim(site: Site) -> None:
    site.stage(count=3, gate=str(site.gate))
    queue = site.start_queue("jobs=2", failpoint="run.claimed:sleep=1:2")
    site.wait_for_starts(1)

    queue.send_signal(signal.SIGTERM)
    queue.send_signal(signal.SIGTERM)

    assert queue.wait(timeout=10) == 0
    assert not [run for run in site.runs() if run.claimed]
    assert set(site.states()) <= {"running", "staged"}
    site.open_gate()
    site.wait_for_rest()
    assert site.queue().code == 0
    assert site.states() == ["completed"] * 3
