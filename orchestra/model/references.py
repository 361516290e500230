"""References to flags in texts: ``${lr}``, ``${lr|%.2f}``; ``\\${lr}`` is the text itself."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any, Final

from orchestra.errors import FlagError
from orchestra.model.decoding import encode
from orchestra.model.operation import FlagValue

FAILED: Final = "#error#"
"""What a filter gives that is unknown, or can't be applied."""

_REFERENCE: Final = r"\\\$\{|\$\{([^{}]*)(\}?)"
_FORMAT: Final = r"%[-+ #0]*[0-9]*(?:\.[0-9]+)?[diouxXeEfFgGrsa]"


def has_references(value: FlagValue) -> bool:
    """Whether ``value`` is a text with a reference, or an escaped one."""
    return isinstance(value, str) and "${" in value


def resolve_references(
    values: Mapping[str, Any], *, lenient: frozenset[str] = frozenset()
) -> dict[str, FlagValue]:
    """``values`` with the references in its texts filled in from the other values.

    A text that is one reference and nothing else becomes the value that it refers to, with its type.

    Args:
        values: of all flags.
        lenient: flags whose texts may refer to what is no flag: those references stay as they are.

    Raises:
        FlagError: a reference is to no flag, to itself over others, or not closed.
    """
    resolved: dict[str, FlagValue] = {}
    for name in values:
        _resolve(name, values, lenient, resolved, ())
    return {name: resolved[name] for name in values}


def _resolve(
    name: str,
    values: Mapping[str, Any],
    lenient: frozenset[str],
    resolved: dict[str, FlagValue],
    trail: tuple[str, ...],
) -> FlagValue:
    if name in resolved:
        return resolved[name]
    if name in trail:
        circle = " -> ".join(f"${{{one}}}" for one in (*trail[trail.index(name) :], name))
        raise FlagError(f"flag '{name}' refers to itself: {circle}")
    text = values[name]
    if not isinstance(text, str) or "${" not in text:
        resolved[name] = text
        return text

    def value_of(reference: re.Match[str]) -> tuple[bool, FlagValue]:
        """Whether it could be filled in, and its value."""
        if reference[1] is None:
            return True, "${"
        if not reference[2]:
            if name in lenient:
                return False, None
            raise FlagError(f"flag '{name}' has an unclosed reference: '{text}'", _ESCAPE)
        wanted, *filters = (part.strip() for part in reference[1].split("|"))
        if wanted in values:
            value = _resolve(wanted, values, lenient, resolved, (*trail, name))
        elif any(applied.startswith("default:") for applied in filters):
            value = None
        elif name in lenient:
            return False, None
        else:
            raise FlagError(f"flag '{name}' refers to '${{{wanted}}}', which is no flag", _ESCAPE)
        for applied in filters:
            value = apply_filter(value, applied)
            if value == FAILED:
                raise FlagError(f"flag '{name}' has a filter that can't be applied: '|{applied}'")
        return True, value

    def fill(reference: re.Match[str]) -> str:
        known, value = value_of(reference)
        if not known:
            return reference[0]
        return value if isinstance(value, str) else "" if value is None else encode(value)

    whole = re.fullmatch(_REFERENCE, text)
    known, value = value_of(whole) if whole else (False, None)
    resolved[name] = value if whole and known else re.sub(_REFERENCE, fill, text)
    return resolved[name]


_ESCAPE: Final = "Write \\${ for the text '${' itself."


def apply_filter(value: FlagValue, applied: str) -> FlagValue:
    """``value`` after the filter ``applied``: ``default:V``, ``basename``, ``unquote``, or a number format.

    :data:`FAILED` if there is no such filter, or it can't be applied.
    """
    name, _, argument = applied.partition(":")
    if name == "default":
        return argument if value is None else value
    if name == "basename":
        return posixpath.basename(value.rstrip("/")) if isinstance(value, str) else value
    if name == "unquote":
        return value if value is None or isinstance(value, str) else encode(value)
    if re.fullmatch(_FORMAT, applied):
        try:
            return "" if value is None else applied % (value,)
        except (TypeError, ValueError):
            return FAILED
    return FAILED
