"""Each trial is drawn by chance, and follows from the batch's seed and the trial's number alone."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from random import Random

from msgspec import Struct
from orchestra import contracts
from orchestra.errors import ExpandError
from orchestra.model.batch import Batch, Choices, Dimension, Interval, Proposal, TrialResult, combine
from orchestra.model.operation import FlagValue


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a batch is searched."""

    trials: int = 20
    """How many trials a batch has that was not given a number."""


class NewnameExpander:
    """Keeps nothing between two calls: what comes next is told by the batch and the length of its history."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def propose(self, batch: Batch, history: Sequence[TrialResult], limit: int) -> Proposal:
        """See :meth:`orchestra.contracts.BatchExpander.propose`.

        Raises:
            ExpandError: there is nothing to search, or an interval holds nothing.
        """
        if not batch.space:
            raise ExpandError("there is nothing to search", "Give a flag several values, as NAME=[LOW:HIGH].")
        total = self.count(batch)
        end = min(total, len(history) + max(limit, 0))
        trials = tuple(combine(batch, _point(batch, number)) for number in range(len(history), end))
        return Proposal(trials=trials, exhausted=len(history) + len(trials) >= total)

    def count(self, batch: Batch) -> int:
        """See :meth:`orchestra.contracts.Counting.count`."""
        if any(isinstance(dimension, Choices) and not dimension.values for dimension in batch.space.values()):
            return 0
        return self._options.trials if batch.max_trials is None else max(batch.max_trials, 0)


def _point(batch: Batch, number: int) -> dict[str, FlagValue]:
    # Sorted: the same batch may come with its flags in another order.
    chance = Random(f"{batch.seed} {number}")
    return {name: _draw(name, batch.space[name], number, chance) for name in sorted(batch.space)}


def _draw(name: str, dimension: Dimension, number: int, chance: Random) -> FlagValue:
    if isinstance(dimension, Choices):
        return chance.choice(dimension.values)
    if number == 0 and dimension.initial is not None:
        return dimension.initial
    if dimension.low > dimension.high or (dimension.log and dimension.low <= 0):
        raise ExpandError(f"flag '{name}' can't be between {dimension.low} and {dimension.high}")
    return _between(dimension, chance)


def _between(interval: Interval, chance: Random) -> float | int:
    low, high = interval.low, interval.high
    if not interval.log:
        return chance.randint(int(low), int(high)) if interval.integer else chance.uniform(low, high)
    value = math.exp(chance.uniform(math.log(low), math.log(high + interval.integer)))
    value = math.floor(value) if interval.integer else value
    return min(max(value, low), high)


@asynccontextmanager
async def open_expander(options: Options) -> AsyncGenerator[contracts.BatchExpander]:
    """Open the expander: set up before ``yield``, close after it, in a ``finally``."""
    if options.trials < 1:
        raise ExpandError(f"trials={options.trials} is no number of trials", "Give 1 or more.")
    yield NewnameExpander(options)
