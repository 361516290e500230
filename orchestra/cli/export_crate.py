"""``orchestra export --ro-crate``: runs as an RO-Crate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from orchestra.cli import prompts, run_question, terminal
from orchestra.cli.context import current, in_event_loop
from orchestra.cli.selection import Filters, chosen
from orchestra.engine.ro_crate import crate_place, export_crate
from orchestra.engine.runs import with_members
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
    found, rows = in_event_loop(lambda: _choose(specs, filters))
    if not found:
        _tell("Nothing to export.")
        return 0
    if not yes:
        what = f"export the following runs to '{location}'"
        prompts.insist(run_question.about(what, found, rows))
    in_event_loop(lambda: _export(found, place, license))
    terminal.write(f"Exported {len(found)} run(s) to {terminal.defuse(location)}\n")
    return 0


async def _choose(specs: Sequence[str], filters: Filters) -> tuple[tuple[Run, ...], list[tuple[str, ...]]]:
    context = current()
    async with context.session() as session:
        found = await chosen(session, specs, filters, default="all")
        if specs:
            found = await with_members(session, found)
        return found, run_question.rows(session, found, str(context.cwd))


async def _export(runs: Sequence[Run], place: Path, license: str | None) -> None:
    async with current().session() as session:
        known = await session.store.query(RunQuery(ids=tuple(run.id for run in runs)))
        await export_crate(session, known.runs, place, license=license, tell=_tell)


def _tell(text: str) -> None:
    os.write(2, f"{terminal.defuse(text)}\n".encode(errors="backslashreplace"))
