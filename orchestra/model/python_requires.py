"""Which versions of Python an operation can do with: ``>=3.8,<4``, as packages say it."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final

_CLAUSE = re.compile(r"\s*(~=|==|!=|<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+){0,3})(\.\*)?\s*")
_ORDERS: Final[dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def allows(requires: str, version: str) -> bool:
    """Whether ``version`` (``3.11.2``) is one of those that ``requires`` asks for.

    Raises:
        ValueError: ``requires`` is no list of versions such as ``>=3.8,<4``.
    """
    # All clauses are read: one that is wrong is wrong for every version.
    found = [_allows(clause, _numbers(version)) for clause in requires.split(",")]
    return all(found)


def _allows(clause: str, version: tuple[int, ...]) -> bool:
    found = _CLAUSE.fullmatch(clause)
    if found is None:
        raise ValueError(f"'{clause.strip()}' is no version such as '>=3.8'")
    sign, text, any_after = found.groups()
    wanted = tuple(int(part) for part in text.split("."))
    if sign in _ORDERS:
        if any_after:
            raise ValueError(f"'{clause.strip()}': only == and != can have a '.*'")
        return _ORDERS[sign](_padded(version), _padded(wanted))
    if sign == "~=":
        if any_after or len(wanted) == 1:
            raise ValueError(f"'{clause.strip()}' has to be a version of two numbers or more")
        return _padded(version) >= _padded(wanted) and version[: len(wanted) - 1] == wanted[:-1]
    same = version[: len(wanted)] == wanted if any_after else _padded(version) == _padded(wanted)
    return same is (sign == "==")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _padded(version: tuple[int, ...]) -> tuple[int, ...]:
    return (*version, 0, 0, 0, 0)[:4]
