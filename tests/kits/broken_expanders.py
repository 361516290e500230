"""Expanders with one defect each. ``caught_by`` names the test of the kit that must notice."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from orchestra.builtin.expander_random import RandomExpander, sample
from orchestra.model.batch import Batch, Choices, Interval, Proposal, combine
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


class Whole(
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
    expander: type = RandomExpander
    caught_by = ""

    @pytest.fixture
    def opener(self):
        @asynccontextmanager
        async def open_expander():
            yield self.expander()

        return open_expander


class Sound(RandomExpander):
    """Like the random one, with seams to break."""

    def first(self, batch, history):
        return len(history)

    def point(self, batch, index):
        return sample(batch.space, batch.seed, index)

    async def propose(self, batch, history, limit):
        total = self.count(batch)
        first = self.first(batch, history)
        last = min(total, first + limit)
        trials = tuple(combine(batch, self.point(batch, index)) for index in range(first, last))
        return Proposal(trials=trials, exhausted=max(first, last) >= total)


class TestSound(Whole):
    expander = Sound


class TestUnseeded(Whole):
    caught_by = "test_same_inputs_give_the_same_proposal"

    class expander(Sound):
        def point(self, batch, index):
            return sample(batch.space, random.getrandbits(32), index)


class TestTakesAnExtendedBatchForFinished(Whole):
    caught_by = "test_an_extended_batch_gets_the_trials_that_it_lacks"

    class expander(Sound):
        async def propose(self, batch, history, limit):
            if batch.extended and history:
                return Proposal(trials=(), exhausted=True)
            return await super().propose(batch, history, limit)


class TestKeepsState(Whole):
    caught_by = "test_resumes_after_any_trial_with_the_one_that_came_next"

    class expander(Sound):
        proposed = 0

        def first(self, batch, history):
            first, type(self).proposed = self.proposed % 7, self.proposed + 1
            return first


class TestForgetsTrialsThatRun(Whole):
    caught_by = "test_unfinished_trials_are_not_proposed_again"

    class expander(Sound):
        async def propose(self, batch, history, limit):
            ended = [result for result in history if result.outcome is not None]
            if len(history) > 30:
                return Proposal(trials=(), exhausted=True)
            return await super().propose(batch, ended, limit)


class TestWritesIntoItsInputs(Whole):
    caught_by = "test_inputs_are_left_as_they_are"

    class expander(Sound):
        async def propose(self, batch, history, limit):
            proposal = await super().propose(batch, history, limit)
            if history:
                history[0].flags["seen"] = True
            return proposal


class TestIgnoresTheLimit(Whole):
    caught_by = "test_never_proposes_more_than_the_limit"

    class expander(Sound):
        async def propose(self, batch, history, limit):
            return await super().propose(batch, history, limit + 1)


class TestIgnoresMaxTrials(Whole):
    caught_by = "test_never_proposes_more_than_max_trials"

    class expander(Sound):
        def count(self, batch):
            return super().count(batch) + 1


class TestNoticesTooLateThatItIsExhausted(Whole):
    caught_by = "test_says_that_it_is_exhausted_with_the_last_trial_and_not_before"

    class expander(Sound):
        async def propose(self, batch, history, limit):
            proposal = await super().propose(batch, history, limit)
            return structs.replace(proposal, exhausted=not proposal.trials)


class TestCallsItselfExhaustedTooEarly(Whole):
    caught_by = "test_says_that_it_is_exhausted_with_the_last_trial_and_not_before"

    class expander(Sound):
        async def propose(self, batch, history, limit):
            proposal = await super().propose(batch, history, limit)
            early = len(history) == self.count(batch) - 3
            return structs.replace(proposal, exhausted=proposal.exhausted or early)


class TestStartsAgainAfterTheEnd(Whole):
    caught_by = "test_stays_exhausted_when_asked_again"

    class expander(Sound):
        def first(self, batch, history):
            return len(history) % self.count(batch) if self.count(batch) else 0


class TestForgetsTheFixedFlags(Whole):
    caught_by = "test_every_trial_has_every_flag"

    class expander(Sound):
        async def propose(self, batch, history, limit):
            return await super().propose(structs.replace(batch, fixed={}), history, limit)


class TestLeavesTheSpace(Whole):
    caught_by = "test_values_lie_inside_the_space"

    class expander(Sound):
        def point(self, batch, index):
            return dict.fromkeys(batch.space, 99)


class Text(str):
    """What a numeric library might return: prints like a string and is none."""


class TestReturnsForeignTypes(Whole):
    caught_by = "test_values_are_plain_and_survive_storage"

    class expander(Sound):
        def point(self, batch, index):
            point = super().point(batch, index)
            return {name: Text(value) if isinstance(value, str) else value for name, value in point.items()}


class TestDependsOnHowItIsAsked(Whole):
    caught_by = "test_the_trials_are_the_same_however_they_are_asked_for"

    class expander(Sound):
        async def propose(self, batch, history, limit):
            return await super().propose(structs.replace(batch, seed=batch.seed + limit), history, limit)


class TestLooksAtOutcomes(Whole):
    caught_by = "test_outcomes_do_not_matter"

    class expander(Sound):
        async def propose(self, batch, history, limit):
            failed = sum(result.outcome == "error" for result in history)
            return await super().propose(structs.replace(batch, seed=batch.seed + failed), history, limit)


class TestIgnoresTheSeed(Whole):
    caught_by = "test_another_seed_gives_other_trials"

    class expander(Sound):
        def point(self, batch, index):
            return sample(batch.space, 1, index)


class TestTurnsChoicesIntoText(Whole):
    caught_by = "test_choices_keep_their_types"

    class expander(Sound):
        def point(self, batch, index):
            return {name: str(value) for name, value in super().point(batch, index).items()}


class TestMissesAChoice(Whole):
    caught_by = "test_every_choice_is_tried"

    class expander(Sound):
        def point(self, batch, index):
            space = {
                name: Choices(values=dimension.values[:3]) if isinstance(dimension, Choices) else dimension
                for name, dimension in batch.space.items()
            }
            return sample(space, batch.seed, index)


class TestFailsWithoutChoices(Whole):
    caught_by = "test_a_flag_without_any_choice_makes_no_trial"

    class expander(Sound):
        def count(self, batch: Batch):
            return batch.max_trials


class TestBunchesUp(Whole):
    caught_by = "test_values_of_an_interval_are_floats_and_spread"

    class expander(Sound):
        def point(self, batch, index):
            point = super().point(batch, index)
            return {n: v / 10 if isinstance(v, float) else v for n, v in point.items()}


class TestOvershoots(Whole):
    caught_by = "test_an_interval_of_one_point_gives_it"

    class expander(Sound):
        def point(self, batch, index):
            point = super().point(batch, index)
            return {n: v + 1e-9 if isinstance(v, float) else v for n, v in point.items()}


class TestForgetsThatNumbersAreWhole(Whole):
    caught_by = "test_logarithmic_whole_numbers_stay_inside_the_bounds"

    class expander(Sound):
        def point(self, batch, index):
            point = super().point(batch, index)
            return {n: float(v) if type(v) is int else v for n, v in point.items()}


class TestRoundsDown(Whole):
    caught_by = "test_whole_numbers_are_ints_and_reach_both_bounds"

    class expander(Sound):
        def point(self, batch, index):
            space = {
                name: structs.replace(dimension, high=max(dimension.low, dimension.high - 1))
                if isinstance(dimension, Interval) and dimension.integer
                else dimension
                for name, dimension in batch.space.items()
            }
            return sample(space, batch.seed, index)


class TestIgnoresTheLogarithm(Whole):
    caught_by = "test_values_are_even_in_the_logarithm"

    class expander(Sound):
        def point(self, batch, index):
            space = {
                name: structs.replace(dimension, log=False) if isinstance(dimension, Interval) else dimension
                for name, dimension in batch.space.items()
            }
            return sample(space, batch.seed, index)


class TestIgnoresTheInitialValue(Whole):
    caught_by = "test_the_first_trial_tries_the_initial_value_and_others_do_not"

    class expander(Sound):
        def point(self, batch, index):
            return sample(batch.space, batch.seed, index + 1)


class TestCountsWrongly(Whole):
    caught_by = "test_count_is_the_number_of_trials"

    class expander(Sound):
        async def propose(self, batch, history, limit):
            if batch.max_trials == 1:
                return Proposal(trials=(), exhausted=True)
            return await super().propose(batch, history, limit)


class TestOverridesATestOfTheKit(Whole):
    caught_by = "test_no_test_of_the_kit_is_overridden"
    expander = Sound

    def test_never_proposes_more_than_max_trials(self):
        pass


class TestRemovesATestOfTheKit(Whole):
    caught_by = "test_no_test_of_the_kit_is_overridden"
    expander = Sound
    test_outcomes_do_not_matter = None


class TestOverridesATestOpenly(Whole):
    expander = Sound

    @pytest.mark.xfail(reason="this one can't")
    def test_never_proposes_more_than_max_trials(self):
        raise AssertionError
