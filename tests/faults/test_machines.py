"""Machines and containers that end with everything in them, and come back: told apart from those that are slow."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from orchestra.child import supervisor
from orchestra.model.run import Run
from tests.faults.site import OPERATIONS, Site, wait_for

BOOT = Path("/proc/sys/kernel/random/boot_id")
ISOLATED = ["unshare", "-Urmpfu", "--mount-proc", "--kill-child", "bash", "-c"]


class Machine:
    """Processes that see no others, and all die at once; ``boot`` and ``host`` are what they take it for."""

    def __init__(self, site: Site, *, boot: str | None = None, host: str | None = None) -> None:
        self.site = site
        folder = site.home.parent
        orders = []
        if boot is not None:
            (folder / "boot_id").write_text(f"{boot}\n")
            orders.append(f"mount --bind {shlex.quote(str(folder / 'boot_id'))} {BOOT}")
        if host is not None:
            orders.append(f"hostname {host}")
        self.orders = orders
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *commands: str) -> None:
        """Start the machine with these commands of orchestra's, all at once."""
        lines = [shlex.join(self.site.shell.command(*shlex.split(command))) for command in commands]
        script = "; ".join(self.orders) + "\n" + "\n".join(f"{line} &" for line in lines) + "\nwait"
        environment = {**self.site.shell.environment}
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(
            [*ISOLATED, script], cwd=OPERATIONS, env=environment, stdin=subprocess.DEVNULL, **options
        )
        self.processes.append(process)

    def end(self) -> None:
        """Pull the plug."""
        # The first process inside is the last to go.
        first = [pid for process in self.processes for pid in children(process.pid)]
        for process in self.processes:
            process.kill()
            process.wait()
        wait_for(
            lambda: all(supervisor.process_start(pid) is None for pid in first), "the end of all processes"
        )

    def signal(self, number: int) -> None:
        """Signal every process inside, but for the very first, which is immune."""
        pending = [pid for process in self.processes for pid in children(process.pid)]
        while pending:
            inside = children(pending.pop())
            pending += inside
            for pid in inside:
                os.kill(pid, number)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        # It has just ended.
        return []


@pytest.fixture(autouse=True)
def _isolation() -> None:
    trial = f"mount --bind /dev/null {BOOT} && hostname trial"
    if subprocess.run([*ISOLATED, trial], capture_output=True).returncode != 0:
        pytest.skip("no containers can be made here")


def started(site: Site) -> Run:
    """Wait until the store knows that a run is running, and return that."""
    site.wait_for_starts()
    return wait_for(lambda: [run for run in site.runs() if run.state == "running"], "the start")[0]


def by_flag(site: Site) -> dict[object, tuple[str, str | None]]:
    return {run.flags["number"]: (run.state, run.reason) for run in site.runs()}


@pytest.mark.parametrize(
    ("boot", "reason"),
    [("another boot", "the machine restarted"), (None, "its supervisor died")],
    ids=["machine", "container"],
)
def test_what_ran_is_lost_with_its_machine_and_all_that_waited_goes_on(
    site: Site, boot: str | None, reason: str
) -> None:
    for number in (1, 2, 3):
        site.stage(number=number, gate=str(site.gate))
    machine = Machine(site, boot=boot)
    machine.start("run -y queue")
    started(site)
    site.shell.environment["ORCHESTRA_FAILPOINT"] = "queue.claimed:stop"
    machine.start("run -y queue")
    del site.shell.environment["ORCHESTRA_FAILPOINT"]
    wait_for(lambda: sum(run.worker is not None for run in site.runs()) == 2, "the claim")

    machine.end()
    if boot is None:
        # A pid in there tells nothing out here, so that their leases must be over first.
        site.end_leases()
    listed = site.run("runs", "-s").output

    assert by_flag(site) == {1: ("lost", reason), 2: ("staged", None), 3: ("staged", None)}
    assert "  running  " not in listed and "  pending  " not in listed
    site.open_gate()
    assert site.queue().code == 0
    assert [state for state, _ in by_flag(site).values()] == ["lost", "completed", "completed"]
    assert len(site.executions()) == 3
    assert [run.state for run in site.runs("queue")] == ["lost", "lost", "completed"]


def test_a_container_that_comes_back_under_another_name_leaves_no_run_running_for_ever(site: Site) -> None:
    site.stage(gate=str(site.gate))
    machine = Machine(site, host="container-1")
    machine.start("run -y queue")
    started(site)
    site.end_leases()

    site.judge()
    assert site.states() == ["running"]
    machine.end()
    site.end_leases()
    site.judge()

    assert by_flag(site) == {0: ("lost", "its supervisor died")}


def test_a_machine_that_is_only_slow_keeps_its_runs(site: Site) -> None:
    """Neither its processes nor its locks can be seen from here, and its lease is long over."""
    site.stage(gate=str(site.gate))
    machine = Machine(site, boot="another boot", host="elsewhere")
    machine.start("run -y queue")
    run = started(site)
    machine.signal(signal.SIGSTOP)
    site.end_leases()

    assert site.run("check", "--runs", "--fix").code == 0
    site.judge()

    assert site.states() == ["running"]
    assert "can't be stopped from here" in site.run("stop", "-y", run.id).output
    machine.signal(signal.SIGCONT)
    site.open_gate()
    wait_for(lambda: site.states() == ["completed"], "the end")
    machine.signal(signal.SIGTERM)
    assert machine.processes[0].wait(timeout=30) == 0
    assert [queue.state for queue in site.runs("queue")] == ["completed"]
