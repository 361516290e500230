"""Which flags matter to a number."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.model.importance import Importance, importance_of

SOURCE = random.Random(3)
ROWS = 60
LR = [SOURCE.choice([0.001, 0.01, 0.1]) for _ in range(ROWS)]
KIND = [SOURCE.choice(["adam", "sgd"]) for _ in range(ROWS)]
NOISE = [SOURCE.random() for _ in range(ROWS)]


def shares(importance: Importance | None) -> dict[str, float]:
    assert importance is not None
    return {one.name: one.share for one in importance.flags}


def test_the_shares_are_those_of_the_variance_that_flags_explain() -> None:
    lr = {0.001: 0.0, 0.01: 3.0, 0.1: 6.0}
    grid = [(rate, kind) for rate in lr for kind in ("adam", "sgd")] * 5
    numbers = [lr[rate] + 2 * (kind == "sgd") for rate, kind in grid]

    found = shares(
        importance_of({"lr": [rate for rate, _ in grid], "kind": [kind for _, kind in grid]}, numbers)
    )

    # Of the variances 6 and 1.
    assert found["lr"] == pytest.approx(6 / 7, abs=0.05)
    assert found["kind"] == pytest.approx(1 / 7, abs=0.05)


def test_a_flag_that_means_nothing_explains_nothing_even_if_it_is_different_in_each_run() -> None:
    numbers = [math.log10(lr) ** 2 + noise / 10 for lr, noise in zip(LR, NOISE, strict=True)]

    importance = importance_of({"seed": list(range(ROWS)), "lr": LR, "kind": KIND}, numbers)

    found = shares(importance)
    assert found["lr"] > 0.9
    assert found["seed"] < 0.05
    assert found["kind"] < 0.05
    assert importance is not None
    assert [one.name for one in importance.flags][0] == "lr"
    assert importance.fit is not None
    assert importance.fit > 0.8


def test_noise_is_not_explained() -> None:
    importance = importance_of({"lr": LR, "kind": KIND}, NOISE)

    assert importance is not None
    assert importance.fit is not None
    assert importance.fit < 0.2


def test_flags_that_only_matter_together_have_little_by_themselves() -> None:
    pairs = [(one, other) for one in (0, 1) for other in (0, 1)] * 10
    numbers = [float(one != other) for one, other in pairs]

    found = shares(importance_of({"a": [one for one, _ in pairs], "b": [two for _, two in pairs]}, numbers))

    assert sum(found.values()) < 0.3


def test_a_run_gone_astray_is_not_all_there_is_to_say() -> None:
    numbers = [math.log10(lr) for lr in LR]
    numbers[0] = 1e300

    assert shares(importance_of({"lr": LR, "kind": KIND}, numbers))["lr"] > 0.8


def test_the_correlation_is_that_of_ranks_and_of_numbers_only() -> None:
    flags = {
        "up": [1, 2, 3, 4],
        "down": [1e3, 10, 1, 0],
        "kind": ["a", "b", "c", "d"],
        "on": [True, False] * 2,
    }

    importance = importance_of(flags, [1.0, 10.0, 100.0, 1e4])

    assert importance is not None
    assert {one.name: one.correlation for one in importance.flags} == {
        "up": pytest.approx(1.0),
        "down": pytest.approx(-1.0),
        "kind": None,
        "on": None,
    }


@pytest.mark.parametrize(
    ("flags", "numbers"),
    [
        ({}, [1.0, 2.0, 3.0, 4.0]),
        ({"lr": [1, 2, 3]}, [1.0, 2.0, 3.0]),
        ({"lr": [1, 1, 1, 1]}, [1.0, 2.0, 3.0, 4.0]),
        ({"lr": [1, 2, 3, 4]}, [5.0, 5.0, 5.0, 5.0]),
    ],
)
def test_where_nothing_can_be_said_nothing_is(flags: dict[str, list[int]], numbers: list[float]) -> None:
    assert importance_of(flags, numbers) is None


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.lists(
        st.tuples(VALUES, VALUES, st.floats(allow_nan=False, allow_infinity=False)), min_size=4, max_size=30
    )
)
def test_whatever_the_values_are_shares_are_shares(rows: list[tuple[object, object, float]]) -> None:
    flags = {"a": [row[0] for row in rows], "b": [row[1] for row in rows]}

    importance = importance_of(flags, [row[2] for row in rows])

    for one in importance.flags if importance else ():
        assert -1e-9 <= one.share <= 1 + 1e-9
        assert one.correlation is None or abs(one.correlation) <= 1 + 1e-9


def test_the_same_runs_give_the_same_shares() -> None:
    numbers = [lr + noise for lr, noise in zip(LR, NOISE, strict=True)]

    assert importance_of({"lr": LR}, numbers) == importance_of({"lr": LR}, numbers)


def test_of_many_runs_of_a_grid_a_fair_part_is_looked_at() -> None:
    kinds, numbers = [run % 2 for run in range(2000)], [run // 2 for run in range(2000)]

    found = shares(importance_of({"a": kinds, "b": numbers}, [float(kind) for kind in kinds]))

    assert found["a"] == pytest.approx(1, abs=0.01)
