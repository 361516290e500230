"""Which lines of two texts are the same ones: most of them, in the same order.

The algorithm is that of Myers ("An O(ND) difference algorithm and its variations", 1986) in linear space. Lines that
only one of the texts has are set aside beforehand. Where much differs, the way that has got furthest is taken for the
best, as in GNU diff: what is found then is a difference, but not always the shortest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

FURTHEST: Final = 128
"""With so many differences from both ends of a part, the way that has got furthest is taken."""
MOST_STEPS: Final = 3_000_000
"""What the search may take: a second or two."""

NOWHERE: Final = -1


class _Part(NamedTuple):
    """Lines of the one text and lines of the other that have to be matched yet."""

    start: int
    end: int
    other_start: int
    other_end: int


class _TooLongError(Exception):
    pass


def partners(one: Sequence[str], other: Sequence[str]) -> list[int] | None:
    """For each line of ``one`` the place of the same line in ``other``, or :data:`NOWHERE`; they ascend.

    None: too much differs.
    """
    kept, kept_other = _shared(one, other), _shared(other, one)
    numbers: dict[str, int] = {}
    search = _Search(
        [numbers.setdefault(one[place], len(numbers)) for place in kept],
        [numbers.setdefault(other[place], len(numbers)) for place in kept_other],
    )
    found = [NOWHERE] * len(one)
    try:
        for place, partner in search.pairs():
            found[kept[place]] = kept_other[partner]
    except _TooLongError:
        return None
    return found


def _shared(lines: Sequence[str], others: Sequence[str]) -> list[int]:
    """The places of the lines that are among ``others``, too."""
    there = set(others)
    return [place for place, line in enumerate(lines) if line in there]


class _Search:
    def __init__(self, one: Sequence[int], other: Sequence[int]) -> None:
        self._one, self._other = one, other
        self._steps = 0

    def pairs(self) -> list[tuple[int, int]]:
        """The places of lines that are the same.

        Raises:
            _TooLongError: it takes too long to find them.
        """
        found: list[tuple[int, int]] = []
        parts = [_Part(0, len(self._one), 0, len(self._other))]
        while parts:
            part = parts.pop()
            start, other_start = self._forth(part, part.start, part.other_start)
            found += zip(range(part.start, start), range(part.other_start, other_start), strict=True)
            part = part._replace(start=start, other_start=other_start)
            end, other_end = self._back(part, part.end, part.other_end)
            found += zip(range(end, part.end), range(other_end, part.other_end), strict=True)
            part = part._replace(end=end, other_end=other_end)
            if part.start < part.end and part.other_start < part.other_end:
                x, y = self._middle(part)
                parts += (part._replace(end=x, other_end=y), part._replace(start=x, other_start=y))
        return found

    def _forth(self, part: _Part, x: int, y: int) -> tuple[int, int]:
        """How far from there the lines are the same."""
        one, other, end, other_end = self._one, self._other, part.end, part.other_end
        began = x
        while x < end and y < other_end and one[x] == other[y]:
            x += 1
            y += 1
        self._steps += x - began
        return x, y

    def _back(self, part: _Part, x: int, y: int) -> tuple[int, int]:
        """The same towards the beginning."""
        one, other, start, other_start = self._one, self._other, part.start, part.other_start
        began = x
        while x > start and y > other_start and one[x - 1] == other[y - 1]:
            x -= 1
            y -= 1
        self._steps += began - x
        return x, y

    def _middle(self, part: _Part) -> tuple[int, int]:
        """A place between the ends of ``part`` on a way through it that has few differences.

        A way goes from one pair of places to the next: past a line of the one text or of the other, or past a line of
        both that is the same. How far one gets with so many differences is known for each diagonal: the place in the
        one text less that in the other.
        """
        first, last = part.start - part.other_start, part.end - part.other_end
        forward, backward = {first: part.start}, {last: part.end}
        meets_forward = (first - last) % 2 == 1
        for count in range(1, FURTHEST + 1):
            self._steps += 2 * count
            if self._steps > MOST_STEPS:
                raise _TooLongError
            for diagonal in range(first - count, first + count + 1, 2):
                x = self._further(part, forward, diagonal)
                if x is not None and meets_forward and backward.get(diagonal, x + 1) <= x:
                    return x, x - diagonal
            for diagonal in range(last - count, last + count + 1, 2):
                x = self._further_back(part, backward, diagonal)
                if x is not None and not meets_forward and forward.get(diagonal, x - 1) >= x:
                    return x, x - diagonal
        return _furthest(part, forward, backward)

    def _further(self, part: _Part, reached: dict[int, int], diagonal: int) -> int | None:
        """Go on with one difference more, past a line of either text."""
        x = reached.get(diagonal - 1, part.end) + 1
        above = reached.get(diagonal + 1, NOWHERE)
        if x > part.end or (x < above and above - diagonal <= part.other_end):
            x = above
        if x < 0 or x - diagonal > part.other_end:
            return None
        if x < part.end and x - diagonal < part.other_end and self._one[x] == self._other[x - diagonal]:
            x, _ = self._forth(part, x, x - diagonal)
        reached[diagonal] = x
        return x

    def _further_back(self, part: _Part, reached: dict[int, int], diagonal: int) -> int | None:
        nowhere = part.end + 1
        x = reached.get(diagonal + 1, part.start) - 1
        below = reached.get(diagonal - 1, nowhere)
        if x < part.start or (x > below and below - diagonal >= part.other_start):
            x = below
        if x == nowhere or x - diagonal < part.other_start:
            return None
        if (
            x > part.start
            and x - diagonal > part.other_start
            and self._one[x - 1] == self._other[x - diagonal - 1]
        ):
            x, _ = self._back(part, x, x - diagonal)
        reached[diagonal] = x
        return x


def _furthest(part: _Part, forward: dict[int, int], backward: dict[int, int]) -> tuple[int, int]:
    places = max(((x, x - diagonal) for diagonal, x in forward.items()), key=sum)
    places_back = min(((x, x - diagonal) for diagonal, x in backward.items()), key=sum)
    ahead = sum(places) - part.start - part.other_start
    back = part.end + part.other_end - sum(places_back)
    return places if ahead >= back else places_back
