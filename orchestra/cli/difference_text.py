"""How the differences of two runs are shown to people."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from msgspec import UNSET

from orchestra.cli import terminal
from orchestra.cli.tables import cell
from orchestra.model.decoding import encode
from orchestra.model.differences import SECTIONS, Change, Differences, FileChange
from orchestra.model.scalars import natural

_COLOURS: Final = {"-": "31", "+": "32", "@": "36", "bold": "1"}
_PLAIN_COLOUR: Final = re.compile("\x1b\\[")
_RETURN: Final = re.compile("\r(?!\n)")
LONGEST: Final = 300
"""Characters of a value that are shown."""
_AHEAD: Final = 40
"""Those before what differs, where values begin with more than there is room for."""
_WORDS: Final = {"lock_files": "lock files"}


def difference_lines(found: Differences, *, colour: bool) -> Iterator[str]:
    """What differs, section by section, then what could not be compared. Texts of files are as they are."""
    for section in SECTIONS:
        differing = getattr(found, section)
        if not differing:
            continue
        yield _painted(f"{section}:\n", "bold", colour)
        if section == "environment":
            for name, changes in differing.items():
                yield f"  {_WORDS.get(name, name)}:\n"
                yield from _change_lines(changes, colour, indent="    ")
        elif section in ("source", "files", "output"):
            for change in cast("tuple[FileChange, ...]", differing):
                yield from _file_lines(change, colour)
        else:
            yield from _change_lines(differing, colour, scalars=section == "scalars")
    if found.is_empty:
        yield "No differences.\n"
    for note in found.notes:
        yield f"({cell(note)})\n"


def _change_lines(
    changes: Iterable[Change], colour: bool, *, indent: str = "  ", scalars: bool = False
) -> Iterator[str]:
    for change in changes:
        before: Any = change.before
        after: Any = change.after
        if isinstance(before, dict) and isinstance(after, dict):
            yield f"{indent}{cell(change.name)}:\n"
            inner = _inner(cast("dict[str, Any]", before), cast("dict[str, Any]", after))
            yield from _change_lines(inner, colour, indent=f"{indent}  ")
        elif before is UNSET or after is UNSET:
            sign = "+" if before is UNSET else "-"
            text = _cut(_text(after if before is UNSET else before, scalars))
            yield f"{indent}{_painted(f'{sign} {cell(change.name)}: {text}', sign, colour)}\n"
        else:
            one, other = _cut_both(_text(before, scalars), _text(after, scalars))
            told = f"{_painted(one, '-', colour)} -> {_painted(other, '+', colour)}"
            yield f"{indent}{cell(change.name)}: {told}\n"


def _cut_both(one: str, other: str) -> tuple[str, str]:
    """Two values as far as there is room for them, from shortly before they differ."""
    start = 0
    if max(len(one), len(other)) > LONGEST:
        pairs = enumerate(zip(one, other, strict=False))
        same = next((place for place, (first, second) in pairs if first != second), min(len(one), len(other)))
        start = max(same - _AHEAD, 0)
    return _cut(one, start), _cut(other, start)


def _cut(text: str, start: int = 0) -> str:
    shown = text[start : start + LONGEST]
    if len(shown) == len(text):
        return text
    return (
        f"{'…' if start else ''}{shown}{'…' if start + LONGEST < len(text) else ''} ({len(text)} characters)"
    )


def _inner(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    for name in natural({*before, *after}):
        one, other = before.get(name, UNSET), after.get(name, UNSET)
        if one != other:
            yield Change(name=name, before=one, after=other)


def _text(value: Any, scalar: bool) -> str:
    if scalar:
        number, step = value
        return f"{number:.6f} (step {step})"
    if isinstance(value, dict):
        told = cast("dict[str, Any]", value).items()
        return ", ".join(f"{cell(name)}: {_text(one, False)}" for name, one in told if one)
    # A text is shown as it is but where it would be taken for something else.
    return cell(encode(value))


def _file_lines(change: FileChange, colour: bool) -> Iterator[str]:
    note = f" ({cell(change.note)})" if change.note else ""
    if note or not change.diff:
        yield _painted(f"{change.change}: {cell(change.path)}{note}\n", "bold", colour)
    # Only a newline ends a line.
    for line in change.diff.split("\n")[:-1]:
        shown = _tame(line) if colour or os.isatty(1) else line
        sign = "bold" if line.startswith(("--- ", "+++ ")) else line[:1]
        yield f"{_painted(shown, sign, colour)}\n"


def _tame(line: str) -> str:
    """``line`` with nothing in it that moves the cursor or has colours of its own."""
    escaped = _PLAIN_COLOUR.sub("\\\\x1b[", terminal.defuse(line))
    return _RETURN.sub("\\\\r", escaped)


def _painted(text: str, sign: str, colour: bool) -> str:
    code = _COLOURS.get(sign)
    if not colour or code is None:
        return text
    body = text.rstrip("\n")
    return f"\x1b[{code}m{body}\x1b[0m{text[len(body) :]}"
