"""Finding runs by a condition: as much as SQL can tell exactly, then glimpses, and records only where it takes them.

A glimpse of each run is in a table of its own, whose rows are a tenth as long as the records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from sqlite3 import Connection
from typing import Any, NamedTuple

import msgspec

from orchestra.builtin.sqlite_runs import IN, array_of, text_of
from orchestra.errors import StoreCorrupt
from orchestra.model.conditions import (
    Among,
    Comparison,
    Condition,
    During,
    Name,
    Not,
    all_of,
    compare,
    conjuncts,
    holds,
    is_attribute,
    is_seen,
)
from orchestra.model.encoding import decode
from orchestra.model.glimpse import as_run, decode_glimpse

_LARGEST = 2**63


class Pushed(NamedTuple):
    """What SQL tells, and what is left to ask of each run."""

    conditions: list[str]
    parameters: list[Any]
    rest: Condition | None


def push(where: Condition, connection: Connection) -> Pushed:
    """Split ``where`` into what the columns of the tables tell exactly, and the rest."""
    shapes = _Shapes(connection)
    conditions: list[str] = []
    parameters: list[Any] = []
    rest: list[Condition] = []
    for part in conjuncts(where):
        pushed = _pushed(part, shapes)
        if pushed is None:
            rest.append(part)
            pushed = shapes.needed(part)
        if pushed is not None:
            conditions.append(pushed[0])
            parameters += pushed[1]
    return Pushed(conditions, parameters, all_of(rest))


_Sql = tuple[str, list[Any]]


def _pushed(part: Condition, shapes: _Shapes) -> _Sql | None:
    if isinstance(part, Not):
        inner = _pushed(part.condition, shapes)
        return None if inner is None else (f"NOT ({inner[0]})", inner[1])
    if isinstance(part, Among):
        return f"id {IN}", [array_of(part.ids)]
    if isinstance(part, During):
        return _within(part)
    if not isinstance(part, Comparison) or part.operator != "=":
        return None
    if part.value is None and shapes.are_about(part.name):
        return shapes.without(part.name.name)
    if isinstance(part.value, str) and part.name.name == "status" and is_attribute(part.name):
        return "+state = ?", [text_of(part.value)]
    return None


def _within(part: During) -> _Sql | None:
    bounds = [("time >= ?", part.begin), ("time < ?", part.end)]
    given = [(sql, bound) for sql, bound in bounds if bound is not None]
    if any(abs(bound) >= _LARGEST for _, bound in given):
        return None
    return " AND ".join(sql for sql, _ in given) or "1", [bound for _, bound in given]


class _Shapes:
    """Which runs have a flag of some name: told by their shapes, of which there are few."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @staticmethod
    def are_about(name: Name) -> bool:
        """Whether ``name`` is that of a flag, as far as a record tells."""
        return name.kind == "flag" or (name.kind == "any" and not is_attribute(name))

    @cached_property
    def _names(self) -> dict[int, frozenset[str]]:
        rows = self._connection.execute("SELECT number, names FROM shapes")
        return {number: frozenset(decode(text.encode(), list[str])) for number, text in rows}

    def without(self, name: str) -> _Sql:
        """The runs that have no such flag."""
        return self._of([number for number, names in self._names.items() if name not in names])

    def needed(self, part: Condition) -> _Sql | None:
        """The runs of which ``part`` need be asked: a test that fails without the flag, only of those that have it."""
        if (
            not isinstance(part, Comparison)
            or not self.are_about(part.name)
            or compare(None, part.operator, part.value)
        ):
            return None
        return self._of([number for number, names in self._names.items() if part.name.name in names])

    def _of(self, numbers: list[int]) -> _Sql:
        if len(numbers) in (0, len(self._names)):
            return "1" if numbers else "0", []
        of_shapes = "SELECT value FROM json_each(?)"
        rows = f"SELECT sequence FROM glimpses WHERE shape IN ({of_shapes})"
        return f"sequence IN ({rows})", [msgspec.json.encode(numbers).decode()]


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
