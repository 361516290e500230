"""The table of runs: each step of the store as a function of a connection."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import structs
from orchestra.errors import IdTaken, RevisionConflict, RunNotFound
from orchestra.model import lifecycle
from orchestra.model.encoding import decode, decode_run, encode, encode_unleased
from orchestra.model.filters import Wanted
from orchestra.model.glimpse import encode_glimpse
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run, Worker, unreadable_run
from psycopg import errors

from orchestra_postgres.connection import Connection
from orchestra_postgres.server import NOW

RECORD: Final = "id, revision, record, moves, lease, time"
CLAIM_ORDER: Final = "priority DESC, queued, sequence"
_GIVEN = """
    given AS (
        SELECT * FROM unnest(
            %(ids)s::text[], %(revisions)s::bigint[], %(states)s::text[], %(kinds)s::text[], %(batches)s::text[],
            %(times)s::bigint[], %(claimed)s::bigint[], %(priorities)s::bigint[], %(queued)s::bigint[],
            %(workers)s::text[], %(leases)s::bigint[], %(records)s::bytea[], %(flags)s::text[], %(glimpses)s::bytea[]
        ) WITH ORDINALITY AS given (
            id, revision, state, kind, batch, time, claimed_time, priority, queued, worker, lease, record,
            flags, glimpse, number
        )
    ), noted AS (INSERT INTO writes (token) VALUES (%(token)s))
"""
_INSERT = f"""
    WITH {_GIVEN}, made AS (
        INSERT INTO runs
            (id, revision, state, kind, batch, time, claimed_time, priority, queued, worker, lease, record)
        SELECT id, revision, state, kind, batch, time, claimed_time, priority, queued, worker,
            CASE WHEN worker IS NULL THEN NULL
                ELSE coalesce({NOW} + %(lease)s::bigint, lease, {NOW}) END,
            record
        FROM given ORDER BY number RETURNING id, sequence, lease
    ), seen AS (
        INSERT INTO glimpses (sequence, flags, glimpse)
        SELECT made.sequence, given.flags::jsonb, given.glimpse FROM made JOIN given USING (id)
    )
    SELECT id, lease, pg_notify(%(channel)s, '') FROM made
"""
_UPDATE = f"""
    WITH {_GIVEN}, changed AS (
        UPDATE runs SET revision = given.revision, state = given.state, kind = given.kind, batch = given.batch,
            time = given.time, claimed_time = given.claimed_time, priority = given.priority, queued = given.queued,
            record = given.record, moves = NULL, token = NULL,
            lease = CASE WHEN given.worker IS NULL THEN NULL WHEN runs.worker = given.worker THEN runs.lease
                ELSE coalesce(given.lease, {NOW}) END,
            worker = given.worker
        FROM given WHERE runs.id = given.id AND (runs.revision = given.revision - 1 OR %(forced)s)
        RETURNING runs.id, runs.sequence, runs.lease
    ), seen AS (
        UPDATE glimpses SET flags = given.flags::jsonb, glimpse = given.glimpse
        FROM changed JOIN given USING (id)
        WHERE glimpses.sequence = changed.sequence AND glimpses.glimpse <> given.glimpse
    )
    SELECT id, lease, pg_notify(%(channel)s, '') FROM changed
"""
_CLAIM = """
    WITH picked AS MATERIALIZED (
        SELECT sequence FROM runs WHERE {conditions} ORDER BY priority DESC, queued, sequence
        LIMIT %(limit)s FOR UPDATE {how}
    ), claimed AS (
        UPDATE runs SET revision = runs.revision + 1, worker = %(worker)s, token = %(token)s,
            lease = {now} + %(lease)s, moves = coalesce(runs.moves, ''::bytea) || %(move)s, {more}
        FROM picked WHERE runs.sequence = picked.sequence
        RETURNING runs.id, runs.revision, runs.record, runs.moves, runs.lease, runs.time, runs.priority,
            runs.queued, runs.sequence
    )
    SELECT id, revision, record, moves, lease, time, pg_notify(%(channel)s, '') FROM claimed
    ORDER BY priority DESC, queued, sequence
"""
_CLAIMED_BY = f"SELECT {RECORD} FROM runs WHERE worker = %s AND token = %s ORDER BY {CLAIM_ORDER}"
_MOVES = {"claim": lifecycle.claim, "watch": lifecycle.watch}
_CLAIMABLE = frozenset(
    state for (state, target), edge in lifecycle.EDGES.items() if (target, edge) == ("pending", "claim")
)
_LARGEST = 2**53
_LONGEST = 1000


class Unreadable(Exception):
    """A row holds no record of its run: :func:`spoil` mends it. Never leaves the store."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.id)
        self.run = run
        """The run as far as it is known: ``broken``."""


class Sent(NamedTuple):
    """What all writes carry."""

    token: str
    """The mark by which it is known whether it was committed."""
    channel: str
    """Where those listen that wait for changes."""


def insert(runs: Sequence[Run], lease: float | None, sent: Sent, connection: Connection) -> tuple[Run, ...]:
    """See :meth:`orchestra.contracts.Store.create`."""
    kept = [structs.replace(run, revision=max(1, run.revision)) for run in runs]
    parameters = {**_columns(kept, sent), "lease": None if lease is None else _micros(lease)}
    rows = connection.execute(_INSERT.encode(), parameters).fetchall()
    leases = {row[0]: row[1] for row in rows}
    return tuple(structs.replace(run, lease=leases[run.id]) for run in kept)


def taken(runs: Sequence[Run], connection: Connection) -> IdTaken | None:
    """Why :func:`insert` was refused."""
    seen: set[str] = set()
    there = {
        row[0]
        for row in connection.execute(
            "SELECT id FROM runs WHERE id = ANY(%s)", (texts(run.id for run in runs),)
        )
    }
    for run in runs:
        if run.id in there or run.id in seen:
            return IdTaken(f"there is a run '{run.id}' already")
        seen.add(run.id)
    return None


def get(run_id: str, connection: Connection) -> Run:
    """See :meth:`orchestra.contracts.Store.get`."""
    row = connection.execute(f"SELECT {RECORD} FROM runs WHERE id = %s".encode(), (text(run_id),)).fetchone()
    if row is None:
        raise RunNotFound(f"there is no run '{run_id}'")
    return load(*row)


def update(runs: Sequence[Run], sent: Sent, connection: Connection) -> tuple[Run, ...]:
    """See :meth:`orchestra.contracts.Store.update`."""
    changed = [structs.replace(run, revision=run.revision + 1) for run in runs]
    rows = connection.execute(_UPDATE.encode(), {**_columns(changed, sent), "forced": False}).fetchall()
    if len(rows) < len(runs):
        raise _refusal(runs, {row[0] for row in rows}, connection)
    leases = {row[0]: row[1] for row in rows}
    return tuple(structs.replace(run, lease=leases[run.id]) for run in changed)


def _refusal(runs: Sequence[Run], changed: set[str], connection: Connection) -> Exception:
    ids = (texts(run.id for run in runs),)
    there = {row[0] for row in connection.execute("SELECT id FROM runs WHERE id = ANY(%s)", ids)}
    for run in runs:
        if run.id not in there:
            return RunNotFound(f"there is no run '{run.id}'")
        if run.id not in changed:
            return RevisionConflict(f"run {run.id} was changed by somebody else")
        # A second time it comes too late.
        changed.discard(run.id)
    return RevisionConflict(f"run {runs[0].id} was changed by somebody else")


def spoil(broken: Run, sent: Sent, connection: Connection) -> None:
    """Make a run ``broken`` whose record can't be read; one must not hide all others."""
    connection.execute(_UPDATE.encode(), {**_columns([broken], sent), "forced": True})


def claim(
    worker: Worker, lease: float, limit: int, wanted: Wanted, sent: Sent, connection: Connection
) -> list[tuple[Any, ...]]:
    """See :meth:`orchestra.contracts.Store.claim`: the rows of the runs, of :data:`RECORD`."""
    conditions, parameters = _wanted(wanted)
    # Who wants certain runs is told the truth of them; who wants any passes by what others are looking at.
    statement = _CLAIM.format(
        conditions=conditions,
        now=NOW,
        how="SKIP LOCKED" if wanted.ids is None else "",
        more="time = runs.time" if wanted.expired else "state = 'pending', time = runs.claimed_time",
    )
    move = encode(("watch" if wanted.expired else "claim", worker)) + b"\n"
    parameters |= {"worker": worker.nonce, "limit": limit, "lease": _micros(lease), "move": move}
    parameters |= {"token": sent.token, "channel": sent.channel}
    return [row[:6] for row in connection.execute(statement.encode(), parameters).fetchall()]


def claimed(worker: Worker, sent: Sent, connection: Connection) -> list[tuple[Any, ...]]:
    """What a :func:`claim` has got of which it is not known whether it was committed."""
    return connection.execute(_CLAIMED_BY.encode(), (worker.nonce, sent.token)).fetchall()


def was_committed(sent: Sent, connection: Connection) -> bool:
    """Whether a write with this mark was committed."""
    row = connection.execute("SELECT 1 FROM writes WHERE token = %s", (sent.token,)).fetchone()
    return row is not None


def forget_old_writes(connection: Connection) -> None:
    """Nobody asks any more for what was committed long ago."""
    connection.execute("DELETE FROM writes WHERE time < now() - interval '1 hour'")


def renew(worker: Worker, lease: float, connection: Connection) -> tuple[frozenset[str], int]:
    """See :meth:`orchestra.contracts.Store.renew`; and what the server's clock says."""
    rows = connection.execute(
        f"""
        WITH renewed AS (UPDATE runs SET lease = {NOW} + %s WHERE worker = %s RETURNING id)
        SELECT array(SELECT id FROM renewed), {NOW}
        """.encode(),
        (_micros(lease), worker.nonce),
    )
    ((ids, clock),) = rows
    return frozenset(ids), clock


def delete(run_ids: Sequence[str], sent: Sent, connection: Connection) -> int:
    """See :meth:`orchestra.contracts.Store.delete`."""
    rows = connection.execute(
        """
        WITH gone AS (DELETE FROM runs WHERE id = ANY(%s) RETURNING id),
            noted AS (INSERT INTO writes (token) VALUES (%s))
        SELECT id, pg_notify(%s, '') FROM gone
        """,
        (texts(run_ids), *sent),
    )
    return len(rows.fetchall())


def load(run_id: str, revision: int, record: bytes, moves: bytes | None, lease: int | None, time: int) -> Run:
    """The run of a row of :data:`RECORD`.

    Raises:
        Unreadable: it holds none.
    """
    try:
        run = decode_run(record)
        number = run.revision
        for line in (moves or b"").split(b"\n")[:-1]:
            how, worker = decode(line, tuple[str, Worker])
            run = _MOVES[how](run, worker, 0)
            number += 1
        if (run.id, number) != (run_id, revision):
            raise ValueError(f"it is that of run {run.id} at its revision {number}")
    except (TypeError, ValueError, KeyError, lifecycle.IllegalTransition) as error:
        broken = unreadable_run(run_id, f"the store holds no record of it: {error}", time)
        raise Unreadable(structs.replace(broken, revision=revision + 1)) from error
    return structs.replace(run, lease=lease, revision=revision)


def _wanted(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    parameters: dict[str, Any] = {}
    if wanted.expired:
        conditions = f"worker IS NOT NULL AND lease <= {NOW}"
    else:
        states = sorted(wanted.states & _CLAIMABLE)
        conditions = "state = 'staged' AND worker IS NULL"
        if states != ["staged"]:
            conditions = "state = ANY(%(states)s) AND worker IS NULL"
            parameters["states"] = states
    if wanted.ids is not None:
        conditions += " AND id = ANY(%(ids)s)"
        parameters["ids"] = texts(wanted.ids)
    if wanted.excluded:
        conditions += " AND id <> ALL(%(excluded)s)"
        parameters["excluded"] = texts(wanted.excluded)
    return conditions, parameters


def _columns(runs: Sequence[Run], sent: Sent) -> dict[str, Any]:
    at_claim: list[int] = [structs.replace(run, state="pending").time for run in runs]
    return {
        "ids": texts(run.id for run in runs),
        "revisions": [run.revision for run in runs],
        "states": [run.state for run in runs],
        "kinds": [run.kind for run in runs],
        "batches": [None if run.batch is None else text(run.batch) for run in runs],
        "times": [run.time for run in runs],
        "claimed": at_claim,
        "priorities": [run.priority for run in runs],
        "queued": [run.turn[1] for run in runs],
        "workers": [None if run.worker is None else text(run.worker.nonce) for run in runs],
        "leases": [run.lease for run in runs],
        "records": [encode_unleased(run) for run in runs],
        "flags": [plain_flags(run) for run in runs],
        "glimpses": [encode_glimpse(run) for run in runs],
        **sent._asdict(),
    }


def plain_flags(run: Run) -> str:
    """The flags of a run as the server's JSON holds them exactly; null stands for other values."""
    plain = {
        name: value if is_plain(value) else None
        for name, value in run.flags.items()
        if value is not None and is_plain(name)
    }
    return msgspec.json.encode(plain).decode()


def is_plain(value: FlagValue) -> bool:
    """Whether the server's JSON holds ``value``, and finds it equal to what Python does."""
    if isinstance(value, str):
        return len(value) <= _LONGEST and "\0" not in value and text(value) == value
    if isinstance(value, int | float):
        return (
            math.isfinite(value) and abs(value) < _LARGEST
            if isinstance(value, float)
            else abs(value) < _LARGEST
        )
    return False


def text(value: str) -> str:
    """``value`` as the server takes it: without undecodable bytes and NUL, which can't be in an id."""
    return value if value.isascii() and "\0" not in value else _replaced(value)


def texts(values: Iterable[str]) -> list[str]:
    """:func:`text` of each."""
    return list(map(text, values))


def _replaced(value: str) -> str:
    return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def is_taken(error: BaseException | None) -> bool:
    """Whether the server refused an id that is there already."""
    return isinstance(error, errors.UniqueViolation)


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)
