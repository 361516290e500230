"""Both expanders keep their contract, and spread more evenly than chance."""

from __future__ import annotations

from functools import partial

import pytest
from orchestra.errors import ExpandError
from orchestra.model.batch import Batch, Choices, Interval
from orchestra.testing.expanders import (
    ChoicesContract,
    CountingContract,
    ExpanderContract,
    InitialContract,
    IntegerIntervalContract,
    IntervalContract,
    LogIntervalContract,
    SeededContract,
    StaticContract,
)

from orchestra_qmc import LatinHypercubeOptions, SobolOptions, open_latin_hypercube, open_sobol


class TestLatinHypercube(
    ChoicesContract,
    IntervalContract,
    IntegerIntervalContract,
    LogIntervalContract,
    InitialContract,
    SeededContract,
    StaticContract,
    CountingContract,
    ExpanderContract,
):
    @pytest.fixture
    def opener(self):
        return partial(open_latin_hypercube, LatinHypercubeOptions())


class TestOptimizedLatinHypercube(IntervalContract, StaticContract, ExpanderContract):
    @pytest.fixture
    def opener(self):
        return partial(open_latin_hypercube, LatinHypercubeOptions(optimization="random-cd"))


class TestSobol(
    ChoicesContract,
    IntervalContract,
    IntegerIntervalContract,
    LogIntervalContract,
    InitialContract,
    SeededContract,
    StaticContract,
    CountingContract,
    ExpanderContract,
):
    @pytest.fixture
    def opener(self):
        return partial(open_sobol, SobolOptions())


class TestPlainSobol(ChoicesContract, IntervalContract, StaticContract, ExpanderContract):
    """Without scrambling the seed has no effect, so SeededContract is not claimed."""

    @pytest.fixture
    def opener(self):
        return partial(open_sobol, SobolOptions(scramble=False))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


async def trials(opener, options, batch: Batch) -> list[dict]:
    async with opener(options) as expander:
        return list((await expander.propose(batch, (), 10_000)).trials)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("opener", "options"),
    [(open_latin_hypercube, LatinHypercubeOptions()), (open_sobol, SobolOptions())],
)
async def test_each_cell_of_each_flag_is_met_once(opener, options):
    batch = Batch(space={name: Interval(low=0.0, high=16.0) for name in "abc"}, seed=3, max_trials=16)

    points = await trials(opener, options, batch)

    for name in "abc":
        assert sorted(int(point[name]) for point in points) == list(range(16))


@pytest.mark.anyio
async def test_listed_values_are_met_equally_often():
    batch = Batch(space={"x": Choices(values=("a", "b", "c", "d"))}, seed=3, max_trials=12)

    values = [trial["x"] for trial in await trials(open_latin_hypercube, LatinHypercubeOptions(), batch)]

    assert {value: values.count(value) for value in "abcd"} == dict.fromkeys("abcd", 3)


@pytest.mark.anyio
async def test_a_longer_sobol_batch_begins_like_a_shorter_one():
    space = {"x": Interval(low=0.0, high=1.0), "y": Interval(low=0.0, high=1.0)}
    short = await trials(open_sobol, SobolOptions(), Batch(space=space, seed=3, max_trials=5))
    long = await trials(open_sobol, SobolOptions(), Batch(space=space, seed=3, max_trials=50))

    assert long[:5] == short


@pytest.mark.anyio
async def test_what_scipy_refuses_is_an_expand_error():
    batch = Batch(space={"x": Interval(low=0.0, high=1.0)}, seed=3, max_trials=12)

    with pytest.raises(ExpandError, match="12 trials of 1 flags can't be spread"):
        await trials(open_latin_hypercube, LatinHypercubeOptions(strength=2), batch)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "space", [{}, {"x": Interval(low=2, high=1)}, {"x": Interval(low=0, high=1, log=True)}]
)
async def test_a_space_that_holds_nothing_is_an_expand_error(space):
    with pytest.raises(ExpandError):
        await trials(open_sobol, SobolOptions(), Batch(space=space, seed=3))
