"""Which glimpses a condition can hold for, as far as their bytes tell: much quicker than to read each of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from orchestra.model.conditions import Comparison, Condition, Labelled, Name, is_attribute
from orchestra.model.operation import FlagValue

_PLAIN = re.compile(r"[A-Za-z0-9_.\-/ =]*")
"""Text that is in JSON as it is, whoever writes it."""


_MARKED = Comparison(Name("marked", "attribute"), "=", True)


def hint(part: Condition) -> tuple[str, list[Any]] | None:
    """A condition in SQL that all glimpses meet for which ``part`` holds, and maybe others; None if there is none."""
    texts = _texts(part)
    if texts is None:
        return None
    found = " OR ".join("instr(glimpse, ?)" for _ in texts)
    return f"({found or '0'})", [text.encode() for text in texts]


def _texts(part: Condition) -> list[str] | None:
    """One of these is in each of the glimpses."""
    if part == _MARKED:
        # The mark is what a glimpse ends with.
        return ["true]"]
    if isinstance(part, Labelled):
        return [part.text] if part.text not in ("", "-") and _PLAIN.fullmatch(part.text) else None
    if not isinstance(part, Comparison) or is_attribute(part.name) or part.name.kind not in ("any", "flag"):
        return None
    if not _PLAIN.fullmatch(part.name.name):
        return None
    if part.operator == "=":
        values: Iterable[FlagValue] = (part.value,)
    elif part.operator == "in" and isinstance(part.value, list):
        values = cast("list[FlagValue]", part.value)  # pyright: ignore[reportUnknownMemberType]
    else:
        return None
    written = [_written(value) for value in values]
    if any(forms is None for forms in written):
        return None
    return [f'"{part.name.name}":{form}' for forms in written for form in forms or ()]


def _written(value: FlagValue) -> list[str] | None:
    """What JSON of an equal value begins with, in all forms that it may have; None if that can't be told."""
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, str):
        return [f'"{value}"'] if _PLAIN.fullmatch(value) else None
    if not isinstance(value, int | float) or not math.isfinite(value) or abs(value) >= 2**53:
        return None
    number = float(value)
    forms = {repr(number), msgspec.json.encode(number).decode()}
    if number.is_integer():
        forms |= {str(int(number)), f"-{int(number)}" if number == 0 else str(int(number))}
    return sorted(forms)
