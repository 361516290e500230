"""Regular expressions that may take for ever: Python's engine tries every way in which a text can be split."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

Items: TypeAlias = Sequence[tuple[Any, Any]]
"""What a regular expression is made of, as the engine's own parser tells it: (kind, arguments)."""

MANY = 16
"""A repetition of up to so many is tried soon enough."""


@lru_cache(maxsize=256)
def may_take_for_ever(pattern: str) -> bool:
    """Whether a repetition is repeated with nothing between the two, as in ``(a+)+`` and ``(a|b*c?)*``.

    There are as many ways to split a line as there are subsets of its characters, and where the rest does not
    match all of them are tried. ``pattern`` is a valid regular expression.
    """
    parser: Any = importlib.import_module("re._parser")
    return any(_is_split_anyhow(body) for body in _repeated(parser.parse(pattern)))


def _repeated(items: Items) -> Iterator[Items]:
    """What is repeated without a (small) limit, wherever it is."""
    for kind, arguments in items:
        if _is_repeat(kind):
            _, most, body = arguments
            if most > MANY:
                yield body
        for inner in _inner(kind, arguments):
            yield from _repeated(inner)


def _is_split_anyhow(items: Items) -> bool:
    """Whether ``items`` can be nothing but a repetition of its own."""
    needed = [item for item in items if not _may_be_empty(*item)]
    if len(needed) > 1:
        return False
    return any(_is_repetition(*item) for item in needed or items)


def _is_repetition(kind: Any, arguments: Any) -> bool:
    if _is_repeat(kind):
        _, most, body = arguments
        return most > MANY or _is_split_anyhow(body)
    return any(_is_split_anyhow(inner) for inner in _inner(kind, arguments))


def _may_be_empty(kind: Any, arguments: Any) -> bool:
    name = str(kind)
    if _is_repeat(kind):
        least, _, body = arguments
        return least == 0 or all(_may_be_empty(*item) for item in body)
    if name == "SUBPATTERN":
        return all(_may_be_empty(*item) for item in arguments[-1])
    if name == "BRANCH":
        return any(all(_may_be_empty(*item) for item in branch) for branch in arguments[1])
    return name in ("AT", "ASSERT", "ASSERT_NOT", "GROUPREF")


def _inner(kind: Any, arguments: Any) -> list[Items]:
    name = str(kind)
    if _is_repeat(kind):
        return [arguments[2]]
    if name == "SUBPATTERN":
        return [arguments[-1]]
    if name == "BRANCH":
        return list(arguments[1])
    return [arguments[1]] if name in ("ASSERT", "ASSERT_NOT") else []


def _is_repeat(kind: Any) -> bool:
    # One that is possessive never gives back what it took.
    return str(kind) in ("MAX_REPEAT", "MIN_REPEAT")
