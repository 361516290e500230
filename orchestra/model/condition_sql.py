"""Conditions in SQL: what they are made of is put together here, each store says what its tables tell exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from orchestra.model.conditions import AllOf, AnyOf, Condition, Not, all_of, conjuncts

Sql: TypeAlias = tuple[str, list[Any]]
"""A condition with its parameters."""


def split(where: Condition, tell: Callable[[Condition], Sql | None]) -> tuple[list[Sql], Condition | None]:
    """What SQL tells exactly, as conditions that must all hold, and the rest, which is to be asked of each run.

    ``tell`` is asked for conditions that are made of no others; None: SQL can't tell. It must never come to NULL.
    """
    exact: list[Sql] = []
    rest: list[Condition] = []
    for part in conjuncts(where):
        told = _told(part, tell)
        if told is None:
            rest.append(part)
        else:
            exact.append(told)
    return exact, all_of(rest)


def joined(parts: Sequence[Sql], word: str = " AND ") -> Sql:
    """One condition of several."""
    sql = word.join(f"({part})" for part, _ in parts)
    return sql, [parameter for _, parameters in parts for parameter in parameters]


def _told(part: Condition, tell: Callable[[Condition], Sql | None]) -> Sql | None:
    if isinstance(part, Not):
        inner = _told(part.condition, tell)
        return None if inner is None else (f"NOT ({inner[0]})", inner[1])
    if isinstance(part, AllOf | AnyOf):
        if not part.conditions:
            return ("1 = 1" if isinstance(part, AllOf) else "1 = 0"), []
        inner = [_told(one, tell) for one in part.conditions]
        word = " AND " if isinstance(part, AllOf) else " OR "
        return None if None in inner else joined([one for one in inner if one is not None], word)
    return tell(part)
