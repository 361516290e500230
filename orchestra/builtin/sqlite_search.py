"""Finding runs by a condition: as much as SQL can tell exactly, then glimpses, and records only where it takes them.

A glimpse of each run is in a table of its own, whose rows are a tenth as long as the records.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from sqlite3 import Connection
from typing import NamedTuple

import msgspec

from orchestra.builtin.sqlite_hints import hint
from orchestra.builtin.sqlite_runs import IN, array_of, text_of
from orchestra.errors import StoreCorrupt
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
    leaves,
)
from orchestra.model.encoding import decode
from orchestra.model.glimpse import Glimpse, as_run, decode_glimpse

_LARGEST = 2**63
_FEW = 5_000
"""Up to so many rows are put in order one by one."""
_COLUMNS = frozenset(("id", "run", "short_id", "status", "kind", "batch"))


class Pushed(NamedTuple):
    """What SQL tells, and what is left to ask of each run."""

    exact: list[Sql]
    """Conditions on ``runs``."""
    rest: Condition | None
    hints: list[Sql]
    """Conditions on ``glimpses``, which all runs meet for which ``rest`` holds, and others may."""


def push(where: Condition, connection: Connection) -> Pushed:
    """Split ``where`` into what the columns of the tables tell exactly, and the rest."""
    shapes = _Shapes(connection)
    exact, rest = split(where, shapes.told)
    hints = [
        each for part in conjuncts(rest) for each in (shapes.needed(part), hint(part)) if each is not None
    ]
    return Pushed(exact, rest, hints)


def _within(part: During) -> Sql | None:
    bounds = [("time >= ?", part.begin), ("time < ?", part.end)]
    given = [(sql, bound) for sql, bound in bounds if bound is not None]
    if any(abs(bound) >= _LARGEST for _, bound in given):
        return None
    return " AND ".join(sql for sql, _ in given) or "1", [bound for _, bound in given]


class _Shapes:
    """Which runs have a flag of some name: told by their shapes, of which there are few."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def told(self, part: Condition) -> Sql | None:
        """What the columns of the tables tell exactly."""
        if isinstance(part, Among):
            return f"id {IN}", [array_of(part.ids)]
        if isinstance(part, During):
            return _within(part)
        if not isinstance(part, Comparison) or part.operator != "=":
            return None
        if part.value is None and self.are_about(part.name):
            return self.without(part.name.name)
        if isinstance(part.value, str) and part.name.name == "status" and is_attribute(part.name):
            return "+state = ?", [text_of(part.value)]
        return None

    @staticmethod
    def are_about(name: Name) -> bool:
        """Whether ``name`` is that of a flag, as far as a record tells."""
        return name.kind == "flag" or (name.kind == "any" and not is_attribute(name))

    @cached_property
    def _names(self) -> dict[int, frozenset[str]]:
        rows = self._connection.execute("SELECT number, names FROM shapes")
        return {number: frozenset(decode(text.encode(), list[str])) for number, text in rows}

    def without(self, name: str) -> Sql:
        """The runs that have no such flag."""
        numbers = [number for number, names in self._names.items() if name not in names]
        if len(numbers) in (0, len(self._names)):
            return "1" if numbers else "0", []
        sql, parameters = self._in(numbers)
        return f"sequence IN (SELECT sequence FROM glimpses WHERE {sql})", parameters

    def needed(self, part: Condition) -> Sql | None:
        """The glimpses of which ``part`` need be asked: a test that fails without the flag, of those that have it."""
        if (
            not isinstance(part, Comparison)
            or not self.are_about(part.name)
            or compare(None, part.operator, part.value)
        ):
            return None
        numbers = [number for number, names in self._names.items() if part.name.name in names]
        return None if len(numbers) == len(self._names) else self._in(numbers)

    def _in(self, numbers: list[int]) -> Sql:
        return "shape IN (SELECT value FROM json_each(?))", [msgspec.json.encode(numbers).decode()]


class Search:
    """Looks for the runs that a condition leaves, of which it asks glimpses."""

    def __init__(self, pushed: Pushed, base: Sql, order: str, connection: Connection) -> None:
        assert pushed.rest is not None
        self._rest = pushed.rest
        self._hints = joined([("1", []), *pushed.hints])
        self._base = base
        self._order = order
        self._connection = connection
        self._is_of_all = not pushed.exact and base[0] == "1"

    def sequences(self) -> list[int] | None:
        """The rows, in order; None if their records must be read for that."""
        if not is_seen(self._rest):
            return None
        if self._is_of_all and not any(map(_asks_columns, leaves(self._rest))):
            return self._in_order(self._of_glimpses())
        return list(self._of_runs())

    def _of_glimpses(self) -> list[int]:
        """Without a look at the table of runs."""
        conditions, parameters = self._hints
        rows = self._connection.execute(
            f"SELECT sequence, glimpse FROM glimpses WHERE {conditions}", parameters
        )
        return [sequence for sequence, data in rows if holds(self._rest, as_run(_decoded(data)))]

    def _in_order(self, found: list[int]) -> list[int]:
        if len(found) < _FEW:
            rows = self._connection.execute(
                "SELECT sequence FROM runs WHERE sequence IN (SELECT value FROM json_each(?))"
                f" ORDER BY {self._order}",
                (msgspec.json.encode(found).decode(),),
            )
            return [sequence for (sequence,) in rows]
        wanted = set(found)
        rows = self._connection.execute(f"SELECT sequence FROM runs ORDER BY {self._order}")
        return [sequence for (sequence,) in rows if sequence in wanted]

    def _of_runs(self) -> Iterator[int]:
        conditions, parameters = joined([self._base, self._hints])
        rows = self._connection.execute(
            "SELECT sequence, id, state, kind, batch, time, glimpse FROM runs CROSS JOIN glimpses USING (sequence)"
            f" WHERE {conditions} ORDER BY {self._order}",
            parameters,
        )
        for sequence, run_id, state, kind, batch, time, data in rows:
            glimpse = _decoded(data)
            glimpse.id, glimpse.state, glimpse.kind = run_id, state, kind
            glimpse.batch, glimpse.time = batch, time
            if holds(self._rest, as_run(glimpse)):
                yield sequence


def _asks_columns(leaf: Condition) -> bool:
    """Whether it asks for what is in a column of ``runs`` alone."""
    if isinstance(leaf, Comparison):
        return is_attribute(leaf.name) and leaf.name.name in _COLUMNS
    return isinstance(leaf, Among | During)


def _decoded(data: bytes) -> Glimpse:
    try:
        return decode_glimpse(data)
    except (TypeError, ValueError) as error:
        raise StoreCorrupt(f"what is kept of a run for searching can't be read: {error}") from error
