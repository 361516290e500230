"""Scalars: named numbers over steps, each kept as a summary that says the same however it was put together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias, TypeVar

from msgspec import Struct

Qualifier: TypeAlias = Literal["first", "last", "min", "max", "avg", "total", "count"]
QUALIFIERS: tuple[Qualifier, ...] = ("first", "last", "min", "max", "avg", "total", "count")

SYSTEM = "sys/"
"""Scalars that begin so were measured by us. They are shown only when all are asked for."""

T = TypeVar("T")

_DIGITS = re.compile(r"([0-9]+)")


class Scalar(Struct, frozen=True, gc=False):
    """All that is kept of one scalar's values. ``nan`` is counted, but is the least or greatest only of its own."""

    first: float
    first_step: int
    last: float
    last_step: int
    min: float
    min_step: int
    max: float
    max_step: int
    total: float
    count: int

    @property
    def average(self) -> float:
        """The mean of all values."""
        return self.total / self.count

    def point(self, qualifier: Qualifier) -> tuple[float, int]:
        """The value that ``qualifier`` names, with its step; of those that have none, with the number of values."""
        if qualifier == "first":
            return self.first, self.first_step
        if qualifier == "last":
            return self.last, self.last_step
        if qualifier == "min":
            return self.min, self.min_step
        if qualifier == "max":
            return self.max, self.max_step
        return {"avg": self.average, "total": self.total, "count": self.count}[qualifier], self.count


def single(value: float, step: int) -> Scalar:
    """A scalar of one value."""
    return Scalar(value, step, value, step, value, step, value, step, value, 1)


def join(before: Scalar | None, after: Scalar) -> Scalar:
    """One scalar of the values of two, those of ``after`` being the later ones."""
    if before is None:
        return after
    lower = after.min < before.min or math.isnan(before.min)
    higher = after.max > before.max or math.isnan(before.max)
    return Scalar(
        before.first,
        before.first_step,
        after.last,
        after.last_step,
        *((after.min, after.min_step) if lower else (before.min, before.min_step)),
        *((after.max, after.max_step) if higher else (before.max, before.max_step)),
        before.total + after.total,
        before.count + after.count,
    )


def find_scalar(scalars: Mapping[str, T], name: str) -> T | None:
    """What is there of the scalar called ``name``; else, of a name without a prefix, the first ``PREFIX#NAME``."""
    found = scalars.get(name)
    if found is not None or "#" in name:
        return found
    keys = [key for key in scalars if short_name(key) == name]
    return scalars[min(keys, key=natural_key)] if keys else None


def scalar_value(
    scalars: Mapping[str, Scalar], name: str, qualifier: Qualifier, *, step: bool
) -> float | None:
    """The value that ``qualifier`` names of the scalar called ``name``, or the step of that; None if there is none."""
    scalar = find_scalar(scalars, name)
    return None if scalar is None else scalar.point(qualifier)[1 if step else 0]


def is_meant(key: str, name: str) -> bool:
    """Whether ``name`` may mean the scalar ``key``, as of :func:`find_scalar`."""
    return key == name or ("#" not in name and short_name(key) == name)


def short_name(key: str) -> str:
    """The name of a scalar without its prefix, by which it may be meant, too."""
    return key.rpartition("#")[2]


def natural(names: Iterable[str]) -> list[str]:
    """Sorted, numbers in names by their value."""
    return sorted(names, key=natural_key)


def natural_key(name: str) -> list[tuple[int, str]]:
    """What :func:`natural` sorts by."""
    parts = _DIGITS.split(name)
    return [_number_key(part) if index % 2 else (0, part) for index, part in enumerate(parts)]


def _number_key(digits: str) -> tuple[int, str]:
    """In the order of the numbers; they may have more digits than Python makes a number of."""
    significant = digits.lstrip("0")
    return len(significant), significant
