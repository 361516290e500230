"""``orchestra plot``: draw what runs came to, in the terminal, as a page or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import terminal
from orchestra.cli.context import complete, current
from orchestra.cli.selection import FILTERS, Filters, chosen
from orchestra.engine.off_loop import off_loop
from orchestra.engine.plotting import PlotRequest, gather, trials_for_batches
from orchestra.errors import RunNotFound, UsageError, UserError
from orchestra.model.columns import Column, parse_column, parse_columns
from orchestra.model.plotting import Plots, as_json
from orchestra.workspace.personal_files import place_of, write_file

STDOUT = "-"
SUFFIXES = {"--html": (".html", ".htm"), "--png": (".png",)}
_File = Annotated[str | None, Parameter(allow_leading_hyphen=True)]


def plot(
    *runs: str,
    filters: Filters = FILTERS,
    curves: str | None = None,
    parallel: bool = False,
    scatter: tuple[str, ...] = (),
    importance: str | None = None,
    min_: Annotated[str | None, Parameter(name=("--min", "-min"))] = None,
    max_: Annotated[str | None, Parameter(name=("--max", "-max"))] = None,
    html: _File = None,
    png: _File = None,
    text: bool = False,
    json: bool = False,
) -> int:
    """Draw what runs came to, with characters, or into the files that are named; all runs unless told otherwise.

    Shown are curves of scalars, parallel coordinates of the flags that changed, which of them matter, and scalars over
    them; or those of these that are asked for. A batch stands for its trials.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :), ids, or beginnings of ids.
    curves
        Curves of these scalars over steps: 'loss' or 'loss,acc'.
    parallel
        Parallel coordinates: a line for each run through the flags that changed, to the objective.
    scatter
        A point for each run, as FLAG,SCALAR: 'lr,loss'. Can be given several times.
    importance
        How much of this scalar's variance each flag explains.
    min_
        The objective, if less of it is better: 'loss', 'min loss'. That of the batch unless told otherwise, else the
        first scalar.
    max_
        As --min, if more is better.
    html
        Write a page to this file, which opens without a network; '-' is standard output.
    png
        Write a picture to this file. It takes matplotlib: pip install 'orchestra-runs[plots]'.
    text
        Draw with characters, whatever files are written.
    json
        Print all that would be drawn, as JSON.
    """
    if min_ is not None and max_ is not None:
        raise UsageError("--min and --max cannot both be used")
    _check_targets(html, png, text=text, json=json)
    request = PlotRequest(
        curves=_curves(curves),
        parallel=parallel,
        scatter=tuple(map(_pair, scatter)),
        importance=() if importance is None else (parse_column(importance),),
        objective=None if min_ is None and max_ is None else parse_column(min_ or max_ or ""),
        largest_first=max_ is not None,
    )
    plots = complete(lambda: _plots(runs, filters, request))
    if json:
        terminal.write_json(as_json(plots))
    elif plots.is_empty:
        raise UserError("there is nothing to plot", " ".join(plots.notes) or None)
    if text or not (html or png or json):
        _print_text(plots)
    if html:
        from orchestra.plots.page import page_of

        _put(html, page_of(plots, _title(plots)).encode(), plots)
    if png:
        from orchestra.plots.picture import png_of

        _put(png, png_of(plots), plots)
    return 0


def _check_targets(html: str | None, png: str | None, *, text: bool, json: bool) -> None:
    for option, file in (("--html", html), ("--png", png)):
        if file is not None and (not file or (file.startswith("-") and file != STDOUT)):
            raise UsageError(
                f"{option} takes the path of a file, not '{file}'", f"Write it as ./{file or 'FILE'}."
            )
        if file in (None, STDOUT):
            continue
        if (suffix := Path(file).suffix.lower()) not in ("", *SUFFIXES[option]):
            raise UsageError(
                f"{option} writes no {suffix[1:]} file: '{file}'",
                f"Let its name end with {SUFFIXES[option][0]}.",
            )
        place_of(file, current().cwd)
    if sum((text, json, STDOUT in (html, png))) > 1 or html == png == STDOUT:
        raise UsageError("only one thing can go to standard output")


def _curves(given: str | None) -> tuple[Column, ...]:
    columns = parse_columns(given) if given is not None else []
    for column in columns:
        if column.kind != "scalar" or column.heading != column.name:
            raise UsageError(f"--curves takes scalars, not '{column.heading}'", "Name them as 'loss,acc'.")
    return tuple(columns)


def _pair(given: str) -> tuple[Column, Column]:
    columns = parse_columns(given)
    if len(columns) != 2:
        raise UsageError(f"--scatter takes two columns, not '{given}'", "Write it as FLAG,SCALAR: 'lr,loss'.")
    return columns[0], columns[1]


async def _plots(specs: tuple[str, ...], filters: Filters, request: PlotRequest) -> Plots:
    async with current().session(looking=True) as session:
        found = await chosen(session, specs, filters, default="all")
        trials, objective = await trials_for_batches(session, found, also=bool(specs))
        if not trials:
            raise RunNotFound("no matching runs")
        return await off_loop(lambda: gather(session, trials, request, objective))


def _title(plots: Plots) -> str:
    operations = list(dict.fromkeys(run.operation for run in plots.runs))
    named = ", ".join(operations[:3]) + (", ..." if len(operations) > 3 else "")
    return f"{named}: {len(plots.runs)} run{'' if len(plots.runs) == 1 else 's'}"


def _print_text(plots: Plots) -> None:
    from orchestra.cli.plot_text import text_of

    terminal.write(text_of(plots, terminal.width(), coloured=terminal.in_colour()))


def _put(path: str, data: bytes, plots: Plots) -> None:
    """Write to a file: whole, or not at all.

    Raises:
        UserError: it can't be written.
    """
    if path == STDOUT:
        terminal.write_bytes(data)
        return
    write_file(place_of(path, current().cwd), data, path)
    terminal.write(f"Wrote {len(plots.runs)} run(s) to {path}\n")
