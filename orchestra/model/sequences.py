"""Values that stand for many: sequences (``range[1:5]``, ``[1,2]*3``) and searches (``[1:9]``)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from orchestra.errors import FlagError
from orchestra.model.batch import Interval
from orchestra.model.operation import FlagValue

Number: TypeAlias = int | float

MAX_VALUES: Final = 100_000
"""The longest list that one expression may make."""

DEFAULT_COUNT: Final = 5
DECIMALS: Final = 8
"""What the values of a sequence are rounded to."""

_FUNCTION = r"(?P<name>[A-Za-z][A-Za-z0-9_.-]*)?\[(?P<arguments>[^][{},'\"]*)\]\s*"
_REPEATED = r"(?s)(?P<list>\[.*\])\s*\*\s*(?P<times>[0-9]+)\s*"


def parse_function(text: str) -> tuple[str, tuple[str, ...]] | None:
    """Split ``name[a:b]`` into its name (empty for ``[a:b]``) and arguments; None if it is no function.

    One argument makes a function only of a known name, so that ``a[0]`` stays a text.
    """
    if not text.rstrip().endswith("]"):
        return None
    matched = re.fullmatch(_FUNCTION, text)
    if matched is None:
        return None
    name = matched["name"] or ""
    arguments = tuple(part.strip() for part in matched["arguments"].split(":"))
    if len(arguments) > 1 or (name and (name in _SEQUENCES or name in _SEARCHES)):
        return name, arguments
    return None


def parse_repetition(text: str) -> tuple[str, int] | None:
    """Split ``[1,2]*3`` into the list's text and the number of times."""
    matched = re.fullmatch(_REPEATED, text)
    return (matched["list"], int(matched["times"])) if matched else None


def repeat(values: list[FlagValue], times: int, text: str) -> list[FlagValue]:
    """``values`` so many times over.

    Raises:
        FlagError: the list would be longer than :data:`MAX_VALUES`.
    """
    _check_count(len(values) * times, text)
    return values * times


def evaluate(
    function: tuple[str, tuple[str, ...]], text: str, flag: str, number: Callable[[str], Number | None]
) -> list[FlagValue] | Interval | str:
    """The list or interval that a function stands for; ``text`` itself where a sequence has no numbers.

    Args:
        function: as :func:`parse_function` gives it.
        text: the whole value, for messages.
        flag: the flag's name, for messages; may be empty.
        number: reads one argument; None if it is not a number.

    Raises:
        FlagError: the function is unknown, or an argument is wrong; the message says which and why.
    """
    name, arguments = function
    shown = f"{flag}={text}" if flag else text
    if name in _SEARCHES:
        return _interval(name, arguments, shown, flag, number)
    if name not in _SEQUENCES:
        where = f" used for flag {flag}" if flag else f" in '{text}'"
        raise FlagError(
            f"unknown function '{name}'{where}",
            f"Known are {', '.join(filter(None, (*_SEQUENCES, *_SEARCHES)))}. Quote the value to pass it on.",
        )
    numbers = [number(argument) for argument in arguments]
    if None in numbers:
        return text
    known = cast(list[Number], numbers)
    for value in known:
        if not math.isfinite(value):
            raise _bad_arguments(shown, f"{value} is not a finite number")
    most = _MOST_ARGUMENTS[name]
    if len(known) > most:
        raise _bad_arguments(shown, f"{name} takes at most {most} arguments, got {len(known)}")
    return _SEQUENCES[name](known, shown)


def _interval(
    name: str, arguments: tuple[str, ...], shown: str, flag: str, number: Callable[[str], Number | None]
) -> Interval:
    function = name or "uniform"
    if len(arguments) not in (2, 3):
        where = f" for flag {flag}" if flag else ""
        got = ", ".join(arguments)
        raise FlagError(
            f"{function} requires 2 or 3 args, got ({got}){where}",
            "Give the lower bound, the upper bound and, if you like, the value to try first.",
        )
    values: list[Number] = []
    for argument in arguments:
        value = number(argument)
        if value is None or not math.isfinite(value):
            hint = "Quote the value to pass it as text." if value is None else None
            raise _bad_arguments(shown, f"'{argument}' is not a finite number", hint)
        values.append(value)
    low, high = values[:2]
    if low >= high:
        raise _bad_arguments(shown, f"the lower bound {low} has to be less than the upper bound {high}")
    log = function == "loguniform"
    if log and low <= 0:
        raise _bad_arguments(shown, f"the lower bound {low} has to be greater than 0 for loguniform")
    integer = isinstance(low, int) and isinstance(high, int) and not log
    initial = values[2] if len(values) == 3 else None
    if initial is not None and not low <= initial <= high:
        raise _bad_arguments(shown, f"the initial value {initial} is not between {low} and {high}")
    if integer and isinstance(initial, float):
        if not initial.is_integer():
            raise _bad_arguments(
                shown, f"the initial value {initial} has to be a whole number like the bounds"
            )
        initial = int(initial)
    return Interval(low=low, high=high, log=log, integer=integer, initial=initial)


def _range(numbers: list[Number], shown: str) -> list[FlagValue]:
    if len(numbers) == 1:
        end = numbers[0]
        _check_count(math.ceil(end), shown)
        return [index if isinstance(end, int) else float(index) for index in range(math.ceil(end))]
    start, end, step = (*numbers, 1)[:3]
    if step == 0:
        raise _bad_arguments(shown, "the step must not be 0")
    if (end - start) * step < 0:
        raise _bad_arguments(
            shown, f"the step {step} does not lead from the start {start} to the end {end}", None
        )
    if all(isinstance(value, int) for value in (start, end, step)):
        count = int(end - start) // int(step) + 1
        _check_count(count, shown)
        return [start + step * index for index in range(count)]
    span = (end - start) / step
    if not math.isfinite(span):
        raise _bad_arguments(shown, f"the step {step} is too small")
    # The end belongs to the range, also where binary fractions miss it by a hair: range[0:1:0.1].
    count = math.floor(span + min(1e-9 * max(1.0, span), 1e-4)) + 1
    _check_count(count, shown)
    return [_rounded(start + step * index) for index in range(count)]


def _linspace(numbers: list[Number], shown: str) -> list[FlagValue]:
    start, end, count = _spaced(numbers, shown, "linspace")
    return [_rounded(value) for value in _between(start, end, count)]


def _logspace(numbers: list[Number], shown: str) -> list[FlagValue]:
    start, end, count = _spaced(numbers, shown, "logspace")
    base = numbers[3] if len(numbers) > 3 else 10
    if base <= 0:
        raise _bad_arguments(shown, f"the base {base} has to be greater than 0")
    try:
        return [_rounded(float(base) ** exponent) for exponent in _between(start, end, count)]
    except OverflowError:
        raise _bad_arguments(shown, f"{base} to the power of {max(start, end)} is too large") from None


def _geomspace(numbers: list[Number], shown: str) -> list[FlagValue]:
    start, end, count = _spaced(numbers, shown, "geomspace")
    if start * end <= 0:
        raise _bad_arguments(shown, f"the start {start} and the end {end} have to be on the same side of 0")
    sign = 1 if start > 0 else -1
    logs = _between(math.log(abs(start)), math.log(abs(end)), count)
    values = [_rounded(sign * math.exp(value)) for value in logs]
    values[0] = float(start)
    if count > 1:
        values[-1] = float(end)
    return list(values)


def _spaced(numbers: list[Number], shown: str, name: str) -> tuple[Number, Number, int]:
    if len(numbers) < 2:
        raise _bad_arguments(shown, f"{name} needs a start and an end")
    start, end = numbers[:2]
    count = numbers[2] if len(numbers) > 2 else DEFAULT_COUNT
    if count != int(count) or count < 1:
        raise _bad_arguments(shown, f"the count {count} has to be a whole number above 0")
    _check_count(int(count), shown)
    return start, end, int(count)


def _between(start: Number, end: Number, count: int) -> list[float]:
    if count == 1:
        return [float(start)]
    step = (float(end) - float(start)) / (count - 1)
    return [*(float(start) + step * index for index in range(count - 1)), float(end)]


def _rounded(value: Number) -> float:
    value = float(value)
    rounded = round(value, DECIMALS)
    # Values as small as learning rates would lose their digits.
    if value and abs(value) < 1e-4:
        rounded = float(f"{value:.{DECIMALS - 1}e}")
    return rounded


def _check_count(count: int, shown: str) -> None:
    if count > MAX_VALUES:
        raise FlagError(
            f"'{shown}' would make {grouped(count)} values",
            f"A flag can have at most {grouped(MAX_VALUES)}: use a larger step or a smaller count.",
        )


def grouped(count: int) -> str:
    """``count`` with its digits in groups of three: ``1 000 000``."""
    return f"{count:,}".replace(",", " ")


def _bad_arguments(shown: str, why: str, hint: str | None = None) -> FlagError:
    return FlagError(f"invalid function args in '{shown}': {why}", hint)


_SEQUENCES: Final[dict[str, Callable[[list[Number], str], list[FlagValue]]]] = {
    "range": _range,
    "linspace": _linspace,
    "logspace": _logspace,
    "geomspace": _geomspace,
}
_MOST_ARGUMENTS: Final = {"range": 3, "linspace": 3, "logspace": 4, "geomspace": 3}
_SEARCHES: Final = ("", "uniform", "loguniform")
