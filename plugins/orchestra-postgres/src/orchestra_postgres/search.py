"""Queries of the table of runs: what the server's indexes tell, then glimpses, and records only where it takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from orchestra.contracts import Mark, Page
from orchestra.model.condition_sql import Sql, joined, split
from orchestra.model.conditions import (
    Among,
    Comparison,
    Condition,
    During,
    Name,
    compare,
    conjuncts,
    holds,
    is_attribute,
    is_seen,
)
from orchestra.model.filters import RunQuery
from orchestra.model.glimpse import as_run, decode_glimpse
from orchestra.model.operation import FlagValue

from orchestra_postgres.connection import Connection
from orchestra_postgres.table import CLAIM_ORDER, RECORD, is_plain, load, text, texts

_LARGEST = 2**63
_MARK = "id, revision, time"


def select(query: RunQuery, connection: Connection) -> Page:
    """See :meth:`orchestra.contracts.Store.query`."""
    found = _Found(query, connection)
    rows, total = found.page(RECORD)
    if found.rest is None:
        return Page(runs=tuple(load(*row) for row in rows), total=total)
    # Neither columns nor glimpses tell: the records do.
    every = tuple(run for run in (load(*row) for row in rows) if query.matches(run))
    return Page(runs=every[query.window], total=len(every))


def marks(query: RunQuery, connection: Connection) -> list[Mark]:
    """See :meth:`orchestra.contracts.Marking.marks`."""
    found = _Found(query, connection)
    if found.rest is None:
        return cast("list[Mark]", found.page(_MARK)[0])
    return [(run.id, run.revision, run.time) for run in select(query, connection).runs]


def takes_one_statement(query: RunQuery) -> bool:
    """Whether it is answered by a single statement, which needs no transaction."""
    return query.where is None and query.limit is None and query.offset == 0


class _Found:
    """The rows that a query finds, as far as that is told without their records; ``rest`` is what they must tell."""

    def __init__(self, query: RunQuery, connection: Connection) -> None:
        self._query = query
        self._connection = connection
        self._order = "time, sequence" if query.oldest_first else "time DESC, sequence"
        if query.claim_order:
            self._order = CLAIM_ORDER
        self._base = joined(_conditions(query))
        self._sequences: list[int] | None = None
        self.rest: Condition | None = None
        if query.where is not None:
            exact, rest = split(query.where, _tell)
            self._base = joined([self._base, *exact])
            if rest is not None and is_seen(rest):
                self._sequences = self._of_glimpses(rest)
            else:
                self.rest = rest

    def page(self, columns: str) -> tuple[list[tuple[Any, ...]], int]:
        """The rows within the query's limit and offset, and how many there are without these; with ``rest``, all."""
        query = self._query
        if self._sequences is not None:
            return self._rows_of(columns, self._sequences[query.window]), len(self._sequences)
        if self.rest is not None:
            rows = self._rows(columns, None, 0)
            return rows, len(rows)
        rows = self._rows(columns, query.limit, query.offset)
        if not query.counted or ((rows or query.offset == 0) and len(rows) != query.limit):
            return rows, query.offset + len(rows)
        condition, parameters = self._base
        counted = self._fetch(f"SELECT count(*) FROM runs WHERE {condition}", parameters)
        return rows, counted[0][0]

    def _rows(self, columns: str, limit: int | None, offset: int) -> list[tuple[Any, ...]]:
        condition, parameters = self._base
        return self._fetch(
            f"SELECT {columns} FROM runs WHERE {condition} ORDER BY {self._order} LIMIT %s OFFSET %s",
            [*parameters, limit, offset],
        )

    def _of_glimpses(self, rest: Condition) -> list[int]:
        condition, parameters = joined([self._base, *map(_hint, conjuncts(rest))])
        rows = self._fetch(
            "SELECT sequence, id, state, kind, batch, time, glimpse FROM runs JOIN glimpses USING (sequence)"
            f" WHERE {condition} ORDER BY {self._order}",
            parameters,
        )
        found: list[int] = []
        for sequence, run_id, state, kind, batch, time, data in rows:
            glimpse = decode_glimpse(data)
            glimpse.id, glimpse.state, glimpse.kind = run_id, state, kind
            glimpse.batch, glimpse.time = batch, time
            if holds(rest, as_run(glimpse)):
                found.append(sequence)
        return found

    def _rows_of(self, columns: str, sequences: Sequence[int]) -> list[tuple[Any, ...]]:
        rows = self._fetch(
            f"SELECT sequence, {columns} FROM runs WHERE sequence = ANY(%s)", [list(sequences)]
        )
        found = {row[0]: row[1:] for row in rows}
        return [found[sequence] for sequence in sequences]

    def _fetch(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement.encode(), parameters, binary=True).fetchall()


def _conditions(query: RunQuery) -> list[Sql]:
    found: list[Sql] = [("true", [])]
    if query.ids is not None:
        found.append(("id = ANY(%s)", [texts(query.ids)]))
    if query.id_prefix:
        prefix = text(query.id_prefix)
        found.append(("id >= %s AND id < %s", [prefix, prefix + "\U0010ffff"]))
    if query.states is not None:
        found.append(("state = ANY(%s)", [sorted(query.states)]))
    if query.kinds is not None:
        found.append(("kind = ANY(%s)", [sorted(query.kinds)]))
    if query.batch is not None:
        found.append(("batch = %s", [text(query.batch)]))
    return found


def _tell(part: Condition) -> Sql | None:
    """What the columns and the index of flags tell exactly."""
    if isinstance(part, Among):
        return "id = ANY(%s)", [texts(part.ids)]
    if isinstance(part, During):
        bounds = [("time >= %s", part.begin), ("time < %s", part.end)]
        given = [(sql, [bound]) for sql, bound in bounds if bound is not None]
        if any(abs(bound) >= _LARGEST for _, (bound,) in given):
            return None
        return joined([("true", []), *given])
    if not isinstance(part, Comparison) or part.operator != "=":
        return None
    if part.value is None and _is_of_flag(part.name):
        return "NOT EXISTS (SELECT FROM glimpses WHERE glimpses.sequence = runs.sequence AND flags ? %s)", [
            part.name.name
        ]
    if isinstance(part.value, str) and part.name.name == "status" and is_attribute(part.name):
        return "state = %s", [text(part.value)]
    return None


def _hint(part: Condition) -> Sql:
    """What holds of all glimpses for which ``part`` holds, and maybe of others."""
    if not isinstance(part, Comparison) or not _is_of_flag(part.name):
        return "true", []
    values: list[FlagValue] = [part.value]
    if part.operator == "in" and isinstance(part.value, list):
        values = cast("list[FlagValue]", part.value)
    if part.operator in ("=", "in") and values and all(map(is_plain, values)):
        equal: list[Sql] = [("flags @> %s::jsonb", [_json({part.name.name: value})]) for value in values]
        return joined(equal, " OR ")
    if compare(None, part.operator, part.value):
        return "true", []
    return "flags ? %s", [part.name.name]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _is_of_flag(name: Name) -> bool:
    """Whether it is that of a flag, as far as a record tells, and the index knows it."""
    return (name.kind == "flag" or (name.kind == "any" and not is_attribute(name))) and is_plain(name.name)
