"""How two runs differ: in named values, and line by line in texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args

from msgspec import UNSET, Struct, UnsetType

from orchestra.model.decoding import encode
from orchestra.model.scalars import natural

Section: TypeAlias = Literal[
    "flags", "attributes", "environment", "dependencies", "scalars", "source", "files", "output"
]
SECTIONS: Final[tuple[Section, ...]] = get_args(Section)
"""What can be compared, in the order in which it is shown."""

CONTEXT: Final = 3
"""Lines that are shown around those that differ."""
MOST_LINES: Final = 20_000
"""So many lines of two texts are compared, less what they begin and end with in common."""

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

    None: there are too many lines to compare.
    """
    if before == after:
        return ""
    one, other = _lines(before), _lines(after)
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    if len(one) + len(other) - 2 * (start + end) > MOST_LINES:
        return None
    # What is the same at both ends is compared no further than it is shown.
    skipped = max(start - CONTEXT, 0)
    kept = max(end - CONTEXT, 0)
    one, other = one[skipped : len(one) - kept], other[skipped : len(other) - kept]
    from difflib import SequenceMatcher

    parts = [f"--- {names[0]}\n+++ {names[1]}\n"]
    for group in SequenceMatcher(None, one, other).get_grouped_opcodes(CONTEXT):
        parts += _hunk(group, one, other, skipped)
    return "".join(parts)


def _lines(text: str) -> list[str]:
    """The lines with their ends; only a newline ends one."""
    lines = text.split("\n")
    last = lines.pop()
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """With how many equal lines both begin."""
    count = 0
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        count += 1
    return count


def _hunk(
    group: Sequence[tuple[str, int, int, int, int]], one: list[str], other: list[str], skipped: int
) -> list[str]:
    first, last = group[0], group[-1]
    parts = [f"@@ -{_range(first[1], last[2], skipped)} +{_range(first[3], last[4], skipped)} @@\n"]
    for tag, from_one, to_one, from_other, to_other in group:
        if tag == "equal":
            parts += (_shown(" ", line) for line in one[from_one:to_one])
            continue
        parts += (_shown("-", line) for line in one[from_one:to_one])
        parts += (_shown("+", line) for line in other[from_other:to_other])
    return parts


def _range(start: int, end: int, skipped: int) -> str:
    """As the format has it: from 1, but of nothing the line before."""
    length = end - start
    first = skipped + start + (1 if length else 0)
    return f"{first}" if length == 1 else f"{first},{length}"


def _shown(sign: str, line: str) -> str:
    return f"{sign}{line}" if line.endswith("\n") else f"{sign}{line}\n{NO_NEWLINE}"
