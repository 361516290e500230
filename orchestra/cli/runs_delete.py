"""``orchestra runs delete``: delete runs, with their directories."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import prompts, run_text, tables, terminal
from orchestra.cli.context import complete, current, in_event_loop
from orchestra.cli.selection import FILTERS, Filters, chosen
from orchestra.engine.runs import delete_runs, finish_deletions
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

MOST_LISTED = 10
"""How many runs the question lists."""


def runs_delete(
    *runs: str,
    filters: Filters = FILTERS,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"))] = False,
    permanent: Annotated[bool, Parameter(name=("--permanent", "-p"))] = False,
    stop: bool = False,
) -> int:
    """Delete runs, with their directories and for good; all of them unless told otherwise.

    Of a run whose directory was chosen with --run-dir, the files in it are kept.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :, last), ids, or beginnings of ids.
    yes
        Do not ask.
    permanent
        Accepted for the scripts of the predecessor: a deletion is always permanent.
    stop
        Stop those that are running instead of refusing to delete them.
    """
    wanted, rows = complete(lambda: _choose(runs, filters))
    if not wanted:
        os.write(2, b"Nothing to delete.\n")
        return 0
    if not yes:
        # Not in an event loop: there Ctrl-C would have to wait for the answer.
        prompts.insist(_question(wanted, rows))
    count = in_event_loop(lambda: _delete(wanted, stop))
    _tell_kept(wanted)
    terminal.write(f"{'Permanently deleted' if permanent else 'Deleted'} {count} run(s)\n")
    return 0


async def _choose(specs: tuple[str, ...], filters: Filters) -> tuple[tuple[Run, ...], list[tuple[str, ...]]]:
    context = current()
    async with context.session() as session:
        await finish_deletions(session)
        found = await chosen(session, specs, filters, default="all")
        here = str(context.cwd)
        return found, [run_text.preview_row(session, run, here) for run in found[:MOST_LISTED]]


async def _delete(runs: tuple[Run, ...], stop: bool) -> int:
    async with current().session() as session:
        known = await session.store.query(RunQuery(ids=tuple(run.id for run in runs)))
        return await delete_runs(session, known.runs, stop=stop)


def _tell_kept(deleted: Sequence[Run]) -> None:
    """Say of which runs only the records were removed: a directory that a person chose may hold other things."""
    kept = [run.directory for run in deleted if run.directory is not None and os.path.isdir(run.directory)]
    more = f"\n  ... and {len(kept) - MOST_LISTED} more" if len(kept) > MOST_LISTED else ""
    if kept:
        listed = "".join(f"\n  {directory}" for directory in kept[:MOST_LISTED])
        text = f"The files in directories that were chosen with --run-dir are kept:{listed}{more}\n"
        os.write(2, os.fsencode(text))


def _question(runs: tuple[Run, ...], rows: list[tuple[str, ...]]) -> str:
    listed = tables.render(rows, indent="  ")
    more = f"  ... and {len(runs) - len(rows)} more\n" if len(runs) > len(rows) else ""
    question = f"Delete {len(runs)} run(s)?"
    return f"You are about to delete the following runs:\n{listed}{more}{question}"
