"""Statistics of repeats: as exact as floats allow, whatever the numbers are."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import UsageError
from orchestra.model.aggregates import aggregate, parse_statistics

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
ORDINARY = st.floats(-1e6, 1e6)


def exact_mean(values: list[float]) -> Fraction:
    return sum(map(Fraction, values), Fraction()) / len(values)


def exact_variance(values: list[float]) -> Fraction:
    mean = exact_mean(values)
    return sum(((Fraction(value) - mean) ** 2 for value in values), Fraction()) / (len(values) - 1)


def test_the_usual_statistics_of_a_few_numbers() -> None:
    values = [0.1, 0.2, 0.4, 0.3]

    assert aggregate(values, "mean") == pytest.approx(0.25)
    assert aggregate(values, "std") == pytest.approx(0.12909944487358055)
    assert aggregate(values, "sem") == pytest.approx(0.06454972243679027)
    assert aggregate(values, "median") == pytest.approx(0.25)
    assert (aggregate(values, "min"), aggregate(values, "max"), aggregate(values, "n")) == (0.1, 0.4, 4)


def test_the_median_of_an_odd_number_is_one_of_them() -> None:
    assert aggregate([3.0, 1.0, 2.5], "median") == 2.5


def test_one_number_has_no_deviation() -> None:
    assert aggregate([2.0], "mean") == 2.0
    assert aggregate([2.0], "std") is None
    assert aggregate([2.0], "sem") is None


def test_no_number_has_nothing_but_their_count() -> None:
    for values in ([], [math.nan, math.nan]):
        assert aggregate(values, "n") == 0
        assert {aggregate(values, name) for name in ("mean", "std", "sem", "median", "min", "max")} == {None}  # type: ignore[arg-type]


def test_what_is_no_number_is_left_out() -> None:
    assert aggregate([1.0, math.nan, 3.0], "mean") == 2.0
    assert aggregate([1.0, math.nan, 3.0], "n") == 2
    assert aggregate([math.nan, 3.0], "min") == 3.0


def test_infinite_values_are_not_hidden() -> None:
    assert aggregate([1.0, math.inf], "mean") == math.inf
    assert aggregate([1.0, -math.inf], "mean") == -math.inf
    assert math.isnan(aggregate([-math.inf, math.inf], "mean") or 0.0)
    assert math.isnan(aggregate([1.0, math.inf], "std") or 0.0)
    assert aggregate([1.0, math.inf, math.inf], "median") == math.inf


def test_a_small_spread_around_a_large_number_is_kept() -> None:
    assert aggregate([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16], "std") == pytest.approx(math.sqrt(30))
    assert aggregate([1e300, 1e300], "std") == 0.0
    assert aggregate([1.7e308, -1.7e308], "mean") == 0.0
    assert aggregate([1.7e308, 1.7e308], "mean") == 1.7e308
    assert aggregate([1e-300, 3e-300], "std") == pytest.approx(math.sqrt(2) * 1e-300, rel=1e-12)


@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_the_mean_is_that_of_exact_arithmetic_and_among_the_values(values: list[float]) -> None:
    mean = aggregate(values, "mean")

    assert mean is not None
    assert min(values) <= mean <= max(values)
    exact = exact_mean(values)
    size = max(abs(value) for value in values)
    assert abs(Fraction(mean) - exact) <= Fraction(size) / 2**50 + Fraction(5e-324)


@given(st.lists(ORDINARY, min_size=2, max_size=30))
def test_the_deviation_is_that_of_exact_arithmetic(values: list[float]) -> None:
    std = aggregate(values, "std")

    assert std is not None
    exact = exact_variance(values)
    # The mean is rounded once: what that adds is far below the values' own precision.
    slack = Fraction(max(map(abs, values))) / 2**51
    assert abs(Fraction(std) ** 2 - exact) <= exact / 2**40 + slack**2


@given(st.lists(NUMBERS, min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_values_does_not_matter(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    for name in ("mean", "std", "sem", "median", "min", "max", "n"):
        assert aggregate(shuffled, name) == aggregate(values, name)  # type: ignore[arg-type]


@given(NUMBERS, st.integers(2, 20))
def test_equal_values_do_not_deviate(value: float, count: int) -> None:
    assert aggregate([value] * count, "std") == 0.0
    assert aggregate([value] * count, "mean") == value


@given(st.lists(ORDINARY, min_size=2, max_size=20), st.integers(-900, 900))
def test_other_units_change_nothing_else(values: list[float], power: int) -> None:
    values = [value for value in values if value == 0 or abs(value) > 1e-20] or [1.0]
    scaled = [math.ldexp(value, power) for value in values]

    for name in ("mean", "std", "sem"):
        one, other = aggregate(values, name), aggregate(scaled, name)  # type: ignore[arg-type]
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert other == pytest.approx(math.ldexp(one, power), rel=1e-9, abs=1e-300)


def test_statistics_are_named_with_commas() -> None:
    assert parse_statistics("mean, std,n,mean") == ("mean", "std", "n")


@pytest.mark.parametrize("text", ["", "mean,", "avg", "mean std"])
def test_unknown_statistics_are_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(UsageError, match="unknown statistic") as refused:
        parse_statistics(text)
    assert refused.value.hint == "There are mean, std, sem, median, min, max, n."
