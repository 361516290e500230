"""``orchestra runs restore`` and ``runs purge``: bring deleted runs back, or delete them for good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from orchestra.cli import prompts, terminal
from orchestra.cli.changing import Rows, preview, question
from orchestra.cli.context import complete, current, in_event_loop
from orchestra.cli.disk_usage import room_of
from orchestra.cli.runs_delete import insist_on_purge, tell_kept
from orchestra.cli.selection import FILTERS, Filters, Yes, query_of, tell_of_beginnings
from orchestra.engine.session import Session
from orchestra.engine.trashing import Deleted, deleted_runs, purge_runs, restore_runs, select_deleted
from orchestra.model.duration import parse_duration

T = TypeVar("T")


class _Chosen(NamedTuple):
    deleted: list[Deleted]
    rows: Rows
    freed: int


def runs_restore(
    *runs: str,
    filters: Filters = FILTERS,
    yes: Yes = False,
) -> int:
    """Bring deleted runs back, as they were; all of them unless told otherwise.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of 'orchestra runs list --deleted' (1, 2:4, :, last), ids, or beginnings of ids.
    yes
        Do not ask.
    """
    found = complete(lambda: _choose(runs, filters, None, measured=False))
    if not found.deleted:
        terminal.tell("Nothing to restore.")
        return 0
    if not yes:
        count = len(found.deleted)
        intro = "You are about to restore the following runs:"
        prompts.insist(question(intro, found.rows, count, f"Restore {count} run(s)?"))
    restored = _done(restore_runs, found)
    terminal.write(f"Restored {len(restored)} run(s)\n")
    return 0


def runs_purge(
    *runs: str,
    filters: Filters = FILTERS,
    older_than: str | None = None,
    yes: Yes = False,
) -> int:
    """Delete deleted runs for good; all of them unless told otherwise.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of 'orchestra runs list --deleted' (1, 2:4, :, last), ids, or beginnings of ids.
    older_than
        Only those that were deleted at least so long ago: 30d, 12h.
    yes
        Do not ask.
    """
    age = None if older_than is None else parse_duration(older_than)
    found = complete(lambda: _choose(runs, filters, age, measured=not yes))
    if not found.deleted:
        terminal.tell("Nothing to purge.")
        return 0
    if not yes:
        insist_on_purge(found.rows, len(found.deleted), found.freed)
    count = _done(purge_runs, found)
    tell_kept([one.run for one in found.deleted])
    terminal.write(f"Permanently deleted {count} run(s)\n")
    return 0


def _done(how: Callable[[Session, Sequence[Deleted]], Awaitable[T]], found: _Chosen) -> T:
    async def do() -> T:
        async with current().session() as session:
            return await how(session, found.deleted)

    return in_event_loop(do)


async def _choose(specs: tuple[str, ...], filters: Filters, age: float | None, *, measured: bool) -> _Chosen:
    context = current()
    query = query_of(filters)
    async with context.session(looking=True) as session:
        there = await deleted_runs(session, older_than=age)
        deleted = await select_deleted(there, specs, query=query)
        await tell_of_beginnings(session, specs, [one.run for one in deleted], query, listed=there)
        rows = preview(session, [one.run for one in deleted], str(context.cwd))
        return _Chosen(deleted, rows, room_of(session, deleted) if measured else 0)
