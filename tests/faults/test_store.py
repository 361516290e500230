"""Stores that are locked, full or may not be written, and many who change one run at once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestra.engine.session import LEASE
from orchestra.workspace import records
from tests.faults.site import Site, wait_for

ROOT = Path(__file__).parent.parent.parent
LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
TAG = """
import sys
from pathlib import Path
import anyio
from msgspec import structs
from orchestra.engine.changes import change
from orchestra.engine.orchestra import Orchestra

async def main():
    home, run_id, who = sys.argv[1:]
    async with Orchestra(Path(home)) as orchestra:
        run = await orchestra.session.store.get(run_id)
        for number in range(20):
            tag = f"{who}-{number}"
            run = await change(
                orchestra.session, run, lambda now: structs.replace(now, tags=(*now.tags, tag))
            )

anyio.run(main)
"""


@contextmanager
def locked(site: Site) -> Generator[None]:
    """Another process holds the store's lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(site.layout.store_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
    try:
        yield
    finally:
        holder.communicate("")


def in_mounts(site: Site, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount what it likes; its mounts are gone when it ends."""
    ended = site.run_under(["unshare", "-Urm", "bash", "-c", script])
    if "unshare failed" in ended.stdout or "mount: " in ended.stdout:
        pytest.skip("no disk can be mounted here")
    return ended


def test_who_waits_for_a_locked_store_says_so_and_who_only_reads_does_not_wait(site: Site) -> None:
    site.stage()
    with locked(site):
        writer = site.start("run", "-y", "work.py", "--stage")
        began = time.monotonic()
        listed = site.run("runs")
        took = time.monotonic() - began
        assert (listed.code, took < 10) == (0, True), listed.output
        assert writer.stdout is not None
        assert "Waiting for the store" in writer.stdout.readline()

    output = writer.communicate(timeout=30)[0]
    assert writer.returncode == 0, output
    assert site.states() == ["staged"] * 2


def test_a_home_that_may_only_be_read_shows_its_runs_and_refuses_others_in_a_sentence(site: Site) -> None:
    assert site.run("run", "-y", "work.py").code == 0
    orchestra = " ".join(site.shell.command())
    script = f"""
        mount --bind {site.home} {site.home} && mount -o remount,ro,bind {site.home} || exit 9
        {orchestra} runs -s; {orchestra} runs info | head -3; {orchestra} cat --output
        {orchestra} run -y work.py; echo "code $?"
        {orchestra} runs delete -y; echo "code $?"
    """

    ended = in_mounts(site, script)

    assert "Traceback" not in ended.stdout, ended.stdout
    assert "completed" in ended.stdout and "000004" in ended.stdout
    told = [line for line in ended.stdout.splitlines() if line.startswith(("orchestra: ", "code "))]
    refused = f"orchestra: the orchestra home '{site.home}' is not writable"
    assert told == [refused, "code 1"] * 2, ended.stdout
    assert site.states() == ["completed"]


def test_a_store_that_is_full_stops_no_operation_and_catches_up(site: Site) -> None:
    mount = site.home.parent / "small"
    mount.mkdir()
    orchestra = " ".join(site.shell.command())
    site.shell.environment["ORCHESTRA_STORE"] = f"sqlite path={mount}/store.db"
    script = f"""
        mount -t tmpfs -o size=1m none {mount} || exit 9
        {orchestra} run -y work.py gate={site.gate} >{mount.parent}/shown 2>&1 & run=$!
        until grep -q S {site.journal} 2>/dev/null; do sleep 0.05; done; sleep 0.3
        head -c 2000000 /dev/zero >{mount}/filler 2>/dev/null
        {orchestra} run -y work.py --stage; echo "staging $?"
        touch {site.gate}
        wait $run; echo "run $?"
        rm {mount}/filler
        {orchestra} runs -s
    """

    ended = in_mounts(site, script)

    assert "Traceback" not in ended.stdout, ended.stdout
    assert "No space left on device" in ended.stdout
    assert "staging 75" in ended.stdout, ended.stdout
    shown = (mount.parent / "shown").read_text()
    assert "000004" in shown and "Traceback" not in shown, shown
    assert ended.stdout.splitlines()[-1].split()[2] == "completed", ended.stdout
    assert "staged" not in ended.stdout.splitlines()[-1]
    assert [one.code for one in site.executions()] == [0]
    (directory,) = site.layout.runs_dir.iterdir()
    assert records.read_exit(site.layout.attempt_directory(directory, 1)) is not None


def test_runs_are_deleted_whole_where_the_trash_is_on_another_disk(site: Site) -> None:
    first, second, kept = site.stage("quick.sh", count=3)
    orchestra = " ".join(site.shell.command())
    runs = site.layout.runs_dir
    script = f"""
        mount -t tmpfs none {site.layout.trash_dir} || exit 9
        ORCHESTRA_FAILPOINT=delete.renamed:kill9 {orchestra} runs delete -y {first.id}; echo "code $?"
        {orchestra} runs -s
        {orchestra} runs delete -p -y {second.id} || exit 8
        ls {runs}; ls {runs}/.trash
        {orchestra} runs restore -y || exit 7
    """

    ended = in_mounts(site, script)

    assert ended.returncode == 0, ended.stdout
    assert "code 137" in ended.stdout and "Traceback" not in ended.stdout
    assert "WARNING" not in ended.stdout
    assert ended.stdout.count("  staged\n") == 2, "it is listed though it is deleted"
    *_, left = ended.stdout.partition("Permanently deleted")
    assert left.splitlines()[1:] == [kept.id, "runs", "Restored 1 run(s)"]
    assert {run.id for run in site.runs()} == {kept.id, first.id}


def test_who_changes_a_run_while_it_is_started_and_ends_loses_no_change(site: Site) -> None:
    (run,) = site.stage(lines=40, pause=0.02)
    command = [sys.executable, "-c", TAG, str(site.home), run.id]
    taggers = [
        subprocess.Popen([*command, who], cwd=ROOT, stderr=subprocess.PIPE, text=True) for who in "abcd"
    ]

    queue = site.queue()

    errors = [tagger.communicate(timeout=60)[1] for tagger in taggers]
    assert [tagger.returncode for tagger in taggers] == [0] * 4, errors
    assert queue.code == 0
    (run,) = site.runs()
    assert run.state == "completed"
    assert sorted(run.tags) == sorted(f"{who}-{number}" for who in "abcd" for number in range(20))
    assert len(site.executions()) == 1


def test_a_home_behind_a_link_with_any_name_is_as_good_as_another(site: Site) -> None:
    strange = site.home.parent / "höme with\nnewline 'and' $quotes"
    strange.mkdir()
    site.home.symlink_to(strange)
    (run,) = site.stage(lines=3)

    assert site.queue().code == 0
    assert site.run("run", "-y", "work.py", "number=[1,2]").code == 0

    assert site.states() == ["completed"] * 3
    assert (strange / "runs" / run.id).is_dir()
    ended = site.run("check", "--runs", "--fix")
    assert ended.code == 0, ended.output


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_queues_that_can_not_renew_their_leases_harm_no_run_and_go_on_when_they_can(site: Site) -> None:
    """The lock is held longer than a lease lasts, and longer than anybody waits for it."""
    site.stage(count=2, gate=str(site.gate))
    queues = [site.start_queue() for _ in range(2)]
    site.wait_for_starts(2)
    wait_for(lambda: site.states() == ["running"] * 2, "the start")
    shown = ["", ""]

    def read(number: int) -> None:
        stdout = queues[number].stdout
        assert stdout is not None
        shown[number] = stdout.read()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    with locked(site):
        time.sleep(max(35, LEASE * 2))
    site.stage()
    site.open_gate()

    wait_for(lambda: site.states() == ["completed"] * 3, "the end")
    for queue in queues:
        queue.terminate()
    assert [queue.wait(timeout=30) for queue in queues] == [0, 0]
    for reader in readers:
        reader.join()
    assert all("locked" in each and "Traceback" not in each for each in shown), shown
    assert len(site.executions()) == 3
