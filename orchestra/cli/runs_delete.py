"""``orchestra runs delete``: delete runs, with their directories."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import prompts, run_text, tables, terminal
from orchestra.cli.context import complete, current, in_event_loop
from orchestra.engine.judge import settle_active
from orchestra.engine.runs import delete_runs, finish_deletions, select_runs
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

MOST_LISTED = 10
"""How many runs the question lists."""


def runs_delete(
    *runs: str,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"))] = False,
    permanent: Annotated[bool, Parameter(name=("--permanent", "-p"))] = False,
    stop: bool = False,
) -> int:
    """Delete runs, with their directories and for good; all of them unless told otherwise.

    Of a run whose directory was chosen with --run-dir, the files in it are kept.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :), ids, or beginnings of ids.
    yes
        Do not ask.
    permanent
        Accepted for the scripts of the predecessor: a deletion is always permanent.
    stop
        Stop those that are running instead of refusing to delete them.
    """
    chosen, rows = complete(lambda: _choose(runs))
    if not chosen:
        os.write(2, b"Nothing to delete.\n")
        return 0
    if not yes:
        # Not in an event loop: there Ctrl-C would have to wait for the answer.
        prompts.insist(_question(chosen, rows))
    count = in_event_loop(lambda: _delete(chosen, stop))
    _tell_kept(chosen)
    terminal.write(f"{'Permanently deleted' if permanent else 'Deleted'} {count} run(s)\n")
    return 0


async def _choose(specs: tuple[str, ...]) -> tuple[tuple[Run, ...], list[tuple[str, ...]]]:
    context = current()
    async with context.session() as session:
        await finish_deletions(session)
        await settle_active(session)
        chosen = await select_runs(session, specs, default="all")
        here = str(context.cwd)
        return chosen, [run_text.preview_row(session, run, here) for run in chosen[:MOST_LISTED]]


async def _delete(chosen: tuple[Run, ...], stop: bool) -> int:
    async with current().session() as session:
        known = await session.store.query(RunQuery(ids=tuple(run.id for run in chosen)))
        return await delete_runs(session, known.runs, stop=stop)


def _tell_kept(deleted: Sequence[Run]) -> None:
    """Say of which runs only the records were removed: a directory that a person chose may hold other things."""
    kept = [run.directory for run in deleted if run.directory is not None and os.path.isdir(run.directory)]
    more = f"\n  ... and {len(kept) - MOST_LISTED} more" if len(kept) > MOST_LISTED else ""
    if kept:
        listed = "".join(f"\n  {directory}" for directory in kept[:MOST_LISTED])
        text = f"The files in directories that were chosen with --run-dir are kept:{listed}{more}\n"
        os.write(2, os.fsencode(text))


def _question(chosen: tuple[Run, ...], rows: list[tuple[str, ...]]) -> str:
    listed = tables.render(rows, indent="  ")
    more = f"  ... and {len(chosen) - len(rows)} more\n" if len(chosen) > len(rows) else ""
    question = f"Delete {len(chosen)} run(s)?"
    return f"You are about to delete the following runs:\n{listed}{more}{question}"
