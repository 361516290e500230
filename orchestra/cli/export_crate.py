"""``orchestra export --ro-crate``: runs as an RO-Crate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestra.cli import prompts, terminal
from orchestra.cli.changing import chosen_with_members, question
from orchestra.cli.context import current, in_event_loop
from orchestra.cli.selection import Filters
from orchestra.engine.ro_crate import crate_place, export_crate
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run


def export_ro_crate(
    location: str, specs: Sequence[str], filters: Filters, *, yes: bool = False, license: str | None = None
) -> int:
    """Export runs, and what belongs to them, as an RO-Crate, and return the exit code.

    Raises:
        UserError: something is at ``location``, or a run is named that is not there.
        Aborted: a person did not want that.
    """
    place = crate_place(location, current().cwd)
    found, rows = in_event_loop(lambda: chosen_with_members(specs, filters))
    if not found:
        terminal.tell("Nothing to export.")
        return 0
    if not yes:
        intro = f"You are about to export the following runs to '{location}':"
        prompts.insist(question(intro, rows, len(found)))
    in_event_loop(lambda: _export(found, place, license))
    terminal.write(f"Exported {len(found)} run(s) to {location}\n")
    return 0


async def _export(runs: Sequence[Run], place: Path, license: str | None) -> None:
    async with current().session() as session:
        known = await session.store.query(RunQuery(ids=tuple(run.id for run in runs)))
        await export_crate(session, known.runs, place, license=license, tell=terminal.tell)
