"""What a run printed can't drive the terminal of who looks at it."""

from __future__ import annotations

import os
import pty
import sys

import pytest

from orchestra.cli import terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\r\n", "plain\ttext\r\n"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b]0;EVIL\x07", "\\x1b]0;EVIL\\x07"),
        ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb", "a\\u202eb"),
    ],
)
def test_colours_stay_and_all_else_that_drives_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert terminal.defuse(text) == shown


def test_a_sequence_that_is_split_between_two_chunks_is_judged_as_a_whole() -> None:
    child, fd = pty.fork()
    if child == 0:
        show = terminal.shower()
        for part in (b"\x1b", b"[3", b"1mred \x1b", b"]0;EVIL\x07 \xc3", b"\xa9\n"):
            show(part)
        sys.stdout.flush()
        os._exit(0)
    seen = b""
    try:
        while chunk := os.read(fd, 1024):
            seen += chunk
    except OSError:
        pass
    os.waitpid(child, 0)
    os.close(fd)

    assert seen.decode() == "\x1b[31mred \\x1b]0;EVIL\\x07 \u00e9\r\n"
