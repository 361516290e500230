"""``orchestra runs delete``: delete runs, with their directories."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import prompts, run_text, tables
from orchestra.cli.context import current, in_event_loop
from orchestra.engine.judge import settle_active
from orchestra.engine.runs import delete_runs, finish_deletions, select_runs
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
    return in_event_loop(lambda: _delete(runs, yes=yes, permanent=permanent, stop=stop))


async def _delete(specs: tuple[str, ...], *, yes: bool, permanent: bool, stop: bool) -> int:
    context = current()
    async with context.session() as session:
        await finish_deletions(session)
        await settle_active(session)
        chosen = await select_runs(session, specs, default="all")
        if not chosen:
            _tell("Nothing to delete.")
            return 0
        if not yes:
            here = str(context.cwd)
            rows = [run_text.preview_row(session, run, here) for run in chosen[:MOST_LISTED]]
            prompts.insist(_question(chosen, rows))
        count = await delete_runs(session, chosen, stop=stop)
    _tell(f"{'Permanently deleted' if permanent else 'Deleted'} {count} run(s)")
    return 0


def _question(chosen: tuple[Run, ...], rows: list[tuple[str, ...]]) -> str:
    listed = tables.render(rows, indent="  ")
    more = f"  ... and {len(chosen) - len(rows)} more\n" if len(chosen) > len(rows) else ""
    question = f"Delete {len(chosen)} run(s)?"
    return f"You are about to delete the following runs:\n{listed}{more}{question}"


def _tell(text: str) -> None:
    os.write(2, f"{text}\n".encode())
