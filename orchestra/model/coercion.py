"""Values as the types that flags name."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from typing import cast

from orchestra.model.batch import Interval
from orchestra.model.decoding import Decoded, decode, decode_number, encode
from orchestra.model.operation import FlagDef, FlagValue


def decode_for(definition: FlagDef, text: str) -> Decoded:
    """What ``text``, as written on a command line, means for the flag of ``definition``."""
    if definition.type in ("string", "path") and not text.startswith(("[", "'", '"', "{")):
        value = decode(text, definition.name) if text.endswith("]") or "]*" in text else text
        return cast(Decoded, value) if isinstance(value, list | Interval) else text
    value = decode(text, definition.name)
    if isinstance(value, dict) and isinstance(definition.default, str) and not text.startswith("{"):
        # 'note: this' is a map to YAML and a text to a flag that has held one all along.
        return text
    return cast(Decoded, value)


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
