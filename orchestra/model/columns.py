"""Columns: what is shown of runs, sorted by or searched for, as a person writes it.

``[min|max|first|last|avg|total|count] [PREFIX#]NAME [step] [as HEADING]`` is a scalar, ``=NAME`` (or ``flag:NAME``)
a flag, ``.NAME`` (or ``attr:NAME``) an attribute, ``scalar:NAME`` a scalar, too. Quotes keep a name with spaces or
commas whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

from msgspec import Struct

from orchestra.errors import UserError
from orchestra.model.scalars import QUALIFIERS, Qualifier

T = TypeVar("T")

MOST_NAMED = 10
"""Columns that a hint lists."""
_TOKEN = re.compile(r"""\s*(?:(,)|((?:[^\s,'"]|'[^']*'|"[^"]*")+))""")
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_KINDS: dict[str, Literal["scalar", "flag", "attribute"]] = {
    "=": "flag",
    ".": "attribute",
    "#": "scalar",
    "flag:": "flag",
    "attr:": "attribute",
    "scalar:": "scalar",
}
_HINT = "Write a scalar as 'loss' or 'min loss', a flag as '=lr', an attribute as '.label'."


class Column(Struct, frozen=True, kw_only=True):
    """One column."""

    kind: Literal["scalar", "flag", "attribute"]
    name: str
    qualifier: Qualifier = "last"
    """Of a scalar: which of its values."""
    step: bool = False
    """Of a scalar: the step of that value in its place."""
    heading: str


def parse_columns(text: str) -> list[Column]:
    """The columns that ``text`` names, with commas between them.

    Raises:
        UserError: it is not the way that columns are written.
    """
    found: list[list[str]] = [[]]
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise UserError(f"invalid column '{text}': a quote is not closed", _HINT)
        if match[1]:
            found.append([])
        else:
            found[-1].append(match[2])
        position = match.end()
    return [_column(words, text) for words in found]


def parse_column(text: str) -> Column:
    """The one column that ``text`` names.

    Raises:
        UserError: it is not the way that a column is written, or names several.
    """
    columns = parse_columns(text)
    if len(columns) != 1:
        raise UserError(f"invalid column '{text}': only one is expected here", _HINT)
    return columns[0]


def _column(words: list[str], text: str) -> Column:
    if not words:
        raise UserError(f"invalid column '{text}': the name is missing", _HINT)
    heading = None
    if len(words) > 2 and words[-2] == "as":
        heading, words = _unquoted(words[-1]), words[:-2]
    qualifier: Qualifier | None = None
    if len(words) > 1 and words[0] in QUALIFIERS:
        qualifier, words = words[0], words[1:]
    step = len(words) > 1 and words[-1] == "step"
    words = words[:-1] if step else words
    if len(words) != 1:
        raise UserError(f"invalid column '{text}': unexpected '{words[1]}'", _HINT)
    prefix = next((prefix for prefix in _KINDS if words[0].startswith(prefix)), "")
    kind = _KINDS.get(prefix, "scalar")
    name = _unquoted(words[0][len(prefix) :])
    if not name:
        raise UserError(f"invalid column '{text}': the name is missing", _HINT)
    if kind != "scalar" and (qualifier or step):
        extra = qualifier or "step"
        raise UserError(f"invalid column '{text}': only a scalar can be asked for its '{extra}'", _HINT)
    shown = " ".join((*((qualifier,) if qualifier else ()), name, *(("step",) if step else ())))
    return Column(kind=kind, name=name, qualifier=qualifier or "last", step=step, heading=heading or shown)


def _unquoted(word: str) -> str:
    return _QUOTED.sub(lambda match: match[1] if match[1] is not None else match[2], word)


def as_number(value: Any) -> float | None:
    """``value`` as a number that can be compared with others; None where it is none."""
    if isinstance(value, bool | int | float):
        try:
            number = float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
        return None if math.isnan(number) else number
    return None


def sort_by_value(items: Iterable[T], value: Callable[[T], Any], *, largest_first: bool = False) -> list[T]:
    """``items`` by their values: numbers before texts, and what has no value last, in the order in which it came."""
    numbers: list[tuple[float, T]] = []
    texts: list[tuple[str, T]] = []
    rest: list[T] = []
    for item in items:
        found = value(item)
        number = as_number(found)
        if number is not None:
            numbers.append((number, item))
        elif isinstance(found, str) and found:
            texts.append((found, item))
        else:
            rest.append(item)
    numbers.sort(key=lambda pair: pair[0], reverse=largest_first)
    texts.sort(key=lambda pair: pair[0], reverse=largest_first)
    return [item for _, item in (*numbers, *texts)] + rest


def first_names(names: Sequence[str]) -> str:
    """The first of ``names`` in a row, as a hint lists what there is."""
    return ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
