"""One flag's value: decoded, of the flag's type, one of its choices, within its range."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from typing import NamedTuple, cast

from orchestra.errors import FlagError
from orchestra.model.batch import Interval
from orchestra.model.coercion import coerce, decode_for
from orchestra.model.decoding import Decoded, encode
from orchestra.model.operation import Choice, FlagDef, FlagValue
from orchestra.model.references import has_references


class Text(str):
    """A value as written on a command line. It is decoded once its flag's type is known."""

    __slots__ = ()


class PathBase(NamedTuple):
    """Where paths that are given as values are looked for."""

    directory: str
    exists: Callable[[str], bool]


def settle(definition: FlagDef, value: Decoded, force: bool, place: PathBase | None) -> Decoded:
    """``value`` as a flag of ``definition`` has it; of a list, each item.

    Raises:
        FlagError: it can't be the flag's value.
    """
    if isinstance(value, Text):
        chosen = _aliased(definition, str(value))
        value = decode_for(definition, str(value)) if chosen is None else chosen.value
    elif isinstance(value, tuple):
        value = list(cast("tuple[FlagValue, ...]", value))
    if isinstance(value, Interval):
        return _settle_interval(definition, value, force)
    if isinstance(value, list):
        return [settle_one(definition, item, force, place) for item in cast("list[FlagValue]", value)]
    return settle_one(definition, value, force, place)


def settle_one(definition: FlagDef, value: FlagValue, force: bool, place: PathBase | None) -> FlagValue:
    """:func:`settle` for a value that is no list.

    A value that refers to other flags is settled once these are known.
    """
    return value if has_references(value) else settle_resolved(definition, value, force, place)


def settle_resolved(definition: FlagDef, value: FlagValue, force: bool, place: PathBase | None) -> FlagValue:
    """:func:`settle_one` for a value whose references are filled in."""
    if isinstance(value, str):
        chosen = _aliased(definition, value)
        value = value if chosen is None else chosen.value
    try:
        value = coerce(definition, value)
    except ValueError:
        if not force:
            raise _invalid(definition, value) from None
        return value
    if isinstance(value, str) and value and place and definition.type in ("path", "existing-path"):
        given, value = value, os.path.normpath(os.path.join(place.directory, value))
        if definition.type == "existing-path" and not force and not place.exists(value):
            raise FlagError(f"invalid value {encode(given)} for {definition.name}: {value} does not exist")
    if value is not None and not force:
        _check_choice(definition, value)
        _check_range(definition, value)
    return value


def chosen_by(definition: FlagDef, value: FlagValue) -> Choice | None:
    """The choice that ``value`` is, if it is one."""
    for choice in definition.choices:
        if _is_same(value, choice.value) or _is_same(value, _as_typed(definition, choice.value)):
            return choice
    return None


def _aliased(definition: FlagDef, text: str) -> Choice | None:
    return next((choice for choice in definition.choices if choice.alias == text), None)


def _as_typed(definition: FlagDef, value: FlagValue) -> FlagValue:
    try:
        return coerce(definition, value)
    except ValueError:
        return value


def _is_same(value: FlagValue, other: FlagValue) -> bool:
    # yes is not 1 here, though Python says that they are equal.
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _check_choice(definition: FlagDef, value: FlagValue) -> None:
    if not definition.choices or definition.allow_other or chosen_by(definition, value) is not None:
        return
    choices = "\n".join(
        f"  {encode(choice.value)}" + (f" (or {choice.alias})" if choice.alias else "")
        for choice in definition.choices
    )
    raise FlagError(
        f"Unsupported value for '{definition.name}' - supported values are:\n{choices}",
        f"{encode(value)} is not one of them. Use --force-flags to skip this check.",
    )


def _check_range(definition: FlagDef, value: FlagValue) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high = definition.min, definition.max
    # Not 'value < low': a NaN is in no range.
    if low is not None and not value >= low:
        raise _out_of_range(definition, value, f"less than min {low}")
    if high is not None and not value <= high:
        raise _out_of_range(definition, value, f"greater than max {high}")


def _settle_interval(definition: FlagDef, interval: Interval, force: bool) -> Interval:
    from msgspec import structs

    if not force:
        _check_range(definition, interval.low)
        _check_range(definition, interval.high)
    if definition.type == "float" and interval.integer:
        return structs.replace(interval, integer=False)
    if definition.type == "int" and not interval.integer:
        for bound in (interval.low, interval.high):
            if bound != int(bound):
                raise _invalid(definition, bound)
        return structs.replace(interval, low=int(interval.low), high=int(interval.high), integer=True)
    return interval


def _out_of_range(definition: FlagDef, value: FlagValue, why: str) -> FlagError:
    return FlagError(
        f"invalid value {encode(value)} for {definition.name}: out of range ({why})",
        "Use --force-flags to skip this check.",
    )


def _invalid(definition: FlagDef, value: FlagValue) -> FlagError:
    return FlagError(
        f"invalid value {encode(value)} for {definition.name}: invalid value for type '{definition.type}'",
        "Give yes or no." if definition.type == "boolean" else None,
    )
