"""Summaries of a scalar's values."""

from __future__ import annotations

import math
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.model.scalars import QUALIFIERS, Scalar, find_scalar, join, natural, single

POINTS = st.lists(
    st.tuples(st.integers(-(2**20), 2**20).map(float), st.integers(0, 99)), min_size=1, max_size=12
)


def summary(points: list[tuple[float, int]]) -> Scalar:
    found = reduce(lambda scalar, point: join(scalar, single(*point)), points, None)
    assert found is not None
    return found


@settings(deadline=None, derandomize=True)
@given(POINTS)
def test_a_summary_says_what_the_values_say(points: list[tuple[float, int]]) -> None:
    scalar = summary(points)
    values = [value for value, _ in points]

    assert (scalar.point("first"), scalar.point("last")) == (points[0], points[-1])
    assert scalar.point("min") == min(points, key=lambda point: point[0])
    assert scalar.point("max") == max(points, key=lambda point: point[0])
    assert scalar.point("total") == (sum(values), len(values))
    assert scalar.point("count") == (len(values), len(values))
    assert scalar.average == sum(values) / len(values)


@settings(deadline=None, derandomize=True)
@given(POINTS, st.integers(1, 11))
def test_it_is_the_same_from_parts(points: list[tuple[float, int]], at: int) -> None:
    first, second = points[:at], points[at:]
    joined = join(summary(first), summary(second)) if second else summary(first)
    assert joined == summary(points)


def test_nan_is_neither_least_nor_greatest_beside_a_number() -> None:
    for points in ([(math.nan, 0), (2.0, 1)], [(2.0, 1), (math.nan, 2)]):
        scalar = summary(points)
        assert (scalar.point("min"), scalar.point("max")) == ((2.0, 1), (2.0, 1))
        assert scalar.count == 2 and math.isnan(scalar.total)
    assert all(math.isnan(single(math.nan, 0).point(name)[0]) for name in QUALIFIERS if name != "count")


@pytest.mark.parametrize(
    ("name", "value"), [("loss", 1.0), ("a#loss", 2.0), ("acc", 4.0), ("a#acc", None), ("none", None)]
)
def test_a_name_without_a_prefix_finds_the_first_that_has_one(name: str, value: float | None) -> None:
    scalars = {key: single(number, 0) for key, number in {"b10#acc": 3.0, "b9#acc": 4.0}.items()}
    scalars |= {"loss": single(1.0, 0), "a#loss": single(2.0, 0)}

    found = find_scalar(scalars, name)

    assert (found and found.last) == value


def test_names_are_sorted_by_the_numbers_in_them() -> None:
    assert natural(["x10", "x9", "a", "x", "x²"]) == ["a", "x", "x9", "x10", "x²"]
    long = "x1" + "0" * 5_000
    assert natural([long + "1", long, "x010", "x9"]) == ["x9", "x010", long, long + "1"]
