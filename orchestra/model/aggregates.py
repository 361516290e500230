"""Statistics of a few numbers: what repeats of a run came to.

Values that are no numbers (``nan``) are left out, as if they were not there. Every number is brought near 1 by a power
of two first, which is exact: the squares of huge and of tiny ones are then as good as any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, TypeAlias, cast

from orchestra.errors import UsageError

Statistic: TypeAlias = Literal["mean", "std", "sem", "median", "min", "max", "n"]
STATISTICS: Final[tuple[Statistic, ...]] = ("mean", "std", "sem", "median", "min", "max", "n")
DEFAULT_STATISTICS: Final[tuple[Statistic, ...]] = ("mean", "std", "n")


def aggregate(values: Iterable[float], statistic: Statistic) -> float | int | None:
    """The statistic of ``values``; None where they are too few for it.

    ``std`` is the standard deviation of a sample (by n - 1), ``sem`` the standard error of the mean.
    """
    numbers = [value for value in values if not math.isnan(value)]
    if statistic == "n":
        return len(numbers)
    if not numbers:
        return None
    return _FUNCTIONS[statistic](numbers)


def parse_statistics(text: str) -> tuple[Statistic, ...]:
    """The statistics that ``text`` names, with commas between them.

    Raises:
        UsageError: one is not known, or none is named.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in STATISTICS:
            raise UsageError(f"unknown statistic '{name}'", f"There are {', '.join(STATISTICS)}.")
    return cast("tuple[Statistic, ...]", names)


def _mean(numbers: Sequence[float]) -> float:
    scaled, exponent = _scaled(numbers)
    if scaled is None:
        return math.nan if math.inf in numbers and -math.inf in numbers else sum(numbers)
    mean = math.ldexp(math.fsum(scaled) / len(scaled), exponent)
    # Rounding must not take it beyond the values.
    return min(max(mean, min(numbers)), max(numbers))


def _std(numbers: Sequence[float]) -> float | None:
    if len(numbers) < 2:
        return None
    scaled, exponent = _scaled(numbers)
    if scaled is None:
        return math.nan
    mean = math.fsum(scaled) / len(scaled)
    distances = [value - mean for value in scaled]
    # Nearly equal values have distances whose squares would vanish.
    near, more = _scaled(distances)
    if near is None:
        return math.nan
    # What the rounding of the mean has added is taken away again.
    squares = math.fsum(value * value for value in near) - math.fsum(near) ** 2 / len(near)
    return _times_power(math.sqrt(max(squares, 0.0) / (len(near) - 1)), exponent + more)


def _sem(numbers: Sequence[float]) -> float | None:
    std = _std(numbers)
    return None if std is None else std / math.sqrt(len(numbers))


def _median(numbers: Sequence[float]) -> float:
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else _mean(ordered[middle - 1 : middle + 1])


def _scaled(numbers: Sequence[float]) -> tuple[list[float] | None, int]:
    """The numbers divided by a power of two, with its exponent; None where one is infinite."""
    largest = max(map(abs, numbers))
    if math.isinf(largest):
        return None, 0
    exponent = math.frexp(largest)[1]
    return [math.ldexp(value, -exponent) for value in numbers], exponent


def _times_power(number: float, exponent: int) -> float:
    try:
        return math.ldexp(number, exponent)
    except OverflowError:
        return math.inf


_FUNCTIONS: Final[dict[Statistic, Callable[[Sequence[float]], float | None]]] = {
    "mean": _mean,
    "std": _std,
    "sem": _sem,
    "median": _median,
    "min": min,
    "max": max,
}
