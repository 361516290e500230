"""Disks that are full or fail: what was acknowledged is there, what was not left nothing behind."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.site import OPERATIONS, Site
from tests.process import Ran

TINY = "mount -t tmpfs -o size=1m none {mount} && "


def in_small_home(site: Site, script: str) -> Ran:
    """Run a shell script whose home is on a disk of 1 MiB that is gone when the script ends."""
    mount = site.home.parent / "small"
    mount.mkdir(exist_ok=True)
    site.shell.environment["ORCHESTRA_HOME"] = str(mount / "home")
    return site.shell.bash(f"unshare -Urm bash -c '{TINY.format(mount=mount)} cd {OPERATIONS} && {script}'")


@pytest.fixture
def small(site: Site) -> Site:
    """A site where disks can be mounted."""
    if in_small_home(site, "true").code != 0:
        pytest.skip("no disk can be mounted here")
    return site


def test_a_full_disk_is_named_and_repeating_works_when_there_is_room(small: Site) -> None:
    mount = small.home.parent / "small"
    orchestra = " ".join(small.shell.command())
    script = f"""
        {orchestra} run -y quick.sh --stage >/dev/null || exit 10
        head -c 2000000 /dev/zero >{mount}/filler 2>/dev/null
        {orchestra} run -y quick.sh --stage; echo "code $?"
        ls {mount}/home/runs | wc -l
        rm {mount}/filler
        {orchestra} run -y quick.sh --stage >/dev/null || exit 11
        {orchestra} run -y queue run-once=yes || exit 12
        {orchestra} runs -s
    """

    ended = in_small_home(small, script)

    assert ended.code == 0, ended.output
    assert "No space left on device" in ended.output
    assert "Traceback" not in ended.output
    lines = ended.output.splitlines()
    code = next(index for index, line in enumerate(lines) if line.startswith("code "))
    assert lines[code] != "code 0"
    assert lines[code + 1] == "1", "the run that could not be made left something behind"
    assert ended.output.count("completed") == 3


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("call", ["fsync", "rename", "link"])
def test_a_write_that_fails_is_never_acknowledged(site: Site, call: str) -> None:
    site.stage()
    fault = "ENOSPC" if call == "rename" else "EIO"
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    if subprocess.run([*strace, "true"], capture_output=True).returncode != 0:
        pytest.skip("processes can't be traced here")
    command = [
        *strace,
        "-e",
        f"inject={call}:error={fault}",
        *site.shell.command("run", "-y", "work.py", "--stage"),
    ]

    ended = subprocess.run(
        command,
        cwd=OPERATIONS,
        env=site.shell.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )

    acknowledged = "staged as" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert acknowledged == (ended.returncode == 0)
    assert len(site.runs()) == 1 + acknowledged
    assert acknowledged == (call == "link"), ended.stderr
    directories = {path.name for path in Path(site.layout.runs_dir).iterdir()}
    assert directories == {run.id for run in site.runs()}
