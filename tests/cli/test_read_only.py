"""A home that may be read and not written: of another user, or of a backup."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import Shell

# To root all is writable, unless it lays its capabilities down.
UNPRIVILEGED = "setpriv --bounding-set -all --inh-caps -all " if os.geteuid() == 0 else ""

ANNOTATIONS = ("label -s x -y", "tag -a x -y", "comment -a x -y", "mark -y")
TRASH = ("runs restore -y", "runs purge -y")

pytestmark = pytest.mark.skipif(
    bool(UNPRIVILEGED) and shutil.which("setpriv") is None, reason="root can't lay its capabilities down"
)


@pytest.fixture
def locked(shell: Shell, tmp_path: Path) -> Iterator[Path]:
    """A home with two runs, which nobody may write."""
    (tmp_path / "train.py").write_text("x = 1\nprint('loss:', x)\n")
    assert shell.run("run", "train.py", "x=3", "-y").code == 0
    assert shell.run("runs", "rm", "-y").code == 0
    assert shell.run("run", "train.py", "x=[2,1]", "-y").code == 0
    for path in [*shell.home.rglob("*"), shell.home]:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    yield shell.home
    for path in [shell.home, *shell.home.rglob("*")]:
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o200)


def test_runs_can_be_looked_at(shell: Shell, locked: Path) -> None:
    before = contents(locked)

    def look(command: str) -> str:
        looked = shell.bash(f"{UNPRIVILEGED}{sys.executable} -m orchestra {command}")
        assert looked.code == 0, looked.output
        return looked.output

    assert len(look("runs").splitlines()) == 3
    assert look("runs --deleted -s").split()[1:] == ["train.py", "completed", "x=3"]
    assert look("runs --deleted -F 'loss = 3'").count("x=3") == 1
    assert look("comment --list 1").endswith("<no comments>\n") and look("tag --list-all") == ""
    assert "K" in look("runs --size")
    assert look("select --min loss -a flags") == "x: 1\n"
    assert look("cat 1 -O") == "loss: 1\n"
    assert "status: completed" in look("runs info 1 --all-scalars")
    assert look("check --runs") == "Nothing to repair.\n"
    assert "train.py" in look("help train.py")
    assert contents(locked) == before


def test_what_would_write_is_refused(shell: Shell, locked: Path) -> None:
    for command in (
        "run train.py -y",
        "runs delete 1 -y",
        "stop 1 -y",
        "check --runs --fix",
        *ANNOTATIONS,
        *TRASH,
    ):
        refused = shell.bash(f"{UNPRIVILEGED}{sys.executable} -m orchestra {command}")
        assert refused.code == 1
        assert f"the orchestra home '{locked}' is not writable" in refused.output


def contents(folder: Path) -> dict[str, int]:
    """The files below a folder, with the times at which they were changed."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}
