"""Expanders over SciPy's quasi-Monte Carlo engines."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias

from anyio.to_thread import run_sync
from msgspec import Struct
from orchestra.contracts import BatchExpander
from orchestra.errors import ExpandError
from orchestra.model.batch import Batch, Choices, Dimension, Interval, Proposal, TrialResult, combine
from orchestra.model.operation import FlagValue
from scipy.stats import qmc

DEFAULT_TRIALS = 20

Points: TypeAlias = list[list[float]]
Spread: TypeAlias = Callable[[int, int, int], Points]
"""Of dimensions, number of points and seed: points in the unit cube."""
Optimization: TypeAlias = Literal["random-cd", "lloyd"]


class LatinHypercubeOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of ``latin-hypercube``; see ``scipy.stats.qmc.LatinHypercube``."""

    scramble: bool = True
    """Place each point anywhere in its cell; otherwise in the middle."""
    strength: Literal[1, 2] = 1
    """2: an orthogonal array, for the square of a prime as number of trials."""
    optimization: Optimization | None = None


class SobolOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of ``sobol``; see ``scipy.stats.qmc.Sobol``."""

    scramble: bool = True
    """Without it the seed has no effect."""
    bits: int = 30
    """There are ``2**bits`` different points (at most 64 bits)."""
    optimization: Optimization | None = None


class SpreadExpander:
    """All trials of a batch are the points of one spread, which seed and number of trials settle."""

    def __init__(self, spread: Spread) -> None:
        self._spread = spread
        self._kept: tuple[tuple[int, int, int], Points] | None = None

    async def propose(self, batch: Batch, history: Sequence[TrialResult], limit: int) -> Proposal:
        """See :meth:`orchestra.contracts.BatchExpander.propose`.

        Raises:
            ExpandError: there is nothing to search, an interval holds nothing, or SciPy refuses the options.
        """
        if not batch.space:
            raise ExpandError(
                "flags for batch do not contain any search dimensions",
                "Try specifying a range for one or more flags as NAME=[MIN:MAX].",
            )
        _check(batch.space)
        total = self.count(batch)
        first = len(history)
        last = min(total, first + max(limit, 0))
        if last <= first:
            return Proposal(trials=(), exhausted=first >= total)
        points = await self._points(len(batch.space), total, batch.seed)
        trials = tuple(
            combine(batch, place(batch.space, points[index], index)) for index in range(first, last)
        )
        return Proposal(trials=trials, exhausted=last >= total)

    def count(self, batch: Batch) -> int:
        """``max_trials``, or 20; none if a dimension has no value at all."""
        if any(isinstance(dimension, Choices) and not dimension.values for dimension in batch.space.values()):
            return 0
        return DEFAULT_TRIALS if batch.max_trials is None else max(batch.max_trials, 0)

    async def _points(self, dimensions: int, total: int, seed: int) -> Points:
        # Kept for callers who ask for one trial at a time; what is kept never changes what is proposed.
        key = (dimensions, total, seed)
        if self._kept is None or self._kept[0] != key:
            try:
                self._kept = (key, await run_sync(self._spread, *key))
            except ValueError as error:
                what = f"{total} trials of {dimensions} flags"
                raise ExpandError(f"{what} can't be spread: {error}") from error
        return self._kept[1]


def _check(space: dict[str, Dimension]) -> None:
    for name, dimension in space.items():
        if not isinstance(dimension, Interval):
            continue
        if not dimension.low <= dimension.high:
            raise ExpandError(f"flag '{name}': {dimension.low} is no lower bound to {dimension.high}")
        if dimension.log and dimension.low <= 0:
            raise ExpandError(
                f"flag '{name}': a logarithmic range must begin above 0, not at {dimension.low}"
            )


def place(space: dict[str, Dimension], point: Sequence[float], index: int) -> dict[str, FlagValue]:
    """The flag values at ``point`` of the unit cube; the first trial takes the initial values."""
    values: dict[str, FlagValue] = {}
    for name, share in zip(sorted(space), point, strict=True):
        dimension = space[name]
        if isinstance(dimension, Choices):
            values[name] = dimension.values[
                min(int(share * len(dimension.values)), len(dimension.values) - 1)
            ]
        elif index == 0 and dimension.initial is not None:
            values[name] = dimension.initial
        else:
            values[name] = _between(dimension, share)
    return values


def _between(interval: Interval, share: float) -> float | int:
    low, high = interval.low, interval.high + interval.integer
    if interval.log:
        bottom, top = math.log(low), math.log(high)
        value = math.exp(bottom + share * (top - bottom))
    else:
        value = low * (1.0 - share) + high * share
    value = math.floor(value) if interval.integer else float(value)
    return min(max(value, type(value)(interval.low)), type(value)(interval.high))


@asynccontextmanager
async def open_latin_hypercube(options: LatinHypercubeOptions) -> AsyncGenerator[BatchExpander]:
    """Open ``latin-hypercube``."""

    def spread(dimensions: int, total: int, seed: int) -> Points:
        engine = qmc.LatinHypercube(
            dimensions,
            scramble=options.scramble,
            strength=options.strength,
            optimization=options.optimization,
            rng=seed,
        )
        return engine.random(total).tolist()

    yield SpreadExpander(spread)


@asynccontextmanager
async def open_sobol(options: SobolOptions) -> AsyncGenerator[BatchExpander]:
    """Open ``sobol``."""

    def spread(dimensions: int, total: int, seed: int) -> Points:
        engine = qmc.Sobol(
            dimensions,
            scramble=options.scramble,
            bits=options.bits,
            optimization=options.optimization,
            rng=seed,
        )
        # Whole powers of two: the engine warns of anything else, and the sequence is the same.
        return engine.random_base2(math.ceil(math.log2(total)))[:total].tolist()

    yield SpreadExpander(spread)
