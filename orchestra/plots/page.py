"""Plots as one page of HTML: it needs nothing beside itself, and opens wherever there is a browser.

Drawn here, as SVG, rather than by a library in the browser: such a page has tens of kilobytes, not megabytes of
script; it is whole without any script; and what it shows, names and values of other people's flags, is text and nothing
else. Its only script is ours: the page's own policy lets no other run, and nothing be fetched.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from orchestra.model.decoding import encode
from orchestra.model.plot_axes import number_text
from orchestra.model.plotting import Plots, about
from orchestra.plots.charts import bars_chart, curves_chart, parallel_chart, scatter_chart
from orchestra.plots.colours import colours_of
from orchestra.plots.markup import Markup, cut, element, joined

MOST_IN_LEGEND = 20
LONGEST_CELL = 40
MANY = 100
"""Runs that would hide each other were they not drawn more faintly."""
_HERE = Path(__file__).parent


def page_of(plots: Plots, title: str) -> str:
    """The page, whole."""
    style, script = (Markup((_HERE / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}"
    colours = colours_of(plots)
    head = joined(
        # What the page is known by: it is no source of later runs.
        Markup('<meta name="generator" content="Orchestra">'),
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("title", title),
        element("style", style),
    )
    body = joined(
        element("h1", title),
        *_notes(plots),
        *_legend(plots, colours),
        *_charts(plots, colours),
        *_table(plots, colours),
        element("script", script),
    )
    many = ' class="many"' if len(plots.runs) > MANY else ""
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body{many}>{body}</body></html>\n'


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _notes(plots: Plots) -> Iterator[Markup]:
    if plots.notes:
        yield element("ul", *(element("li", note) for note in plots.notes), class_="notes")


def _legend(plots: Plots, colours: list[str]) -> Iterator[Markup]:
    shown = plots.best_first()[:MOST_IN_LEGEND]
    if len(shown) < len(plots.runs):
        best = "greatest" if plots.largest_first else "least"
        yield element("p", f"The {len(shown)} runs with the {best} '{plots.objective}':", class_="notes")
    items = (
        element("li", _swatch(colours[place]), plots.runs[place].legend, data_run=place) for place in shown
    )
    yield element("ul", *items, class_="legend")


def _swatch(colour: str) -> Markup:
    box = element("rect", width=14, height=10, fill=colour)
    return element("svg", box, class_="swatch", viewBox="0 0 14 10")


def _charts(plots: Plots, colours: list[str]) -> Iterator[Markup]:
    for curves in plots.curves:
        yield _section(f"{curves.scalar} over steps", curves_chart(curves, plots, colours))
    if plots.parallel is not None:
        what = "Flags that changed, and what came of them"
        yield _section(
            f"{what}: {plots.objective}",
            parallel_chart(plots.parallel, plots, colours),
            element("p", "Drag along an axis to see only the runs that pass there.", class_="notes"),
        )
    for bars in plots.bars:
        yield _section(
            f"What matters to {bars.scalar}", bars_chart(bars), element("p", about(bars), class_="notes")
        )
    for scatter in plots.scatters:
        heading = f"{scatter.y.name} over {scatter.x.name}"
        yield _section(heading, scatter_chart(scatter, plots, colours))


def _section(heading: str, *children: Markup) -> Markup:
    return element("section", element("h2", heading), *children)


def _table(plots: Plots, colours: list[str]) -> Iterator[Markup]:
    if not plots.runs:
        return
    headings = ["run", "operation", "status", *plots.changed, *([plots.objective] if plots.objective else [])]
    rows = [element("tr", *(element("th", cut(name, LONGEST_CELL)) for name in headings))]
    for place in plots.best_first():
        run = plots.runs[place]
        cells = [element("td", _swatch(colours[place]), run.short_id)]
        cells += [element("td", text) for text in (run.operation, run.state)]
        cells += [element("td", _cell(run.flags.get(name)), class_="number") for name in plots.changed]
        if plots.objective:
            value = "" if run.objective is None else number_text(run.objective)
            cells.append(element("td", value, class_="number"))
        rows.append(element("tr", *cells, data_run=place))
    summary = element("summary", f"All {len(plots.runs)} runs" if len(plots.runs) > 1 else "The run")
    yield element("details", summary, element("table", *rows))


def _cell(value: object) -> str:
    return "" if value is None else cut(encode(value), LONGEST_CELL)
