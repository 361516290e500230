"""Each kind of plot as a chart of SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from orchestra.model.plot_axes import Axis, number_text
from orchestra.model.plotting import Bars, Curves, Parallel, Plots, Scatter, direction_text, share_text
from orchestra.model.series import Series
from orchestra.plots.markup import Markup, cut, element

WIDE, HIGH = 900, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 15, 45
BAR_HIGH, NAME_WIDE = 24, 180
LONGEST = 24
"""Characters of what is written beside an axis."""
LEAST_TEXT_HIGH = 13
DOT = 3.5


def curves_chart(curves: Curves, plots: Plots, colours: Sequence[str]) -> Markup:
    """Curves over steps."""
    lines = [
        _run(
            "path" if len(stretch) > 1 else "circle",
            place,
            plots,
            **(_path(stretch, colours[place]) if len(stretch) > 1 else _dot(*stretch[0], colours[place])),
        )
        for place, series in plots.best_last(curves.lines)
        for stretch in _stretches(curves, series)
    ]
    return _chart("curves", f"{curves.scalar} over steps", HIGH, *_frame(curves.x, curves.y), *lines)


def _stretches(curves: Curves, series: Series) -> Iterator[list[tuple[float, float]]]:
    """The points of a series, in parts between values that have no place."""
    points: list[tuple[float, float]] = []
    for step, value in zip(series.steps, series.values, strict=True):
        x, y = curves.x.place(step), curves.y.place(value)
        if x is not None and y is not None:
            points.append(_at(x, y))
        elif points:
            yield points
            points = []
    if points:
        yield points


def scatter_chart(scatter: Scatter, plots: Plots, colours: Sequence[str]) -> Markup:
    """A point for each run."""
    dots: list[Markup] = []
    for place, x_value, y_value in plots.best_last(scatter.points):
        x, y = scatter.x.place(x_value), scatter.y.place(y_value)
        if x is not None and y is not None:
            dots.append(_run("circle", place, plots, **_dot(*_at(x, y), colours[place])))
    return _chart(
        "scatter", f"{scatter.y.name} over {scatter.x.name}", HIGH, *_frame(scatter.x, scatter.y), *dots
    )


def parallel_chart(parallel: Parallel, plots: Plots, colours: Sequence[str]) -> Markup:
    """A line for each run, through its place on every axis; where it has none the line has a gap."""
    xs = [LEFT + (WIDE - 2 * LEFT) * index / (len(parallel.axes) - 1) for index in range(len(parallel.axes))]
    lines: list[Markup] = []
    for place, values in plots.best_last(parallel.rows):
        places = [axis.place(value) for axis, value in zip(parallel.axes, values, strict=True)]
        points = [None if one is None else (x, _height(one)) for x, one in zip(xs, places, strict=True)]
        known = ",".join("" if one is None else f"{one:.4f}" for one in places)
        lines.append(
            _run("path", place, plots, d=_with_gaps(points), stroke=colours[place], data_places=known)
        )
    axes = [one for x, axis in zip(xs, parallel.axes, strict=True) for one in _upright(x, axis)]
    return _chart("parallel", f"parallel coordinates to {plots.objective}", HIGH, *lines, *axes)


def _upright(x: float, axis: Axis) -> Iterator[Markup]:
    yield element("line", x1=x, x2=x, y1=TOP, y2=HIGH - BOTTOM, class_="axis")
    for place, text in _spaced(axis.ticks):
        yield element("text", cut(text, 14), x=_n(x + 5), y=_n(_height(place) + 4))
    yield _label(axis, x=_n(x), y=HIGH - BOTTOM + 20, text_anchor="middle", longest=16)
    reach = {"x": _n(x - 12), "y": TOP, "width": 24}
    yield element("rect", **{**reach, "height": 0}, class_="brush")
    yield element("rect", **reach, height=HIGH - TOP - BOTTOM, class_="reach")


def bars_chart(bars: Bars) -> Markup:
    """A bar for each flag, the most important first."""
    flags = bars.importance.flags
    wide = WIDE - NAME_WIDE - 130
    rows: list[Markup] = []
    for index, flag in enumerate(flags):
        y = TOP + index * BAR_HIGH
        told = f"{share_text(flag.share)} {direction_text(flag.correlation)}".rstrip()
        length = wide * min(flag.share, 1.0)
        rows += [
            _named("text", flag.name, x=NAME_WIDE - 8, y=y + 15, text_anchor="end"),
            element("rect", x=NAME_WIDE, y=y + 3, width=_n(length), height=BAR_HIGH - 8, class_="bar"),
            element("text", told, x=_n(NAME_WIDE + length + 8), y=y + 15),
        ]
    return _chart("bars", f"what matters to {bars.scalar}", TOP + BAR_HIGH * len(flags) + 5, *rows)


def _chart(kind: str, what: str, high: float, *children: Markup) -> Markup:
    return element("svg", *children, class_=kind, viewBox=f"0 0 {WIDE} {high}", role="img", aria_label=what)


def _frame(x_axis: Axis, y_axis: Axis) -> Iterator[Markup]:
    bottom, right = HIGH - BOTTOM, WIDE - RIGHT
    for place, text in _spaced(y_axis.ticks):
        y = _n(_height(place))
        yield element("line", x1=LEFT, x2=right, y1=y, y2=y, class_="grid")
        yield element("text", cut(text, 10), x=LEFT - 6, y=_n(_height(place) + 4), text_anchor="end")
    beside = max(4, min(LONGEST, 110 // max(len(x_axis.ticks), 1)))
    for place, text in x_axis.ticks:
        x = _n(_at(place, 0)[0])
        yield element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis")
        yield _named("text", text, x=x, y=bottom + 17, text_anchor="middle", longest=beside)
    yield element("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="axis")
    yield element("line", x1=LEFT, x2=LEFT, y1=TOP, y2=bottom, class_="axis")
    yield _label(x_axis, x=(LEFT + right) / 2, y=bottom + 36, text_anchor="middle", longest=80)


def _spaced(ticks: Sequence[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """Those of the ticks of an upright axis that don't run into each other."""
    before = -math.inf
    for place, text in ticks:
        if (place - before) * (HIGH - TOP - BOTTOM) >= LEAST_TEXT_HIGH:
            yield place, text
            before = place


def _label(axis: Axis, *, longest: int, **attributes: str | float) -> Markup:
    return _named("text", f"{axis.name} (log)" if axis.log else axis.name, longest=longest, **attributes)


def _named(name: str, text: str, *, longest: int = LONGEST, **attributes: str | float) -> Markup:
    """An element with a text that may be cut; all of it is shown under the pointer."""
    return element(name, cut(text, longest), element("title", text), **attributes)


def _run(name: str, place: int, plots: Plots, **attributes: str | float) -> Markup:
    run = plots.runs[place]
    told = run.legend if run.objective is None else f"{run.legend} ({number_text(run.objective)})"
    return element(name, element("title", told), class_="run", data_run=place, **attributes)


def _path(points: Sequence[tuple[float, float]], colour: str) -> dict[str, str]:
    return {"d": _with_gaps(points), "stroke": colour}


def _dot(x: float, y: float, colour: str) -> dict[str, str | float]:
    return {"cx": _n(x), "cy": _n(y), "r": DOT, "fill": colour}


def _with_gaps(points: Sequence[tuple[float, float] | None]) -> str:
    parts: list[str] = []
    pen = "M"
    for point in points:
        if point is None:
            pen = "M"
        else:
            parts.append(f"{pen}{_n(point[0])} {_n(point[1])}")
            pen = "L"
    return "".join(parts)


def _at(x: float, y: float) -> tuple[float, float]:
    return LEFT + x * (WIDE - LEFT - RIGHT), _height(y)


def _height(place: float) -> float:
    return HIGH - BOTTOM - place * (HIGH - TOP - BOTTOM)


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
