"""``orchestra runs delete``: delete runs, with their directories."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import prompts, terminal
from orchestra.cli.changing import MOST_LISTED, Rows, preview, question
from orchestra.cli.context import complete, current, in_event_loop
from orchestra.cli.disk_usage import room_of
from orchestra.cli.selection import FILTERS, Filters, Yes, chosen
from orchestra.engine.runs import delete_runs, finish_deletions
from orchestra.model.filters import RunQuery
from orchestra.model.resources import format_memory
from orchestra.model.run import Run


def runs_delete(
    *runs: str,
    filters: Filters = FILTERS,
    archive: Annotated[str | None, Parameter(name=("--archive", "-A"))] = None,
    yes: Yes = False,
    permanent: Annotated[bool, Parameter(name=("--permanent", "-p"))] = False,
    stop: bool = False,
) -> int:
    """Delete runs; all of them unless told otherwise. 'orchestra runs restore' brings them back.

    They take as much room as before, until 'orchestra runs purge' deletes them for good, or --permanent does at once.
    Of a run whose directory was chosen with --run-dir, the files in it are kept in any case.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :, last), ids, or beginnings of ids.
    archive
        Delete runs of this directory, or archive of the home, instead, and for good.
    yes
        Do not ask.
    permanent
        Delete them for good.
    stop
        Stop those that are running instead of refusing to delete them.
    """
    permanent = permanent or archive is not None
    wanted, rows, freed = complete(lambda: _choose(runs, filters, archive, measured=permanent and not yes))
    if not wanted:
        os.write(2, b"Nothing to delete.\n")
        return 0
    if not yes:
        # Not in an event loop: there Ctrl-C would have to wait for the answer.
        if permanent:
            insist_on_purge(rows, len(wanted), freed)
        else:
            ask = f"Delete {len(wanted)} run(s)?"
            intro = "You are about to delete the following runs:"
            prompts.insist(question(intro, rows, len(wanted), ask))
    count = in_event_loop(lambda: _delete(wanted, archive, stop=stop, permanent=permanent))
    if permanent:
        tell_kept(wanted)
    terminal.write(f"{'Permanently deleted' if permanent else 'Deleted'} {count} run(s)\n")
    return 0


async def _choose(
    specs: tuple[str, ...], filters: Filters, archive: str | None, *, measured: bool
) -> tuple[tuple[Run, ...], Rows, int]:
    context = current()
    async with context.session_of(archive, change=True) as session:
        await finish_deletions(session)
        found = await chosen(session, specs, filters, default="all")
        rows = preview(session, found, str(context.cwd))
        return found, rows, room_of(session, found) if measured else 0


async def _delete(runs: tuple[Run, ...], archive: str | None, *, stop: bool, permanent: bool) -> int:
    async with current().session_of(archive, change=True) as session:
        known = await session.store.query(RunQuery(ids=tuple(run.id for run in runs)))
        return await delete_runs(session, known.runs, stop=stop, permanent=permanent)


def insist_on_purge(rows: Rows, count: int, freed: int) -> None:
    """Ask before runs are deleted for good.

    Raises:
        Aborted: the answer was no, as it is unless it is yes.
    """
    intro = f"You are about to permanently delete the following runs, which frees {format_memory(freed)}:"
    prompts.insist(question(intro, rows, count, f"Permanently delete {count} run(s)?"), default=False)


def tell_kept(deleted: Sequence[Run]) -> None:
    """Say of which runs only the records were removed: a directory that a person chose may hold other things."""
    kept = [run.directory for run in deleted if run.directory is not None and os.path.isdir(run.directory)]
    more = f"\n  ... and {len(kept) - MOST_LISTED} more" if len(kept) > MOST_LISTED else ""
    if kept:
        listed = "".join(f"\n  {directory}" for directory in kept[:MOST_LISTED])
        text = f"The files in directories that were chosen with --run-dir are kept:{listed}{more}\n"
        os.write(2, os.fsencode(text))
