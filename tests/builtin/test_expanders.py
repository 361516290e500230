"""The built-in expanders keep their contract, and what is particular to each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import pytest

from orchestra.builtin import expander_grid, expander_random
from orchestra.errors import ExpandError
from orchestra.model.batch import Batch, Choices, Dimension, Interval, Proposal
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
    finished,
    walk,
)


class TestGrid(
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
        return partial(expander_grid.open_expander, expander_grid.Options())

    def make_batch(self, space: Mapping[str, Dimension], trials: int, seed: int = 7) -> Batch:
        # An interval adds no trials to a grid: something else must.
        if all(isinstance(dimension, Interval) for dimension in space.values()):
            space = {**space, "repeat": Choices(values=tuple(range(trials)))}
        return super().make_batch(space, trials, seed)


class TestRandom(
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
        return partial(expander_random.open_expander, expander_random.Options())


def at_once(coroutine) -> Proposal:
    """Drive a coroutine that must not suspend: without any event loop."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


def propose(expander, batch: Batch, limit: int = 100) -> list[dict]:
    return list(at_once(expander.propose(batch, (), limit)).trials)


def listed(*values) -> Choices:
    return Choices(values=values)


def test_a_grid_varies_the_last_name_fastest_and_keeps_the_order_of_values():
    batch = Batch(space={"msg": listed("b", "a"), "loud": listed(True, False)}, fixed={"n": 1}, seed=0)

    trials = propose(expander_grid.GridExpander(), batch)

    assert [(t["loud"], t["msg"], t["n"]) for t in trials] == [
        (True, "b", 1),
        (True, "a", 1),
        (False, "b", 1),
        (False, "a", 1),
    ]
    assert list(trials[0]) == ["loud", "msg", "n"]


def test_a_grid_keeps_duplicates():
    batch = Batch(space={"x": listed(0, 0, 0)}, seed=0)

    assert propose(expander_grid.GridExpander(), batch) == [{"x": 0}] * 3


def test_a_grid_without_dimensions_is_one_trial():
    assert propose(expander_grid.GridExpander(), Batch(space={}, fixed={"a": 1}, seed=0)) == [{"a": 1}]


def test_fewer_trials_than_the_grid_are_a_random_part_of_it_in_order():
    space = {"a": listed(*range(10)), "b": listed(*range(10))}
    whole = propose(expander_grid.GridExpander(), Batch(space=space, seed=3))

    part = propose(expander_grid.GridExpander(), Batch(space=space, seed=3, max_trials=12))
    positions = [whole.index(trial) for trial in part]

    assert len(set(positions)) == 12
    assert positions == sorted(positions)
    assert positions != list(range(12))


def test_as_many_trials_as_the_grid_has_are_all_of_it():
    space = {"a": listed(1, 2), "b": listed(3, 4)}

    assert propose(expander_grid.GridExpander(), Batch(space=space, seed=3, max_trials=4)) == propose(
        expander_grid.GridExpander(), Batch(space=space, seed=3)
    )


@pytest.mark.parametrize("digits", [6, 20])
def test_a_grid_beyond_memory_is_counted_and_sampled_without_being_made(digits):
    values = listed(*range(10))
    space: dict[str, Dimension] = {f"x{n:02}": values for n in range(2 * digits)}
    grid = expander_grid.GridExpander()

    assert grid.count(Batch(space=space, seed=1)) == 10 ** (2 * digits)
    assert len(propose(grid, Batch(space=space, seed=1), limit=3)) == 3
    assert len(propose(grid, Batch(space=space, seed=1, max_trials=50))) == 50


def test_a_grid_with_an_interval_draws_anew_for_each_combination():
    space = {"a": listed("p", "q", "r"), "x": Interval(low=0.0, high=1.0, initial=0.5)}

    trials = propose(expander_grid.GridExpander(), Batch(space=space, seed=1))

    assert [trial["a"] for trial in trials] == ["p", "q", "r"]
    assert trials[0]["x"] == 0.5
    assert len({trial["x"] for trial in trials}) == 3


def test_a_random_search_makes_twenty_trials_unless_told():
    space = {"x": Interval(low=0, high=1)}

    assert len(propose(expander_random.RandomExpander(), Batch(space=space, seed=1))) == 20


def test_a_random_trial_depends_on_its_number_and_on_no_other_trial():
    batch = Batch(space={"x": Interval(low=0.0, high=1.0), "y": listed(1, 2, 3)}, seed=9, max_trials=50)
    whole = propose(expander_random.RandomExpander(), batch)
    longer = Batch(space=batch.space, seed=9, max_trials=500)
    history = [finished({"x": 0.0, "y": 1}, outcome=None)] * 30

    later = at_once(expander_random.RandomExpander().propose(longer, history, 5))

    assert list(later.trials) == whole[30:35]


def test_what_a_seed_gives_never_changes():
    # A batch that was begun with one version must go on with the next.
    space = {
        "a": Interval(low=0.0, high=1.0),
        "b": Interval(low=1, high=1000, integer=True, log=True),
        "c": listed("x", "y", "z"),
    }
    trials = propose(expander_random.RandomExpander(), Batch(space=space, seed=42, max_trials=3))

    assert [trial["b"] for trial in trials] == [403, 27, 16]
    assert [trial["c"] for trial in trials] == ["y", "x", "x"]
    assert [trial["a"] for trial in trials] == pytest.approx(
        [0.28518625827243915, 0.4603919693714551, 0.39812126932475544], abs=1e-15
    )


def test_a_random_search_without_dimensions_says_what_is_missing():
    batch = Batch(space={}, fixed={"y": 2, "x": 1.0}, seed=1)

    with pytest.raises(ExpandError) as error:
        expander_random.RandomExpander().propose(batch, (), 5).send(None)

    assert error.value.message == "flags for batch (x=1.0, y=2) do not contain any search dimensions"
    assert error.value.hint == "Try specifying a range for one or more flags as NAME=[MIN:MAX]."


@pytest.mark.parametrize("bad", [Interval(low=2, high=1), Interval(low=0, high=1, log=True)])
@pytest.mark.parametrize("expander", [expander_random.RandomExpander(), expander_grid.GridExpander()])
def test_an_interval_that_holds_nothing_is_refused_by_name(expander, bad):
    with pytest.raises(ExpandError, match="'lr'"):
        expander.propose(Batch(space={"lr": bad}, seed=1), (), 5).send(None)


@pytest.mark.parametrize(
    "interval",
    [
        Interval(low=-1.7e308, high=1.7e308),
        Interval(low=1e-300, high=1e300, log=True),
        Interval(low=0, high=2**70, integer=True),
        Interval(low=1, high=2**70, integer=True, log=True),
        Interval(low=0.1, high=0.3),
    ],
)
def test_extreme_bounds_are_kept(interval):
    batch = Batch(space={"x": interval}, seed=4, max_trials=300)

    values = [trial["x"] for trial in propose(expander_random.RandomExpander(), batch, 300)]

    assert all(interval.low <= value <= interval.high for value in values)
    assert len(set(values)) > 250


@pytest.mark.parametrize("expander", [expander_random.RandomExpander(), expander_grid.GridExpander()])
def test_thousands_of_trials_come_in_one_call(expander):
    space = {"a": listed(*range(100)), "b": listed(*range(100)), "x": Interval(low=0.0, high=1.0)}
    batch = Batch(space=space, seed=1, max_trials=10_000)

    start = time.process_time()
    trials = propose(expander, batch, limit=10_000)

    assert len(trials) == 10_000
    assert time.process_time() - start < 5


@pytest.mark.anyio
async def test_one_at_a_time_a_long_sampled_grid_is_not_sampled_again_each_time():
    space = {"a": listed(*range(2000)), "b": listed(*range(2000))}
    grid = expander_grid.GridExpander()

    start = time.process_time()
    trials = await walk(grid, Batch(space=space, seed=1, max_trials=900), limit=1)

    assert len(trials) == 900
    assert time.process_time() - start < 5


def test_a_grid_with_rows_makes_a_product_for_each_row_in_their_order():
    rows = ({"x": 1}, {"y": [5, 6], "z": None}, {"x": 2, "y": 7})
    batch = Batch(space={"x": Choices(values=("a", "b"))}, fixed={"y": 0, "z": 9}, rows=rows, seed=1)
    expander = expander_grid.GridExpander()
    expected = [
        {"x": 1, "y": 0, "z": 9},
        {"x": "a", "y": 5, "z": None},
        {"x": "a", "y": 6, "z": None},
        {"x": "b", "y": 5, "z": None},
        {"x": "b", "y": 6, "z": None},
        {"x": 2, "y": 7, "z": 9},
    ]
    assert expander.count(batch) == 6
    assert propose(expander, batch) == expected


def extended_from(before: Batch, after: Batch, limit: int = 100) -> list[dict]:
    """What ``after`` proposes, so many at a time, when all of ``before`` has been tried."""
    history = [finished(flags) for flags in propose(expander_grid.GridExpander(), before)]
    tried = len(history)
    exhausted = False
    while not exhausted:
        proposal = at_once(expander_grid.GridExpander().propose(after, tuple(history), limit))
        history += [finished(flags) for flags in proposal.trials]
        exhausted = proposal.exhausted
        assert proposal.trials or exhausted
    return [result.flags for result in history[tried:]]


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_grid_with_more_values_has_the_new_combinations_alone(name: str, limit: int) -> None:
    space: dict[str, Dimension] = {"a": listed(1, 2), "b": listed("x", "y")}
    more = {**space, name: listed(*space[name].values, 1.0)}

    new = extended_from(
        Batch(space=space, fixed={"c": 0}, seed=1),
        Batch(space=more, fixed={"c": 0}, seed=1, extended=True),
        limit,
    )

    other = "b" if name == "a" else "a"
    assert new == [
        {key: values[key] for key in sorted(values)}
        for value in space[other].values
        for values in [{name: 1.0, other: value, "c": 0}]
    ]


def test_a_flag_that_was_fixed_may_get_more_values() -> None:
    new = extended_from(
        Batch(space={"a": listed(1, 2)}, fixed={"b": 5}, seed=1),
        Batch(space={"a": listed(1, 2), "b": listed(5, 6)}, seed=1, extended=True),
    )

    assert new == [{"a": 1, "b": 6}, {"a": 2, "b": 6}]


def test_a_combination_that_is_listed_twice_is_tried_twice_all_the_same() -> None:
    new = extended_from(
        Batch(space={"a": listed(1, 1)}, seed=1),
        Batch(space={"a": listed(1, 1, 1, 2)}, seed=1, extended=True),
    )

    assert new == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_more_of_a_large_grid_is_taken_without_what_was_taken_before(limit: int) -> None:
    space: dict[str, Dimension] = {"a": listed(*range(1000)), "b": listed(*range(1000))}
    first = Batch(space=space, seed=1, max_trials=7)

    new = extended_from(first, Batch(space=space, seed=1, max_trials=20, extended=True), limit)

    both = [tuple(flags.values()) for flags in (*propose(expander_grid.GridExpander(), first), *new)]
    assert len(both) == len(set(both)) == 20


def test_rows_of_an_extended_grid_are_told_apart_and_draw_anew_from_intervals() -> None:
    rows = ({"a": 1, "b": [1, 2]}, {"a": 2})
    space: dict[str, Dimension] = {"x": Interval(low=0.0, high=1.0)}
    before = Batch(space=space, fixed={"b": 9}, rows=rows, seed=1)

    new = extended_from(
        before, Batch(space={**space, "c": listed(0, 1)}, fixed={"b": 9}, rows=rows, seed=1, extended=True)
    )

    # That they had c=0 is not known of the trials before: none of them had it.
    assert [(flags["a"], flags["b"], flags["c"]) for flags in new] == [
        (1, 1, 0),
        (1, 1, 1),
        (1, 2, 0),
        (1, 2, 1),
        (2, 9, 0),
        (2, 9, 1),
    ]
    assert len({flags["x"] for flags in new}) == 6
