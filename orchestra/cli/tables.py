"""Tables in plain text: aligned columns, two spaces apart, that stay whole when nobody is at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import combining, east_asian_width

from orchestra.console import printable

GAP = "  "
_ELLIPSIS = "…"


_LINE_BREAKS = {ord(char): char.encode("unicode_escape").decode() for char in "\t\n\u2028\u2029"}
"""What :func:`printable` leaves, for texts may have several lines."""


def cell(text: str) -> str:
    """``text`` as it is shown in one line: what would break or drive the line is escaped."""
    if text.isprintable():
        return text
    text = text.encode(errors="backslashreplace").decode()
    return printable(text.translate(_LINE_BREAKS))


def text_width(text: str) -> int:
    """How many columns of a terminal ``text`` takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The beginning of ``text`` that fits into ``width`` columns; an ellipsis says that it was cut."""
    if text_width(text) <= width:
        return text
    kept, left = "", width - 1
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        kept += character
    return kept + _ELLIPSIS if width > 0 else ""


def render(rows: Sequence[Sequence[str]], *, width: int | None = None, indent: str = "") -> str:
    """The rows as lines. No line ends in spaces; with ``width`` lines are cut to so many columns."""
    if not rows:
        return ""
    shown = [[cell(text) for text in row] for row in rows]
    widths = [max(map(text_width, column)) for column in zip(*shown, strict=True)]
    lines: list[str] = []
    for row in shown:
        padded = [text + " " * (wide - text_width(text)) for text, wide in zip(row, widths, strict=True)]
        line = (indent + GAP.join(padded)).rstrip(" ")
        lines.append((line if width is None else cut(line, width)) + "\n")
    return "".join(lines)
