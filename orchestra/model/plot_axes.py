"""Axes: where a value is between the ends of a picture, and what is written there. Of numbers or of texts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from functools import lru_cache

from msgspec import Struct

from orchestra.model.columns import as_number
from orchestra.model.decoding import encode
from orchestra.model.operation import FlagValue
from orchestra.model.scalars import natural

LOG_FROM = 50.0
"""Positive numbers whose greatest is so many times the least are laid out by their logarithms ..."""
CROWDED = 0.2
"""... if half of them would be crowded into so much of the axis otherwise."""
MOST_TICKS = 6
NEAREST = 0.06
"""How near, as a share of the axis, numbers are written to each other."""
MOST_TEXTS = 24
"""Texts that an axis has written beside it; of more, evenly chosen ones."""


class Axis(Struct, frozen=True, kw_only=True):
    """One axis. With ``texts`` each of them has its place, evenly; else numbers from ``low`` to ``high``."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    texts: tuple[str, ...] = ()
    marks: tuple[float, ...] = ()
    """The numbers themselves, where they are few: they are written then, rather than round ones."""

    def place(self, value: FlagValue) -> float | None:
        """Where ``value`` is, from 0 to 1; None if it is nowhere: missing, or not finite."""
        if value is None:
            return None
        if self.texts:
            return _places(self.texts).get(encode(value))
        number = finite(value)
        if number is None or (self.log and number <= 0):
            return None
        return self._share(number)

    def _share(self, number: float) -> float:
        low, high = self.low, self.high
        if self.log:
            number, low, high = math.log10(number), math.log10(low), math.log10(high)
        # Halves: the whole may be more than a number can be.
        return (number / 2 - low / 2) / (high / 2 - low / 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """What is written where."""
        if self.texts:
            step = math.ceil(len(self.texts) / MOST_TEXTS)
            return [(place, text) for text, place in list(_places(self.texts).items())[::step]]
        round_ones = _decades if self.log else _round_numbers
        numbers = self.marks or round_ones(self.low, self.high)
        return _apart([(self._share(number), number_text(number)) for number in numbers])


@lru_cache(maxsize=32)
def _places(texts: tuple[str, ...]) -> dict[str, float]:
    return {text: (index + 0.5) / len(texts) for index, text in enumerate(texts)}


def axis_of(name: str, values: Iterable[FlagValue], *, log_from: float = LOG_FROM) -> Axis:
    """An axis on which all ``values`` have a place that can have one; missing ones are left out."""
    there = [value for value in values if value is not None]
    if any(isinstance(value, bool) or as_number(value) is None for value in there if not _is_nan(value)):
        return Axis(name=name, texts=tuple(natural({encode(value) for value in there})))
    numbers = [number for value in there if (number := finite(value)) is not None]
    if not numbers:
        return Axis(name=name)
    low, high = min(numbers), max(numbers)
    distinct = sorted(set(numbers))
    marks = tuple(distinct) if len(distinct) <= MOST_TICKS else ()
    if low > 0 and high / low >= log_from and (statistics.median_low(numbers) - low) / (high - low) < CROWDED:
        return Axis(name=name, low=low, high=high, log=True, marks=marks)
    if low == high:
        wide = abs(low) / 2 or 0.5
        low, high = low - wide, high + wide
    return Axis(name=name, low=low, high=high, marks=marks)


def finite(value: FlagValue) -> float | None:
    """``value`` as a number that has a place; None if it is none."""
    number = as_number(value)
    return number if number is not None and math.isfinite(number) else None


def number_text(number: float) -> str:
    """A number as it is written beside an axis."""
    return f"{number:.4g}"


def _apart(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those of the ticks that don't run into each other."""
    kept: list[tuple[float, str]] = []
    for place, text in ticks:
        if not kept or place - kept[-1][0] >= NEAREST:
            kept.append((place, text))
    return kept


def _is_nan(value: FlagValue) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _round_numbers(low: float, high: float) -> Sequence[float]:
    """Round numbers from ``low`` to ``high``, evenly apart."""
    apart = high / MOST_TICKS - low / MOST_TICKS
    power = 10.0 ** math.floor(math.log10(apart)) if apart > 1e-300 else 0.0
    step = next((power * part for part in (1, 2, 5) if power * part >= apart), 10 * power)
    if not step or not math.isfinite(step):
        return (low, high)
    first = math.ceil(low / step)
    numbers = [(first + index) * step for index in range(MOST_TICKS + 2)]
    return [number for number in numbers if low <= number <= high]


def _decades(low: float, high: float) -> Sequence[float]:
    """Powers of ten from ``low`` to ``high``; where these are few, their double and fivefold, too."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(math.ceil((last - first) / MOST_TICKS), 1)
    parts = (1, 2, 5) if last - first <= 2 else (1,)
    exponents = range(max(first, -307), min(last, 307) + 1, step)
    return [
        number for exponent in exponents for part in parts if low <= (number := part * 10.0**exponent) <= high
    ]
