"""The schema of the SQLite store, and the steps that bring the file of an earlier version to it.

A step is taken within the transaction of all of them. It does not use what may change later: it must do for ever what
it does now.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from typing import Final, TypeAlias

from orchestra.builtin.sqlite_runs import fill_glimpses
from orchestra.child.supervisor import failpoint
from orchestra.errors import StoreCorrupt, StoreUnavailable, text_of_os_error
from orchestra.model import versions

Step: TypeAlias = Callable[[Connection], object]

KEPT_BACKUPS = 3
"""So many copies of earlier versions are kept; older ones are removed."""

_RUNS: Final = """
    CREATE TABLE runs (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        revision INTEGER NOT NULL,
        state TEXT NOT NULL,
        kind TEXT NOT NULL,
        batch TEXT,
        time INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        queued INTEGER NOT NULL,
        worker TEXT,
        lease INTEGER,
        record BLOB NOT NULL,
        CHECK ((worker IS NULL) = (lease IS NULL))
    )
"""
"""``worker`` is the nonce. The lease is kept in its column alone: renewing it must not touch the record."""
_INDEXES: Final = (
    "CREATE INDEX runs_by_state ON runs (state, time DESC)",
    "CREATE INDEX runs_by_batch ON runs (batch) WHERE batch IS NOT NULL",
    "CREATE INDEX runs_staged ON runs (priority DESC, queued) WHERE state = 'staged'",
    "CREATE INDEX runs_watched ON runs (worker, lease) WHERE worker IS NOT NULL",
)
_GLIMPSES: Final = (
    "CREATE TABLE glimpses (sequence INTEGER PRIMARY KEY, shape INTEGER NOT NULL, glimpse BLOB NOT NULL)",
    "CREATE TABLE shapes (number INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE)",
    "CREATE INDEX runs_by_time ON runs (time DESC, state, kind, batch, id, revision)",
)
"""A run's row in ``glimpses`` (:mod:`orchestra.model.glimpse`) has the same ``sequence``; its ``shape`` is which flags
it has, as a sorted JSON array of their names: there are few, so most conditions need not be asked of most runs, and
which runs have no flag of some name is known at once. ``runs_by_time`` has all that is asked of every run when many are
looked through: it is changed with nearly every step of a run in any case.
"""
TABLES: Final = (_RUNS, *_INDEXES, *_GLIMPSES)


def _let_runs_have_priorities(connection: Connection) -> None:
    connection.execute("ALTER TABLE runs RENAME TO earlier")
    for index in ("time", "state", "batch"):
        connection.execute(f"DROP INDEX runs_by_{index}")
    connection.execute("DROP INDEX runs_staged")
    connection.execute("DROP INDEX runs_watched")
    former_by_time = "CREATE INDEX runs_by_time ON runs (time DESC, state, kind, batch)"
    for table in (_RUNS, *_INDEXES, former_by_time):
        connection.execute(table)
    connection.execute(
        """
        INSERT INTO runs (sequence, id, revision, state, kind, batch, time, priority, queued, worker, lease, record)
        SELECT sequence, id, revision, state, kind, batch, time, 0, queued, worker, lease, record FROM earlier
        """
    )
    connection.execute("DROP TABLE earlier")


def _keep_glimpses(connection: Connection) -> None:
    connection.execute("DROP INDEX runs_by_time")
    for table in _GLIMPSES:
        connection.execute(table)


STEPS: Final[tuple[Step, ...]] = (_let_runs_have_priorities, _keep_glimpses)
"""From version 1 to 2, from 2 to 3, and so on."""


def make(connection: Connection) -> None:
    """Make the tables in an empty file."""
    for table in TABLES:
        connection.execute(table)
    connection.execute(f"PRAGMA user_version = {versions.STORE}")


def upgrade(connection: Connection, version: int) -> None:
    """Take the steps that lead from ``version`` to ours.

    Raises:
        StoreCorrupt: the file is not what it says.
    """
    try:
        for step in STEPS[version - 1 :]:
            step(connection)
        # They follow from the records, whichever step has made their tables: as of now, not as of then.
        connection.execute("DELETE FROM glimpses")
        connection.execute("DELETE FROM shapes")
        fill_glimpses(connection)
    except (sqlite3.IntegrityError, sqlite3.DataError) as error:
        raise StoreCorrupt(f"the store can't be upgraded from version {version}: {error}") from error
    connection.execute(f"PRAGMA user_version = {versions.STORE}")


def upgrade_with_backup(connection: Connection, unchanged: Connection, path: Path, version: int) -> None:
    """:func:`upgrade`, with a copy of the store as it was beside it, made over ``unchanged``.

    To be called under the store's lock.

    Raises:
        StoreCorrupt: the file is not what it says.
        StoreUnavailable: it can't be copied.
    """
    try:
        backup = back_up(unchanged, path, version)
    except OSError as error:
        raise StoreUnavailable(f"the store can't be upgraded: {text_of_os_error(error)}") from error
    failpoint("store.backed_up")
    try:
        upgrade(connection, version)
    except (StoreCorrupt, sqlite3.Error):
        backup.unlink(missing_ok=True)
        raise
    failpoint("store.upgraded")
    import logging

    logging.getLogger(__name__).warning(
        "Upgraded the store '%s' from version %d to %d; '%s' is as it was",
        path,
        version,
        versions.STORE,
        backup.name,
    )


def back_up(connection: Connection, path: Path, version: int) -> Path:
    """Copy the store beside itself before it is upgraded, and return where the copy is; the newest few are kept.

    To be called under the store's lock. Raises OSError, sqlite3.Error.
    """
    name = f"{path.name}.v{version}-backup-{time.time_ns() // 1_000_000}"
    backup = path.with_name(name)
    for left in path.parent.glob(f"{path.name}.v*-backup-*.tmp*"):
        left.unlink(missing_ok=True)
    temporary = path.with_name(f"{name}.tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with closing(sqlite3.connect(os.fsencode(temporary))) as copy:
            connection.backup(copy)
            # Without its log: the copy is one file.
            copy.execute("PRAGMA journal_mode = DELETE")
        _sync(temporary)
        os.rename(temporary, backup)
    finally:
        temporary.unlink(missing_ok=True)
    backups = sorted(path.parent.glob(f"{path.name}.v*-backup-*"), key=_made)
    for old in backups[:-KEPT_BACKUPS]:
        old.unlink(missing_ok=True)
    return backup


def _made(backup: Path) -> int:
    moment = backup.name.rpartition("-")[2]
    return int(moment) if moment.isdigit() else 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
