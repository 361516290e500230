"""Flags: values as given, checked against an operation's definitions. The door to the modules beside it."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Mapping
from typing import Any, cast

from orchestra.errors import FlagError
from orchestra.model.arguments import (
    check_argument,
    command_arguments,
    env_name,
    environment,
    global_values,
    injection,
    to_argument,
)
from orchestra.model.batch import Interval
from orchestra.model.decoding import Decoded, decode, decode_number, encode
from orchestra.model.labels import default_label, format_flags, render_label, run_label, trial_flags
from orchestra.model.operation import FlagDef, FlagValue, Operation
from orchestra.model.space import check_trial_count, count_combinations, is_batch, make_batch

__all__ = [
    "Text",
    "check",
    "check_trial_count",
    "command_arguments",
    "count_combinations",
    "decode",
    "default_label",
    "encode",
    "env_name",
    "environment",
    "format_flags",
    "global_values",
    "injection",
    "is_batch",
    "make_batch",
    "render_label",
    "run_label",
    "to_argument",
    "trial_flags",
    "typed_from_api",
]


class Text(str):
    """A value as written on a command line. :func:`check` decodes it once its flag's type is known."""

    __slots__ = ()


def typed_from_api(value: object) -> Decoded:
    """The value that a Python caller means: texts stay texts, lists and tuples make a batch.

    Raises:
        FlagError: a run's record can't keep it.
    """
    if value is None or isinstance(value, bool | int | float | str | Interval):
        return _exact(value)
    if isinstance(value, list | tuple | range):
        return [typed_from_api(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {str(name): typed_from_api(item) for name, item in cast("dict[object, object]", value).items()}
    if isinstance(value, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", value))
    for method in ("tolist", "item"):
        # numpy's scalars and arrays.
        convert = getattr(value, method, None)
        if callable(convert):
            return typed_from_api(convert())
    raise FlagError(
        f"a value of type {type(value).__name__} can't be a flag's value",
        "Use None, bool, int, float, str, or a list or dict of these.",
    )


def _exact(value: Any) -> Decoded:
    # Subclasses (enums, numpy's float64) would not survive the record.
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    if isinstance(value, str) and not isinstance(value, Text) and type(value) is not str:
        return str.__str__(value)
    return value


def check(
    operation: Operation,
    values: dict[str, Decoded],
    force: bool = False,
    stored: Mapping[str, Decoded] | None = None,
) -> dict[str, Decoded]:
    """All of the operation's flags with their values: the given ones, coerced to their types, and defaults.

    A :class:`Text` is decoded. Lists are checked value by value.

    Args:
        operation: whose flags they are.
        values: as given.
        force: skip the checks for unknown flags, choices, required flags and types.
        stored: values of an earlier start, checked then: they come before the defaults, and a flag that was
            forced then is known now.

    Raises:
        FlagError: a flag is unknown or missing, or has a value that it can't have.
    """
    definitions = {flag.name: flag for flag in operation.flags}
    if not force and not operation.accepts_any_flag:
        for name in values:
            if name not in definitions and name not in (stored or {}):
                raise _unsupported(operation, name)
    checked: dict[str, Decoded] = {
        flag.name: flag.default for flag in operation.flags if flag.name not in HIDDEN.get(operation.kind, ())
    }
    checked.update(stored or {})
    for name, value in values.items():
        definition = definitions.get(name) or FlagDef(name=name)
        if isinstance(value, str):
            check_argument(name, value)
        checked[name] = _settle(definition, value, force)
        check_argument(name, checked[name])
    missing = [flag for flag in operation.flags if flag.required and checked.get(flag.name) in (None, "")]
    if missing and not force:
        raise _missing(operation, missing)
    return checked


HIDDEN: dict[str, tuple[str, ...]] = {"queue": ("jobs", "executor", "wait-for-running")}
"""Settings, by kind of operation, that are absent from a run's flags unless they were given."""


def _settle(definition: FlagDef, value: Decoded, force: bool) -> Decoded:
    if isinstance(value, Text):
        value = _decode_for(definition, str(value))
    elif isinstance(value, tuple):
        value = list(cast("tuple[FlagValue, ...]", value))
    if isinstance(value, Interval):
        return _settle_interval(definition, value)
    if isinstance(value, list):
        return [_settle_one(definition, item, force) for item in cast("list[FlagValue]", value)]
    return _settle_one(definition, value, force)


def _decode_for(definition: FlagDef, text: str) -> Decoded:
    if definition.type in ("string", "path") and not text.startswith(("[", "'", '"', "{")):
        value = decode(text, definition.name) if text.endswith("]") or "]*" in text else text
        return cast(Decoded, value) if isinstance(value, list | Interval) else text
    value = decode(text, definition.name)
    if isinstance(value, dict) and isinstance(definition.default, str) and not text.startswith("{"):
        # 'note: this' is a map to YAML and a text to a flag that has held one all along.
        return text
    return cast(Decoded, value)


def _settle_interval(definition: FlagDef, interval: Interval) -> Interval:
    from msgspec import structs

    if definition.type == "float" and interval.integer:
        return structs.replace(interval, integer=False)
    if definition.type == "int" and not interval.integer:
        for bound in (interval.low, interval.high):
            if bound != int(bound):
                raise _invalid(definition, bound)
        return structs.replace(interval, low=int(interval.low), high=int(interval.high), integer=True)
    return interval


def _settle_one(definition: FlagDef, value: FlagValue, force: bool) -> FlagValue:
    try:
        value = coerce(definition, value)
    except ValueError:
        if not force:
            raise _invalid(definition, value) from None
        return value
    if definition.choices and value is not None and not force and not _is_choice(definition, value):
        choices = "\n".join(f"  {encode(choice.value)}" for choice in definition.choices)
        raise FlagError(
            f"Unsupported value for '{definition.name}' - supported values are:\n{choices}",
            f"{encode(value)} is not one of them. Use --force-flags to skip this check.",
        )
    return value


def _is_choice(definition: FlagDef, value: FlagValue) -> bool:
    # yes is not 1 here, though Python says that they are equal.
    return any(
        value == choice.value and _is_bool(value) == _is_bool(choice.value) for choice in definition.choices
    )


def _is_bool(value: FlagValue) -> bool:
    return isinstance(value, bool)


def coerce(definition: FlagDef, value: FlagValue) -> FlagValue:
    """``value`` as the type that ``definition`` names; null stays null.

    Raises:
        ValueError: it has no such form.
    """
    if value is None or definition.type is None:
        return value
    if isinstance(value, list | dict) and definition.type in ("string", "path"):
        return encode(value)
    return _COERCIONS[definition.type](value)


def _to_string(value: FlagValue) -> str:
    return value if isinstance(value, str) else encode(value)


def _to_int(value: FlagValue) -> int:
    number = _to_number(value)
    if isinstance(number, float):
        raise ValueError("a float is not a whole number")
    return number


def _to_float(value: FlagValue) -> float:
    return float(_to_number(value))


def _to_number(value: FlagValue) -> int | float:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    number = decode_number(value) if isinstance(value, str) else None
    if number is None:
        raise ValueError("not a number")
    return number


def _to_boolean(value: FlagValue) -> bool:
    if isinstance(value, str):
        value = decode(value)
    if isinstance(value, bool | int | float):
        return bool(value)
    raise ValueError("not a boolean")


def _to_path(value: FlagValue) -> str:
    return os.path.expanduser(_to_string(value))


_COERCIONS: dict[str, Callable[[FlagValue], FlagValue]] = {
    "string": _to_string,
    "int": _to_int,
    "float": _to_float,
    "number": _to_number,
    "boolean": _to_boolean,
    "path": _to_path,
    "existing-path": _to_path,
}


def _invalid(definition: FlagDef, value: FlagValue) -> FlagError:
    return FlagError(
        f"invalid value {encode(value)} for {definition.name}: invalid value for type '{definition.type}'",
        "Give yes or no." if definition.type == "boolean" else None,
    )


def _unsupported(operation: Operation, name: str) -> FlagError:
    import difflib

    hint = (
        f"Try 'orchestra run {operation.name} --help-op' for a list of flags or use --force-flags to skip "
        "this check."
    )
    close = difflib.get_close_matches(name, [flag.name for flag in operation.flags], n=3, cutoff=0.6)
    if close:
        hint += f"\nDid you mean {' or '.join(repr(one) for one in close)}?"
    return FlagError(f"unsupported flag '{name}'", hint)


def _missing(operation: Operation, missing: list[FlagDef]) -> FlagError:
    width = max(len(flag.name) for flag in missing)
    rows = "\n".join(f"  {flag.name:<{width}}  {flag.description}".rstrip() for flag in missing)
    return FlagError(
        f"Operation requires the following missing flags:\n\n{rows}\n",
        "Run the command again with these flags specified as NAME=VAL.\n"
        f"Try 'orchestra run {operation.name} --help-op' for more information.",
    )
