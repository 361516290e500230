"""Plots in a terminal: braille dots for curves and points, bars, and a table in the place of parallel coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestra.cli.tables import cell, cut, render, text_width
from orchestra.model.labels import shown_in_label
from orchestra.model.plot_axes import Axis, number_text
from orchestra.model.plotting import Bars, Curves, Parallel, Plots, Scatter, about, direction_text, share_text

HIGH = 12
"""Lines of a chart."""
NARROWEST, WIDEST = 30, 120
MOST_IN_LEGEND = 8
MOST_ROWS = 15
NAME_WIDE = 24
LONGEST_VALUE = 16
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot in a character of braille, by row and column."""
_BRAILLE = 0x2800
MARK = "•"
_COLOURS = (34, 33, 31, 36, 32, 35, 94, 93)
"""Of the first runs: the codes of a terminal's own colours."""


class _Canvas:
    """Dots, each of the colour that came first to its character."""

    def __init__(self, wide: int, high: int) -> None:
        self.wide, self.high = wide * 2, high * 4
        self._bits = [[0] * wide for _ in range(high)]
        self._colours: list[list[int]] = [[0] * wide for _ in range(high)]
        self._marks: set[tuple[int, int]] = set()

    def dot(self, x: float, y: float, colour: int = 0) -> None:
        """A dot at a place from 0 to 1, from the left and from the bottom."""
        column, row = round(x * (self.wide - 1)), round((1 - y) * (self.high - 1))
        self._bits[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
        self._colours[row // 4][column // 2] = self._colours[row // 4][column // 2] or colour

    def mark(self, x: float, y: float, colour: int = 0) -> None:
        """A whole character at such a place."""
        self.dot(x, y, colour)
        column, row = round(x * (self.wide - 1)), round((1 - y) * (self.high - 1))
        self._marks.add((row // 4, column // 2))

    def line(self, one: tuple[float, float], other: tuple[float, float], colour: int = 0) -> None:
        """Dots from one place to another."""
        columns, rows = abs(other[0] - one[0]) * self.wide, abs(other[1] - one[1]) * self.high
        steps = max(round(max(columns, rows)), 1)
        for step in range(steps + 1):
            share = step / steps
            self.dot(one[0] + (other[0] - one[0]) * share, one[1] + (other[1] - one[1]) * share, colour)

    def lines(self) -> Iterator[str]:
        """The lines of characters."""
        for row, (bits, colours) in enumerate(zip(self._bits, self._colours, strict=True)):
            shown = [
                MARK if (row, column) in self._marks else chr(_BRAILLE | bit) if bit else " "
                for column, bit in enumerate(bits)
            ]
            yield "".join(map(_coloured, shown, colours)).rstrip()


def text_of(plots: Plots, width: int | None, *, coloured: bool = False) -> str:
    """All plots as text that is ``width`` columns wide; None: as wide as suits them."""
    wide = min(max(width or 80, NARROWEST), WIDEST)
    colours = _colours(plots, coloured=coloured)
    parts: list[str] = []
    parts += [_curves(one, plots, colours, wide) for one in plots.curves]
    parts += [_best(plots.parallel, plots, wide)] if plots.parallel is not None else []
    parts += [_bars(one, wide) for one in plots.bars]
    parts += [_scatter(one, colours, wide) for one in plots.scatters]
    parts += ["".join(f"{line}\n" for note in plots.notes for line in _wrapped(cell(note), wide))]
    return "\n".join(part for part in parts if part)


def _colours(plots: Plots, *, coloured: bool) -> list[int]:
    found = [0] * len(plots.runs)
    if coloured:
        for place, colour in zip(plots.best_first(), _COLOURS, strict=False):
            found[place] = colour
    return found


def _coloured(text: str, colour: int) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def _curves(curves: Curves, plots: Plots, colours: Sequence[int], wide: int) -> str:
    labels = _side_labels(curves.y)
    canvas = _canvas(labels, wide)
    # The best come first: theirs is the colour where curves meet.
    lines = plots.best_last(curves.lines)[::-1]
    for place, series in lines:
        before: tuple[float, float] | None = None
        for step, value in zip(series.steps, series.values, strict=True):
            x, y = curves.x.place(step), curves.y.place(value)
            point = None if x is None or y is None else (x, y)
            if point is not None:
                canvas.line(before or point, point, colours[place])
            before = point
    text = _framed(f"{curves.scalar} over steps", canvas, labels, curves.x, wide)
    return text + _legend([place for place, _ in lines], plots, colours, wide)


def _legend(places: Sequence[int], plots: Plots, colours: Sequence[int], wide: int) -> str:
    rows: list[str] = []
    for place in places[:MOST_IN_LEGEND]:
        run = plots.runs[place]
        told = "" if run.objective is None else f"  {plots.objective} {number_text(run.objective)}"
        told = cell(told)
        text = cut(cell(run.legend), max(wide - 4 - text_width(told), wide // 2))
        rows.append(f"  {_coloured('━', colours[place])} {cut(text + told, wide - 4)}\n")
    more = len(places) - MOST_IN_LEGEND
    return "".join(rows) + (f"    and {more} more\n" if more > 0 else "")


def _scatter(scatter: Scatter, colours: Sequence[int], wide: int) -> str:
    labels = _side_labels(scatter.y)
    canvas = _canvas(labels, wide)
    for place, x_value, y_value in scatter.points:
        x, y = scatter.x.place(x_value), scatter.y.place(y_value)
        if x is not None and y is not None:
            canvas.mark(x, y, colours[place])
    return _framed(f"{scatter.y.name} over {scatter.x.name}", canvas, labels, scatter.x, wide)


def _canvas(labels: dict[int, str], wide: int) -> _Canvas:
    return _Canvas(wide - max(map(len, labels.values()), default=0) - 2, HIGH)


def _side_labels(axis: Axis) -> dict[int, str]:
    """What is written beside which line."""
    found: dict[int, str] = {}
    for place, text in axis.ticks:
        found.setdefault(round((1 - place) * (HIGH - 1)), text)
    return found


def _framed(title: str, canvas: _Canvas, labels: dict[int, str], x_axis: Axis, wide: int) -> str:
    side = max(map(len, labels.values()), default=0)
    lines = [cut(cell(title), wide)]
    for row, dots in enumerate(canvas.lines()):
        label = labels.get(row, "")
        lines.append(f"{label:>{side}} {'┤' if label else '│'}{dots}")
    columns = canvas.wide // 2
    lines.append(f"{'':>{side}} └{'─' * columns}")
    lines.append(" " * (side + 2) + _below(x_axis, columns))
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _below(axis: Axis, columns: int) -> str:
    """What is written below the axis: as many of its ticks as don't run into each other."""
    line = ""
    for place, text in axis.ticks:
        shown = cut(cell(text), max(columns // 4, 4))
        start = max(
            min(round(place * (columns - 1)) - text_width(shown) // 2, columns - text_width(shown)), 0
        )
        gap = start - text_width(line)
        if gap >= (1 if line else 0):
            line += " " * gap + shown
    return line


def _bars(bars: Bars, wide: int) -> str:
    flags = bars.importance.flags
    names = [cut(cell(flag.name), min(NAME_WIDE, wide // 3)) for flag in flags]
    told = [f"{share_text(flag.share):>4} {direction_text(flag.correlation)}".rstrip() for flag in flags]
    side = max(map(text_width, names))
    room = max(wide - side - max(map(len, told)) - 4, 5)
    lines = [cut(cell(f"What matters to {bars.scalar}"), wide)]
    for name, text, flag in zip(names, told, flags, strict=True):
        bar = "█" * round(min(flag.share, 1.0) * room)
        lines.append(f"{' ' * (side - text_width(name))}{name} {bar}{' ' if bar else ''}{text}")
    return "".join(f"{line}\n" for line in [*lines, *_wrapped(about(bars), wide)])


def _wrapped(text: str, wide: int) -> list[str]:
    """The text in lines; a word that is too wide for one is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(lines[-1]) + 1 + text_width(word) <= wide:
            lines[-1] += f" {word}"
        else:
            lines.append(cut(word, wide))
    return lines


def _best(parallel: Parallel, plots: Plots, wide: int) -> str:
    """The best runs with the flags that changed: what parallel coordinates show can't be told in dots."""
    values = dict(parallel.rows)
    ranked = plots.ranked()
    *flags, objective = (axis.name for axis in parallel.axes)
    rows = [["run", *(cut(cell(name), LONGEST_VALUE) for name in (objective, *flags))]]
    for place in ranked[:MOST_ROWS]:
        *given, came_to = values[place]
        shown = ("" if one is None else cut(cell(shown_in_label(one)), LONGEST_VALUE) for one in given)
        rows.append([plots.runs[place].short_id, number_text(float(came_to)), *shown])
    best = "greatest" if plots.largest_first else "least"
    title = cut(cell(f"The {best} {plots.objective} first, of {len(ranked)} runs"), wide)
    return f"{title}\n{render(rows, width=wide)}"
