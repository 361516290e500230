"""Spans of time, as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import UserError
from orchestra.model.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("1:30:05", 5405),
        ("0:20", 1200),
    ],
)
def test_a_time_is_given_with_its_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "h", "-1s", "1x", "1:99", "1h 30", "s1"])
def test_what_says_no_unit_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_duration(text)


@given(st.integers(0, 10_000_000))
def test_a_time_is_read_back_as_it_is_shown(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
