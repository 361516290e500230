"""Series that are thinned out as they grow."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.model.series import Series, Thinning

VALUES = st.lists(st.one_of(st.integers(-50, 50).map(float), st.just(math.nan)), max_size=200)


def thinned(values: list[float], most: int) -> Series:
    thinning = Thinning(most)
    for step, value in enumerate(values):
        thinning.add(step, value)
    return thinning.series()


@settings(deadline=None, derandomize=True)
@given(VALUES, st.integers(1, 60))
def test_what_is_kept_is_little_and_true_and_has_both_ends_and_both_extremes(
    values: list[float], most: int
) -> None:
    series = thinned(values, most)
    numbers = [value for value in values if not math.isnan(value)]
    kept = [value for value in series.values if not math.isnan(value)]

    assert series.count == len(values)
    assert len(series.steps) <= most + 3
    assert all(
        str(values[step]) == str(value) for step, value in zip(series.steps, series.values, strict=True)
    )
    assert list(series.steps) == sorted(set(series.steps))
    if values:
        assert (series.steps[0], series.steps[-1]) == (0, len(values) - 1)
    if numbers:
        assert (min(kept), max(kept)) == (min(numbers), max(numbers))


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_up_to_so_many_points_all_are_kept(count: int) -> None:
    values = [float(number) for number in range(count)]

    series = thinned(values, 100)

    assert series.values == tuple(values)
    assert series.count == count


def test_points_are_thinned_out_evenly() -> None:
    series = thinned([float(number) for number in range(100_000)], 100)
    gaps = [after - before for before, after in zip(series.steps, series.steps[1:], strict=False)]

    assert series.count == 100_000
    assert 50 <= len(series.steps) <= 103
    assert max(gaps) <= 100_000 / 25


def test_points_come_in_the_order_of_their_steps() -> None:
    thinning = Thinning(10)
    for step in (5, 1, 3):
        thinning.add(step, float(step))

    assert thinning.series().steps == (1, 3, 5)
