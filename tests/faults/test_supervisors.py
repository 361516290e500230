"""Supervisors that are killed or stopped, operations that die, flee or leave something behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from orchestra.child import supervisor
from orchestra.model.run import Run
from orchestra.workspace import records
from tests.faults.site import OPERATIONS, Site, kill, wait_for


def started(site: Site, *arguments: str) -> tuple[subprocess.Popen[str], Run]:
    """A foreground run whose operation has said that it is ready."""
    process = site.start("run", "-y", *arguments)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(("ready", "0")), line
    run = wait_for(lambda: [run for run in site.runs() if run.state == "running"], "the start")[-1]
    return process, run


def test_a_killed_supervisor_loses_the_run_and_takes_its_whole_tree_along(
    site: Site, canary: subprocess.Popen[str]
) -> None:
    process, run = started(site, "family.py", "stay=600")
    kill(site.supervisor_of(run))

    output = process.communicate(timeout=30)[0]
    assert process.returncode == 75
    assert f"run {run.id} is lost: its supervisor died" in output
    (run,) = site.runs()
    assert (run.state, run.exit_code, run.reason) == ("lost", None, "its supervisor died")


def test_no_output_is_lost_with_a_supervisor_where_the_operation_writes_it_itself(site: Site) -> None:
    site.shell.environment["ORCHESTRA_OUTPUT"] = "direct"
    script = site.home.parent / "write.sh"
    script.write_text(
        '#!/bin/sh\necho ready\nread line < "$JOURNAL.begin"\nseq 5000\ntouch "$JOURNAL.done"\nsleep 600\n'
    )
    script.chmod(0o755)
    begin, done = Path(f"{site.journal}.begin"), Path(f"{site.journal}.done")
    os.mkfifo(begin)
    process, run = started(site, str(script))
    above = site.supervisor_of(run)

    os.kill(above, signal.SIGSTOP)
    begin.write_text("now\n")
    wait_for(done.exists, "all that is written")
    kill(above)

    shown = process.communicate(timeout=30)[0].splitlines()
    written = ["ready", *map(str, range(1, 5001))]
    assert site.output(run).decode().splitlines() == written
    assert ["ready", *shown[:5000]] == written
    assert site.runs()[0].state == "lost"


def test_a_queue_goes_on_when_a_supervisor_under_it_is_killed(site: Site) -> None:
    site.stage(gate=str(site.gate))
    queue = site.start_queue()
    site.wait_for_starts(1)
    wait_for(lambda: site.states() == ["running"], "the start")

    kill(site.supervisor_of(site.runs()[0]))

    wait_for(lambda: site.states() == ["lost"], "the verdict")
    site.stage()
    wait_for(lambda: sorted(site.states()) == ["completed", "lost"], "the next run")
    assert queue.poll() is None
    assert len(site.executions()) == 2


@pytest.mark.parametrize("change", [{"boot": "another"}, {"start": 1}], ids=["reboot", "pid used again"])
def test_a_pid_that_belongs_to_somebody_else_by_now_is_never_signalled(
    site: Site, canary: subprocess.Popen[str], change: dict[str, object]
) -> None:
    site.stage(gate=str(site.gate))
    queue = site.start_queue()
    site.wait_for_starts(1)
    (run,) = wait_for(lambda: [run for run in site.runs() if run.state == "running"], "the start")
    above = site.supervisor_of(run)
    kill(queue)
    kill(above)
    directory = site.layout.attempt_directory(site.layout.run_directory(run), run.attempt)
    fence = json.loads((directory / "fence").read_text())
    fence["identity"].update(pid=canary.pid, **change)
    (directory / "fence").write_text(json.dumps(fence))
    token = (
        f"{canary.pid}:{fence['identity']['start']}:{fence['identity']['boot']}:{fence['identity']['host']}"
    )
    assert run.handle is not None
    site.change(run, handle={**json.loads(json.dumps(handle_of(run))), "token": token})

    stopped = site.run("stop", "-y", run.id)

    assert "Traceback" not in stopped.output
    (run,) = site.runs()
    reason = "the machine restarted" if "boot" in change else "its supervisor died"
    assert (run.state, run.reason) == ("lost", reason)


def handle_of(run: Run) -> dict[str, str]:
    assert run.handle is not None
    return {"executor": run.handle.executor, "job": run.handle.job}


def test_four_judges_of_one_run_make_one_transition(site: Site) -> None:
    site.stage(gate=str(site.gate))
    queue = site.start_queue()
    site.wait_for_starts(1)
    (run,) = wait_for(lambda: [run for run in site.runs() if run.state == "running"], "the start")
    kill(queue)
    kill(site.supervisor_of(run))
    listings = [site.start("runs", "--json") for _ in range(4)]

    told = [json.loads(listing.communicate(timeout=60)[0]) for listing in listings]

    assert {each["status"] for runs in told for each in runs if each["id"] == run.id} == {"lost"}
    events = (site.layout.run_directory(run) / ".orchestra" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events].count("run.lost") == 1


def test_an_end_that_comes_while_it_is_judged_is_the_end_that_counts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.stage()
    queue = site.start_queue(failpoint="supervisor.exited:stop")
    wait_for(lambda: [one for one in site.executions() if one.end], "the end of the operation")
    (run,) = wait_for(lambda: [run for run in site.runs() if run.state == "running"], "the start")
    kill(queue)
    above = site.supervisor_of(run)
    wait_for(lambda: Path(f"/proc/{above}/stat").read_text().rpartition(")")[2].split()[0] == "T", "the stop")

    def end_it_first(directory: Path) -> object:
        os.kill(above, signal.SIGCONT)
        wait_for(lambda: supervisor.process_start(above) is None, "the end of the supervisor")
        monkeypatch.undo()
        return records.probe(directory)

    monkeypatch.setattr(records, "probe", end_it_first)
    site.judge()

    assert site.states() == ["completed"]


def test_an_operation_that_a_signal_ends_is_terminated(site: Site) -> None:
    (site.layout.home.parent / "die.sh").write_text("#!/bin/sh\nkill -9 $$\n")
    (site.layout.home.parent / "die.sh").chmod(0o755)

    ended = site.shell.run("run", "-y", "die.sh")

    assert ended.code == 256 - signal.SIGKILL
    assert [(run.state, run.exit_code) for run in site.runs()] == [("terminated", -9)]


def test_what_can_not_be_executed_says_why_and_is_not_tried_again(site: Site) -> None:
    script = site.layout.home.parent / "bad.sh"
    script.write_text("#!/nowhere/interpreter\n")
    script.chmod(0o755)

    ended = site.shell.run("run", "-y", "bad.sh")

    assert ended.code == 126
    assert "could not start" in ended.output and "Traceback" not in ended.output
    assert [(run.state, run.exit_code, run.attempt) for run in site.runs()] == [("error", 126, 1)]


def test_a_run_ends_with_its_main_process_and_ends_what_that_left_behind(site: Site) -> None:
    began = time.monotonic()

    ended = site.run("run", "-y", "family.py")

    assert (ended.code, time.monotonic() - began < 25) == (4, True)
    (run,) = site.runs()
    directory = site.layout.attempt_directory(site.layout.run_directory(run), 1)
    assert len(json.loads((directory / "exit").read_text())["leftovers"]) == 2


@pytest.mark.parametrize("how", ["foreground", "queue"])
def test_what_kills_its_supervisor_each_time_is_given_up_in_the_end(site: Site, how: str) -> None:
    script = site.home.parent / "rude.py"
    script.write_text("import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)\n")
    command = ("run", "-y", "rude.py", "--retries", "10", "--retry-on", "lost")
    staged = ("--stage",) if how == "queue" else ()

    ended = site.shell.run(*command, *staged)
    if how == "queue":
        ended = site.queue()

    assert "Traceback" not in ended.output
    (run,) = site.runs()
    assert (run.state, run.attempt, run.executions) == ("lost", 5, 5)
    assert run.reason == "its supervisor died; gave up after 5 attempts"
    assert run.reason in ended.output


def test_a_run_that_an_operation_starts_in_the_background_is_left_alone(site: Site) -> None:
    site.shell.environment.update(GATE=str(site.gate), PROJECT=str(OPERATIONS))

    outer = site.run("run", "-y", "nested.py")

    assert outer.code == 0, outer.output
    site.wait_for_starts(1)
    assert sorted(site.states()) == ["completed", "running"]
    site.open_gate()
    site.wait_for_rest()
    assert site.states() == ["completed"] * 2


def test_a_stopped_run_of_another_host_is_not_judged_here(site: Site) -> None:
    (run,) = site.stage()
    assert site.queue(failpoint="supervisor.recorded:kill9,run.submitted:kill9").code < 0
    site.wait_for_rest()
    directory = site.layout.attempt_directory(site.layout.run_directory(run), 1)
    record, fence = (directory / "exit").read_bytes(), json.loads((directory / "fence").read_text())
    (directory / "exit").unlink()
    elsewhere = {**fence, "identity": {**fence["identity"], "host": "elsewhere/0", "boot": "another"}}
    (directory / "fence").write_text(json.dumps(elsewhere))
    (before,) = site.runs()
    site.change(before, state="running", worker=worker_of(elsewhere), lease=1)

    site.judge()
    assert site.states() == ["running"]
    (directory / "exit").write_bytes(record)
    site.judge()
    assert site.states() == ["completed"]


def worker_of(fence: dict[str, object]) -> object:
    from msgspec import convert

    from orchestra.model.run import Worker

    return convert({"identity": fence["identity"], "nonce": "n", "starter": "queue"}, Worker)
