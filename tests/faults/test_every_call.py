"""Commands that are killed at their first, second, third ... call of the system that changes a file, until one
ends unharmed: SQLite's method. Slow, so not with every merge."""

from __future__ import annotations

import shutil
import signal
import subprocess

import pytest

from orchestra.workspace import records
from orchestra.workspace.trash import Trash
from tests.faults.site import Site

CALLS = {
    "mkdir": "mkdir,mkdirat",
    "write": "write,pwrite64",
    "sync": "fsync,fdatasync,syncfs",
    "rename": "rename,renameat,renameat2",
    "link": "link,linkat,symlink,symlinkat",
    "unlink": "unlink,unlinkat,rmdir",
    "lock": "flock",
}
MOST = 60
STRACE = ("strace", "-f", "-qq", "-o", "/dev/null")

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        shutil.which("strace") is None
        or subprocess.run([*STRACE, "true"], capture_output=True).returncode != 0,
        reason="processes can't be traced here",
    ),
]


def struck(site: Site, calls: str, number: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command; whichever of its processes comes to the call of that number first is killed there."""
    injection = [f"--inject={call}:signal=KILL:when={number}" for call in calls.split(",")]
    command = [*STRACE, "-e", f"trace={calls}", *injection, *site.shell.command(*arguments)]
    return site.run_under(command, timeout=120)


def until_unharmed(site: Site, calls: str, *arguments: str) -> None:
    """Strike at each call in turn; every invariant holds after each."""
    for number in range(1, MOST):
        before = {run.id for run in site.runs()}
        ended = struck(site, calls, number, *arguments)
        assert "Traceback" not in ended.stdout, ended.stdout
        assert ended.returncode in (0, 75, 1, -signal.SIGKILL, 128 + signal.SIGKILL), ended.stdout
        site.wait_for_rest()
        sweep(site)
        acknowledged = before | {word for word in ended.stdout.split() if len(word) == 32}
        site.check(acknowledged=acknowledged)
        if ended.returncode == 0 and number > 1:
            return


def sweep(site: Site) -> None:
    """What every repair does once they are old: remove the files of writers that died."""
    for directory in site.layout.runs_dir.iterdir():
        records.sweep(directory, older_than=-1)


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_staging_that_is_killed_at_any_call_makes_a_whole_run_or_none(site: Site, calls: str) -> None:
    site.stage()

    until_unharmed(site, calls, "run", "-y", "quick.sh", "--stage")

    assert set(site.states()) == {"staged"}


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_a_run_that_is_killed_at_any_call_ends_in_a_state_that_its_records_prove(
    site: Site, calls: str
) -> None:
    site.stage()
    assert site.queue().code == 0

    until_unharmed(site, calls, "run", "-y", "quick.sh")

    assert site.states()[-1] == "completed"
    assert set(site.states()) <= {"completed", "lost", "aborted", "error", "terminated"}


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_a_deletion_that_is_killed_at_any_call_takes_whole_runs(site: Site, calls: str) -> None:
    for number in range(1, MOST):
        (run,) = site.stage("quick.sh")
        (kept,) = site.stage("quick.sh")
        ended = struck(site, calls, number, "runs", "delete", "-y", run.id)
        assert "Traceback" not in ended.stdout, ended.stdout
        site.run("runs")
        there = {each.id for each in site.runs()}
        assert kept.id in there
        if ended.returncode == 0:
            assert run.id not in there
        directory = site.layout.run_directory(run)
        assert directory.exists() == (run.id in there), f"{run.id} is half deleted"
        assert directory.exists() != Trash(site.layout).holds(run.id), (
            f"{run.id} is in two places, or in none"
        )
        sweep(site)
        site.check()
        if ended.returncode == 0 and number > 1:
            break
    assert site.run("check", "--runs", "--fix").code == 0
    assert Trash(site.layout).leaving() == []


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_a_restoring_that_is_killed_at_any_call_leaves_whole_runs_in_one_place(
    site: Site, calls: str
) -> None:
    for number in range(1, MOST):
        (run,) = site.stage("quick.sh")
        assert site.run("runs", "delete", "-y", run.id).code == 0
        ended = struck(site, calls, number, "runs", "restore", "-y", run.id)
        assert "Traceback" not in ended.stdout, ended.stdout
        site.run("runs")
        there = {each.id for each in site.runs()}
        assert (run.id in there) != Trash(site.layout).holds(run.id), f"{run.id} is in two places, or in none"
        assert site.layout.run_directory(run).exists() == (run.id in there)
        site.check()
        if ended.returncode == 0 and number > 1:
            assert run.id in there
            break
    assert site.run("check", "--runs").code == 0
