"""The end of an output, however it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.workspace import tail
from orchestra.workspace.output import OUTPUT


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    return tmp_path


def write(attempt: Path, data: bytes) -> None:
    (attempt / OUTPUT).write_bytes(data)


@pytest.mark.parametrize(
    ("data", "lines", "rest"),
    [
        (b"a\nb\nc\n", 1, b"c\n"),
        (b"a\nb\nc", 1, b"c"),
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
        (b"a\nb\nc\n", 0, b""),
        (b"a\nb", 0, b""),
        (b"a\n\n", 1, b"\n"),
        (b"\n", 1, b"\n"),
        (b"", 3, b""),
        (b"no end", 1, b"no end"),
    ],
)
def test_the_last_lines_begin_where_a_person_would_count_them(
    attempt: Path, data: bytes, lines: int, rest: bytes
) -> None:
    write(attempt, data)

    assert data[tail.offset_of_last(attempt, lines) :] == rest


@pytest.mark.parametrize("block", [1, 2, 3])
def test_last_lines_are_found_across_the_blocks_that_are_read(
    attempt: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "BLOCK", block)
    data = b"one\ntwo\n\nfour\n"
    write(attempt, data)

    found = [data[tail.offset_of_last(attempt, lines) :] for lines in (1, 2, 3, 4, 5)]

    assert found == [b"four\n", b"\nfour\n", b"two\n\nfour\n", data, data]


def test_there_are_no_last_lines_without_an_output(attempt: Path) -> None:
    assert tail.offset_of_last(attempt, 3) == 0
    assert tail.last_line(attempt) == ""


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"first\nsecond\n", "second"),
        (b"first\nsec", "sec"),
        (b"first\n\n  \n", "first"),
        (b"  1%|#\r 50%|##\r100%|####", "100%|####"),
        (b" 50%|##\r100%|####\r", "100%|####"),
        (b" 50%\r\x1b[K\r\n", "50%"),
        (b"\x1b[31mred\x1b[0m line\n", "red line"),
        (b"\x1b]0;title\x07shown", "shown"),
        (b"\xff\xfe\n", "\ufffd\ufffd"),
        (b"x" * 10_000, "x" * tail.LAST_BYTES),
    ],
)
def test_the_last_line_is_what_a_person_would_see(attempt: Path, data: bytes, seen: str) -> None:
    write(attempt, data)

    assert tail.last_line(attempt) == seen
