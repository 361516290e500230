"""A scalar's values over its steps, thinned out to what can be looked at, in memory that does not grow with it.

Points are kept in buckets of equally many, one after the other, and of each bucket its least and its greatest value:
what is drawn of them looks as all of them would (as M4 does: Jugel et al., "M4: a visualization-oriented time series
data aggregation", 2014). When there are too many buckets, each two become one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from msgspec import Struct

MOST_POINTS = 1000
"""Of one series, where nothing else is asked for; the first and the last point may come on top."""


class Series(Struct, frozen=True, kw_only=True):
    """The points of one scalar, by their steps."""

    steps: tuple[int, ...]
    values: tuple[float, ...]
    count: int
    """How many points there are in all."""


class _Point(NamedTuple):
    place: int
    step: int
    value: float


class _Bucket:
    __slots__ = ("count", "greatest", "least")

    def __init__(self, point: _Point) -> None:
        self.count = 1
        self.least = self.greatest = point

    def take(self, least: _Point, greatest: _Point, count: int) -> None:
        self.count += count
        if least.value < self.least.value or math.isnan(self.least.value):
            self.least = least
        if greatest.value > self.greatest.value or math.isnan(self.greatest.value):
            self.greatest = greatest

    @property
    def points(self) -> list[_Point]:
        return sorted({self.least, self.greatest}, key=lambda point: point.place)


class Thinning:
    """Takes the points of one scalar in, as they come, and keeps no more than about ``most`` of them."""

    def __init__(self, most: int = MOST_POINTS) -> None:
        self._most = max(most // 2, 1)
        self._width = 1
        self._buckets: list[_Bucket] = []
        self._first: _Point | None = None
        self._last: _Point | None = None
        self.count = 0

    def add(self, step: int, value: float) -> None:
        """Go on with one point."""
        point = _Point(self.count, step, value)
        self.count += 1
        self._first = self._first or point
        self._last = point
        if self._buckets and self._buckets[-1].count < self._width:
            self._buckets[-1].take(point, point, 1)
            return
        if len(self._buckets) >= self._most:
            self._halve()
        if self._buckets and self._buckets[-1].count < self._width:
            self._buckets[-1].take(point, point, 1)
        else:
            self._buckets.append(_Bucket(point))

    def _halve(self) -> None:
        self._width *= 2
        for one, other in zip(self._buckets[::2], self._buckets[1::2], strict=False):
            one.take(other.least, other.greatest, other.count)
        del self._buckets[1::2]

    def series(self) -> Series:
        """What was taken in so far, in the order of the steps."""
        kept = {point for bucket in self._buckets for point in bucket.points}
        kept |= {point for point in (self._first, self._last) if point is not None}
        points = sorted(kept, key=lambda point: (point.step, point.place))
        return Series(
            steps=tuple(point.step for point in points),
            values=tuple(point.value for point in points),
            count=self.count,
        )
