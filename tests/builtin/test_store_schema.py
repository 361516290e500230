"""Stores of earlier and later versions: those are upgraded and lose nothing, these are left as they are."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestra.builtin import sqlite_schema
from orchestra.builtin.store_sqlite import SqliteStore
from orchestra.errors import StoreCorrupt, StoreTooNew, StoreUnavailable
from orchestra.model import versions
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.glimpse import encode_glimpse
from orchestra.testing.builders import a_run, a_worker
from tests.builtin.store_processes import drive
from tests.builtin.test_store_sqlite import opened

KEPT = Path(__file__).parents[1] / "data" / "stores"
ROOT = Path(__file__).parents[2]
OPEN = """
import os, sys
from pathlib import Path
from orchestra.model.filters import RunQuery
from tests.builtin.test_store_sqlite import drive, opened
if os.geteuid() == 0 and "nobody" in sys.argv:
    os.setuid(65534)
with opened(Path(sys.argv[1])) as store:
    print(drive(store.query(RunQuery())).total)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def put(home: Path, version: int) -> Path:
    """The store of an earlier version, which that version made, as the store of ``home``."""
    return Path(shutil.copy(KEPT / f"v{version}.db", home / "store.db"))


def rows(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT id, revision, state, kind, batch, record FROM runs ORDER BY 1"
        ).fetchall()


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def schema_of(path: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall())


def backups(home: Path) -> list[Path]:
    return sorted(home.glob("store.db.v*-backup-*"))


def open_apart(home: Path, *arguments: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if failpoint:
        environment["ORCHESTRA_FAILPOINT"] = failpoint
    return subprocess.run(
        [sys.executable, "-c", OPEN, str(home), *arguments],
        env=environment,
        cwd=ROOT,
        text=True,
        capture_output=True,
    )


def test_there_is_a_step_from_each_version_to_the_next() -> None:
    assert len(sqlite_schema.STEPS) == versions.STORE - 1
    assert {path.name for path in KEPT.iterdir()} >= {
        f"v{version}.db" for version in range(1, versions.STORE)
    }


@pytest.mark.parametrize("version", range(1, versions.STORE))
def test_a_store_of_every_version_is_opened_with_all_its_runs(home: Path, version: int) -> None:
    path = put(home, version)
    before = rows(path)

    with opened(home) as store:
        found = drive(store.query(RunQuery())).runs
        (claimed,) = drive(store.claim(a_worker(), 15, 9, Wanted()))

    assert {(run.id, run.state) for run in found} == {(row[0], row[2]) for row in before}
    assert sorted({run.state for run in found}) == ["completed", "error", "lost", "staged"]
    assert claimed.flags == {"lr": 0.9}
    assert version_of(path) == versions.STORE


@pytest.mark.parametrize("version", range(1, versions.STORE))
def test_an_upgraded_store_is_like_a_new_one_and_the_former_is_kept(
    home: Path, tmp_path: Path, version: int
) -> None:
    path = put(home, version)
    before = rows(path)
    (tmp_path / "new").mkdir()

    with opened(home), opened(tmp_path / "new"):
        pass

    assert schema_of(path) == schema_of(tmp_path / "new" / "store.db")
    assert rows(path) == before
    (backup,) = backups(home)
    assert (version_of(backup), rows(backup), backup.stat().st_mode & 0o777) == (version, before, 0o600)
    assert backup.name.startswith(f"store.db.v{version}-backup-")


@pytest.mark.parametrize("version", range(1, versions.STORE))
def test_what_conditions_are_asked_of_is_there_after_an_upgrade(home: Path, version: int) -> None:
    path = put(home, version)

    with opened(home) as store:
        runs = {run.id: run for run in drive(store.query(RunQuery())).runs}

    with closing(sqlite3.connect(path)) as connection:
        query = (
            "SELECT id, glimpse, names FROM runs JOIN glimpses USING (sequence) JOIN shapes ON shape = number"
        )
        found = connection.execute(query).fetchall()
    assert {run_id: glimpse for run_id, glimpse, _ in found} == {
        run.id: encode_glimpse(run) for run in runs.values()
    }
    for run_id, _, names in found:
        assert json.loads(names) == sorted(
            name for name, value in runs[run_id].flags.items() if value is not None
        )


def test_a_record_that_can_not_be_read_keeps_no_store_from_being_upgraded(home: Path) -> None:
    path = put(home, 1)
    with closing(sqlite3.connect(path)) as connection, connection:
        (torn,) = connection.execute("SELECT id FROM runs WHERE state = 'staged'").fetchone()
        connection.execute("UPDATE runs SET record = x'7b' WHERE id = ?", (torn,))

    with opened(home) as store:
        runs = drive(store.query(RunQuery())).runs

    assert [run.id for run in runs if run.state == "broken"] == [torn] and len(runs) == 15


@pytest.mark.parametrize("point", ["store.backed_up", "store.upgraded"])
def test_an_upgrade_that_is_killed_leaves_the_earlier_store_and_the_next_one_goes_through(
    home: Path, point: str
) -> None:
    path = put(home, 1)
    before = rows(path)

    assert open_apart(home, failpoint=f"{point}:kill9").returncode == -signal.SIGKILL
    assert (version_of(path), rows(path)) == (1, before)
    ended = open_apart(home)

    assert (ended.returncode, ended.stdout) == (0, f"{len(before)}\n"), ended.stderr
    assert version_of(path) == versions.STORE
    assert "Upgraded the store" in ended.stderr and "from version 1" in ended.stderr


def test_what_a_killed_backup_left_is_removed_by_the_next(home: Path) -> None:
    put(home, 1)
    (home / "store.db.v1-backup-5.tmp").write_text("torn")

    with opened(home):
        pass

    assert not list(home.glob("*.tmp")) and len(backups(home)) == 1


def test_only_the_newest_backups_are_kept(home: Path) -> None:
    put(home, 1)
    for moment in range(1, 6):
        (home / f"store.db.v1-backup-{moment}").write_text("")

    with opened(home):
        pass

    kept = [
        path.name.rpartition("-")[2]
        for path in sorted(backups(home), key=lambda path: path.stat().st_mtime_ns)
    ]
    assert kept[:2] == ["4", "5"] and len(kept) == sqlite_schema.KEPT_BACKUPS


def test_of_two_that_upgrade_at_once_one_does(home: Path) -> None:
    put(home, 1)
    totals: list[int] = []

    def look() -> None:
        with opened(home) as store:
            totals.append(drive(store.query(RunQuery())).total)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert totals == [15] * 4
    assert len(backups(home)) == 1


def test_a_store_of_an_earlier_version_in_a_home_that_cannot_be_written_is_read(home: Path) -> None:
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        put(place, 1).chmod(0o444)
        place.chmod(0o555)
        ended = open_apart(place, "nobody")
        assert (ended.stdout, version_of(place / "store.db"), backups(place)) == ("15\n", 1, []), ended.stderr
    finally:
        place.chmod(0o700)
        shutil.rmtree(place)


def test_what_was_copied_to_be_read_takes_no_changes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home, 1)
    monkeypatch.setattr(os, "access", lambda *_: False)

    with opened(home) as store, pytest.raises(StoreUnavailable, match="can't be written"):
        drive(store.create([a_run()]))

    assert version_of(home / "store.db") == 1


def _listing(store: SqliteStore) -> object:
    return drive(store.query(RunQuery()))


def _creating(store: SqliteStore) -> object:
    return drive(store.create([a_run()]))


@pytest.mark.parametrize("what", [_listing, _creating])
def test_who_has_the_store_open_while_a_later_version_upgrades_it_says_so_and_changes_nothing(
    home: Path, what: Callable[[SqliteStore], object]
) -> None:
    with opened(home) as store:
        with closing(sqlite3.connect(home / "store.db")) as later:
            later.execute(f"PRAGMA user_version = {versions.STORE + 1}")
        sentence = (
            rf"newer version of Orchestra \(its version is {versions.STORE + 1}, we know {versions.STORE}\)"
        )
        with pytest.raises(StoreTooNew, match=sentence):
            what(store)

    assert rows(home / "store.db") == []


def test_a_file_that_is_not_what_its_version_says_is_damaged_and_no_backup_is_made_of_it(home: Path) -> None:
    with closing(sqlite3.connect(home / "store.db")) as connection:
        connection.execute("CREATE TABLE cookies (name)")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()

    with pytest.raises(StoreCorrupt, match="no such table"), opened(home):
        pass

    assert backups(home) == []


def test_where_there_is_no_room_for_a_backup_the_store_is_as_it_was(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(home, 1)
    before = rows(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sqlite_schema, "_sync", full)
    with pytest.raises(StoreUnavailable, match="can't be upgraded: No space left on device"), opened(home):
        pass

    assert (version_of(path), rows(path), [one.name for one in home.glob("*backup*")]) == (1, before, [])
