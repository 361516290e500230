"""A comparison as a table: whole where nobody looks, fitted to the window where somebody does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from orchestra.cli.compare_text import cell_text
from orchestra.cli.tables import GAP, cell, cut, text_width
from orchestra.model.comparison import Comparison, Row
from orchestra.model.subjects import Moment, Seconds, Value

WIDEST = 40
"""Columns that a cell takes at most, where the table is wider than the window."""
NARROWEST = 12
LEAST = 4
"""Columns of the terminal below which nothing is shown beside the first column."""
RUN = 8
"""How wide the id of a run is."""
MOST_COLUMNS = 60
"""Columns of the comparison that are shown in a window."""
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class _Column(NamedTuple):
    heading: str
    cells: Sequence[str]
    is_numeric: bool

    @property
    def width(self) -> int:
        return max(map(text_width, (self.heading, *self.cells)))

    def narrowed(self, width: int) -> _Column:
        """The same in at most so many columns of the terminal."""
        return _Column(cut(self.heading, width), [cut(text, width) for text in self.cells], self.is_numeric)

    def lines(self) -> list[str]:
        """The heading and the cells, all as wide as the widest; numbers end in one line."""
        width = self.width
        padded: list[str] = []
        for text in (self.heading, *self.cells):
            gap = " " * (width - text_width(text))
            padded.append(gap + text if self.is_numeric else text + gap)
        return padded


def whole_table(comparison: Comparison) -> str:
    """All columns and all that is in them, one line a row; nothing where there is no row."""
    if not comparison.rows:
        return ""
    return "".join(f"{line}\n" for line in _joined(_columns(comparison)))


def fitted_table(comparison: Comparison, width: int, *, coloured: bool) -> str:
    """The table in lines of at most ``width`` columns.

    What is the same in all rows is said once, ahead of it, and labels that only repeat the flags are left out. Columns
    that don't fit beside the others are shown below them, with the first column again.
    """
    if not comparison.rows:
        return ""
    if repeats_flags(comparison):
        comparison = comparison.without(("label",))
    same = comparison.unchanged()
    shown = _columns(comparison.without(same))
    lines = list(_wrapped(_folded(comparison, same), width))
    lines += [""] if lines else []
    hidden = len(shown) - MOST_COLUMNS
    shown = shown[:MOST_COLUMNS]
    for number, block in enumerate(_blocks(_fitted(shown, width), width)):
        heading, *rows = (cut(line, width) for line in _joined(block))
        lines += [""] if number else []
        lines += [f"{_BOLD}{heading}{_PLAIN}" if coloured else heading, *rows]
    if hidden > 0:
        lines += [*_wrapped([f"{hidden} more columns:", "choose with --cols,", "or use --csv"], width)]
    return "".join(f"{line}\n" for line in lines)


def _columns(comparison: Comparison) -> list[_Column]:
    found: list[_Column] = []
    for place, column in enumerate(comparison.columns):
        values = [row.values[place] for row in comparison.rows]
        texts = [cell_text(value) for value in values]
        if column.kind == "attribute" and column.name == "operation":
            texts = [text + mark_text(row) for text, row in zip(texts, comparison.rows, strict=True)]
        found.append(_Column(cell(column.heading), list(map(cell, texts)), is_number(values)))
    return found


def is_number(values: Sequence[Value]) -> bool:
    """Whether these, which stand below each other, are numbers, as far as there is something."""
    present = [value for value in values if value is not None]
    return bool(present) and all(
        isinstance(value, int | float) and not isinstance(value, bool | Moment | Seconds) for value in present
    )


def mark_text(row: Row) -> str:
    """What follows the operation of a run that is marked."""
    return " [marked]" if len(row.runs) == 1 and row.runs[0].marked else ""


def repeats_flags(comparison: Comparison) -> bool:
    """Whether the labels say nothing that the columns of flags do not say."""
    has_flags = any(column.kind == "flag" for column in comparison.columns)
    labelled = (run.label_template is not None or run.tags for row in comparison.rows for run in row.runs)
    return has_flags and not any(labelled)


def _folded(comparison: Comparison, same: Mapping[str, Value]) -> list[str]:
    words = [f"{cell(name)}={cell(cell_text(value))}" for name, value in same.items() if value is not None]
    return [f"all {len(comparison.rows)}:", *words] if words else []


def _wrapped(words: Sequence[str], width: int) -> Iterator[str]:
    line = ""
    for word in words:
        if line and text_width(line) + 1 + text_width(word) > width:
            yield line
            line = ""
        line = cut(f"{line} {word}" if line else word, width)
    if line:
        yield line


def _fitted(columns: list[_Column], width: int) -> list[_Column]:
    """The columns, with the widest cut where they don't all fit beside each other."""
    if sum(column.width + len(GAP) for column in columns) - len(GAP) <= width:
        return columns
    first = columns[0].narrowed(max(RUN, width // 2))
    room = width - first.width - len(GAP)
    room = width if room < LEAST else room
    text = min(room, WIDEST, max(NARROWEST, width // 3))
    return [
        first.narrowed(width),
        *(column.narrowed(room if column.is_numeric else text) for column in columns[1:]),
    ]


def _blocks(columns: list[_Column], width: int) -> Iterator[list[_Column]]:
    """The first column with as many others as there is room for beside it; each alone, where there is none."""
    first, *others = columns
    if first.width + len(GAP) + LEAST > width:
        yield from ([column] for column in columns)
        return
    block, taken = [first], first.width
    for column in others:
        if taken + len(GAP) + column.width > width and len(block) > 1:
            yield block
            block, taken = [first], first.width
        block.append(column)
        taken += len(GAP) + column.width
    yield block


def _joined(columns: list[_Column]) -> list[str]:
    return [GAP.join(line).rstrip(" ") for line in zip(*(column.lines() for column in columns), strict=True)]
