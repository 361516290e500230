"""What plots of runs are made of: which runs, by what they are told apart, and the numbers. No drawing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from orchestra.model.importance import Importance
from orchestra.model.labels import shown_in_label
from orchestra.model.operation import FlagValue
from orchestra.model.plot_axes import Axis, axis_of, finite, number_text
from orchestra.model.run import Run, State
from orchestra.model.scalars import natural
from orchestra.model.series import Series

Item = TypeVar("Item", bound=tuple[Any, ...])

VERSION = 1
"""Of the form of :func:`as_json`."""
MOST_AXES = 12
"""Flags that parallel coordinates have room for."""
CURVES_LOG_FROM = 1000.0
LONGEST_LEGEND = 80


class PlotRun(Struct, frozen=True, kw_only=True):
    """One of the runs that are shown."""

    id: str
    short_id: str
    operation: str
    label: str | None
    state: State
    legend: str
    """What tells it apart from the others: the flags that changed."""
    flags: dict[str, FlagValue]
    objective: float | None
    """Its value of the objective, if that is a finite number."""


class Curves(Struct, frozen=True, kw_only=True):
    """A scalar over steps, for each run that has it."""

    scalar: str
    x: Axis
    y: Axis
    lines: tuple[tuple[int, Series], ...]
    """Each the place of its run among all, and its points."""


class Parallel(Struct, frozen=True, kw_only=True):
    """A row of values for each run: of the flags that changed, and the objective as the last."""

    axes: tuple[Axis, ...]
    rows: tuple[tuple[int, tuple[FlagValue, ...]], ...]


class Scatter(Struct, frozen=True, kw_only=True):
    """One value over another, a point for each run that has both."""

    x: Axis
    y: Axis
    points: tuple[tuple[int, FlagValue, float], ...]


class Bars(Struct, frozen=True, kw_only=True):
    """What flags mean to a scalar."""

    scalar: str
    importance: Importance


class Plots(Struct, frozen=True, kw_only=True):
    """All that is to be shown, of the same runs."""

    runs: tuple[PlotRun, ...]
    changed: tuple[str, ...]
    """The flags in which they differ."""
    objective: str | None
    largest_first: bool
    """Whether more of the objective is better."""
    curves: tuple[Curves, ...] = ()
    parallel: Parallel | None = None
    scatters: tuple[Scatter, ...] = ()
    bars: tuple[Bars, ...] = ()
    notes: tuple[str, ...] = ()
    """What is not shown, and why, each in a sentence."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.curves or self.parallel or self.scatters or self.bars)

    def ranked(self) -> list[int]:
        """The places of the runs that have the objective, the best first."""
        having = [(run.objective, place) for place, run in enumerate(self.runs) if run.objective is not None]
        having.sort(key=lambda pair: (-pair[0] if self.largest_first else pair[0], pair[1]))
        return [place for _, place in having]

    def best_first(self) -> list[int]:
        """The places of all runs: those that have the objective as :meth:`ranked`, then the others."""
        return [*self.ranked(), *(place for place, run in enumerate(self.runs) if run.objective is None)]

    def best_last(self, items: Iterable[Item]) -> list[Item]:
        """What is drawn of runs, each with its place first, in the order in which the best come to lie on top."""
        ranks = {place: rank for rank, place in enumerate(self.best_first())}
        return sorted(items, key=lambda item: -ranks[item[0]])


def changed_flags(runs: Sequence[Run]) -> tuple[str, ...]:
    """The names of the flags that are not the same in all ``runs``."""
    names = natural({name for run in runs for name in run.flags})
    return tuple(
        name for name in names if any(run.flags.get(name) != runs[0].flags.get(name) for run in runs[1:])
    )


def plot_runs(
    runs: Sequence[Run], changed: Sequence[str], objectives: Mapping[str, FlagValue]
) -> tuple[PlotRun, ...]:
    """The runs as they are shown; ``objectives`` has what each has come to, by its id."""
    several = len({run.operation_name for run in runs}) > 1
    legends = [_legend(run, changed, named=several) for run in runs]
    counts = Counter(legends)
    return tuple(
        PlotRun(
            id=run.id,
            short_id=run.short_id,
            operation=run.operation_name,
            label=run.label,
            state=run.state,
            legend=legend if legend and counts[legend] == 1 else f"{run.short_id} {legend}".rstrip(),
            flags={name: run.flags[name] for name in changed if name in run.flags},
            objective=finite(objectives.get(run.id)),
        )
        for run, legend in zip(runs, legends, strict=True)
    )


def _legend(run: Run, changed: Sequence[str], *, named: bool) -> str:
    told = [
        f"{name}={shown_in_label(run.flags[name])}" for name in changed if run.flags.get(name) is not None
    ]
    text = " ".join(([run.operation_name] if named else []) + told)
    return text if len(text) <= LONGEST_LEGEND else f"{text[: LONGEST_LEGEND - 1]}…"


def curves_of(scalar: str, series: Sequence[Series | None]) -> Curves | None:
    """The curves of a scalar, of each run its series; None if no run has a point that can be drawn."""
    lines = tuple((place, one) for place, one in enumerate(series) if one is not None)
    if not any(math.isfinite(value) for _, one in lines for value in one.values):
        return None
    return Curves(
        scalar=scalar,
        x=axis_of("step", (step for _, one in lines for step in one.steps), log_from=float("inf")),
        y=axis_of(scalar, (value for _, one in lines for value in one.values), log_from=CURVES_LOG_FROM),
        lines=lines,
    )


def parallel_of(runs: Sequence[PlotRun], flags: Sequence[str], objective: str) -> Parallel | None:
    """Parallel coordinates of ``flags`` to the objective; None if fewer than two runs have that."""
    having = [(place, run) for place, run in enumerate(runs) if run.objective is not None]
    if len(having) < 2 or not flags:
        return None
    axes = [axis_of(name, (run.flags.get(name) for _, run in having)) for name in flags]
    axes.append(axis_of(objective, (run.objective for _, run in having)))
    rows = tuple((place, (*(run.flags.get(name) for name in flags), run.objective)) for place, run in having)
    return Parallel(axes=tuple(axes), rows=rows)


def scatter_of(names: tuple[str, str], xs: Sequence[FlagValue], ys: Sequence[FlagValue]) -> Scatter | None:
    """The second over the first of what each run has; None if no run has both."""
    x_axis = axis_of(names[0], xs)
    points = [
        (place, x, y)
        for place, (x, value) in enumerate(zip(xs, ys, strict=True))
        if (y := finite(value)) is not None and x_axis.place(x) is not None
    ]
    if not points:
        return None
    return Scatter(
        x=axis_of(names[0], (x for _, x, _ in points)),
        y=axis_of(names[1], (y for _, _, y in points)),
        points=tuple(points),
    )


def share_text(share: float) -> str:
    """A share as it is shown."""
    return f"{share:.0%}"


def direction_text(correlation: float | None) -> str:
    """What a correlation says, in a few characters; nothing where it says nothing."""
    if correlation is None or abs(correlation) < 0.005:
        return ""
    return f"{'↗' if correlation > 0 else '↘'} {number_text(round(correlation, 2))}"


def about(bars: Bars) -> str:
    """How the bars are to be read."""
    told = (
        "The share of the variance that each flag explains by itself (functional ANOVA over a random forest, "
        f"of {bars.importance.runs} runs), and its rank correlation."
    )
    if bars.importance.fit is None:
        return told
    return f"{told} The forest explains {share_text(bars.importance.fit)} of what it has not seen."


def as_json(plots: Plots) -> dict[str, Any]:
    """All that would be drawn, for programs."""
    ids = [run.id for run in plots.runs]
    return {
        "version": VERSION,
        "objective": plots.objective,
        "maximize": plots.largest_first,
        "runs": [_run_as_json(run) for run in plots.runs],
        "curves": [_curves_as_json(one, ids) for one in plots.curves],
        "parallel": None if plots.parallel is None else _parallel_as_json(plots.parallel, ids),
        "scatter": [_scatter_as_json(one, ids) for one in plots.scatters],
        "importance": [_bars_as_json(one) for one in plots.bars],
        "notes": plots.notes,
    }


def _run_as_json(run: PlotRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "operation": run.operation,
        "label": run.label,
        "status": run.state,
        "flags": run.flags,
        "objective": run.objective,
    }


def _curves_as_json(curves: Curves, ids: Sequence[str]) -> dict[str, Any]:
    lines = [
        {"run": ids[place], "steps": line.steps, "values": line.values, "count": line.count}
        for place, line in curves.lines
    ]
    return {"scalar": curves.scalar, "runs": lines}


def _parallel_as_json(parallel: Parallel, ids: Sequence[str]) -> dict[str, Any]:
    rows = [{"run": ids[place], "values": values} for place, values in parallel.rows]
    return {"columns": [axis.name for axis in parallel.axes], "rows": rows}


def _scatter_as_json(scatter: Scatter, ids: Sequence[str]) -> dict[str, Any]:
    points = [{"run": ids[place], "x": x, "y": y} for place, x, y in scatter.points]
    return {"x": scatter.x.name, "y": scatter.y.name, "points": points}


def _bars_as_json(bars: Bars) -> dict[str, Any]:
    found = bars.importance
    return {"scalar": bars.scalar, "runs": found.runs, "fit": found.fit, "flags": found.flags}
