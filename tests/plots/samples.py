"""Plots to draw, made by hand."""

from __future__ import annotations

import math
from typing import Any

from orchestra.model.importance import importance_of
from orchestra.model.plotting import (
    Bars,
    Plots,
    changed_flags,
    curves_of,
    parallel_of,
    plot_runs,
    scatter_of,
)
from orchestra.model.series import Series
from orchestra.testing.builders import a_run, an_operation

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`&${x}\x1b]0;x\x07\u202e\udcff"
ODD_VALUES = (math.nan, math.inf, -math.inf, None)


def all_plots(count: int, *, points: int = 5, name: str = "lr", text: str = "adam") -> Plots:
    """Plots of each kind of ``count`` runs with a number and a text as flags, both with gaps, and odd results."""
    flags: list[dict[str, Any]] = [
        {name: number + 1, "kind": f"{text}{number % 3}"} for number in range(count)
    ]
    for number in range(4, count, 7):
        del flags[number][name]
    numbers = [float(number % 10) + 1 for number in range(count)]
    found = [ODD_VALUES[number % 4] if number % 11 == 10 else value for number, value in enumerate(numbers)]
    operation = an_operation(name=text)
    runs = [a_run(flags=one, label=text, operation=operation) for one in flags]
    changed = changed_flags(runs) if runs else ()
    shown = plot_runs(runs, changed, {run.id: value for run, value in zip(runs, found, strict=True)})
    scalar = f"loss {text}"
    steps = tuple(range(points))
    series = [
        Series(steps=steps, values=tuple(value / (step + 1) for step in steps), count=points)
        for value in numbers
    ]
    if count > 1:
        series[1] = Series(
            steps=steps, values=(math.nan, 3.0, math.inf, *([2.0] * (points - 3))), count=points
        )
    curves = curves_of(scalar, series)
    scatter = scatter_of((name, scalar), [one.get(name) for one in flags], found)
    importance = importance_of({flag: [one.get(flag) for one in flags] for flag in changed}, numbers)
    return Plots(
        runs=shown,
        changed=changed,
        objective=scalar,
        largest_first=False,
        curves=() if curves is None else (curves,),
        parallel=parallel_of(shown, changed, scalar),
        scatters=() if scatter is None else (scatter,),
        bars=() if importance is None else (Bars(scalar=scalar, importance=importance),),
        notes=(f"a note on {text}",),
    )
