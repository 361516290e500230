"""Ctrl-C, TERM and a hang-up of the terminal, for foreground runs and batches."""

from __future__ import annotations

import signal
import subprocess

from tests.faults.site import Site, wait_for


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"'{text}' never came")


def test_each_interrupt_of_a_stubborn_run_is_stronger_than_the_one_before(site: Site) -> None:
    process = site.start("run", "-y", "stubborn.py")
    read_until(process, "ready")

    process.send_signal(signal.SIGINT)
    read_until(process, "INT")
    process.send_signal(signal.SIGINT)
    read_until(process, "TERM")
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=30) == 130
    assert [(run.state, run.exit_code) for run in site.runs()] == [("terminated", -9)]


def test_a_run_outlives_its_terminal(site: Site) -> None:
    process = site.start("run", "-y", "work.py", f"gate={site.gate}")
    site.wait_for_starts()
    wait_for(lambda: site.states() == ["running"], "the start")

    process.send_signal(signal.SIGHUP)

    assert process.wait(timeout=30) == 0
    assert site.states() == ["running"]
    site.open_gate()
    site.wait_for_rest()
    assert site.states() == ["completed"]


def test_an_interrupted_batch_stops_its_trial_and_leaves_the_others_pending(site: Site) -> None:
    process = site.start("run", "-y", "work.py", "number=[1,2,3]", f"gate={site.gate}")
    site.wait_for_starts()
    wait_for(lambda: "running" in site.states(), "the start")

    process.send_signal(signal.SIGINT)

    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert {run.flags["number"]: run.state for run in site.runs()} == {
        1: "terminated",
        2: "pending",
        3: "pending",
    }
    (batch,) = site.runs("batch")
    assert batch.state == "terminated"
    assert f"orchestra: to go on with this batch, use 'orchestra run --restart {batch.short_id}'\n" in output
    assert site.queue().code == 0
    assert len(site.executions()) == 1, "no queue takes the trials of a batch"


def test_a_killed_batch_goes_on_with_the_trial_that_is_still_running(site: Site) -> None:
    process = site.start("run", "-y", "work.py", "number=[1,2,3]", f"gate={site.gate}")
    site.wait_for_starts()
    wait_for(lambda: "running" in site.states(), "the start")
    process.kill()
    process.wait()
    site.judge()
    (batch,) = site.runs("batch")
    assert batch.state == "lost"

    again = site.start("run", "-y", "--restart", batch.id)
    read_until(again, "Going on with trial")
    site.open_gate()

    assert again.wait(timeout=30) == 0
    assert site.states() == ["completed"] * 3
    assert len(site.executions()) == 3
