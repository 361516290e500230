"""The ``random`` expander: each trial drawn anew from the space."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from orchestra.contracts import BatchExpander
from orchestra.errors import ExpandError
from orchestra.model.batch import Batch, Choices, Dimension, Interval, Proposal, TrialResult, combine
from orchestra.model.operation import FlagValue

DEFAULT_TRIALS = 20


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """It has none: seed and number of trials are the batch's."""


def generator(seed: int, index: int) -> random.Random:
    """The source of randomness of trial ``index``, and of no other trial."""
    return random.Random((seed << 64) | index)


def draw(dimension: Dimension, chance: random.Random) -> FlagValue:
    """A value of ``dimension``, made of one number of ``chance`` in a way that no Python version changes."""
    share = chance.random()
    if isinstance(dimension, Choices):
        return dimension.values[int(share * len(dimension.values))]
    low, high = dimension.low, dimension.high
    if dimension.integer:
        return _whole(int(low), int(high), dimension.log, share)
    if dimension.log:
        bottom, top = math.log(low), math.log(high)
        value = math.exp(bottom + share * (top - bottom))
    else:
        value = low * (1.0 - share) + high * share  # unlike low + share * (high - low) it can't overflow
    return min(max(value, float(low)), float(high))


def _whole(low: int, high: int, log: bool, share: float) -> int:
    if log:
        bottom, top = math.log(low), math.log(high + 1)
        value = math.floor(math.exp(bottom + share * (top - bottom)))
    else:
        value = low + int(share * (high - low + 1))
    return min(max(value, low), high)


def check_interval(name: str, interval: Interval) -> None:
    """
    Raises:
        ExpandError: no value can be drawn from ``interval``.
    """
    if not interval.low <= interval.high:
        raise ExpandError(
            f"flag '{name}': the lower bound {interval.low} is above the upper one {interval.high}"
        )
    if interval.log and interval.low <= 0:
        raise ExpandError(f"flag '{name}': a logarithmic range must begin above 0, not at {interval.low}")


class RandomExpander:
    """Draws every trial independently: trial i depends on the seed and on i alone."""

    async def propose(self, batch: Batch, history: Sequence[TrialResult], limit: int) -> Proposal:
        """See :meth:`BatchExpander.propose`.

        Raises:
            ExpandError: the batch has nothing to search, or an interval that can't be drawn from.
        """
        if not batch.space:
            raise _nothing_to_search(batch)
        for name, dimension in batch.space.items():
            if isinstance(dimension, Interval):
                check_interval(name, dimension)
        total = self.count(batch)
        first = len(history)
        last = min(total, first + max(limit, 0))
        trials = tuple(combine(batch, sample(batch.space, batch.seed, index)) for index in range(first, last))
        return Proposal(trials=trials, exhausted=max(first, last) >= total)

    def count(self, batch: Batch) -> int:
        """``max_trials``, or 20; none if a dimension has no value at all."""
        if any(isinstance(dimension, Choices) and not dimension.values for dimension in batch.space.values()):
            return 0
        return DEFAULT_TRIALS if batch.max_trials is None else max(batch.max_trials, 0)


def sample(space: dict[str, Dimension], seed: int, index: int) -> dict[str, FlagValue]:
    """A value of every dimension for trial ``index``; the first trial tries the initial values."""
    chance = generator(seed, index)
    point: dict[str, FlagValue] = {}
    for name in sorted(space):
        dimension = space[name]
        point[name] = draw(dimension, chance)
        if index == 0 and isinstance(dimension, Interval) and dimension.initial is not None:
            point[name] = dimension.initial
    return point


def _nothing_to_search(batch: Batch) -> ExpandError:
    from orchestra.model.decoding import encode

    flags = ", ".join(f"{name}={encode(batch.fixed[name])}" for name in sorted(batch.fixed))
    return ExpandError(
        f"flags for batch ({flags}) do not contain any search dimensions",
        "Try specifying a range for one or more flags as NAME=[MIN:MAX].",
    )


@asynccontextmanager
async def open_expander(options: Options) -> AsyncGenerator[BatchExpander]:
    """Open the random expander."""
    yield RandomExpander()
