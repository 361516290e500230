"""``orchestra runs list``: the newest runs, one a line, or all of them as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from orchestra.cli import run_text, tables, terminal
from orchestra.cli.context import complete, current
from orchestra.cli.disk_usage import disk_usage
from orchestra.cli.options import whole
from orchestra.cli.selection import FILTERS, Filters, query_of, tell_of_unknown, why_none
from orchestra.engine.judge import settle_active
from orchestra.engine.presence import existing_runs
from orchestra.engine.session import Session
from orchestra.errors import UsageError
from orchestra.model.filters import RunQuery
from orchestra.model.resources import format_memory
from orchestra.model.run import Run

PAGE = 20
"""How many runs are listed unless more are asked for, and how many each ``--more`` adds."""

DATE = len("2025-01-02")


def runs_list(
    *,
    filters: Filters = FILTERS,
    archive: Annotated[str | None, Parameter(name=("--archive", "-A"))] = None,
    all_: Annotated[bool, Parameter(name=("--all", "-a"))] = False,
    more: Annotated[int, Parameter(name=("--more", "-m"), count=True)] = 0,
    limit: Annotated[int | None, Parameter(converter=whole, name=("--limit", "-n"))] = None,
    simplified: Annotated[bool, Parameter(name=("--simplified", "-s"))] = False,
    comments: Annotated[bool, Parameter(name=("--comments", "-c"))] = False,
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"))] = False,
    size: bool = False,
    deleted: Annotated[bool, Parameter(name=("--deleted", "-d"))] = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """List runs, newest first.

    Shows the newest 20 unless told otherwise. With --json all runs are printed, as an array of objects with
    the keys id, short_id, run_dir, operation, opref, kind, status, reason, exit_status, flags, label, tags,
    comments, marked, cmd, created, staged, started, stopped, attempt, batch, trial, executor,
    sourcecode_digest and vcs_commit; a batch has batch_proto, too: the same keys of what its trials have in
    common. Times are whole microseconds since 1970 (UTC); what is not known is null. With --size there is size, too,
    in bytes, and with --deleted deleted, the time of that.

    Parameters
    ----------
    archive
        List the runs of this directory, zip or tar file, other home, or archive of the home instead.
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
    size
        Show how much room each run takes on the disk.
    deleted
        List deleted runs, which 'runs restore' brings back.
    json
        Print all runs as JSON.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"invalid value {limit} for --limit: it is 1 or more")
    if archive is not None and deleted:
        raise UsageError("--archive and --deleted cannot both be used")
    wanted = None if all_ or (json and limit is None and not more) else limit or PAGE * (1 + more)
    shown = Shown(simplified=simplified, comments=comments, details=verbose, size=size)
    return complete(lambda: _list(wanted, filters, archive, shown, deleted=deleted, json=json))


class Shown(NamedTuple):
    """What is shown of each run."""

    simplified: bool
    comments: bool
    details: bool
    size: bool


async def _list(
    limit: int | None, filters: Filters, archive: str | None, shown: Shown, *, deleted: bool, json: bool
) -> int:
    context = current()
    here = str(context.cwd)
    query = query_of(filters, RunQuery(limit=limit))
    whole = shown.details or shown.size or filters is not FILTERS
    async with context.session_of(archive, looking=True, whole=whole) as session:
        runs, total, more = await _found(session, query, deleted)
        sizes = [disk_usage(session, run) if shown.size else 0 for run in runs]
        if json:
            sized = [{"size": size} if shown.size else {} for size in sizes]
            fields = zip(runs, more, sized, strict=True)
            terminal.write_json(
                [run_text.as_json(session, run) | other | size for run, other, size in fields]
            )
            return 0
        below = [_below(session, run, shown) for run in runs]
        if not runs:
            total_of_all = (await _found(session, RunQuery(limit=1), deleted))[1]
            terminal.hint(why_none(total_of_all, filters, "deleted runs" if deleted else "runs"))
        numbered = enumerate(zip(runs, sizes, strict=True), 1)
        rows = [_row(session, index, run, here, shown, size) for index, (run, size) in numbered]
    if rows:
        lines = _lines(rows, terminal.width(), timed=not shown.simplified)
        terminal.write("".join(line + rest for line, rest in zip(lines, below, strict=True)))
    if limit == PAGE and total > PAGE:
        os.write(2, f"Showing the first {PAGE} runs ({total} total) - use --all to show all\n".encode())
    return 0


async def _found(
    session: Session, query: RunQuery, deleted: bool
) -> tuple[Sequence[Run], int, list[dict[str, Any]]]:
    """The runs, how many there are in all, and what else JSON tells of each."""
    if not deleted:
        await settle_active(session)
        runs, total = await existing_runs(session, query)
        await tell_of_unknown(session, query, found=bool(runs))
        return runs, total, [{}] * len(runs)
    from orchestra.engine.trashing import deleted_runs

    there = await deleted_runs(session)
    page = await there.query(query)
    return page.runs, page.total, [{"deleted": there.deleted_at(run)} for run in page.runs]


def _lines(rows: list[tuple[str, ...]], width: int | None, *, timed: bool) -> list[str]:
    """The rows as lines. Where not even the status fits into ``width``, start times are shortened, if ``timed``."""
    without_labels = tables.render([row[:-1] for row in rows])
    widest = max(map(tables.text_width, without_labels.splitlines()))
    if width is not None and widest > width and timed:
        today = run_text.format_time(time.time_ns() // 1000)[:DATE]
        rows = [(*row[:2], _short_time(row[2], today), *row[3:]) for row in rows]
    return tables.render(rows, width=width).splitlines(keepends=True)


def _short_time(shown: str, today: str) -> str:
    """Of today the hour and minute, of other days the date without its year."""
    return shown[DATE + 1 : -3] if shown.startswith(today) else shown[5:DATE]


def _below(session: Session, run: Run, shown: Shown) -> str:
    lines: list[str] = []
    if shown.details:
        from orchestra.cli.runs_info import core_fields, field_lines

        lines += map(field_lines, core_fields(session, run).items())
    if shown.comments:
        lines += (f"{line}\n" for each in run.comments for line in run_text.comment_lines(each))
    return "".join(f"  {line}" for line in lines)


def _row(session: Session, index: int, run: Run, here: str, shown: Shown, size: int) -> tuple[str, ...]:
    name, state, label = run_text.operation(run, here), run_text.status(session, run), run.label or ""
    room = (f"{format_memory(size):>6}",) if shown.size else ()
    if shown.simplified:
        return f"[{index}]", name, state, *room, label
    started = run_text.format_time(run_text.start_time(run))
    return f"[{index}:{run.short_id}]", name, started, state, *room, label
