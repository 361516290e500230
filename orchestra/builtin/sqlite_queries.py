"""Queries of the table of runs, each as a function of a connection."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from orchestra.builtin.sqlite_runs import (
    CLAIM_ORDER,
    IN,
    RECORD,
    STAGED,
    STAGED_TABLE,
    array_of,
    load,
    placeholders,
    text_of,
)
from orchestra.contracts import Page
from orchestra.model.filters import RunQuery
from orchestra.model.run import FINAL

if TYPE_CHECKING:
    from orchestra.model.conditions import Condition

_TURNS = RunQuery(states=STAGED, claim_order=True)


def select(query: RunQuery, connection: Connection) -> Page:
    """See :meth:`orchestra.contracts.Store.query`."""
    found = _Found(query, connection)
    rows, total = found.page(RECORD)
    if found.rest is None:
        return Page(runs=tuple(load(*row) for row in rows), total=total)
    # Neither columns nor glimpses tell: the records do.
    every = tuple(run for run in (load(*row) for row in rows) if query.matches(run))
    return Page(runs=every[query.window], total=len(every))


def marks(query: RunQuery, connection: Connection) -> list[tuple[str, int, int]]:
    """See :meth:`orchestra.contracts.Marking.marks`."""
    found = _Found(query, connection)
    if found.rest is None:
        return found.page("id, revision, time")[0]
    return [(run.id, run.revision, run.time) for run in select(query, connection).runs]


def count(query: RunQuery, connection: Connection) -> int:
    """How many runs match, without limit and offset; with ``where`` maybe fewer."""
    return _count("runs", *_conditions(query), connection)


class _Found:
    """The rows that a query finds, as far as that is told without their records; ``rest`` is what they must tell."""

    def __init__(self, query: RunQuery, connection: Connection) -> None:
        self._query = query
        self._connection = connection
        self._table = "runs"
        self._conditions, self._parameters = _conditions(query)
        self.rest: Condition | None = None
        self._order = "time, sequence" if query.oldest_first else "time DESC, sequence"
        if query.claim_order:
            self._order = CLAIM_ORDER
            if structs.replace(query, limit=None, offset=0, counted=True) == _TURNS:
                self._table, self._conditions, self._parameters = STAGED_TABLE, "state = 'staged'", []
        self._sequences: list[int] | None = None
        if query.where is not None:
            self._look(query.where)

    def _look(self, where: Condition) -> None:
        from orchestra.builtin import sqlite_search

        pushed = sqlite_search.push(where, self._connection)
        for condition, parameters in pushed.exact:
            self._conditions += f" AND ({condition})"
            self._parameters = [*self._parameters, *parameters]
        if pushed.rest is not None:
            base = self._conditions, self._parameters
            search = sqlite_search.Search(pushed, base, self._order, self._connection)
            self._sequences = search.sequences()
            self.rest = pushed.rest if self._sequences is None else None

    def page(self, columns: str) -> tuple[list[tuple[Any, ...]], int]:
        """The rows within the query's limit and offset, and how many there are without these; with ``rest``, all."""
        query = self._query
        if self.rest is not None:
            rows = self._rows(columns, -1, 0)
            return rows, len(rows)
        if self._sequences is not None:
            return self._rows_of(columns, self._sequences[query.window]), len(self._sequences)
        limit = -1 if query.limit is None else query.limit
        rows = self._rows(columns, limit, query.offset)
        if not query.counted or ((rows or query.offset == 0) and len(rows) != limit):
            return rows, query.offset + len(rows)
        return rows, _count(self._table, self._conditions, self._parameters, self._connection)

    def _rows(self, columns: str, limit: int, offset: int) -> list[tuple[Any, ...]]:
        return self._connection.execute(
            f"SELECT {columns} FROM {self._table} WHERE {self._conditions} ORDER BY {self._order}"
            " LIMIT ? OFFSET ?",
            (*self._parameters, limit, offset),
        ).fetchall()

    def _rows_of(self, columns: str, sequences: Sequence[int]) -> list[tuple[Any, ...]]:
        rows = self._connection.execute(
            f"SELECT sequence, {columns} FROM runs WHERE sequence IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(sequences).decode(),),
        )
        found = {row[0]: row[1:] for row in rows}
        return [found[sequence] for sequence in sequences]


def _count(table: str, conditions: str, parameters: Sequence[Any], connection: Connection) -> int:
    # Without a condition SQLite has a quicker way.
    where = "" if conditions == "1" else f" WHERE {conditions}"
    return int(connection.execute(f"SELECT count(*) FROM {table}{where}", parameters).fetchone()[0])


def _conditions(query: RunQuery) -> tuple[str, list[Any]]:
    conditions: list[str] = ["1"]
    parameters: list[Any] = []
    # An index is for the few: of those that ended there are many, and they are wanted by time.
    by_state = query.ids is None and query.batch is None and not query.id_prefix
    by_state = by_state and query.states is not None and (len(query.states) == 1 or not query.states & FINAL)
    if query.ids is not None:
        conditions.append(f"id {IN}")
        parameters.append(array_of(query.ids))
    if query.id_prefix:
        conditions.append("id >= ? AND id < ?")
        prefix = text_of(query.id_prefix)
        parameters += [prefix, prefix + "\U0010ffff"]
    if query.states is not None:
        conditions.append(f"{'' if by_state else '+'}state IN ({placeholders(query.states)})")
        parameters += sorted(query.states)
    if query.kinds is not None:
        conditions.append(f"kind IN ({placeholders(query.kinds)})")
        parameters += sorted(query.kinds)
    if query.batch is not None:
        conditions.append("batch = ?")
        parameters.append(text_of(query.batch))
    return " AND ".join(conditions), parameters
