"""Finding runs by a condition: as much as SQL can tell exactly, then glimpses, and records only where it takes them.

A glimpse of each run is in a table of its own, whose rows are a tenth as long as the records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from sqlite3 import Connection
from typing import Any, NamedTuple

from orchestra.builtin.sqlite_runs import IN, array_of, text_of
from orchestra.errors import StoreCorrupt
from orchestra.model.conditions import (
    Among,
    Comparison,
    Condition,
    During,
    Not,
    all_of,
    conjuncts,
    holds,
    is_attribute,
    is_seen,
)
from orchestra.model.glimpse import as_run, decode_glimpse


class Pushed(NamedTuple):
    """What SQL tells, and what is left to ask of each run."""

    conditions: list[str]
    parameters: list[Any]
    rest: Condition | None


def push(where: Condition) -> Pushed:
    """Split ``where`` into what the columns of the table tell exactly, and the rest."""
    conditions: list[str] = []
    parameters: list[Any] = []
    rest: list[Condition] = []
    for part in conjuncts(where):
        pushed = _pushed(part)
        if pushed is None:
            rest.append(part)
        else:
            conditions.append(pushed[0])
            parameters += pushed[1]
    return Pushed(conditions, parameters, all_of(rest))


def _pushed(part: Condition) -> tuple[str, list[Any]] | None:
    if isinstance(part, Not):
        inner = _pushed(part.condition)
        return None if inner is None else (f"NOT ({inner[0]})", inner[1])
    if isinstance(part, Among):
        return f"id {IN}", [array_of(part.ids)]
    if isinstance(part, During):
        bounds = [("time >= ?", part.begin), ("time < ?", part.end)]
        given = [(sql, bound) for sql, bound in bounds if bound is not None and abs(bound) < 2**63]
        if len(given) < sum(bound is not None for _, bound in bounds):
            return None
        return " AND ".join(sql for sql, _ in given) or "1", [bound for _, bound in given]
    if isinstance(part, Comparison) and part.name.name == "status" and is_attribute(part.name):
        return (
            ("+state = ?", [text_of(part.value)])
            if isinstance(part.value, str) and part.operator == "="
            else None
        )
    return None


def found_by_glimpse(
    rest: Condition, conditions: str, parameters: Sequence[Any], order: str, connection: Connection
) -> list[int] | None:
    """The rows that meet ``conditions`` and ``rest``, in order; None if their records must be read for that."""
    if not is_seen(rest):
        return None
    rows = connection.execute(
        "SELECT sequence, id, state, kind, batch, time, glimpse FROM runs CROSS JOIN glimpses USING (sequence)"
        f" WHERE {conditions} ORDER BY {order}",
        parameters,
    )
    return list(_holding(rest, rows))


def _holding(rest: Condition, rows: Any) -> Iterator[int]:
    for sequence, run_id, state, kind, batch, time, data in rows:
        try:
            glimpse = decode_glimpse(data)
        except (TypeError, ValueError) as error:
            raise StoreCorrupt(
                f"what is kept of run {run_id} for searching can't be read: {error}"
            ) from error
        glimpse.id, glimpse.state, glimpse.kind = run_id, state, kind
        glimpse.batch, glimpse.time = batch, time
        if holds(rest, as_run(glimpse)):
            yield sequence
