"""Ranges of time as people write them: ``today``, ``last 5 minutes``, ``after 2025-01-01 10:00``.

A range has a beginning, which is part of it, and an end, which is not. The clock is given. Calendar days are those
of a time zone, local time unless told otherwise: a day may have 23 or 25 hours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Final, NamedTuple, TypeVar

from orchestra.errors import UserError

_T = TypeVar("_T")

FORMS: Final = (
    "Write it as in: today, yesterday, this week, last month, last 5 minutes, last 2h, 2 days ago, after 2025-01-31, "
    "before 10:00, between 2025-01-01 and 2025-01-31 18:30."
)
_HOUR = r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?"
_DATE = r"(?:(?P<year>[0-9]{4}|[0-9]{2})[-/])?(?P<month>[0-9]{1,2})[-/](?P<day>[0-9]{1,2})"
_MOMENT = re.compile(rf"{_DATE}(?:[ T]+{_HOUR})?|{_HOUR.replace('?P<', '?P<only_')}")
_UNIT = "second|sec|minute|min|hour|hr|day|week|month|year"
_SO_LONG = rf"(?P<number>[0-9]{{1,6}}) *(?:(?P<unit>{_UNIT})s?|(?P<letter>[smhdw]))"
_AGO = re.compile(rf"{_SO_LONG} +ago")
_LAST = re.compile(rf"last +(?:(?P<one>{_UNIT})s?|{_SO_LONG})")
_THIS = re.compile(rf"this +(?P<one>{_UNIT})s?")
_SHORT: Final = {
    "sec": "second",
    "min": "minute",
    "hr": "hour",
    # As durations are written elsewhere.
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
}
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600}
_EARLIEST: Final = 1970


class _Unit(NamedTuple):
    """A phrase's own range, and whether it is a whole part of the calendar."""

    begin: int
    end: int
    is_unit: bool = False

    @property
    def range(self) -> Range:
        return Range(self.begin, self.end)


class Range(NamedTuple):
    """From ``begin`` on, and before ``end``: microseconds since the epoch. None: open on that side."""

    begin: int | None
    end: int | None


class Span(NamedTuple):
    """A time to compare others with: they are within it from ``begin`` on, and before ``end``."""

    begin: int
    end: int
    after: int
    """What is later than it is from here on: the end of a day, or right after what was 5 minutes ago."""


def parse_range(text: str, now: int, zone: tzinfo | None = None) -> Range:
    """The range that ``text`` means at ``now`` (microseconds since the epoch), in ``zone`` (None: local time).

    Raises:
        UserError: it means none; the hint says how one is written.
    """
    return _Reader(text, now, zone).read()


def parse_span(text: str, now: int, zone: tzinfo | None = None) -> Span:
    """What a single phrase means to someone who compares times with it.

    Raises:
        UserError: it means none; the hint says how one is written.
    """
    phrase = _plain(text)
    begin, end, is_unit = _Reader(text, now, zone).one(phrase)
    end = max(end, begin + 1)
    return Span(begin, end, end if is_unit or _MOMENT.fullmatch(phrase) else begin + 1)


class _Reader:
    def __init__(self, text: str, now: int, zone: tzinfo | None) -> None:
        self._text = text
        self._zone = zone
        self._now = now
        self._here = datetime.fromtimestamp(now / 1e6, zone)

    def read(self) -> Range:
        text = _plain(self._text)
        word, _, rest = text.partition(" ")
        if word == "between":
            first, joined, last = rest.partition(" and ")
            if not joined:
                raise self._invalid()
            begin, end = self.one(first.strip()).begin, self.one(last.strip()).begin
            if begin > end:
                raise self._invalid("it ends before it begins")
            return Range(begin, end)
        if word == "before":
            return Range(None, self.one(rest.strip()).begin)
        if word in ("after", "since"):
            found = self.one(rest.strip())
            # What is after last week is not within it; a date alone stands for its first moment.
            return Range(found.begin if word == "since" or not found.is_unit else found.end, None)
        return self.one(text).range

    def one(self, text: str) -> _Unit:
        """What a single phrase means."""
        if text == "now":
            return _Unit(self._now, self._now)
        if text in ("today", "yesterday"):
            return self._calendar("day", -int(text == "yesterday"))
        if match := _THIS.fullmatch(text):
            return self._calendar(_unit(match["one"]), 0)
        if match := _LAST.fullmatch(text):
            return self._last(match["number"], _unit(match["one"] or match["unit"] or match["letter"]))
        if match := _AGO.fullmatch(text):
            return self._ago(int(match["number"]), _unit(match["unit"] or match["letter"]))
        if match := _MOMENT.fullmatch(text):
            return self._moment(match)
        raise self._invalid()

    def _last(self, number: str | None, unit: str) -> _Unit:
        """``last 5 minutes`` ends now; ``last month`` is the one before this, ``last hour`` the one that ends now."""
        if number is None and unit not in _SECONDS and unit != "day":
            return self._calendar(unit, -1)
        begin = self._before(int(number or 1), unit)
        return _Unit(begin, self._now + 1)

    def _ago(self, number: int, unit: str) -> _Unit:
        """``5 minutes ago`` is a minute long; ``2 days ago`` is a day of the calendar."""
        if unit not in _SECONDS:
            return self._calendar(unit, -number)
        begin = self._before(number, unit)
        return _Unit(begin, begin + _SECONDS[unit] * 1_000_000)

    def _before(self, number: int, unit: str) -> int:
        if unit in _SECONDS:
            return self._now - number * _SECONDS[unit] * 1_000_000
        return self._guarded(lambda: self._micro(_moved(self._here, unit, -number)))

    def _calendar(self, unit: str, offset: int) -> _Unit:
        if unit in _SECONDS:
            # Not of the wall clock: that shows some hours twice.
            length = _SECONDS[unit] * 1_000_000
            shift = round((self._here.utcoffset() or timedelta()).total_seconds()) * 1_000_000
            begin = (self._now + shift) // length * length - shift + offset * length
            return _Unit(begin, begin + length, is_unit=True)
        return self._guarded(lambda: self._whole(unit, offset))

    def _whole(self, unit: str, offset: int) -> _Unit:
        # Where clocks are set back at midnight there are two of them: the day begins with the first.
        first = self._here.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if unit == "week":
            first -= timedelta(days=first.weekday())
        if unit in ("month", "year"):
            first = first.replace(day=1)
        if unit == "year":
            first = first.replace(month=1)
        begin = _moved(first, unit, offset)
        return _Unit(self._micro(begin), self._micro(_moved(begin, unit, 1)), is_unit=True)

    def _moment(self, match: re.Match[str]) -> _Unit:
        if match["only_hour"] is not None:
            clock = [match["only_hour"], match["only_minute"], match["only_second"]]
            day = (self._here.year, self._here.month, self._here.day)
        else:
            clock = [match["hour"], match["minute"], match["second"]]
            day = (self._year(match["year"]), int(match["month"]), int(match["day"]))
        hour, minute, second = (int(part or 0) for part in clock)
        begin = self._guarded(lambda: datetime(*day, hour, minute, second, tzinfo=self._here.tzinfo))
        if clock[0] is None:
            return _Unit(self._micro(begin), self._micro(begin + timedelta(days=1)))
        length = 1 if clock[2] is not None else 60
        at = self._micro(begin)
        return _Unit(at, at + length * 1_000_000)

    def _year(self, text: str | None) -> int:
        if text is None:
            return self._here.year
        year = int(text) + (2000 if len(text) == 2 else 0)
        if year < _EARLIEST:
            raise self._invalid(f"the year {text} is before {_EARLIEST}")
        return year

    def _guarded(self, make: Callable[[], _T]) -> _T:
        try:
            return make()
        except (ValueError, OverflowError) as error:
            raise self._invalid(str(error)) from None

    def _micro(self, moment: datetime) -> int:
        """Of a wall clock's time, whatever its offset to UTC is on that day; one that was skipped is the next."""
        wall = moment.replace(tzinfo=self._zone)
        return round(wall.timestamp()) * 1_000_000

    def _invalid(self, reason: str = "") -> UserError:
        more = f": {reason}" if reason else ""
        return UserError(f"invalid RANGE: '{self._text}'{more}", FORMS)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _unit(text: str) -> str:
    return _SHORT.get(text, text)


def _moved(moment: datetime, unit: str, number: int) -> datetime:
    """The same time of the wall clock so many days, weeks, months or years later; the month's last day at most."""
    if unit == "day":
        return moment + timedelta(days=number)
    if unit == "week":
        return moment + timedelta(weeks=number)
    months = moment.year * 12 + moment.month - 1 + number * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    for day in range(moment.day, 0, -1):
        try:
            return moment.replace(year=year, month=month + 1, day=day)
        except ValueError:
            if day <= 28:
                raise
    raise ValueError("there is no such day")
