"""The power fails at any moment of a stage, a batch or a run: what was acknowledged is there, what was started is
never started again, and no record is garbage."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestra.engine.rebuild import read_recorded
from orchestra.errors import RunBroken
from orchestra.model.run import Run
from orchestra.workspace import records
from orchestra.workspace.layout import Layout, attempt_directory
from tests.faults import power
from tests.faults.site import OPERATIONS, Site

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("strace") is None
        or subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode != 0,
        reason="processes can't be traced here",
    ),
]


def recorded(site: Site, *arguments: str) -> power.Disk:
    """What a command did to the runs of the home, with the journal of its operations and what it acknowledged."""
    trace = site.home.parent / "trace"
    site.journal.touch()
    script = f"exec >>{site.journal} 2>&1; exec " + " ".join(site.shell.command(*arguments))
    ended = subprocess.run(
        [*power.STRACE, "-o", str(trace), "bash", "-c", script],
        cwd=OPERATIONS,
        env=site.shell.environment,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert ended.returncode == 0, site.journal.read_text()
    disk = power.Disk(site.layout.runs_dir, site.journal)
    disk.read(trace)
    assert len(disk.changes) > 10 and disk.marks
    # What is no line of an operation's would not be understood later.
    lines = site.journal.read_text().splitlines(keepends=True)
    site.journal.write_text("".join(line for line in lines if line.startswith(("S ", "E "))))
    return disk


class After:
    """A state of the disk after the power came back."""

    def __init__(self, home: Path) -> None:
        self.session: Any = SimpleNamespace(layout=Layout(home))
        self.layout = Layout(home)

    def run(self, run_id: str) -> Run | None:
        return read_recorded(self.session, run_id)

    def check(self, run_id: str, truth: Run, *, acknowledged: bool, started: bool, torn: bool) -> None:
        """``torn``: what was not acknowledged may be unreadable, which is then said."""
        found = self.run(run_id)
        directory = self.layout.directory_of(run_id)
        if acknowledged or started:
            assert found is not None, "a run that somebody knows of is gone"
        if found is not None and (acknowledged or not torn):
            assert found.state != "broken", found.reason
            assert (found.id, found.flags) == (truth.id, truth.flags)
        attempt = attempt_directory(directory, 1)
        try:
            fence, end = records.read_fence(attempt), records.read_exit(attempt)
        except RunBroken as error:
            raise AssertionError(f"garbage: {error.message}") from error
        if started:
            assert fence is not None and fence.fence == "started", "it could be started again"
            assert found is not None and found.state in ("running", "completed"), found
        if end is not None:
            assert end.code == 0
            # Until the folder is synced, and anybody told, one of its names may be there without the other.
            output = attempt / "output"
            assert not output.exists() or output.stat().st_size == end.size, "output is lost that is recorded"


def assert_every_state_is_sound(site: Site, disk: power.Disk, *, torn: bool = False) -> None:
    runs = {run.id: run for run in site.runs()}
    home = site.home.parent / "after"
    home.mkdir()
    after = After(home)
    for count, tree in disk.states():
        power.make(tree, site.layout.runs_dir, home / "runs")
        text = b"".join(data for at, data in disk.marks if at <= count).decode()
        for run_id, truth in runs.items():
            after.check(
                run_id,
                truth,
                acknowledged=run_id in text,
                started=f"S {run_id}" in text,
                torn=torn,
            )


def test_a_staged_run_survives_once_its_id_was_told(site: Site) -> None:
    disk = recorded(site, "run", "-y", "quick.sh", "--stage")
    (run,) = site.runs()
    assert any(f"staged as {run.id}".encode() in data for _, data in disk.marks)

    assert_every_state_is_sound(site, disk)


def test_a_run_that_was_started_is_never_taken_for_one_that_was_not(site: Site) -> None:
    disk = recorded(site, "run", "-y", "quick.sh")
    (run,) = site.runs()
    assert any(f"S {run.id}".encode() in data for _, data in disk.marks)

    assert_every_state_is_sound(site, disk)

    # When the command has returned, the end is on the disk, whatever becomes of the rest.
    after = After(site.home.parent / "after")
    for count, tree in disk.states():
        if count == len(disk.changes):
            power.make(tree, site.layout.runs_dir, after.layout.runs_dir)
            found = after.run(run.id)
            assert found is not None and found.state == "completed"
            assert (
                after.layout.attempt_directory(after.layout.directory_of(run.id), 1) / "output"
            ).read_bytes()


def test_the_trials_of_a_batch_survive_once_the_batch_has_said_so(site: Site) -> None:
    disk = recorded(site, "run", "-y", "quick.sh", "n=[1,2]", "--force-flags", "--stage-trials")
    assert len(site.runs()) == 2

    assert_every_state_is_sound(site, disk, torn=True)


def test_the_simulation_finds_what_is_not_synced(site: Site) -> None:
    """Without syncs the same check must fail, or it would prove nothing."""
    site.shell.environment["ORCHESTRA_DURABILITY"] = "fast"
    disk = recorded(site, "run", "-y", "quick.sh", "--stage")

    with pytest.raises(AssertionError, match="is gone|unreadable|can't be read|is empty|broken"):
        assert_every_state_is_sound(site, disk)
