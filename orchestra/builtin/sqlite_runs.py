"""The table of runs: its schema, and each step of the store as a function of a connection.

A step is called within a transaction, and maybe again after a rollback: it changes nothing but the table.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import msgspec
from msgspec import structs

from orchestra.contracts import Page
from orchestra.errors import IdTaken, RevisionConflict, RunNotFound, StoreCorrupt, StoreError
from orchestra.model import lifecycle
from orchestra.model.encoding import decode_run, encode_run
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import FINAL, Run, State, Worker, unreadable_run

SCHEMA = 2
"""``PRAGMA user_version``. The store can be rebuilt: an older schema is not migrated but replaced."""

TABLES = (
    """
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
    """,
    "CREATE INDEX runs_by_time ON runs (time DESC, state, kind, batch)",
    "CREATE INDEX runs_by_state ON runs (state, time DESC)",
    "CREATE INDEX runs_by_batch ON runs (batch) WHERE batch IS NOT NULL",
    "CREATE INDEX runs_staged ON runs (priority DESC, queued) WHERE state = 'staged'",
    "CREATE INDEX runs_watched ON runs (worker, lease) WHERE worker IS NOT NULL",
)
"""``worker`` is the nonce. The lease is kept in its column alone: renewing it must not touch the record."""

COLUMNS = "sequence, id, revision, state, kind, batch, time, priority, queued, worker, lease, record"

STAGED: frozenset[State] = frozenset(("staged",))
STAGED_TABLE = "runs INDEXED BY runs_staged"
CLAIM_ORDER = "priority DESC, queued, sequence"

_INSERT = """
    INSERT INTO runs (id, revision, state, kind, batch, time, priority, queued, worker, lease, record)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_UPDATE = """
    UPDATE runs SET revision = ?2, state = ?3, kind = ?4, batch = ?5, time = ?6, priority = ?7, queued = ?8,
        record = ?11, lease = CASE WHEN ?9 IS NULL THEN NULL WHEN worker = ?9 THEN lease ELSE ?10 END, worker = ?9
    WHERE id = ?1 AND revision = ?2 - 1 RETURNING lease
"""
_SPOIL = """
    UPDATE runs SET revision = ?2, state = ?3, kind = ?4, batch = ?5, time = ?6, priority = ?7, queued = ?8,
        record = ?11, lease = NULL, worker = NULL
    WHERE id = ?1
"""
_RECORD = "id, revision, record, lease"
_CLAIM = "UPDATE runs SET revision = ?, state = ?, time = ?, worker = ?, lease = ?, record = ? WHERE id = ?"
_IN = "IN (SELECT value FROM json_each(?))"


class RecordUnreadable(StoreCorrupt):
    """A row of the table holds no record of its run: :func:`spoil_unreadable` mends it."""


def insert(runs: Sequence[Run], lease: float | None, connection: Connection) -> tuple[Run, ...]:
    """See :meth:`orchestra.contracts.Store.create`."""
    now = _now()
    end = None if lease is None else _end(now, lease)
    kept = tuple(
        structs.replace(run, revision=max(1, run.revision), lease=_lease(run, end or run.lease, now))
        for run in runs
    )
    try:
        connection.executemany(_INSERT, map(_row, kept))
    except sqlite3.IntegrityError:
        taken = _first_taken(runs, connection)
        raise IdTaken(f"there is a run '{taken}' already") from None
    return kept


def get(run_id: str, connection: Connection) -> Run:
    """See :meth:`orchestra.contracts.Store.get`."""
    rows = connection.execute(f"SELECT {_RECORD} FROM runs WHERE id {_IN}", (_array((run_id,)),)).fetchall()
    if not rows:
        raise RunNotFound(f"there is no run '{run_id}'")
    return _load(*rows[0])


def select(query: RunQuery, connection: Connection) -> Page:
    """See :meth:`orchestra.contracts.Store.query`."""
    if query.where is not None:
        return _select_where(query, connection)
    table = "runs"
    conditions, parameters = _conditions(query)
    order = "time, sequence" if query.oldest_first else "time DESC, sequence"
    if query.claim_order:
        order = CLAIM_ORDER
        if query == RunQuery(states=STAGED, claim_order=True, limit=query.limit, offset=query.offset):
            table, conditions, parameters = STAGED_TABLE, "state = 'staged'", []
    limit = -1 if query.limit is None else query.limit
    rows = connection.execute(
        f"SELECT {_RECORD} FROM {table} WHERE {conditions} ORDER BY {order} LIMIT ? OFFSET ?",
        (*parameters, limit, query.offset),
    ).fetchall()
    if (rows or query.offset == 0) and len(rows) != limit:
        total = query.offset + len(rows)
    else:
        total = count(query, connection)
    return Page(runs=tuple(_load(*row) for row in rows), total=total)


def _select_where(query: RunQuery, connection: Connection) -> Page:
    """What the file can't tell is asked of each run."""
    every = select(structs.replace(query, where=None, limit=None, offset=0), connection).runs
    found = tuple(filter(query.matches, every))
    end = None if query.limit is None else query.offset + query.limit
    return Page(runs=found[query.offset : end], total=len(found))


def count(query: RunQuery, connection: Connection) -> int:
    """How many runs match, without limit, offset and ``where``."""
    conditions, parameters = _conditions(query)
    where = f" WHERE {conditions}" if parameters else ""
    return int(connection.execute(f"SELECT count(*) FROM runs{where}", parameters).fetchone()[0])


def update(runs: Sequence[Run], connection: Connection) -> tuple[Run, ...]:
    """See :meth:`orchestra.contracts.Store.update`."""
    now = _now()
    kept: list[Run] = []
    for run in runs:
        changed = structs.replace(run, revision=run.revision + 1, lease=_lease(run, run.lease, now))
        rows = connection.execute(_UPDATE, _row(changed)).fetchall()
        if not rows:
            get(run.id, connection)
            raise RevisionConflict(f"run {run.id} was changed by somebody else")
        kept.append(structs.replace(changed, lease=rows[0][0]))
    return tuple(kept)


def candidates(wanted: Wanted, limit: int, connection: Connection) -> list[tuple[Any, ...]]:
    """Id, revision, record and lease of the runs that match, in the order of claims."""
    table, conditions, parameters = _wanted_conditions(wanted)
    return connection.execute(
        f"SELECT {_RECORD} FROM {table} WHERE {conditions} ORDER BY {CLAIM_ORDER} LIMIT ?",
        (*parameters, limit),
    ).fetchall()


def claim(
    worker: Worker, lease: float, limit: int, wanted: Wanted, connection: Connection
) -> tuple[Run, ...]:
    """See :meth:`orchestra.contracts.Store.claim`."""
    end = _end(_now(), lease)
    move = lifecycle.watch if wanted.expired else lifecycle.claim
    found = [
        _load(run_id, revision, record, None)
        for run_id, revision, record, _ in candidates(wanted, limit, connection)
    ]
    claimed = [structs.replace(move(run, worker, end), revision=run.revision + 1) for run in found]
    connection.executemany(
        _CLAIM,
        [(run.revision, run.state, run.time, worker.nonce, end, _encode(run), run.id) for run in claimed],
    )
    return tuple(claimed)


def renew(worker: Worker, lease: float, connection: Connection) -> frozenset[str]:
    """See :meth:`orchestra.contracts.Store.renew`."""
    rows = connection.execute(
        "UPDATE runs SET lease = ? WHERE worker = ? RETURNING id", (_end(_now(), lease), worker.nonce)
    ).fetchall()
    return frozenset(run_id for (run_id,) in rows)


def delete(run_ids: Sequence[str], connection: Connection) -> int:
    """See :meth:`orchestra.contracts.Store.delete`."""
    return connection.execute(f"DELETE FROM runs WHERE id {_IN}", (_array(run_ids),)).rowcount


def spoil_unreadable(path: Path, connection: Connection) -> tuple[str, ...]:
    """Make the runs ``broken`` whose records can't be read; one must not hide all others. Returns their ids.

    Whatever is known of such a run is in its directory, from which the engine can enter it anew.
    """
    spoiled: list[Run] = []
    for run_id, revision, record, lease, time_ in connection.execute(f"SELECT {_RECORD}, time FROM runs"):
        try:
            _load(run_id, revision, record, lease)
        except RecordUnreadable as error:
            run = unreadable_run(str(run_id), f"the store '{path}' holds no record of it: {error}", time_)
            spoiled.append(structs.replace(run, revision=revision + 1))
    connection.executemany(_SPOIL, map(_row, spoiled))
    return tuple(run.id for run in spoiled)


def check(connection: Connection) -> None:
    """Read everything.

    Raises:
        StoreCorrupt: the file is damaged.
    """
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StoreCorrupt(str(verdict))
    connection.execute(f"SELECT {COLUMNS} FROM runs").fetchall()


def _conditions(query: RunQuery) -> tuple[str, list[Any]]:
    conditions: list[str] = ["1"]
    parameters: list[Any] = []
    # An index is for the few: of those that ended there are many, and they are wanted by time.
    by_state = query.ids is None and query.batch is None and not query.id_prefix
    by_state = by_state and query.states is not None and (len(query.states) == 1 or not query.states & FINAL)
    if query.ids is not None:
        conditions.append(f"id {_IN}")
        parameters.append(_array(query.ids))
    if query.id_prefix:
        conditions.append("id >= ? AND id < ?")
        prefix = _text(query.id_prefix)
        parameters += [prefix, prefix + "\U0010ffff"]
    if query.states is not None:
        conditions.append(f"{'' if by_state else '+'}state IN ({_marks(query.states)})")
        parameters += sorted(query.states)
    if query.kinds is not None:
        conditions.append(f"kind IN ({_marks(query.kinds)})")
        parameters += sorted(query.kinds)
    if query.batch is not None:
        conditions.append("batch = ?")
        parameters.append(_text(query.batch))
    return " AND ".join(conditions), parameters


def _wanted_conditions(wanted: Wanted) -> tuple[str, str, list[Any]]:
    table = "runs"
    conditions: list[str] = []
    parameters: list[Any] = []
    if wanted.expired:
        conditions.append("worker IS NOT NULL AND lease <= ?")
        parameters.append(_now())
    elif wanted.ids is None and wanted.states == STAGED:
        table = STAGED_TABLE
        conditions.append("state = 'staged' AND worker IS NULL")
    else:
        conditions.append(
            f"worker IS NULL AND {'' if wanted.ids is None else '+'}state IN ({_marks(wanted.states)})"
        )
        parameters += sorted(wanted.states)
    if wanted.ids is not None:
        conditions.append(f"id {_IN}")
        parameters.append(_array(wanted.ids))
    if wanted.excluded:
        conditions.append(f"id NOT {_IN}")
        parameters.append(_array(wanted.excluded))
    return table, " AND ".join(conditions), parameters


def _row(run: Run) -> tuple[Any, ...]:
    return (
        run.id,
        run.revision,
        run.state,
        run.kind,
        run.batch,
        run.time,
        run.priority,
        run.turn[1],
        None if run.worker is None else run.worker.nonce,
        run.lease,
        _encode(run),
    )


def _encode(run: Run) -> bytes:
    try:
        return encode_run(run if run.lease is None else structs.replace(run, lease=None))
    except (TypeError, ValueError) as error:
        raise StoreError(f"run {run.id} can't be recorded: {error}") from error


def _load(run_id: str, revision: int, record: bytes, lease: int | None) -> Run:
    try:
        run = decode_run(record)
    except (TypeError, ValueError) as error:
        raise RecordUnreadable(f"the record can't be read: {error}") from error
    if (run.id, run.revision) != (run_id, revision):
        raise RecordUnreadable(f"the record is that of run {run.id} at its revision {run.revision}")
    return run if lease is None else structs.replace(run, lease=lease)


def _lease(run: Run, end: int | None, now: int) -> int | None:
    if run.worker is None:
        return None
    # With no lease a run would be watched for ever; one that is over says "look".
    return now if end is None else end


def _end(now: int, lease: float) -> int:
    return now + round(lease * 1e6)


def _now() -> int:
    return time.time_ns() // 1000


def _first_taken(runs: Sequence[Run], connection: Connection) -> str:
    seen: set[str] = set()
    for run in runs:
        if run.id in seen or connection.execute("SELECT 1 FROM runs WHERE id = ?", (run.id,)).fetchone():
            return run.id
        seen.add(run.id)
    raise StoreError("the store refused a run")


def _marks(values: Iterable[str]) -> str:
    return ", ".join("?" for _ in values)


def _array(ids: Iterable[str]) -> str:
    # Any number of ids in one parameter: statements stay few, and prepared.
    return msgspec.json.encode(list(map(_text, ids))).decode()


def _text(value: str) -> str:
    # Undecodable bytes of an argument can't be in an id, and SQLite does not take them.
    return value.encode("utf-8", "replace").decode() if not value.isascii() else value
