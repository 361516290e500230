"""How two runs differ: in named values, and line by line in texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from msgspec import UNSET, Struct, UnsetType

from orchestra.model.decoding import encode
from orchestra.model.matching_lines import NOWHERE, partners
from orchestra.model.scalars import natural

Section: TypeAlias = Literal[
    "flags", "attributes", "environment", "dependencies", "scalars", "source", "files", "output"
]
SECTIONS: Final[tuple[Section, ...]] = get_args(Section)
"""What can be compared, in the order in which it is shown."""

CONTEXT: Final = 3
"""Lines that are shown around those that differ."""

NO_NEWLINE: Final = "\\ No newline at end of file\n"


class Change(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named value that differs; one that was added has no ``before``, one that was removed no ``after``."""

    name: str
    before: Any | UnsetType = UNSET
    after: Any | UnsetType = UNSET


class FileChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that differs."""

    path: str
    change: Literal["added", "removed", "changed"]
    binary: bool = False
    diff: str = ""
    """Unified, if it is a text that was compared line by line."""
    note: str = ""
    """What else there is to say: why there is no ``diff``, or that it is no more as it was copied."""


class Differences(Struct, frozen=True, kw_only=True):
    """How ``after`` differs from ``before``; a section that was not compared is unset."""

    before: str
    """The id of a run."""
    after: str
    """The id of a run, or a folder."""
    flags: tuple[Change, ...] | UnsetType = UNSET
    attributes: tuple[Change, ...] | UnsetType = UNSET
    environment: dict[str, tuple[Change, ...]] | UnsetType = UNSET
    """By what it is of: ``python``, ``packages``, ``variables``, ``platform``, ``lock_files``."""
    dependencies: tuple[Change, ...] | UnsetType = UNSET
    scalars: tuple[Change, ...] | UnsetType = UNSET
    """Each with its last value and the step of that."""
    source: tuple[FileChange, ...] | UnsetType = UNSET
    files: tuple[FileChange, ...] | UnsetType = UNSET
    """Of the paths that were asked for."""
    output: tuple[FileChange, ...] | UnsetType = UNSET
    notes: tuple[str, ...] = ()
    """What could not be compared."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs in what was compared."""
        return not any(getattr(self, section) for section in SECTIONS)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs between two mappings, by name. Values are the same if they are written in the same way."""
    found: list[Change] = []
    for name in natural({*before, *after}):
        one = before.get(name, UNSET)
        other = after.get(name, UNSET)
        if one is UNSET or other is UNSET or encode(one) != encode(other):
            found.append(Change(name=name, before=one, after=other))
    return tuple(found)


def unified_diff(before: str, after: str, names: tuple[str, str]) -> str | None:
    """The difference of two texts as ``diff -u`` writes it, with a heading of ``names``; empty if they are the same.

    None: too many lines differ.
    """
    if before == after:
        return ""
    one, other = _lines(before), _lines(after)
    edits = _edits(one, other)
    if edits is None:
        return None
    parts = [f"--- {names[0]}\n+++ {names[1]}\n"]
    for hunk in _hunks(_joined(edits, one, other)):
        parts += _shown_hunk(hunk, one, other)
    return "".join(parts)


def _lines(text: str) -> list[str]:
    """The lines with their ends; only a newline ends one."""
    lines = text.split("\n")
    last = lines.pop()
    return [f"{line}\n" for line in lines] + ([last] if last else [])


class _Edit(NamedTuple):
    """Lines that others have taken the place of: from a place to another, of the one text and of the other."""

    start: int
    end: int
    other_start: int
    other_end: int


def _edits(one: Sequence[str], other: Sequence[str]) -> list[_Edit] | None:
    found = partners(one, other)
    if found is None:
        return None
    edits: list[_Edit] = []
    done = other_done = 0
    pairs = ((place, partner) for place, partner in enumerate(found) if partner != NOWHERE)
    for place, partner in chain(pairs, ((len(one), len(other)),)):
        if (place, partner) != (done, other_done):
            edits.append(_Edit(done, place, other_done, partner))
        done, other_done = place + 1, partner + 1
    return edits


def _joined(edits: Sequence[_Edit], one: Sequence[str], other: Sequence[str]) -> list[_Edit]:
    """Those as one that become so where either begins a few of the same lines later, or earlier."""
    joined: list[_Edit] = []
    for edit in edits:
        before = joined[-1] if joined else None
        gap = edit.start - before.end if before is not None else 0
        if before is not None and _moves(before, gap, one, other):
            joined[-1] = _Edit(before.start + gap, edit.end, before.other_start + gap, edit.other_end)
        elif before is not None and _moves(edit, -gap, one, other):
            joined[-1] = _Edit(before.start, edit.end - gap, before.other_start, edit.other_end - gap)
        else:
            joined.append(edit)
    return joined


def _moves(edit: _Edit, by: int, one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether lines of one text alone may as well be those that come so much later, or earlier."""
    if edit.other_start == edit.other_end:
        return _same(one, edit.start, edit.end, by)
    return edit.start == edit.end and _same(other, edit.other_start, edit.other_end, by)


def _same(lines: Sequence[str], start: int, end: int, by: int) -> bool:
    if by < 0:
        start, end = start + by, end + by
    return lines[start : start + abs(by)] == lines[end : end + abs(by)]


def _hunks(edits: Sequence[_Edit]) -> list[list[_Edit]]:
    """Those together that are shown with the same lines around them."""
    hunks: list[list[_Edit]] = []
    for edit in edits:
        if hunks and edit.start - hunks[-1][-1].end <= 2 * CONTEXT:
            hunks[-1].append(edit)
        else:
            hunks.append([edit])
    return hunks


def _shown_hunk(hunk: Sequence[_Edit], one: Sequence[str], other: Sequence[str]) -> list[str]:
    ahead = min(CONTEXT, hunk[0].start)
    after = min(CONTEXT, len(one) - hunk[-1].end)
    done = start = hunk[0].start - ahead
    ranges = (
        _range(start, hunk[-1].end + after),
        _range(hunk[0].other_start - ahead, hunk[-1].other_end + after),
    )
    parts = [f"@@ -{ranges[0]} +{ranges[1]} @@\n"]
    for edit in hunk:
        parts += (_shown(" ", line) for line in one[done : edit.start])
        parts += (_shown("-", line) for line in one[edit.start : edit.end])
        parts += (_shown("+", line) for line in other[edit.other_start : edit.other_end])
        done = edit.end
    return parts + [_shown(" ", line) for line in one[done : done + after]]


def _range(start: int, end: int) -> str:
    """As the format has it: from 1, but of nothing the line before."""
    length = end - start
    first = start + (1 if length else 0)
    return f"{first}" if length == 1 else f"{first},{length}"


def _shown(sign: str, line: str) -> str:
    return f"{sign}{line}" if line.endswith("\n") else f"{sign}{line}\n{NO_NEWLINE}"
