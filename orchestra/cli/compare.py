"""``orchestra compare``: what runs were given and what they came to, as a table, CSV or JSON."""

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Group, Parameter

from orchestra.cli import screen, terminal
from orchestra.cli.context import complete, current
from orchestra.cli.options import whole
from orchestra.cli.selection import FILTERS, Filters, chosen, query_of, why_none
from orchestra.console import printable
from orchestra.engine.comparing import CompareRequest, compare_request, make_comparison, subjects_of
from orchestra.errors import UsageError
from orchestra.model.comparison import Comparison
from orchestra.model.filters import RunQuery
from orchestra.model.scalars import natural
from orchestra.model.subjects import Subject
from orchestra.workspace.personal_files import place_of, write_file

if TYPE_CHECKING:
    from orchestra.engine.session import Session

_COLUMNS = Group("Columns", sort_key=1)
_ORDER = Group("Order and repeats", sort_key=2)
_FORM = Group("Form", sort_key=3)
STDOUT = "-"
MOST_PROBLEMS = 10
"""So many things that keep something from being shown are told one by one."""


def compare(
    *runs: str,
    cols: Annotated[str | None, Parameter(name=("--cols", "-c"), group=_COLUMNS)] = None,
    strict_cols: Annotated[str | None, Parameter(name=("--strict-cols", "-cc"), group=_COLUMNS)] = None,
    skip_op_cols: Annotated[bool, Parameter(name="--skip-op-cols", group=_COLUMNS)] = False,
    skip_core: Annotated[bool, Parameter(name=("--skip-core", "-p", "-r"), group=_COLUMNS)] = False,
    skip_unchanged: Annotated[bool, Parameter(name=("--skip-unchanged", "-u"), group=_COLUMNS)] = False,
    extra_cols: Annotated[bool, Parameter(name=("--extra-cols", "-x", "-e"), group=_COLUMNS)] = False,
    all_scalars: Annotated[bool, Parameter(name=("--all-scalars", "-s"), group=_COLUMNS)] = False,
    min_: Annotated[str | None, Parameter(name=("--min", "-min"), group=_ORDER)] = None,
    max_: Annotated[str | None, Parameter(name=("--max", "-max"), group=_ORDER)] = None,
    top: Annotated[
        int | None, Parameter(converter=whole, name=("--top", "-n", "--limit"), group=_ORDER)
    ] = None,
    repeats: Annotated[bool, Parameter(group=_ORDER)] = False,
    group_by: Annotated[str | None, Parameter(group=_ORDER)] = None,
    agg: Annotated[str | None, Parameter(group=_ORDER)] = None,
    table: Annotated[bool, Parameter(name=("--table", "-t"), group=_FORM)] = False,
    csv: Annotated[str | None, Parameter(group=_FORM, allow_leading_hyphen=True)] = None,
    csv_raw: Annotated[bool, Parameter(group=_FORM)] = False,
    json: Annotated[bool, Parameter(group=_FORM)] = False,
    print_scalars: Annotated[bool, Parameter(group=_FORM)] = False,
    include_batch: bool = False,
    filters: Filters = FILTERS,
) -> int:
    """Compare runs: what they were given, and what they came to.

    On a terminal the table can be sorted, filtered and looked into (? shows the keys); -t prints it.

    A column is a scalar (loss; min loss, loss step), a flag (=lr) or an attribute (.label), with another heading by
    'as': 'min loss as best'. Every run has run, operation, started, time, status and label. An operation's columns are
    those that its project says under 'compare', else its flags, what it printed, step and its scalars.

    Runs that differ in their seed alone are repeats: --repeats and --group-by have one row for those that are alike,
    with the mean, the deviation and the number of values of each scalar. A flag called seed, random_seed, random-state
    or so is a seed.

    With --json one object is printed: schema (1), columns (name and kind: flag, scalar or attribute) and rows; a row
    has runs (their ids) and values by the names of the columns, one of several runs their seeds, too. Times are whole
    microseconds since 1970 (UTC), how long a run took is in seconds; what is not known, or no number, is null.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :), ids, or beginnings of ids.
    cols
        Show these columns, too, with commas between them.
    strict_cols
        Show the run and these columns alone.
    skip_op_cols
        Leave out the columns of operations.
    skip_core
        Leave out what every run has.
    skip_unchanged
        Leave out columns in which all have the same.
    extra_cols
        Show the digest of the source, too.
    all_scalars
        Show what we measured, too (sys/max_rss ...).
    min_
        Sort by this column, the least first: a heading of the table, or a column.
    max_
        Sort by this column, the greatest first.
    top
        Show so many rows alone, the first ones.
    repeats
        One row for runs that differ in their seed alone.
    group_by
        One row for runs that have the same of these flags, or columns, with commas between them.
    agg
        What is shown of them: mean,std,n unless told otherwise, min, max, median, sem.
    table
        Print a table. On a terminal it fits, with what is the same in all runs above it, and without labels that only
        repeat the flags.
    csv
        Write the values to this file, or '-', as CSV.
    csv_raw
        Write texts into CSV as they are, also those that a spreadsheet would take for formulas.
    json
        Print JSON.
    print_scalars
        Print the scalars of each run.
    include_batch
        Batches and queues, too.
    """
    form = _Form(table=table, csv=csv, csv_raw=csv_raw, json=json, print_scalars=print_scalars)
    form.check()
    request = compare_request(
        cols,
        strict_cols,
        skip_core=skip_core,
        skip_op_cols=skip_op_cols,
        extra_cols=extra_cols,
        all_scalars=all_scalars,
        min=min_,
        max=max_,
        top=top,
        repeats=repeats,
        group_by=group_by,
        agg=agg,
        only_completed=query_of(filters).states is None,
        include_batch=include_batch,
    )
    asked = Asked(runs, filters, request, skip_unchanged)
    if form == _Form() and screen.can_draw() and os.isatty(0):
        if find_spec("textual") is not None:
            from orchestra.cli.compare_view import show_view

            return show_view(asked)
        os.write(2, _WITHOUT_TEXTUAL)
    return complete(lambda: _compare(asked, form))


_WITHOUT_TEXTUAL = (
    b"For a table to sort, filter and look into, install textual: pip install 'orchestra-runs[tui]'."
    b" With --table this line is not shown.\n"
)


class _Form(NamedTuple):
    """As what it is shown."""

    table: bool = False
    csv: str | None = None
    csv_raw: bool = False
    json: bool = False
    print_scalars: bool = False

    def check(self) -> None:
        given = {"--table": self.table, "--csv": self.csv is not None, "--json": self.json}
        given["--print-scalars"] = self.print_scalars
        named = [name for name, is_given in given.items() if is_given]
        if len(named) > 1:
            raise UsageError(f"{named[0]} and {named[1]} cannot both be used")
        if self.csv == "":
            raise UsageError("--csv needs a file to write, or '-'")
        if self.csv_raw and self.csv is None:
            raise UsageError("--csv-raw needs --csv")
        if self.csv not in (None, STDOUT):
            place_of(self.csv, current().cwd)


class Asked(NamedTuple):
    """What is compared, and how."""

    specs: tuple[str, ...]
    filters: Filters
    request: CompareRequest
    skip_unchanged: bool

    async def subjects(self, session: "Session", expression: str = "") -> tuple[Subject, ...]:
        """The runs with what they came to; with ``expression`` those alone that it holds of."""
        runs = await chosen(session, self.specs, self.filters, default="all")
        if expression:
            filters = replace(self.filters, filter=(*self.filters.filter, expression))
            base = RunQuery(ids=tuple(run.id for run in runs))
            runs = await chosen(session, (), filters, default="all", base=base)
        found = await subjects_of(session, runs, current().cwd, include_batch=self.request.include_batch)
        if runs and not found:
            message = "Only batches and queues were chosen: --include-batch shows them, too"
            session.emit("log.message", level="warning", message=message, logger="")
        return found


async def _compare(asked: Asked, form: _Form) -> int:
    context, request = current(), asked.request
    async with context.session(looking=True) as session:
        subjects = await asked.subjects(session)
        if not subjects and not (form.json or form.csv):
            total = (await session.store.query(RunQuery(limit=1))).total
            terminal.hint(why_none(total, asked.filters))
        if form.print_scalars:
            terminal.write("".join(map(_scalar_lines, subjects)))
            return 0
        comparison = make_comparison(subjects, request)
        if asked.skip_unchanged:
            comparison = comparison.without(comparison.unchanged())
        _tell_problems(session, comparison)
    _show(comparison, form, context.cwd, grouped=request.grouping is not None)
    return 0


def _show(comparison: Comparison, form: _Form, cwd: Path, *, grouped: bool) -> None:
    if form.json:
        from orchestra.cli.compare_text import as_json

        terminal.write_json(as_json(comparison, grouped=grouped))
    elif form.csv is not None:
        _write_csv(comparison, form.csv, cwd, raw=form.csv_raw)
    else:
        from orchestra.cli.compare_table import fitted_table, whole_table

        width = terminal.width()
        terminal.write(
            whole_table(comparison)
            if width is None
            else fitted_table(comparison, width, coloured=terminal.in_colour())
        )


def _write_csv(comparison: Comparison, target: str, cwd: Path, *, raw: bool) -> None:
    from orchestra.cli.compare_text import as_csv

    data = as_csv(comparison, raw=raw)
    if target == STDOUT:
        if os.isatty(1):
            # No colour either, which would stay.
            data = b"\n".join(printable(line).encode() for line in data.decode().split("\n"))
        terminal.write_bytes(data)
        return
    write_file(place_of(target, cwd), data, target)
    terminal.tell(f"Wrote {len(comparison.rows)} row(s) to {target}")


def _scalar_lines(subject: Subject) -> str:
    from orchestra.cli.tables import cell

    lines = [f"[{subject.run.short_id}] {cell(subject.run.operation_name)}"]
    for name in natural(subject.scalars):
        value, step = subject.scalars[name].point("last")
        lines.append(f"  {cell(name)}: {value:.6f} (step {step})")
    return "".join(f"{line}\n" for line in lines)


def _tell_problems(session: "Session", comparison: Comparison) -> None:
    for problem in comparison.problems[:MOST_PROBLEMS]:
        session.emit("log.message", level="warning", message=problem, logger="")
    if (more := len(comparison.problems) - MOST_PROBLEMS) > 0:
        session.emit("log.message", level="warning", message=f"... and {more} more", logger="")
