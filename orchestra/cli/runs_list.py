"""``orchestra runs list``: the newest runs, one a line, or all of them as JSON."""

from __future__ import annotations

import os
import time
from typing import Annotated, NamedTuple

from cyclopts import Parameter

from orchestra.cli import run_text, tables, terminal
from orchestra.cli.context import complete, current
from orchestra.cli.selection import FILTERS, Filters, query_of, tell_of_nothing
from orchestra.engine.judge import settle_active
from orchestra.engine.presence import existing_runs
from orchestra.engine.session import Session
from orchestra.errors import UsageError
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

PAGE = 20
"""How many runs are listed unless more are asked for, and how many each ``--more`` adds."""

WITH_TIME = 5
"""Columns of a row that has a start time, the third one."""
DATE = len("2025-01-02")


def runs_list(
    *,
    filters: Filters = FILTERS,
    all_: Annotated[bool, Parameter(name=("--all", "-a"))] = False,
    more: Annotated[int, Parameter(name=("--more", "-m"), count=True)] = 0,
    limit: Annotated[int | None, Parameter(name=("--limit", "-n"))] = None,
    simplified: Annotated[bool, Parameter(name=("--simplified", "-s"))] = False,
    comments: Annotated[bool, Parameter(name=("--comments", "-c"))] = False,
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"))] = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """List runs, newest first.

    Shows the newest 20 unless told otherwise. With --json all runs are printed, as an array of objects with
    the keys id, short_id, run_dir, operation, opref, kind, status, reason, exit_status, flags, label, tags,
    comments, marked, cmd, created, staged, started, stopped, attempt, batch, trial, executor,
    sourcecode_digest and vcs_commit; a batch has batch_proto, too: the same keys of what its trials have in
    common. Times are whole microseconds since 1970 (UTC); what is not known is null.

    Parameters
    ----------
    all_
        Show all runs.
    more
        Show 20 more runs. May be repeated.
    limit
        Show this many runs.
    simplified
        Leave out ids and start times.
    comments
        Show the comments below each run.
    verbose
        Show what is known of each run below it.
    json
        Print all runs as JSON.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"invalid value {limit} for --limit: it is 1 or more")
    wanted = None if all_ or (json and limit is None and not more) else limit or PAGE * (1 + more)
    below = Below(comments=comments, details=verbose)
    return complete(lambda: _list(wanted, filters, simplified=simplified, below=below, json=json))


class Below(NamedTuple):
    """What is shown below each run."""

    comments: bool
    details: bool


async def _list(limit: int | None, filters: Filters, *, simplified: bool, below: Below, json: bool) -> int:
    context = current()
    here = str(context.cwd)
    query = query_of(filters, RunQuery(limit=limit))
    async with context.session(looking=True) as session:
        await settle_active(session)
        runs, total = await existing_runs(session, query)
        if not runs:
            await tell_of_nothing(session, query)
        if json:
            terminal.write_json([run_text.as_json(session, run) for run in runs])
            return 0
        more = [_below(session, run, below) for run in runs]
        rows = [_row(session, index, run, here, simplified) for index, run in enumerate(runs, 1)]
    if rows:
        lines = _lines(rows, terminal.width())
        terminal.write("".join(line + rest for line, rest in zip(lines, more, strict=True)))
    if limit == PAGE and total > PAGE:
        os.write(2, f"Showing the first {PAGE} runs ({total} total) - use --all to show all\n".encode())
    return 0


def _lines(rows: list[tuple[str, ...]], width: int | None) -> list[str]:
    """The rows as lines. Where not even the status fits into ``width``, start times are shortened."""
    without_labels = tables.render([row[:-1] for row in rows])
    widest = max(map(tables.text_width, without_labels.splitlines()))
    if width is not None and widest > width and len(rows[0]) == WITH_TIME:
        today = run_text.format_time(time.time_ns() // 1000)[:DATE]
        rows = [(*row[:2], _short_time(row[2], today), *row[3:]) for row in rows]
    return tables.render(rows, width=width).splitlines(keepends=True)


def _short_time(shown: str, today: str) -> str:
    """Of today the hour and minute, of other days the date without its year."""
    return shown[DATE + 1 : -3] if shown.startswith(today) else shown[5:DATE]


def _below(session: Session, run: Run, below: Below) -> str:
    lines: list[str] = []
    if below.details:
        from orchestra.cli.runs_info import core_fields, field_lines

        lines += map(field_lines, core_fields(session, run).items())
    if below.comments:
        lines += (f"{line}\n" for each in run.comments for line in run_text.comment_lines(each))
    return "".join(f"  {line}" for line in lines)


def _row(session: Session, index: int, run: Run, here: str, simplified: bool) -> tuple[str, ...]:
    name, state, label = run_text.operation(run, here), run_text.status(session, run), run.label or ""
    if simplified:
        return f"[{index}]", name, state, label
    return f"[{index}:{run.short_id}]", name, run_text.format_time(run_text.start_time(run)), state, label
