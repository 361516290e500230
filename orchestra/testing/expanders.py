"""The kit for expanders.

    class TestMine(SeededContract, ChoicesContract, IntervalContract, ExpanderContract):
        @pytest.fixture
        def opener(self):
            return partial(open_expander, Options())

Inherit the mix-ins of what the expander can do, and :class:`ExpanderContract` last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import msgspec
import pytest

from orchestra.contracts import BatchExpander
from orchestra.model.batch import Batch, Choices, Dimension, Interval, TrialResult
from orchestra.model.operation import FlagValue
from orchestra.testing.kit import Kit

ExpanderOpener: TypeAlias = Callable[[], AbstractAsyncContextManager[BatchExpander]]
Trial: TypeAlias = dict[str, FlagValue]

FIXED: dict[str, FlagValue] = {"fixed": "always", "nothing": None}
_PLAIN = (type(None), bool, int, float, str, list, dict)
_TOO_MANY = 1000


class ExpanderContract(Kit):
    """What every expander keeps."""

    space: Mapping[str, Dimension] = {
        "shape": Choices(values=("round", "square", "flat")),
        "size": Choices(values=(1, 2, 3, 4)),
    }
    """What the general tests search; override it if the expander has no use for choices."""

    @pytest.fixture
    def opener(self) -> ExpanderOpener:
        """A function without arguments that opens the expander; each call gives another handle."""
        raise NotImplementedError("override the fixture 'opener'")

    def make_batch(self, space: Mapping[str, Dimension], trials: int, seed: int = 7) -> Batch:
        """A batch that searches ``space`` and makes about ``trials`` trials."""
        return Batch(space=dict(space), fixed=dict(FIXED), seed=seed, max_trials=trials)

    async def trials(self, opener: ExpanderOpener, batch: Batch, limit: int = 64) -> list[Trial]:
        """All trials of ``batch``, asked for ``limit`` at a time; each ends before more are asked for."""
        async with opener() as expander:
            return [result.flags for result in await walk(expander, batch, limit=limit)]

    async def test_same_inputs_give_the_same_proposal(self, opener: ExpanderOpener) -> None:
        batch = self.make_batch(self.space, 9)
        async with opener() as expander, opener() as other:
            history = (await walk(expander, batch))[:3]
            first = await expander.propose(batch, history, 4)
            again = await expander.propose(batch, history, 4)
            elsewhere = await other.propose(batch, history, 4)

        assert first == again, "the same handle proposed something else when it was asked again"
        assert first == elsewhere, "another handle proposed something else: a batch could not resume"

    async def test_inputs_are_left_as_they_are(self, opener: ExpanderOpener) -> None:
        batch = self.make_batch(self.space, 9)
        async with opener() as expander:
            history = (await walk(expander, batch))[:2]
            before = msgspec.json.encode((batch, history))
            await expander.propose(batch, history, 3)

        assert msgspec.json.encode((batch, history)) == before

    @pytest.mark.parametrize("limit", [0, 1, 2, 5])
    async def test_never_proposes_more_than_the_limit(self, opener: ExpanderOpener, limit: int) -> None:
        batch = self.make_batch(self.space, 9)
        history: list[TrialResult] = []
        async with opener() as expander:
            for _ in range(4):
                proposal = await expander.propose(batch, history, limit)
                history.extend(finished(trial) for trial in proposal.trials)

                assert len(proposal.trials) <= limit

    async def test_never_proposes_more_than_max_trials(self, opener: ExpanderOpener) -> None:
        batch = msgspec.structs.replace(self.make_batch(self.space, 9), max_trials=5)

        assert len(await self.trials(opener, batch)) == 5

    async def test_says_that_it_is_exhausted_with_the_last_trial_and_not_before(
        self, opener: ExpanderOpener
    ) -> None:
        batch = self.make_batch(self.space, 9)
        async with opener() as expander:
            history = await walk(expander, batch)
            last = await expander.propose(batch, history[:-1], 1)
            before = [
                (await expander.propose(batch, history[:n], 1)).exhausted for n in range(len(history) - 1)
            ]

        assert last.exhausted, "the last trial came without the word that nothing follows it"
        assert not any(before), "it was called exhausted, and yet a trial followed"

    async def test_stays_exhausted_when_asked_again(self, opener: ExpanderOpener) -> None:
        batch = self.make_batch(self.space, 9)
        async with opener() as expander:
            history = await walk(expander, batch)
            again = await expander.propose(batch, history, 5)

        assert (again.trials, again.exhausted) == ((), True)

    async def test_resumes_after_any_trial_with_the_one_that_came_next(self, opener: ExpanderOpener) -> None:
        batch = self.make_batch(self.space, 9)
        async with opener() as expander:
            history = await walk(expander, batch, limit=1)
        for known in range(len(history)):
            async with opener() as resumed:
                proposal = await resumed.propose(batch, history[:known], 1)

            assert proposal.trials == (history[known].flags,), f"after {known} trials another one came next"

    async def test_an_extended_batch_gets_the_trials_that_it_lacks(self, opener: ExpanderOpener) -> None:
        whole = self.make_batch(self.space, 9)
        fewer = msgspec.structs.replace(whole, space=_narrowed(whole.space), max_trials=3)
        extended = msgspec.structs.replace(whole, extended=True)
        async with opener() as expander:
            total = len(await walk(expander, whole))
            before = await walk(expander, fewer)
            history = await walk(expander, extended, history=before)

        assert history[: len(before)] == before
        assert len(history) == total, "not as many trials as if it had been as large from the start"
        for result in history:
            for name, dimension in whole.space.items():
                assert contains(dimension, result.flags[name])

    async def test_unfinished_trials_are_not_proposed_again(self, opener: ExpanderOpener) -> None:
        batch = self.make_batch(self.space, 9)
        async with opener() as expander:
            total = len(await walk(expander, batch))
            parallel = await walk(expander, batch, limit=2, outcome=None)

        assert len(parallel) == total, "trials that still run were counted as if they had not been proposed"

    async def test_every_trial_has_every_flag(self, opener: ExpanderOpener) -> None:
        batch = self.make_batch(self.space, 9)
        trials = await self.trials(opener, batch)

        assert trials
        for trial in trials:
            assert trial.keys() == batch.space.keys() | batch.fixed.keys()
            assert {name: trial[name] for name in FIXED} == FIXED

    async def test_values_lie_inside_the_space(self, opener: ExpanderOpener) -> None:
        batch = self.make_batch(self.space, 30)
        for trial in await self.trials(opener, batch):
            for name, dimension in batch.space.items():
                assert contains(dimension, trial[name]), f"{name}={trial[name]!r} is outside of {dimension}"

    async def test_values_are_plain_and_survive_storage(self, opener: ExpanderOpener) -> None:
        trials = await self.trials(opener, self.make_batch(self.space, 9))

        assert {type(value) for trial in trials for value in trial.values()} <= set(_PLAIN)
        assert msgspec.json.decode(msgspec.json.encode(trials)) == trials


class StaticContract:
    """For expanders that don't look at outcomes: the trials are settled by the batch alone."""

    async def test_the_trials_are_the_same_however_they_are_asked_for(self, opener: ExpanderOpener) -> None:
        kit = _kit(self)
        batch = kit.make_batch(kit.space, 11)
        in_one_go = await kit.trials(opener, batch, limit=_TOO_MANY)

        for limit in (1, 3, 4):
            assert await kit.trials(opener, batch, limit=limit) == in_one_go

    async def test_outcomes_do_not_matter(self, opener: ExpanderOpener) -> None:
        kit = _kit(self)
        batch = kit.make_batch(kit.space, 11)
        async with opener() as expander:
            well = await walk(expander, batch)
            badly = await walk(expander, batch, limit=4, outcome="error")
            in_parallel = await walk(expander, batch, limit=4, outcome=None)

        assert [result.flags for result in badly] == [result.flags for result in well]
        assert [result.flags for result in in_parallel] == [result.flags for result in well]


class SeededContract:
    """For expanders that leave something to chance."""

    async def test_another_seed_gives_other_trials(self, opener: ExpanderOpener) -> None:
        kit = _kit(self)
        batches = [kit.make_batch(kit.space, 9, seed=seed) for seed in (0, 1, 2**32 - 1)]
        several = [await kit.trials(opener, batch) for batch in batches]

        assert several[0] != several[1]
        assert several[1] != several[2]


class ChoicesContract:
    """For expanders that search listed values."""

    choices: Mapping[str, Dimension] = {
        "mixed": Choices(values=(1, True, "1", None, 1.5)),
        "one": Choices(values=("only",)),
    }

    async def test_choices_keep_their_types(self, opener: ExpanderOpener) -> None:
        kit = _kit(self)
        trials = await kit.trials(opener, kit.make_batch(self.choices, 40))

        assert all(contains(self.choices["mixed"], trial["mixed"]) for trial in trials)
        assert {trial["one"] for trial in trials} == {"only"}

    async def test_every_choice_is_tried(self, opener: ExpanderOpener) -> None:
        kit = _kit(self)
        trials = await kit.trials(opener, kit.make_batch(self.choices, 64))

        assert {(type(trial["mixed"]), trial["mixed"]) for trial in trials} == {
            (int, 1),
            (bool, True),
            (str, "1"),
            (type(None), None),
            (float, 1.5),
        }

    async def test_a_flag_without_any_choice_makes_no_trial(self, opener: ExpanderOpener) -> None:
        kit = _kit(self)
        batch = kit.make_batch({**self.choices, "none": Choices(values=())}, 9)
        async with opener() as expander:
            proposal = await expander.propose(batch, (), 9)

        assert (proposal.trials, proposal.exhausted) == ((), True)


class IntervalContract:
    """For expanders that search between two bounds."""

    async def test_values_of_an_interval_are_floats_and_spread(self, opener: ExpanderOpener) -> None:
        values = await _values(self, opener, Interval(low=-1.0, high=3.0))

        assert {type(value) for value in values} == {float}
        assert all(-1.0 <= value <= 3.0 for value in values)
        assert 16 <= sum(value < 1.0 for value in values) <= 48, "far from even over the interval"

    async def test_an_interval_of_one_point_gives_it(self, opener: ExpanderOpener) -> None:
        values = await _values(self, opener, Interval(low=2.0, high=2.0))

        assert set(values) == {2.0}


class IntegerIntervalContract:
    """For expanders that keep to whole numbers when asked to."""

    async def test_whole_numbers_are_ints_and_reach_both_bounds(self, opener: ExpanderOpener) -> None:
        values = await _values(self, opener, Interval(low=3, high=6, integer=True))

        assert {type(value) for value in values} == {int}
        assert set(values) == {3, 4, 5, 6}


class LogIntervalContract:
    """For expanders that search an interval evenly in the logarithm when asked to."""

    async def test_values_are_even_in_the_logarithm(self, opener: ExpanderOpener) -> None:
        values = await _values(self, opener, Interval(low=1e-6, high=1.0, log=True))

        assert all(1e-6 <= value <= 1.0 for value in values)
        assert 16 <= sum(math.log10(value) < -3 for value in values) <= 48

    async def test_logarithmic_whole_numbers_stay_inside_the_bounds(self, opener: ExpanderOpener) -> None:
        values = await _values(self, opener, Interval(low=1, high=1024, log=True, integer=True))

        assert {type(value) for value in values} == {int}
        assert all(1 <= value <= 1024 for value in values)
        assert 16 <= sum(value < 32 for value in values) <= 48


class InitialContract:
    """For expanders that begin with the initial value."""

    async def test_the_first_trial_tries_the_initial_value_and_others_do_not(
        self, opener: ExpanderOpener
    ) -> None:
        values = await _values(self, opener, Interval(low=0.0, high=1.0, initial=0.25))

        assert values[0] == 0.25
        assert 0.25 not in values[1:]


class CountingContract:
    """For expanders with the capability :class:`orchestra.contracts.Counting`."""

    async def test_count_is_the_number_of_trials(self, opener: ExpanderOpener) -> None:
        kit = _kit(self)
        for trials in (1, 9):
            batch = kit.make_batch(kit.space, trials)
            async with opener() as expander:
                counter: Any = expander

                assert counter.count(batch) == len(await walk(expander, batch))


def _kit(mix_in: object) -> ExpanderContract:
    assert isinstance(mix_in, ExpanderContract), "inherit ExpanderContract, too"
    return mix_in


async def _values(mix_in: object, opener: ExpanderOpener, interval: Interval) -> list[Any]:
    kit = _kit(mix_in)
    trials = await kit.trials(opener, kit.make_batch({"x": interval}, 64))

    assert len(trials) >= 64, "make_batch() must make as many trials as it is asked for"
    return [trial["x"] for trial in trials]


def finished(flags: Trial, outcome: str | None = "completed") -> TrialResult:
    """``flags`` as a trial that ended with ``outcome``; completed ones have an objective."""
    objective = float(len(repr(sorted(flags.items())))) if outcome == "completed" else None
    return TrialResult(flags=flags, outcome=outcome, objective=objective)


async def walk(
    expander: BatchExpander,
    batch: Batch,
    *,
    limit: int = 64,
    outcome: str | None = "completed",
    history: Sequence[TrialResult] = (),
) -> list[TrialResult]:
    """Ask for trials until there are no more, and return the whole history; it begins with ``history``.

    With ``outcome=None`` no trial ends, but for when the expander waits for one.
    """
    history = list(history)
    exhausted = False
    while not exhausted:
        proposal = await expander.propose(batch, tuple(history), limit)
        history.extend(finished(trial, outcome) for trial in proposal.trials)
        exhausted = proposal.exhausted
        if not proposal.trials and not exhausted:
            _end_one(history)
        assert len(history) <= _TOO_MANY, f"no end after {_TOO_MANY} trials"
    return history


def _end_one(history: list[TrialResult]) -> None:
    for index, result in enumerate(history):
        if result.outcome is None:
            history[index] = finished(result.flags)
            return
    raise AssertionError("nothing was proposed, though all trials have ended and it is not exhausted")


def _narrowed(space: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """``space`` with the first two values of each list."""
    return {
        name: Choices(values=dimension.values[:2]) if isinstance(dimension, Choices) else dimension
        for name, dimension in space.items()
    }


def contains(dimension: Dimension, value: FlagValue) -> bool:
    """Whether ``value`` is one that ``dimension`` allows; ``True`` is not 1."""
    if isinstance(dimension, Choices):
        return any(type(value) is type(choice) and value == choice for choice in dimension.values)
    kinds: Sequence[type] = (int,) if dimension.integer else (int, float)
    return type(value) in kinds and dimension.low <= value <= dimension.high
