"""The table of runs: each step of the store as a function of a connection.

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

from orchestra.errors import IdTaken, RevisionConflict, RunNotFound, StoreCorrupt, StoreError
from orchestra.model import lifecycle
from orchestra.model.encoding import decode_run, encode, encode_unleased
from orchestra.model.filters import Wanted
from orchestra.model.glimpse import encode_glimpse
from orchestra.model.run import Run, State, Worker, unreadable_run

COLUMNS = "sequence, id, revision, state, kind, batch, time, priority, queued, worker, lease, record"

STAGED: frozenset[State] = frozenset(("staged",))
STAGED_TABLE = "runs INDEXED BY runs_staged"
CLAIM_ORDER = "priority DESC, queued, sequence"

_INSERT = """
    INSERT INTO runs (id, revision, state, kind, batch, time, priority, queued, worker, lease, record, sequence)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_GLIMPSE = "INSERT INTO glimpses (sequence, shape, glimpse) VALUES (?, ?, ?)"
_UPDATE_GLIMPSE = "UPDATE glimpses SET shape = ?2, glimpse = ?3 WHERE sequence = ?1"
_UPDATE = """
    UPDATE runs SET revision = ?2, state = ?3, kind = ?4, batch = ?5, time = ?6, priority = ?7, queued = ?8,
        record = ?11, lease = CASE WHEN ?9 IS NULL THEN NULL WHEN worker = ?9 THEN lease ELSE ?10 END, worker = ?9
    WHERE id = ?1 AND revision = ?2 - 1 RETURNING sequence, lease
"""
_SAME = "kind = ?4 AND batch IS ?5 AND priority = ?7 AND queued = ?8"
_GO_ON = f"""
    UPDATE runs SET revision = ?2, state = ?3, time = ?6, record = ?11
    WHERE id = ?1 AND revision = ?2 - 1 AND worker = ?9 AND {_SAME} RETURNING sequence, lease
"""
"""As ``_UPDATE``, of a run that goes on with its worker. An index of which any column is set is written, be it the same
as before: most changes are of these few."""
_END = f"""
    UPDATE runs SET revision = ?2, state = ?3, time = ?6, worker = NULL, lease = NULL, record = ?11
    WHERE id = ?1 AND revision = ?2 - 1 AND ?9 IS NULL AND {_SAME} RETURNING sequence, lease
"""
"""As ``_UPDATE``, of a run that has no worker any more."""
_SPOIL = """
    UPDATE runs SET revision = ?2, state = ?3, kind = ?4, batch = ?5, time = ?6, priority = ?7, queued = ?8,
        record = ?11, lease = NULL, worker = NULL
    WHERE id = ?1 RETURNING sequence
"""
RECORD = "id, revision, record, lease"
_CLAIM = "UPDATE runs SET revision = ?, state = ?, time = ?, worker = ?, lease = ?, record = ? WHERE id = ?"
IN = "IN (SELECT value FROM json_each(?))"


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
    first = 1 + connection.execute("SELECT coalesce(max(sequence), 0) FROM runs").fetchone()[0]
    try:
        rows = ((*_row(run), sequence) for sequence, run in enumerate(kept, first))
        connection.executemany(_INSERT, rows)
        shapes = _shapes(kept, connection)
        glimpses = zip(range(first, first + len(kept)), shapes, map(_glimpse, kept), strict=True)
        connection.executemany(_INSERT_GLIMPSE, glimpses)
    except sqlite3.IntegrityError:
        taken = _first_taken(runs, connection)
        raise IdTaken(f"there is a run '{taken}' already") from None
    return kept


def get(run_id: str, connection: Connection) -> Run:
    """See :meth:`orchestra.contracts.Store.get`."""
    rows = connection.execute(f"SELECT {RECORD} FROM runs WHERE id {IN}", (array_of((run_id,)),)).fetchall()
    if not rows:
        raise RunNotFound(f"there is no run '{run_id}'")
    return load(*rows[0])


def update(runs: Sequence[Run], connection: Connection) -> tuple[Run, ...]:
    """See :meth:`orchestra.contracts.Store.update`."""
    now = _now()
    kept: list[Run] = []
    for run in runs:
        changed = structs.replace(run, revision=run.revision + 1, lease=_lease(run, run.lease, now))
        row = _row(changed)
        rows = connection.execute(_END if run.worker is None else _GO_ON, row).fetchall()
        rows = rows or connection.execute(_UPDATE, row).fetchall()
        if not rows:
            get(run.id, connection)
            raise RevisionConflict(f"run {run.id} was changed by somebody else")
        sequence, kept_lease = rows[0]
        _update_glimpse(sequence, changed, connection)
        kept.append(structs.replace(changed, lease=kept_lease))
    return tuple(kept)


def candidates(wanted: Wanted, limit: int, connection: Connection) -> list[tuple[Any, ...]]:
    """Id, revision, record and lease of the runs that match, in the order of claims."""
    table, conditions, parameters = _wanted_conditions(wanted)
    return connection.execute(
        f"SELECT {RECORD} FROM {table} WHERE {conditions} ORDER BY {CLAIM_ORDER} LIMIT ?",
        (*parameters, limit),
    ).fetchall()


def claim(
    worker: Worker, lease: float, limit: int, wanted: Wanted, connection: Connection
) -> tuple[Run, ...]:
    """See :meth:`orchestra.contracts.Store.claim`."""
    end = _end(_now(), lease)
    move = lifecycle.watch if wanted.expired else lifecycle.claim
    found = [
        load(run_id, revision, record, None)
        for run_id, revision, record, _ in candidates(wanted, limit, connection)
    ]
    claimed = [structs.replace(move(run, worker, end), revision=run.revision + 1) for run in found]
    connection.executemany(
        _CLAIM,
        [
            (run.revision, run.state, run.time, worker.nonce, end, encode_unleased(run), run.id)
            for run in claimed
        ],
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
    ids = (array_of(run_ids),)
    connection.execute(
        f"DELETE FROM glimpses WHERE sequence IN (SELECT sequence FROM runs WHERE id {IN})", ids
    )
    return connection.execute(f"DELETE FROM runs WHERE id {IN}", ids).rowcount


def spoil_unreadable(path: Path, connection: Connection) -> tuple[str, ...]:
    """Make the runs ``broken`` whose records can't be read; one must not hide all others. Returns their ids.

    Whatever is known of such a run is in its directory, from which the engine can enter it anew.
    """
    spoiled: list[Run] = []
    for run_id, revision, record, lease, time_ in connection.execute(f"SELECT {RECORD}, time FROM runs"):
        try:
            load(run_id, revision, record, lease)
        except RecordUnreadable as error:
            run = unreadable_run(str(run_id), f"the store '{path}' holds no record of it: {error}", time_)
            spoiled.append(structs.replace(run, revision=revision + 1))
    for run in spoiled:
        (sequence,) = connection.execute(_SPOIL, _row(run)).fetchone()
        _update_glimpse(sequence, run, connection)
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
    without = "SELECT 1 FROM runs LEFT JOIN glimpses USING (sequence) WHERE glimpse IS NULL LIMIT 1"
    if connection.execute(without).fetchone():
        raise StoreCorrupt("what is kept of a run for searching is missing")


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
            f"worker IS NULL AND {'' if wanted.ids is None else '+'}state IN ({placeholders(wanted.states)})"
        )
        parameters += sorted(wanted.states)
    if wanted.ids is not None:
        conditions.append(f"id {IN}")
        parameters.append(array_of(wanted.ids))
    if wanted.excluded:
        conditions.append(f"id NOT {IN}")
        parameters.append(array_of(wanted.excluded))
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
        encode_unleased(run),
    )


def fill_glimpses(connection: Connection) -> None:
    """Enter the glimpses of all runs into an empty table. Of records that can't be read they are as of broken runs."""
    rows = connection.execute(f"SELECT sequence, {RECORD}, time FROM runs ORDER BY sequence").fetchall()
    for sequence, run_id, revision, record, lease, time_ in rows:
        try:
            run = load(run_id, revision, record, lease)
        except RecordUnreadable as error:
            run = unreadable_run(str(run_id), str(error), time_)
        connection.execute(_INSERT_GLIMPSE, (sequence, *_shapes((run,), connection), _glimpse(run)))


def _update_glimpse(sequence: int, run: Run, connection: Connection) -> None:
    glimpse = _glimpse(run)
    same = "SELECT 1 FROM glimpses WHERE sequence = ? AND glimpse = ?"
    # Most changes of a run are none of what is seen at a glimpse.
    if not connection.execute(same, (sequence, glimpse)).fetchone():
        connection.execute(_UPDATE_GLIMPSE, (sequence, *_shapes((run,), connection), glimpse))


def _shapes(runs: Sequence[Run], connection: Connection) -> list[int]:
    """The numbers of the runs' shapes, which are entered where they are new."""
    names = [encode(sorted([name for name, value in run.flags.items() if value is not None])) for run in runs]
    numbers: dict[bytes, int] = {}
    for shape in set(names):
        text = (shape.decode(),)
        row = connection.execute("SELECT number FROM shapes WHERE names = ?", text).fetchone()
        inserted = "INSERT INTO shapes (names) VALUES (?) RETURNING number"
        numbers[shape] = (row or connection.execute(inserted, text).fetchone())[0]
    return [numbers[shape] for shape in names]


def _glimpse(run: Run) -> bytes:
    try:
        return encode_glimpse(run)
    except (TypeError, ValueError) as error:
        raise StoreError(f"run {run.id} can't be recorded: {error}") from error


def load(run_id: str, revision: int, record: bytes, lease: int | None) -> Run:
    """The run of a row of :data:`RECORD`.

    Raises:
        RecordUnreadable: it holds none.
    """
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


def placeholders(values: Iterable[str]) -> str:
    """As many parameters in SQL."""
    return ", ".join("?" for _ in values)


def array_of(ids: Iterable[str]) -> str:
    """Ids as one parameter, for :data:`IN`."""
    # Any number of ids in one parameter: statements stay few, and prepared.
    return msgspec.json.encode(list(map(text_of, ids))).decode()


def text_of(value: str) -> str:
    """``value`` as SQLite takes it."""
    # Undecodable bytes of an argument can't be in an id, and SQLite does not take them.
    return value.encode("utf-8", "replace").decode() if not value.isascii() else value
