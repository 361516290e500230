"""A terminal that is drawn on again and again, and left as it was found."""

from __future__ import annotations

import os
from collections.abc import Sequence

from orchestra.cli import terminal

# The alternate screen keeps what was there, and does not mix up lines when the window's size changes.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"
_LEAVE = "\x1b[?25h\x1b[?1049l"
# A terminal that knows them shows a frame only once it is complete; others ignore them.
_BEGIN, _END = "\x1b[?2026h\x1b[H", "\x1b[J\x1b[?2026l"
_FALLBACK = os.terminal_size((80, 24))


def can_draw() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    return os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb"


def size() -> os.terminal_size:
    """Columns and lines of the terminal as it is now."""
    try:
        found = os.get_terminal_size(1)
    except OSError:
        return _FALLBACK
    return os.terminal_size((found.columns or _FALLBACK.columns, found.lines or _FALLBACK.lines))


class Screen:
    """The whole terminal, while the block lasts."""

    def __enter__(self) -> Screen:
        self.resume()
        return self

    def __exit__(self, *_: object) -> None:
        self.suspend()

    def resume(self) -> None:
        """Take the terminal."""
        terminal.draw(_ENTER)

    def suspend(self) -> None:
        """Give it back as it was."""
        terminal.draw(_LEAVE)

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, which fit, in place of those before: in one write, over them, so that nothing flickers."""
        terminal.draw(_BEGIN + "\r\n".join(f"{terminal.defuse(line)}\x1b[K" for line in lines) + _END)
