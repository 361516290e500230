"""Killed at every point of an export or import: nothing is half there, and doing it again does it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from orchestra.cli.context import drive
from orchestra.engine.session import Session
from orchestra.workspace import records
from tests.faults.site import wait_for
from tests.guild_homes import GuildHome
from tests.process import Shell
from tests.saved_runs import ended, opened, save

KILLED = -signal.SIGKILL
IDS = ("one", "two", "three")
POINTS = ("export.writing", "export.written", "import.checked", "import.placed")
"""Each is struck below."""


@pytest.fixture
def other(shell: Shell, tmp_path: Path) -> Shell:
    """The same in another home."""
    return Shell(tmp_path / "other", shell.cwd)


@pytest.fixture(autouse=True)
def _runs(home: Path) -> None:
    async def work() -> None:
        async with opened(home) as session:
            await save(session, *(ended(id=run_id) for run_id in IDS))
            for run_id in IDS:
                fill(session, run_id)

    drive(work())


def fill(session: Session, run_id: str) -> None:
    (session.layout.directory_of(run_id) / "model.bin").write_bytes(run_id.encode() * 100_000)


def stored(home: Path) -> set[str]:
    with closing(sqlite3.connect(home / "store.db")) as store:
        return {row[0] for row in store.execute("select id from runs")}


def whole(folder: Path) -> set[str]:
    """The runs of a folder; each must be whole."""
    found = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    for run_id in found:
        assert records.read_run(folder / run_id).id == run_id
        assert (folder / run_id / "model.bin").read_bytes() == run_id.encode() * 100_000
    return found


def strike(shell: Shell, point: str, *arguments: str) -> None:
    ended = shell.run(*arguments, ORCHESTRA_FAILPOINT=point)
    assert ended.code == KILLED, ended.output


@pytest.mark.parametrize("point", ["export.writing:kill9:3", "export.written:kill9:1"])
@pytest.mark.parametrize("kind", ["out.zip", "out.tar.gz"])
def test_a_file_is_there_whole_or_not_at_all(shell: Shell, tmp_path: Path, point: str, kind: str) -> None:
    strike(shell, point, "export", kind, "--move", "-y")
    assert not (tmp_path / kind).exists()
    assert stored(shell.home) == whole(shell.home / "runs") == set(IDS)

    assert shell.run("export", kind, "--move", "-y").code == 0
    assert shell.run("import", kind, "-y").code == 0
    assert whole(shell.home / "runs") == set(IDS)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "point", ["export.writing:kill9:5", "export.written:kill9:2", "delete.renamed:kill9:2"]
)
def test_a_directory_has_whole_runs_alone(shell: Shell, tmp_path: Path, point: str) -> None:
    strike(shell, point, "export", "out", "--move", "-y")
    there, here = whole(tmp_path / "out"), whole(shell.home / "runs")
    assert there | here == set(IDS)
    if not point.startswith("delete"):
        assert here == set(IDS)

    assert shell.run("export", "out", "--move", "-y").code == 0
    assert whole(tmp_path / "out") == set(IDS)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("kind", ["out", "out.zip"])
@pytest.mark.parametrize(
    "point",
    ["import.checked:kill9", "import.placed:kill9:1", "import.placed:kill9:2", "import.placed:kill9:3"],
)
def test_an_import_enters_whole_runs_alone_and_goes_on(
    shell: Shell, other: Shell, kind: str, point: str
) -> None:
    shell.run("export", kind, "-y")
    strike(other, point, "import", kind, "-y")
    placed = whole(other.home / "runs")
    assert len(placed) == (0 if "checked" in point else int(point[-1]))

    listed = other.run("select", "--all", separate=True)
    assert set(listed.output.split()) == placed

    again = other.run("import", kind, "-y")
    assert again.code == 0
    assert f"Imported {3 - len(placed)} run(s)" in again.output
    assert stored(other.home) == whole(other.home / "runs") == set(IDS)
    assert [path.name for path in (other.home / "runs").iterdir() if path.name.startswith(".")] == []


def test_the_archive_that_is_replaced_stays_until_the_new_one_is_whole(shell: Shell, tmp_path: Path) -> None:
    shell.run("export", "out.zip", "-y")
    before = (tmp_path / "out.zip").read_bytes()

    strike(shell, "export.written:kill9", "export", "out.zip", "--force", "-y")

    assert (tmp_path / "out.zip").read_bytes() == before


@pytest.mark.parametrize("place", ["crate", "crate.zip"])
def test_a_crate_is_there_whole_or_not_at_all_and_nothing_is_left_beside_it(
    shell: Shell, tmp_path: Path, place: str
) -> None:
    arguments = ("export", place, "--ro-crate", "-y")
    strike(shell, f"{'export.writing' if place == 'crate' else 'export.written'}:kill9", *arguments)
    assert [path.name for path in tmp_path.iterdir() if "crate" in path.name] != [place]
    assert not (tmp_path / place).exists()

    assert shell.run(*arguments).code == 0
    assert [path.name for path in tmp_path.iterdir() if "crate" in path.name] == [place]


@pytest.mark.parametrize(
    ("verb", "place"), [("export", "out.zip"), ("export", "out"), ("import", "ready.zip")]
)
def test_ctrl_c_ends_it_and_leaves_nothing(
    shell: Shell, other: Shell, tmp_path: Path, verb: str, place: str
) -> None:
    shell.run("export", "ready.zip", "-y")
    point = "export.writing:sleep=1.5:4" if verb == "export" else "unpack.begun:sleep=1.5:2"
    who = shell if verb == "export" else other
    process = who.start(verb, place, "-y", env={"ORCHESTRA_FAILPOINT": point})
    parent = other.home / "runs" if verb == "import" else tmp_path if place == "out.zip" else tmp_path / place
    wait_for(
        lambda: parent.is_dir() and any(path.name.startswith(".") for path in parent.iterdir()), "a file"
    )

    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=60)[0]

    assert process.returncode == 130, text
    assert "error" not in text
    assert [path.name for path in parent.iterdir() if path.name.startswith(".")] == []
    assert not (tmp_path / "out.zip").exists()
    assert whole(shell.home / "runs") == set(IDS)
    assert not (other.home / "runs").exists() or whole(other.home / "runs") == set()


def test_two_who_import_the_same_at_once_enter_it_once(shell: Shell, other: Shell) -> None:
    shell.run("export", "out.zip", "-y")
    other.run("runs")

    both = [other.start("import", "out.zip", "-y") for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]

    for process, text in zip(both, said, strict=True):
        assert process.returncode == 0 or "was made meanwhile" in text or "another run" in text, text
    assert other.run("import", "out.zip", "-y").code == 0
    assert stored(other.home) == whole(other.home / "runs") == set(IDS)


def test_a_full_disk_leaves_nothing_half_there(shell: Shell, tmp_path: Path) -> None:
    ended = subprocess.run(
        ["bash", "-c", 'ulimit -f 100; exec "$@"', "-", *shell.command("export", "out.tar", "-y")],
        cwd=tmp_path,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 75, ended.stderr
    assert ended.stderr.splitlines()[-2].startswith("orchestra: File too large: ")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


@pytest.mark.parametrize("count", [1, 2])
def test_an_import_from_guild_enters_whole_runs_alone_and_goes_on(
    other: Shell, tmp_path: Path, count: int
) -> None:
    guild = GuildHome(tmp_path / "guild")
    for run_id in IDS:
        guild.run(run_id, files={"model.bin": run_id * 100_000})
    strike(other, f"import.placed:kill9:{count}", "import", "--from-guild", str(guild.path), "-y")
    placed = whole(other.home / "runs")
    assert len(placed) == count

    again = other.run("import", "--from-guild", str(guild.path), "-y")

    assert f"Imported {3 - count} run(s)" in again.output
    assert stored(other.home) == whole(other.home / "runs") == set(IDS)
    assert [path.name for path in (other.home / "runs").iterdir() if path.name.startswith(".")] == []
