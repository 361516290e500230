"""What ended runs came to, side by side, so that thousands are searched by it or compared without as many files.

A file in the home's cache that can be deleted at any time. It is filled by whoever looks at results of many runs, for
each with the mark that the run had then: an entry counts only as long as the run has the same one. One that has another
mark, but has not been started since, came to the same: :meth:`ResultsIndex.carry_over`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

from orchestra.contracts import Mark
from orchestra.model import versions
from orchestra.model.conditions import Comparison, compare
from orchestra.model.encoding import decode, encode
from orchestra.model.scalars import Scalar, natural_key
from orchestra.workspace.results import Results

T = TypeVar("T")
Ending: TypeAlias = tuple[int, int, int]
"""Attempt, start and end of a run: while these are the same it came to the same, however often it is labelled."""

FILE = "results.sqlite"
_STAMP = versions.RESULTS * 1000 + versions.RESULTS_INDEX
_TABLES = (
    """
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL, time INTEGER NOT NULL,
        attempt INTEGER NOT NULL, started INTEGER NOT NULL, stopped INTEGER NOT NULL
    )
    """,
    "CREATE TABLE whole (number INTEGER PRIMARY KEY, results BLOB NOT NULL)",
    """
    CREATE TABLE scalars (
        name TEXT NOT NULL, number INTEGER NOT NULL,
        first REAL, first_step INTEGER NOT NULL, last REAL, last_step INTEGER NOT NULL,
        min REAL, min_step INTEGER NOT NULL, max REAL, max_step INTEGER NOT NULL, total REAL, count INTEGER NOT NULL,
        PRIMARY KEY (name, number)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE attributes (
        name TEXT NOT NULL, number INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, number)
    ) WITHOUT ROWID
    """,
)
_COLUMNS = {"avg": "total / count"}
_NUMERIC = ("=", "<", "<=", ">", ">=")
_AMONG = "id IN (SELECT value FROM json_each(?))"
_FEW = 2_000
"""Up to so many runs are looked up one by one."""
_LARGEST = 2**63
_PATIENCE = 5.0
"""Seconds that others' writing is waited for."""


class IndexLost(Exception):
    """The file can't be used: go on without it. Never leaves the engine."""


class ResultsIndex:
    """The index of one home; in memory alone if there is no ``path``. Not for several threads at once."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection = self._opened()

    def __enter__(self) -> ResultsIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._path is None:
            return _made(_connected(":memory:"))
        try:
            try:
                return _made(_file(self._path))
            except (sqlite3.DatabaseError, _Other) as error:
                # Damaged, or of another version: nothing is lost with it.
                if not _is_damage(error):
                    raise
                self.discard()
                return _made(_file(self._path))
        except (sqlite3.Error, _Other, OSError) as error:
            raise IndexLost(str(error)) from error

    def discard(self) -> None:
        """Remove the file, so that it is made anew."""
        if self._path is not None:
            for suffix in ("", "-journal"):
                with contextlib.suppress(OSError):
                    os.unlink(f"{self._path}{suffix}")

    @contextmanager
    def _used(self) -> Generator[sqlite3.Connection]:
        try:
            yield self._connection
        except (sqlite3.Error, ValueError) as error:
            if _is_damage(error):
                self.discard()
            raise IndexLost(str(error)) from error

    def without(self, marks: Sequence[Mark]) -> list[str]:
        """The ids of the runs of which nothing is kept that counts."""
        with self._used() as connection:
            select = "SELECT id, revision, time FROM runs"
            if len(marks) < _FEW:
                rows = connection.execute(f"{select} WHERE {_AMONG}", (_ids(marks),))
            else:
                rows = connection.execute(select)
            known: set[Mark] = set(rows)
        return [mark[0] for mark in marks if mark not in known]

    def carry_over(self, runs: Sequence[tuple[Mark, Ending]]) -> frozenset[str]:
        """Let what is kept of those that have ended as they had then count for their marks of now; return their ids."""
        with self._used() as connection:
            rows = connection.execute(
                f"SELECT id, attempt, started, stopped FROM runs WHERE {_AMONG}",
                (_ids([mark for mark, _ in runs]),),
            )
            known: dict[str, Ending] = {run_id: tuple(ending) for run_id, *ending in rows}  # pyright: ignore
            same = [(mark, ending) for mark, ending in runs if known.get(mark[0]) == ending]
            if same:
                with _changing(connection):
                    connection.executemany(
                        "UPDATE runs SET revision = ?, time = ?"
                        " WHERE id = ? AND attempt = ? AND started = ? AND stopped = ?",
                        [(revision, time, run_id, *ending) for (run_id, revision, time), ending in same],
                    )
        return frozenset(mark[0] for mark, _ in same)

    def keep(self, entries: Iterable[tuple[Mark, Ending, Results]]) -> list[str]:
        """Keep results, and return the ids of the runs whose results can't be."""
        refused: list[str] = []
        with self._used() as connection, _changing(connection):
            for mark, ending, found in entries:
                connection.execute("SAVEPOINT entry")
                try:
                    _insert(connection, mark, ending, found)
                except (OverflowError, UnicodeEncodeError, TypeError, ValueError):
                    # None of its rows may stay: the next run has its number.
                    connection.execute("ROLLBACK TO entry")
                    refused.append(mark[0])
                connection.execute("RELEASE entry")
        return refused

    def results(self, marks: Sequence[Mark]) -> dict[str, Results]:
        """What is kept of these runs and counts, by their ids."""
        known = set(marks)
        with self._used() as connection:
            rows = connection.execute(
                f"SELECT id, revision, time, results FROM runs JOIN whole USING (number) WHERE {_AMONG}",
                (_ids(marks),),
            )
            return {
                run_id: decode(data, Results)
                for run_id, revision, time, data in rows
                if (run_id, revision, time) in known
            }

    def ids_with(self, comparison: Comparison, outcome: bool) -> set[str]:
        """The runs that have what ``comparison`` asks for as a result, and of which it holds (or, does not)."""
        kind = comparison.name.kind
        attributes = self._attributes(comparison.name.name) if kind != "scalar" else {}
        found = {
            run_id
            for run_id, value in attributes.items()
            if compare(value, comparison.operator, comparison.value) is outcome
        }
        if kind != "attribute":
            found |= self._scalar_ids(comparison, outcome) - attributes.keys()
        return found

    def _attributes(self, name: str) -> dict[str, Any]:
        with self._used() as connection:
            rows = _rows(
                connection, "SELECT id, value FROM attributes JOIN runs USING (number) WHERE name = ?", name
            )
            return {run_id: decode(data, Any) for run_id, data in rows}  # pyright: ignore[reportArgumentType]

    def _scalar_ids(self, comparison: Comparison, outcome: bool) -> set[str]:
        name, value = comparison.name, comparison.value
        column = _COLUMNS.get(name.qualifier, name.qualifier)
        if name.step:
            column = "count" if name.qualifier in ("avg", "total", "count") else f"{name.qualifier}_step"
        select = f"SELECT id, {column} FROM scalars JOIN runs USING (number) WHERE name = ?"
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
        with self._used() as connection:
            if outcome and is_number and comparison.operator in _NUMERIC:
                rows = _rows(connection, f"{select} AND {column} {comparison.operator} ?", name.name, value)
                return {run_id for run_id, _ in rows}
            rows = _rows(connection, select, name.name)
            return {
                run_id
                for run_id, number in rows
                if compare(_number(number), comparison.operator, value) is outcome
            }

    def names(self) -> set[str]:
        """What runs have as results."""
        with self._used() as connection:
            rows = connection.execute(
                "SELECT DISTINCT name FROM scalars UNION SELECT DISTINCT name FROM attributes"
            )
            return {name for (name,) in rows}

    def version(self) -> int:
        """What changes whenever others have changed something."""
        with self._used() as connection:
            return int(connection.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def at_one_moment(self) -> Generator[None]:
        """All that is looked up meanwhile is of the same moment: what others change is seen afterwards."""
        with self._used() as connection:
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def forget_others(self, count: int) -> None:
        """Of ``count`` runs in all: where most of what is kept is of others, or of what they were, begin anew."""
        with self._used() as connection:
            (numbers,) = connection.execute("SELECT coalesce(max(number), 0) FROM runs").fetchone()
            if numbers > 2 * count + 1000:
                # All at once: numbers begin anew.
                with _changing(connection):
                    for table in ("runs", "whole", "scalars", "attributes"):
                        connection.execute(f"DELETE FROM {table}")


class _Other(Exception):
    """It is of another version."""


@contextmanager
def _changing(connection: sqlite3.Connection) -> Generator[None]:
    """Changes that are made all together, or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_damage(error: Exception) -> bool:
    return not isinstance(error, sqlite3.OperationalError) or str(error).startswith("no such")


def _file(path: Path) -> sqlite3.Connection:
    # Nobody else is to read what runs came to.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    return _connected(os.fspath(path))


def _connected(target: str) -> sqlite3.Connection:
    return sqlite3.connect(target, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)


def _made(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        version = _version(connection)
        if version == 0:
            connection.execute("BEGIN IMMEDIATE")
            if _version(connection) == 0:
                for table in _TABLES:
                    connection.execute(table)
                connection.execute(f"PRAGMA user_version = {_STAMP}")
            connection.execute("COMMIT")
        elif version != _STAMP:
            raise _Other
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _insert(connection: sqlite3.Connection, mark: Mark, ending: Ending, found: Results) -> None:
    # Rows of what a run was before lead nowhere.
    cursor = connection.execute(
        "INSERT OR REPLACE INTO runs (id, revision, time, attempt, started, stopped) VALUES (?, ?, ?, ?, ?, ?)",
        (*mark, *ending),
    )
    number = cursor.lastrowid
    connection.execute("INSERT OR REPLACE INTO whole VALUES (?, ?)", (number, encode(found)))
    rows = [
        (name, number, *msgspec.structs.astuple(scalar)) for name, scalar in _by_every_name(found.scalars)
    ]
    if any(isinstance(value, int) and abs(value) >= _LARGEST for row in rows for value in row):
        raise OverflowError
    connection.executemany(f"INSERT OR REPLACE INTO scalars VALUES ({', '.join('?' * 12)})", rows)
    connection.executemany(
        "INSERT OR REPLACE INTO attributes VALUES (?, ?, ?)",
        [(name, number, encode(value)) for name, value in found.attributes.items() if value is not None],
    )


def _by_every_name(scalars: dict[str, Scalar]) -> Iterator[tuple[str, Scalar]]:
    """Each scalar by its name, and by that without its prefix where that means it: see ``find_scalar``."""
    yield from scalars.items()
    for key in sorted((key for key in scalars if "#" in key), key=natural_key, reverse=True):
        tag = key.rpartition("#")[2]
        if tag not in scalars:
            # The first one comes last, and stays.
            yield tag, scalars[key]


def _rows(connection: sqlite3.Connection, statement: str, *parameters: Any) -> Iterable[tuple[str, Any]]:
    if not all(_is_text(each) for each in parameters if isinstance(each, str)):
        return ()
    return connection.execute(statement, parameters)


def _ids(marks: Sequence[Mark]) -> str:
    return msgspec.json.encode([run_id for run_id, _, _ in marks if _is_text(run_id)]).decode()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(kept: float | None) -> float:
    # SQLite has no other form for it.
    return float("nan") if kept is None else kept
