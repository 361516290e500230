"""Runs that differ in their seed alone are put together."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import UsageError, UserError
from orchestra.model.aggregates import aggregate
from orchestra.model.comparison import Comparison, Wanted, compare, wanted_columns
from orchestra.model.repeats import group, groups_sorted_by, is_seed, parse_grouping, seeds_of
from orchestra.model.subjects import Subject
from tests.model.test_comparison import a_subject
from tests.saved_runs import ended


def grouped(
    subjects: list[Subject], text: str | None = None, agg: str | None = None, **options: Any
) -> Comparison:
    grouping = parse_grouping(text, agg, repeats=text is None, **options)
    assert grouping is not None
    return group(compare(subjects, Wanted()), subjects, grouping)


def values_of(made: Comparison) -> list[tuple[Any, ...]]:
    return [row.values for row in made.rows]


def some() -> list[Subject]:
    return [
        a_subject({"lr": 0.2, "seed": 1}, {"loss": 4.0}),
        a_subject({"lr": 0.1, "seed": 1}, {"loss": 1.0}),
        a_subject({"lr": 0.1, "seed": 2}, {"loss": 3.0}),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "seed",
        "random_seed",
        "random-seed",
        "randomSeed",
        "SEED",
        "train.seed",
        "rng_seed",
        "np:seed",
        "data-seed",
    ]
    + ["random_state", "random-state"],
)
def test_flags_of_these_names_are_seeds(name: str) -> None:
    assert is_seed(name)


@pytest.mark.parametrize("name", ["seeds_per_plot", "seedling", "reseed_every", "linseed", "state", "se", ""])
def test_flags_of_these_names_are_none(name: str) -> None:
    assert not is_seed(name)


def test_repeats_are_of_one_operation_and_differ_in_nothing_but_the_seed() -> None:
    made = grouped(some())

    assert made.headings == ("operation", "lr", "runs", "loss mean", "loss std", "loss n")
    assert values_of(made) == [
        ("train.py", 0.1, 2, 2.0, pytest.approx(2**0.5), 2),
        ("train.py", 0.2, 1, 4.0, None, 1),
    ]
    assert [len(row.runs) for row in made.rows] == [2, 1]


def test_a_plain_name_to_group_by_is_a_flag_before_anything_else() -> None:
    subjects = [
        a_subject({"lr": 1, "loss": 5}, {"loss": 4.0}),
        a_subject({"lr": 2, "loss": 5}, {"loss": 2.0}),
    ]

    assert grouped(subjects, "loss", "n").headings == ("loss", "runs")
    assert values_of(grouped(subjects, "op,lr", "n")) == [("train.py", 1, 1), ("train.py", 2, 1)]


def test_groups_are_in_the_order_of_what_they_are_grouped_by() -> None:
    subjects = [a_subject({"a": a, "b": b}) for a, b in ((10, "x"), (9, "y"), (9, "x"), (10, "y"))]

    made = grouped(subjects, "a,=b")

    assert values_of(made) == [(9, "x", 1), (9, "y", 1), (10, "x", 1), (10, "y", 1)]


def test_numbers_that_are_equal_are_in_one_group() -> None:
    subjects = [a_subject({"a": value}) for value in (1, 1.0, True, "1", None, [1], [1])]

    assert [row.values[1] for row in grouped(subjects, "a").rows].count(2) == 2


def test_the_statistics_that_are_asked_for_are_shown_in_that_order() -> None:
    made = grouped(some(), "lr", "max,n,median")

    assert made.headings == ("lr", "runs", "loss max", "loss n", "loss median")
    assert values_of(made) == [(0.1, 2, 3.0, 2, 2.0), (0.2, 1, 4.0, 1, 4.0)]


def test_runs_that_have_no_value_do_not_count() -> None:
    subjects = [
        a_subject({"lr": 1}, {"loss": 1.0}),
        a_subject({"lr": 1}, {"loss": float("nan")}),
        a_subject({"lr": 1}),
        a_subject({"lr": 2}),
    ]

    assert values_of(grouped(subjects, "lr")) == [(1, 3, 1.0, None, 1), (2, 1, None, None, 0)]


def test_runs_that_have_not_come_to_their_end_are_left_out_and_said_to_be() -> None:
    subjects = [*some(), a_subject({"lr": 0.1, "seed": 3}, {"loss": 100.0}, state="error")]

    made = grouped(subjects)
    assert made.problems == ("1 run(s) that have not completed are left out",)
    assert made.rows[0].values[2] == 2
    made = grouped(subjects, only_completed=False)
    assert made.problems == ()
    assert made.rows[0].values[2] == 3


def test_runs_with_the_seed_of_another_are_told_of_for_they_may_tell_nothing_new() -> None:
    made = grouped([*some(), a_subject({"lr": 0.1, "seed": 2}, {"loss": 3.0})])

    assert made.problems == ("1 run(s) have all flags of another, the seed too, and count once more",)
    assert [row.values[2] for row in made.rows] == [3, 1]
    # Without a seed, running something again is how it is repeated.
    assert grouped([a_subject({"lr": 1}), a_subject({"lr": 1})]).problems == ()


def test_columns_that_are_asked_for_besides_have_statistics_too() -> None:
    subjects = some()
    wanted = wanted_columns(".time,min loss as best")
    grouping = parse_grouping("lr", "mean", repeats=False)
    assert grouping is not None

    made = group(compare(subjects, wanted), subjects, grouping, wanted.more)

    assert made.headings == ("lr", "runs", "time mean", "loss mean", "best mean")
    assert values_of(made)[0] == (0.1, 2, 5.0, 2.0, 2.0)


def test_groups_are_sorted_by_the_mean_also_where_it_is_not_shown() -> None:
    subjects = some()
    made = grouped(subjects, "lr", "std")

    def order(text: str, largest_first: bool = False) -> list[Any]:
        return [
            row.values[0] for row in groups_sorted_by(made, subjects, text, largest_first=largest_first).rows
        ]

    assert order("loss", largest_first=True) == [0.2, 0.1]
    assert order("loss") == [0.1, 0.2]
    assert order("loss std") == [0.1, 0.2]
    assert order("lr", largest_first=True) == [0.2, 0.1]
    with pytest.raises(UserError, match="no run has 'acc'"):
        order("acc")


def test_a_column_that_no_run_has_makes_no_groups() -> None:
    with pytest.raises(UserError, match="no run has 'depth'") as refused:
        grouped(some(), "depth")
    assert refused.value.hint == "There are: lr, seed."


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(UsageError, match="--agg needs --group-by or --repeats"):
        parse_grouping(None, "mean", repeats=False)
    with pytest.raises(UsageError, match="--repeats cannot be used with --group-by"):
        parse_grouping("lr", None, repeats=True)
    assert parse_grouping(None, None, repeats=False) is None


def test_the_seeds_of_runs_are_those_of_their_flags_else_of_their_batch() -> None:
    assert seeds_of([ended(flags={"seed": seed}, random_seed=9) for seed in (2, 1, 2)]) == [2, 1]
    assert seeds_of([ended(flags={"x": 1}, random_seed=9), ended(flags={})]) == [9]


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, "x", None]), st.integers(0, 3), st.floats(-10, 10)),
        min_size=1,
        max_size=15,
    )
)
def test_every_run_is_in_one_group_whose_mean_is_that_of_its_runs(
    given_: list[tuple[Any, int, float]],
) -> None:
    subjects = [a_subject({"a": a, "seed": seed}, {"loss": loss}) for a, seed, loss in given_]
    losses = {subject.run.id: loss for subject, (_, _, loss) in zip(subjects, given_, strict=True)}

    made = grouped(subjects)

    ids = [run.id for row in made.rows for run in row.runs]
    assert sorted(ids) == sorted(losses)
    for row in made.rows:
        own = [losses[run.id] for run in row.runs]
        assert row.values[2:] == (len(own), *(aggregate(own, name) for name in ("mean", "std", "n")))  # type: ignore[arg-type]
        assert len({repr(run.flags["a"]) for run in row.runs}) == 1


def test_numbers_beyond_all_floats_are_no_trouble() -> None:
    subjects = [a_subject({"lr": 0.1, "big": 10**400}), a_subject({"lr": 0.1, "big": 1})]
    grouping = parse_grouping("lr", "max", repeats=False)
    assert grouping is not None
    wanted = wanted_columns("=big")
    made = group(compare(subjects, wanted), subjects, grouping, wanted.more)
    assert math.inf in values_of(made)[0]
