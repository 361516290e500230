"""Plots as a picture, drawn by matplotlib, which is installed with the extra ``plots``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

from orchestra.errors import UserError
from orchestra.model.plot_axes import Axis
from orchestra.model.plotting import Bars, Curves, Parallel, Plots, Scatter, direction_text, share_text
from orchestra.plots.colours import colours_of
from orchestra.plots.markup import cut

WIDE, HIGH = 9.0, 3.6
"""Inches of a chart."""
DOTS_PER_INCH = 120
MOST_IN_LEGEND = 10
LONGEST = 24
_LEGEND: dict[str, Any] = {"fontsize": 7, "loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}

# matplotlib comes with few types: what it has is looked at no further.


def png_of(plots: Plots) -> bytes:
    """The picture: one chart below the other.

    Raises:
        UserError: matplotlib is not installed.
    """
    with warnings.catch_warnings():
        # Of a character that the font lacks, or of what is old in a library: nothing that who plots can change.
        warnings.simplefilter("ignore")
        try:
            import matplotlib
        except ImportError as error:
            raise UserError(
                "a picture takes matplotlib, which is not installed",
                "Install it with: pip install 'orchestra-runs[plots]'. A page (--html FILE) needs nothing.",
            ) from error
        drawn: Any = matplotlib
        # Names are no formulas.
        with drawn.rc_context({"text.parse_math": False, "font.size": 9.0}):
            return _drawn(_charts(plots), plots)


def _drawn(charts: Sequence[Any], plots: Plots) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    target = io.BytesIO()
    figure: Any = Figure(figsize=(WIDE, HIGH * len(charts)), layout="constrained")
    FigureCanvasAgg(figure)
    colours = colours_of(plots)
    for index, chart in enumerate(charts):
        _DRAWERS[type(chart)](figure.add_subplot(len(charts), 1, index + 1), chart, plots, colours)
    figure.savefig(target, format="png", dpi=DOTS_PER_INCH)
    return target.getvalue()


def _charts(plots: Plots) -> list[Any]:
    parallel = [plots.parallel] if plots.parallel is not None else []
    return [*plots.curves, *parallel, *plots.bars, *plots.scatters]


def _curves(axes: Any, curves: Curves, plots: Plots, colours: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    for place, series in plots.best_last(curves.lines):
        points = [(curves.x.place(step), curves.y.place(value)) for step, value in _points(series)]
        _line(axes, points, colours[place])
    _mark(axes, curves.x, curves.y, title=f"{curves.scalar} over steps")
    having = {place for place, _ in curves.lines}
    shown = [place for place in plots.best_first() if place in having][:MOST_IN_LEGEND]
    handles: list[Any] = [Line2D([], [], color=colours[place]) for place in shown]
    # One that begins with an underscore would be left out.
    axes.legend(handles, [f" {cut(plots.runs[place].legend, 60)}" for place in shown], **_LEGEND)


def _points(series: Any) -> Any:
    return zip(series.steps, series.values, strict=True)


def _line(axes: Any, points: Sequence[tuple[float | None, float | None]], colour: str) -> None:
    nowhere = float("nan")
    xs = [nowhere if x is None else x for x, _ in points]
    ys = [nowhere if y is None else y for _, y in points]
    axes.plot(xs, ys, color=colour, linewidth=1.2, alpha=0.8, marker="o" if len(points) == 1 else "")


def _parallel(axes: Any, parallel: Parallel, plots: Plots, colours: Sequence[str]) -> None:
    for place, values in plots.best_last(parallel.rows):
        places = [axis.place(value) for axis, value in zip(parallel.axes, values, strict=True)]
        _line(axes, [(float(index), one) for index, one in enumerate(places)], colours[place])
    for index, axis in enumerate(parallel.axes):
        axes.axvline(index, color="black", linewidth=0.8)
        for place, text in axis.ticks:
            axes.text(index + 0.02, place, cut(text, 14), fontsize=7, verticalalignment="center")
    axes.set_xticks(range(len(parallel.axes)), [cut(_name(axis), 16) for axis in parallel.axes])
    axes.set_yticks([])
    axes.set_title(f"Flags that changed, and {cut(parallel.axes[-1].name, LONGEST)}")


def _bars(axes: Any, bars: Bars, plots: Plots, colours: Sequence[str]) -> None:
    flags = bars.importance.flags
    drawn = axes.barh(range(len(flags)), [flag.share for flag in flags], color=colours[0])
    told = [f"{share_text(flag.share)} {direction_text(flag.correlation)}".rstrip() for flag in flags]
    axes.bar_label(drawn, told, padding=4)
    axes.set_yticks(range(len(flags)), [cut(flag.name, LONGEST) for flag in flags])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15)
    axes.set_title(f"What matters to {cut(bars.scalar, LONGEST)}")


def _scatter(axes: Any, scatter: Scatter, plots: Plots, colours: Sequence[str]) -> None:
    points = plots.best_last(scatter.points)
    xs = [scatter.x.place(x) for _, x, _ in points]
    ys = [scatter.y.place(y) for _, _, y in points]
    axes.scatter(xs, ys, c=[colours[place] for place, _, _ in points], s=16, alpha=0.8)
    _mark(axes, scatter.x, scatter.y, title=f"{scatter.y.name} over {scatter.x.name}")


def _mark(axes: Any, x: Axis, y: Axis, *, title: str) -> None:
    for axis, set_ticks, set_label in (
        (x, axes.set_xticks, axes.set_xlabel),
        (y, axes.set_yticks, axes.set_ylabel),
    ):
        set_ticks([place for place, _ in axis.ticks], [cut(text, LONGEST) for _, text in axis.ticks])
        set_label(cut(_name(axis), LONGEST))
    axes.set_title(cut(title, 80))
    axes.grid(visible=True, alpha=0.3)


def _name(axis: Axis) -> str:
    return f"{axis.name} (log)" if axis.log else axis.name


_DRAWERS: dict[type[Any], Any] = {Curves: _curves, Parallel: _parallel, Bars: _bars, Scatter: _scatter}
