"""Tables: aligned, whole, and not to be driven by what they show."""

from __future__ import annotations

import pytest

from orchestra.cli.tables import cut, render, text_width


def test_columns_are_two_spaces_apart_and_no_line_ends_in_spaces() -> None:
    assert render([("a", "bbb", ""), ("aaa", "b", "c")]) == "a    bbb\naaa  b    c\n"


def test_wide_and_combining_characters_are_counted_as_a_terminal_does() -> None:
    assert [text_width(text) for text in ("abc", "漢字", "e\u0301", "")] == [3, 4, 1, 0]
    assert render([("漢", "x"), ("abc", "y")]) == "漢   x\nabc  y\n"


def test_a_cell_never_breaks_its_line_or_drives_the_terminal() -> None:
    assert render([("a\nb\tc", "\x1b[31mred\u202e")]) == "a\\nb\\tc  \\x1b[31mred\\u202e\n"
    assert render([("a\u2028b", "c\u2029d")]) == "a\\u2028b  c\\u2029d\n"


def test_bytes_that_are_no_text_are_as_wide_as_they_are_shown() -> None:
    assert render([("\udcff", "x"), ("abcdef", "y")]) == "\\udcff  x\nabcdef  y\n"


@pytest.mark.parametrize(("width", "shown"), [(7, "abc漢字"), (6, "abc漢…"), (5, "abc…"), (1, "…"), (0, "")])
def test_a_line_is_cut_to_the_columns_there_are(width: int, shown: str) -> None:
    assert cut("abc漢字", width) == shown


def test_no_rows_are_no_lines() -> None:
    assert render([]) == ""
