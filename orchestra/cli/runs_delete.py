"""``orchestra runs delete``: delete runs, with their directories."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import prompts, run_question, terminal
from orchestra.cli.context import complete, current, in_event_loop
from orchestra.cli.selection import FILTERS, Filters, chosen
from orchestra.engine.runs import delete_runs, finish_deletions
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run


def runs_delete(
    *runs: str,
    filters: Filters = FILTERS,
    archive: Annotated[str | None, Parameter(name=("--archive", "-A"))] = None,
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
    archive
        Delete runs of this directory, or archive of the home, instead.
    yes
        Do not ask.
    permanent
        Accepted for the scripts of the predecessor: a deletion is always permanent.
    stop
        Stop those that are running instead of refusing to delete them.
    """
    wanted, rows = complete(lambda: _choose(runs, filters, archive))
    if not wanted:
        os.write(2, b"Nothing to delete.\n")
        return 0
    if not yes:
        # Not in an event loop: there Ctrl-C would have to wait for the answer.
        ask = f"Delete {len(wanted)} run(s)?"
        prompts.insist(run_question.about("delete the following runs", wanted, rows, ask))
    count = in_event_loop(lambda: _delete(wanted, stop, archive))
    _tell_kept(wanted)
    terminal.write(f"{'Permanently deleted' if permanent else 'Deleted'} {count} run(s)\n")
    return 0


async def _choose(
    specs: tuple[str, ...], filters: Filters, archive: str | None
) -> tuple[tuple[Run, ...], list[tuple[str, ...]]]:
    context = current()
    async with context.session_of(archive, change=True) as session:
        await finish_deletions(session)
        found = await chosen(session, specs, filters, default="all")
        return found, run_question.rows(session, found, str(context.cwd))


async def _delete(runs: tuple[Run, ...], stop: bool, archive: str | None) -> int:
    async with current().session_of(archive, change=True) as session:
        known = await session.store.query(RunQuery(ids=tuple(run.id for run in runs)))
        return await delete_runs(session, known.runs, stop=stop)


def _tell_kept(deleted: Sequence[Run]) -> None:
    """Say of which runs only the records were removed: a directory that a person chose may hold other things."""
    kept = [run.directory for run in deleted if run.directory is not None and os.path.isdir(run.directory)]
    more = (
        f"\n  ... and {len(kept) - run_question.MOST_LISTED} more"
        if len(kept) > run_question.MOST_LISTED
        else ""
    )
    if kept:
        listed = "".join(f"\n  {directory}" for directory in kept[: run_question.MOST_LISTED])
        text = f"The files in directories that were chosen with --run-dir are kept:{listed}{more}\n"
        os.write(2, os.fsencode(text))
