"""Which of many paths are wanted, and what they are called in the run's directory. Pure, but for :func:`walk`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from orchestra.errors import ResolveError

_MAX_DEPTH = 200


def walk(root: Path, *, _below: str = "", _depth: int = 0) -> Iterator[str]:
    """All paths below ``root``, relative, by name, a folder before what it holds. Links are followed.

    Raises:
        ResolveError: it is nested too deeply, as a link to what holds it is.
    """
    if _depth > _MAX_DEPTH:
        raise ResolveError(f"'{root}' is nested too deeply (limit {_MAX_DEPTH})")
    for name in sorted(os.listdir(root / _below)):
        path = posixpath.join(_below, name)
        yield path
        if (root / path).is_dir():
            yield from walk(root, _below=path, _depth=_depth + 1)


def select(paths: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The paths that one of ``patterns`` matches to its end, in their order; a folder stands for what it holds.

    Raises:
        ResolveError: a pattern is no regular expression.
    """
    compiled = [_compiled(pattern) for pattern in patterns]
    found: dict[str, None] = {}
    for path in paths:
        if any(pattern.fullmatch(path) for pattern in compiled) and not _is_below(path, found):
            found[path] = None
    return tuple(found)


def select_extreme(paths: Iterable[str], pattern: str, *, largest: bool) -> tuple[str, ...]:
    """Of the paths that ``pattern`` matches, the one whose first group is the largest or smallest number.

    Raises:
        ResolveError: the pattern is no regular expression, or has no group.
    """
    compiled = _compiled(pattern)
    if compiled.groups < 1:
        raise ResolveError(f"the pattern '{pattern}' has no group that could be a number", "Write ([0-9]+).")
    numbers: list[tuple[float, str]] = []
    for path in paths:
        match = compiled.fullmatch(path)
        try:
            number = float(match[1]) if match and match[1] is not None else None
        except ValueError:
            continue
        if number is not None and number == number:
            numbers.append((number, path))
    if not numbers:
        return ()
    best = max(number for number, _ in numbers) if largest else min(number for number, _ in numbers)
    return (next(path for number, path in numbers if number == best),)


def rename(name: str, rules: Sequence[tuple[str, str]]) -> str:
    """A base name after all rules, each applied once.

    Raises:
        ResolveError: a pattern is no regular expression, or what comes out is no name.
    """
    renamed = name
    for pattern, replacement in rules:
        try:
            renamed = _compiled(pattern).sub(replacement, renamed, count=1)
        except (re.error, IndexError) as error:
            raise ResolveError(f"'{name}' can't be renamed to '{replacement}': {error}") from error
    return renamed


def check_place(path: str) -> str:
    """``path`` as a clean relative one of which a run's directory is not harmed.

    Raises:
        ResolveError: it is absolute, leads out, or is where records are.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith(("/", "~")) or ".." in parts or "\0" in path:
        raise ResolveError(
            f"'{path}' is not a path in the run's directory", "Give a relative path without '..'."
        )
    if parts and parts[0] in (".orchestra", ".guild"):
        raise ResolveError(f"'{path}' is where the run's records are", "Choose another name.")
    return "/".join(parts)


def _is_below(path: str, folders: Container[str]) -> bool:
    parent = posixpath.dirname(path)
    while parent:
        if parent in folders:
            return True
        parent = posixpath.dirname(parent)
    return False


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ResolveError(f"'{pattern}' is no regular expression: {error}") from error
