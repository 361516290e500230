"""Ranges of time, as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestra.errors import UserError
from orchestra.model.time_range import FORMS, parse_range, parse_span

# A Thursday.
NOW = datetime(2026, 3, 5, 12, 30, 15, tzinfo=UTC)


def micro(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def told(text: str, now: datetime = NOW) -> tuple[str, str]:
    """Beginning and end of a range; without seconds where they are 0."""

    def shown(moment: int | None) -> str:
        if moment is None:
            return ""
        text = datetime.fromtimestamp(moment // 1_000_000, now.tzinfo).strftime("%Y-%m-%d %H:%M:%S")
        return text.removesuffix(":00")

    begin, end = parse_range(text, micro(now), now.tzinfo)
    return shown(begin), shown(end)


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("today", "2026-03-05 00:00", "2026-03-06 00:00"),
        ("Yesterday", "2026-03-04 00:00", "2026-03-05 00:00"),
        ("this minute", "2026-03-05 12:30", "2026-03-05 12:31"),
        ("this hour", "2026-03-05 12:00", "2026-03-05 13:00"),
        ("this day", "2026-03-05 00:00", "2026-03-06 00:00"),
        ("this week", "2026-03-02 00:00", "2026-03-09 00:00"),
        ("this month", "2026-03-01 00:00", "2026-04-01 00:00"),
        ("this year", "2026-01-01 00:00", "2027-01-01 00:00"),
        ("last week", "2026-02-23 00:00", "2026-03-02 00:00"),
        ("last month", "2026-02-01 00:00", "2026-03-01 00:00"),
        ("last year", "2025-01-01 00:00", "2026-01-01 00:00"),
        ("last minute", "2026-03-05 12:29:15", "2026-03-05 12:30:15"),
        ("last 5 minutes", "2026-03-05 12:25:15", "2026-03-05 12:30:15"),
        ("last 5 min", "2026-03-05 12:25:15", "2026-03-05 12:30:15"),
        ("last 2 hours", "2026-03-05 10:30:15", "2026-03-05 12:30:15"),
        ("last 2h", "2026-03-05 10:30:15", "2026-03-05 12:30:15"),
        ("last 90 s", "2026-03-05 12:28:45", "2026-03-05 12:30:15"),
        ("5m ago", "2026-03-05 12:25:15", "2026-03-05 12:26:15"),
        ("since 2d ago", "2026-03-03 00:00", ""),
        ("last 3 days", "2026-03-02 12:30:15", "2026-03-05 12:30:15"),
        ("last 2 months", "2026-01-05 12:30:15", "2026-03-05 12:30:15"),
        ("5 minutes ago", "2026-03-05 12:25:15", "2026-03-05 12:26:15"),
        ("1 hour ago", "2026-03-05 11:30:15", "2026-03-05 12:30:15"),
        ("2 days ago", "2026-03-03 00:00", "2026-03-04 00:00"),
        ("1 month ago", "2026-02-01 00:00", "2026-03-01 00:00"),
        ("before 5 minutes ago", "", "2026-03-05 12:25:15"),
        ("after 5 minutes ago", "2026-03-05 12:25:15", ""),
        ("after 2025-01-01 10:00:00", "2025-01-01 10:00", ""),
        ("after 2025-01-01", "2025-01-01 00:00", ""),
        ("after last week", "2026-03-02 00:00", ""),
        ("since last week", "2026-02-23 00:00", ""),
        ("before today", "", "2026-03-05 00:00"),
        ("between 2025-01-01 and 10:00", "2025-01-01 00:00", "2026-03-05 10:00"),
        ("between 1/2 and  3-4 1:02:03", "2026-01-02 00:00", "2026-03-04 01:02:03"),
        ("24-02-29", "2024-02-29 00:00", "2024-03-01 00:00"),
        ("2024-2-29 23:59", "2024-02-29 23:59", "2024-03-01 00:00"),
        ("10:00", "2026-03-05 10:00", "2026-03-05 10:01"),
        ("10:00:07", "2026-03-05 10:00:07", "2026-03-05 10:00:08"),
        ("before now", "", "2026-03-05 12:30:15"),
    ],
)
def test_a_range_is_from_its_beginning_to_before_its_end(text: str, begin: str, end: str) -> None:
    assert told(text) == (begin, end)


def test_what_is_now_is_within_the_last_minutes() -> None:
    begin, end = parse_range("last 5 minutes", micro(NOW), UTC)

    assert begin is not None
    assert end is not None
    assert begin <= micro(NOW) < end


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday before",
        "2026-02-30",
        "2025-02-29",
        "in the future",
        "25:00",
        "10:60",
        "13-1",
        "1969-12-31",
        "before",
        "between today",
        "between 2-1 and 1-1",
        "last 0x5 minutes",
        "last h",
        "last 5 hs",
        "999999 years ago",
        "5 fortnights ago",
        "٥ minutes ago",
        "this second day",
    ],
)
def test_what_is_no_range_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_range(text, micro(NOW), UTC)

    assert refused.value.message.startswith(f"invalid RANGE: '{text}'")
    assert refused.value.hint == FORMS


def test_months_end_where_they_end() -> None:
    last_of_march = datetime(2026, 3, 31, 8, tzinfo=UTC)

    assert told("last 1 month", last_of_march)[0] == "2026-02-28 08:00"
    assert told("last month", last_of_march) == ("2026-02-01 00:00", "2026-03-01 00:00")
    assert told("last 1 year", datetime(2024, 2, 29, tzinfo=UTC))[0] == "2023-02-28 00:00"


BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 3, 29, 12, tzinfo=BERLIN)
AUTUMN = datetime(2026, 10, 25, 12, tzinfo=BERLIN)


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25), (SPRING + timedelta(days=7), 24)])
def test_a_day_has_the_hours_that_it_has_where_we_are(day: datetime, hours: int) -> None:
    begin, end = parse_range("today", micro(day), BERLIN)

    assert begin is not None
    assert end is not None
    assert (end - begin) / 3.6e9 == hours


def test_the_last_hours_are_as_long_as_others_when_clocks_change() -> None:
    begin, _ = parse_range("last 12 hours", micro(SPRING), BERLIN)
    begin_of_days, _ = parse_range("last 1 day", micro(SPRING), BERLIN)

    assert begin == micro(SPRING) - round(12 * 3.6e9)
    assert begin_of_days == micro(SPRING) - round(23 * 3.6e9)


def test_this_hour_is_one_hour_also_when_it_is_there_twice() -> None:
    for minutes in (30, 90):
        now = datetime(2026, 10, 25, 0, tzinfo=UTC) + timedelta(minutes=minutes)
        begin, end = parse_range("this hour", micro(now), BERLIN)

        assert begin is not None
        assert end is not None
        assert begin <= micro(now) < end
        assert end - begin == 3_600_000_000


def test_a_time_that_clocks_skip_is_the_next_one_that_there_is() -> None:
    assert parse_span("2026-03-29 02:30", micro(SPRING), BERLIN).begin == micro(
        datetime(2026, 3, 29, 3, 30, tzinfo=BERLIN)
    )


PHRASES = st.sampled_from(
    ["today", "yesterday", "this week", "this month", "this year", "this hour", "last month", "3 days ago"]
)
# Havana and Asuncion change their clocks at midnight.
NAMES = ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "America/Havana", "America/Asuncion"]
ZONES = st.sampled_from([UTC, *map(ZoneInfo, NAMES)])
# Until 2011 a day of St. John's had a minute of the next day before its last hour.
MOMENTS = st.datetimes(datetime(2012, 1, 1), datetime(2035, 1, 1), timezones=ZONES)


@given(PHRASES, MOMENTS)
@example("this month", datetime(2015, 11, 1, fold=1, tzinfo=ZoneInfo("America/Havana")))
def test_ranges_follow_each_other_without_a_gap(text: str, now: datetime) -> None:
    begin, end = parse_range(text, micro(now), now.tzinfo)
    assert begin is not None
    assert end is not None
    assert begin < end
    if text in ("today", "this week", "this month", "this year", "this hour"):
        assert begin <= micro(now) < end
    # Where clocks are changed by half an hour, one hour of theirs lies across two others.
    if text in ("today", "this week", "this month", "this year"):
        assert parse_range(text, end, now.tzinfo).begin == end
        assert parse_range(text, end - 1, now.tzinfo) == (begin, end)
