"""The ``grid`` expander: every combination of the listed values."""

from __future__ import annotations

import math
import random
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import accumulate, islice
from typing import NamedTuple

from msgspec import Struct

from orchestra.builtin.expander_random import check_interval, sample
from orchestra.contracts import BatchExpander
from orchestra.model.batch import Batch, Choices, Dimension, Interval, Proposal, TrialResult, combine
from orchestra.model.operation import FlagValue
from orchestra.model.space import space_of_row


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """It has none."""


class GridExpander:
    """The product of all choices, in the order of the flags' names, the last name varying fastest.

    An interval adds nothing to the product: each trial draws a value of its own from it. With ``max_trials``
    below the product, a random part of it, in the same order. A batch with rows has a product for each row, one
    after the other. An extended batch goes through its product from the start and leaves out what has been tried.
    """

    def __init__(self) -> None:
        self._parts: tuple[Batch, list[_Part], list[int]] | None = None
        self._chosen: tuple[tuple[int, int, int], list[int]] | None = None

    async def propose(self, batch: Batch, history: Sequence[TrialResult], limit: int) -> Proposal:
        """See :meth:`BatchExpander.propose`.

        Raises:
            ExpandError: a value can't be drawn from an interval.
        """
        ends = self._parts_of(batch)[1]
        total = self.count(batch)
        chosen = self._positions(batch.seed, ends[-1], total)
        positions = range(total) if chosen is None else chosen
        first = len(history)
        if batch.extended:
            taken, exhausted = self._untried(batch, history, positions, max(limit, 0))
        else:
            last = min(total, first + max(limit, 0))
            taken, exhausted = positions[first:last], max(first, last) >= total
        trials = tuple(self._trial(batch, position, first + n) for n, position in enumerate(taken))
        return Proposal(trials=trials, exhausted=exhausted)

    def _trial(self, batch: Batch, position: int, index: int) -> dict[str, FlagValue]:
        part, point = self._point(batch, position)
        if part.intervals:
            point |= sample(part.intervals, batch.seed, index)
        return combine(batch, point)

    def _point(self, batch: Batch, position: int) -> tuple[_Part, dict[str, FlagValue]]:
        """What is listed of the trial at ``position``; what is to be drawn is missing."""
        parts, ends = self._parts_of(batch)
        place = bisect_right(ends, position)
        part = parts[place]
        return part, part.values | _combination(part.choices, position - (ends[place - 1] if place else 0))

    def _untried(
        self, batch: Batch, history: Sequence[TrialResult], positions: Sequence[int], limit: int
    ) -> tuple[list[int], bool]:
        """The next positions of which the combination is not in the history, and whether that is all."""
        if batch.max_trials is not None and len(history) >= batch.max_trials:
            return [], True
        room = limit if batch.max_trials is None else min(limit, batch.max_trials - len(history))
        found = list(islice(self._left(batch, history, positions), room + 1))
        is_full = batch.max_trials is not None and len(history) + room >= batch.max_trials
        return found[:room], is_full or len(found) <= room

    def _left(self, batch: Batch, history: Sequence[TrialResult], positions: Sequence[int]) -> Iterator[int]:
        drawn = {name for part in self._parts_of(batch)[0] for name in part.intervals}
        names = sorted({*batch.space, *(name for row in batch.rows for name in row)} - drawn)
        # A combination that is listed twice is to be tried twice.
        tried = Counter(_key(result.flags, names) for result in history)
        for position in positions:
            key = _key(batch.fixed | self._point(batch, position)[1], names)
            if tried[key] > 0:
                tried[key] -= 1
            else:
                yield position

    def count(self, batch: Batch) -> int:
        """The size of the product, or ``max_trials`` if that is less."""
        total = self._parts_of(batch)[1][-1]
        return total if batch.max_trials is None else min(total, max(batch.max_trials, 0))

    def _parts_of(self, batch: Batch) -> tuple[list[_Part], list[int]]:
        """The products of the batch, and the position at which each of them ends."""
        if self._parts is None or self._parts[0] is not batch:
            parts = [_part(batch, row) for row in batch.rows or ({},)]
            ends = list(accumulate(_product(part.choices) for part in parts))
            self._parts = (batch, parts, ends)
        return self._parts[1:]

    def _positions(self, seed: int, total: int, wanted: int) -> list[int] | None:
        # None stands for all of them: a product may have more positions than any sequence. The last answer is
        # kept for callers who ask for one trial at a time.
        if wanted == total:
            return None
        key = (seed, total, wanted)
        if self._chosen is None or self._chosen[0] != key:
            self._chosen = (key, _choose(seed, total, wanted))
        return self._chosen[1]


class _Part(NamedTuple):
    """A product of choices, with what is the same in all of it."""

    values: dict[str, FlagValue]
    choices: list[tuple[str, Choices]]
    intervals: dict[str, Dimension]


def _part(batch: Batch, row: dict[str, FlagValue]) -> _Part:
    choices: list[tuple[str, Choices]] = []
    intervals: dict[str, Dimension] = {}
    space = space_of_row(batch.space, row)
    for name in sorted(space):
        dimension = space[name]
        if isinstance(dimension, Interval):
            check_interval(name, dimension)
            intervals[name] = dimension
        else:
            choices.append((name, dimension))
    return _Part({name: row[name] for name in row if name not in space}, choices, intervals)


def _key(flags: Mapping[str, FlagValue], names: Sequence[str]) -> str:
    # As text: values may be lists, and 1, 1.0 and True are three.
    return repr([flags.get(name) for name in names])


def _product(choices: list[tuple[str, Choices]]) -> int:
    return math.prod(len(dimension.values) for _, dimension in choices)


def _choose(seed: int, total: int, wanted: int) -> list[int]:
    """``wanted`` different positions below ``total``, ascending. Costs what is wanted, not what there is."""
    chance = random.Random(seed)
    if total <= sys.maxsize:
        return sorted(chance.sample(range(total), wanted))
    chosen: set[int] = set()
    while len(chosen) < wanted:
        chosen.add(chance.randrange(total))
    return sorted(chosen)


def _combination(choices: list[tuple[str, Choices]], position: int) -> dict[str, FlagValue]:
    point: dict[str, FlagValue] = {}
    for name, dimension in reversed(choices):
        position, digit = divmod(position, len(dimension.values))
        point[name] = dimension.values[digit]
    return point


@asynccontextmanager
async def open_expander(options: Options) -> AsyncGenerator[BatchExpander]:
    """Open the grid expander."""
    yield GridExpander()
