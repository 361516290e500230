"""``orchestra import --from-guild``: take over the runs of a Guild home."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from orchestra.cli import prompts, terminal
from orchestra.cli.changing import Rows, preview, question
from orchestra.cli.context import current, in_event_loop
from orchestra.cli.selection import Filters, query_of
from orchestra.engine.guild_home import Found, choose, look_into, take_over, tell_left
from orchestra.engine.guild_records import GuildRun
from orchestra.engine.off_loop import off_loop
from orchestra.model.run import Run


class _Wanted(Struct, frozen=True):
    found: Found
    runs: tuple[GuildRun, ...]
    rows: Rows


def import_guild(
    path: str, specs: Sequence[str], filters: Filters, *, yes: bool = False, deleted: bool = False
) -> int:
    """Take over those runs of the Guild home at ``path`` that are not here yet, and return the exit code.

    Raises:
        UserError: it is no Guild home, or a run is named that it doesn't have.
        Aborted: a person did not want that.
    """
    wanted = in_event_loop(lambda: _look(path, specs, filters, deleted))
    tell_left(wanted.found, terminal.tell)
    if not wanted.runs:
        terminal.tell("Nothing to import.")
        return 0
    if not yes:
        intro = f"You are about to import the following runs from '{path}':"
        prompts.insist(question(intro, wanted.rows, len(wanted.runs)))
    taken = in_event_loop(lambda: _take_over(wanted.runs, str(_place(path))))
    terminal.write(f"Imported {len(taken)} run(s) from {path}\n")
    return 0


async def _look(path: str, specs: Sequence[str], filters: Filters, deleted: bool) -> _Wanted:
    context = current()
    place = _place(path)
    async with context.session(absent="make") as session:
        found = await off_loop(lambda: look_into(session, place, deleted=deleted))
        runs = await choose(session, found, specs, query_of(filters))
        rows = preview(session, [one.run for one in runs], str(context.cwd))
        return _Wanted(found, runs, rows)


def _place(path: str) -> Path:
    return Path(os.path.abspath(current().cwd / os.path.expanduser(path)))


async def _take_over(runs: tuple[GuildRun, ...], source: str) -> tuple[Run, ...]:
    async with current().session(absent="make") as session:
        return await take_over(session, runs, source, tell=terminal.tell)
