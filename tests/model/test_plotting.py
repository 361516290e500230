"""What plots are made of, without anything that draws."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.model.plot_axes import Axis, axis_of
from orchestra.model.plotting import (
    changed_flags,
    curves_of,
    parallel_of,
    plot_runs,
    scatter_of,
)
from orchestra.model.run import Run
from orchestra.model.series import Series
from orchestra.testing.builders import a_run, an_operation


def runs_with(*flags: dict[str, Any], operation: str = "train.py") -> list[Run]:
    return [
        a_run(id=f"{number:032x}", flags=one, operation=an_operation(name=operation))
        for number, one in enumerate(flags)
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 3, 2, 3], Axis(name="x", low=1, high=3, marks=(1, 2, 3))),
        (range(9), Axis(name="x", low=0, high=8)),
        ([1e-4, 1e-1], Axis(name="x", low=1e-4, high=1e-1, log=True, marks=(1e-4, 1e-1))),
        ([1e-3, *(number / 10 for number in range(1, 9))], Axis(name="x", low=1e-3, high=0.8)),
        ([0.0, 1e-1, 1e5], Axis(name="x", low=0.0, high=1e5, marks=(0.0, 1e-1, 1e5))),
        ([2, None, math.nan, math.inf, 4], Axis(name="x", low=2, high=4, marks=(2, 4))),
        (["b10", "b9", None], Axis(name="x", texts=("b9", "b10"))),
        ([True, False], Axis(name="x", texts=("no", "yes"))),
        ([1, "auto"], Axis(name="x", texts=("1", "auto"))),
        ([[1, 2], [1]], Axis(name="x", texts=("[1, 2]", "[1]"))),
        ([7], Axis(name="x", low=3.5, high=10.5, marks=(7,))),
        ([0], Axis(name="x", low=-0.5, high=0.5, marks=(0,))),
        ([], Axis(name="x")),
        ([math.nan], Axis(name="x")),
    ],
)
def test_an_axis_is_laid_out_by_what_there_is(values: list[Any], expected: Axis) -> None:
    assert axis_of("x", values) == expected


def test_a_place_is_a_share_of_the_axis() -> None:
    assert [axis_of("x", [0, 10]).place(value) for value in (0, 5, 10)] == [0.0, 0.5, 1.0]
    assert axis_of("x", [1e-4, 1.0]).place(1e-2) == pytest.approx(0.5)
    assert [axis_of("x", ["a", "b"]).place(value) for value in ("a", "b", "c")] == [0.25, 0.75, None]


@settings(deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=2)), max_size=20))
def test_every_value_has_its_place_on_the_axis_or_none_and_so_has_every_tick(values: list[Any]) -> None:
    axis = axis_of("x", values)

    for value in values:
        place = axis.place(value)
        assert place is None or -1e-9 <= place <= 1 + 1e-9
    assert all(-1e-9 <= place <= 1 + 1e-9 for place, _ in axis.ticks)
    assert len(axis.ticks) <= 24


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.13, 0.3, 0.4, 0.5, 0.6, 0.7, 0.97], ["0.2", "0.4", "0.6", "0.8"]),
        ([1e-5, 3e-5, 1e-4, 1e-3, 2e-3, 3e-3, 1e-1], ["1e-05", "0.0001", "0.001", "0.01", "0.1"]),
        ([3, 7, 5], ["3", "5", "7"]),
        ([100, 101, 200], ["100", "200"]),
    ],
)
def test_ticks_are_the_values_if_they_are_few_and_apart_and_else_round_numbers(
    values: list[float], ticks: list[str]
) -> None:
    assert [text for _, text in axis_of("x", values).ticks] == ticks


def test_the_flags_that_changed_tell_runs_apart() -> None:
    runs = runs_with(
        {"lr": 0.1, "depth": 3, "x": 1}, {"lr": 0.2, "depth": 3}, {"lr": 0.3, "depth": 3, "x": 1}
    )

    changed = changed_flags(runs)

    assert changed == ("lr", "x")
    assert [run.legend for run in plot_runs(runs, changed, {})] == ["lr=0.1 x=1", "lr=0.2", "lr=0.3 x=1"]


def test_runs_with_the_same_flags_are_told_apart_by_their_ids() -> None:
    runs = runs_with({"lr": 0.1}, {"lr": 0.1}, {"lr": 0.2})

    assert [run.legend for run in plot_runs(runs, ("lr",), {})] == [
        "00000000 lr=0.1",
        "00000000 lr=0.1",
        "lr=0.2",
    ]
    assert plot_runs(runs[:1], (), {})[0].legend == "00000000"


def test_runs_of_several_operations_are_told_apart_by_these_too() -> None:
    runs = [*runs_with({"lr": 0.1}), *runs_with({"lr": 0.1}, operation="other.py")]

    assert [run.legend for run in plot_runs(runs, (), {})] == ["train.py", "other.py"]


def test_an_objective_that_is_not_finite_is_none() -> None:
    runs = runs_with({}, {}, {}, {})
    values = dict(zip((run.id for run in runs), (1.5, math.nan, math.inf, None), strict=True))

    assert [run.objective for run in plot_runs(runs, (), values)] == [1.5, None, None, None]


def test_curves_have_a_place_for_their_runs_and_span_all_that_is_finite() -> None:
    series = Series(steps=(0, 1, 2), values=(4.0, math.nan, 1.0), count=3)

    curves = curves_of("loss", [None, series])

    assert curves is not None
    assert curves.lines == ((1, series),)
    assert (curves.x.low, curves.x.high, curves.y.low, curves.y.high) == (0, 2, 1.0, 4.0)
    assert curves_of("loss", [None, None]) is None


def test_parallel_coordinates_take_two_runs_with_the_objective() -> None:
    runs = runs_with({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3})
    shown = plot_runs(runs, ("lr",), {runs[0].id: 1.0, runs[2].id: 2.0})

    parallel = parallel_of(shown, ("lr",), "loss")

    assert parallel is not None
    assert parallel.rows == ((0, (0.1, 1.0)), (2, (0.3, 2.0)))
    assert [axis.name for axis in parallel.axes] == ["lr", "loss"]
    assert parallel_of(shown[:2], ("lr",), "loss") is None
    assert parallel_of(shown, (), "loss") is None


def test_a_point_takes_both_values() -> None:
    scatter = scatter_of(("lr", "loss"), [0.1, None, 0.3, "auto"], [1.0, 2.0, math.nan, 4.0])

    assert scatter is not None
    assert scatter.points == ((0, 0.1, 1.0), (3, "auto", 4.0))
    assert scatter.x.texts == ("0.1", "auto")
    assert scatter_of(("lr", "loss"), [None], [1.0]) is None
