"""How a verb changes runs: choose them, show them, ask, change them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from orchestra.cli import prompts, run_text, tables
from orchestra.cli.context import complete, current, in_event_loop
from orchestra.cli.selection import Filters, chosen
from orchestra.engine.runs import with_members
from orchestra.engine.session import Session
from orchestra.errors import RunNotFound, UsageError
from orchestra.model.run import Run

MOST_LISTED: Final = 10
"""How many runs a question lists."""
Rows = list[tuple[str, ...]]
How = Callable[[Session, Sequence[Run]], Awaitable[Sequence[Run]]]


def change_runs(specs: Sequence[str], filters: Filters, how: How, *, intro: str, yes: bool) -> int:
    """Do ``how`` to the runs that are meant, the latest unless told otherwise, and return how many that were.

    ``intro`` is what a person is told before the runs that are listed, unless ``yes``.

    Raises:
        Aborted: the person said no.
        RunNotFound: there is no such run.
    """
    runs, rows = complete(lambda: _choose(specs, filters))
    if not yes:
        prompts.insist(question(intro, rows, len(runs)))

    async def change() -> int:
        async with current().session() as session:
            return len(await how(session, runs))

    return in_event_loop(change)


async def _choose(specs: Sequence[str], filters: Filters) -> tuple[tuple[Run, ...], Rows]:
    context = current()
    async with context.session() as session:
        runs = await chosen(session, specs, filters, default="latest")
        if not runs:
            raise RunNotFound("no matching runs")
        return runs, preview(session, runs, str(context.cwd))


async def chosen_with_members(
    specs: Sequence[str], filters: Filters, *, looking: bool = False
) -> tuple[tuple[Run, ...], Rows]:
    """The runs that are meant, all unless told otherwise, with the trials and steps of those that are named; and the
    rows of the first of them. ``looking``: the home need not be one that can be written to."""
    context = current()
    async with context.session(looking=looking) as session:
        found = await chosen(session, specs, filters, default="all")
        if specs:
            found = await with_members(session, found)
        return found, preview(session, found, str(context.cwd))


def preview(session: Session, runs: Sequence[Run], here: str) -> Rows:
    """The rows of the first of ``runs``, as questions list them."""
    return [run_text.preview_row(session, run, here) for run in runs[:MOST_LISTED]]


def question(intro: str, rows: Rows, count: int, ask: str = "Continue?") -> str:
    """What a person is asked before ``count`` runs are changed, of which ``rows`` are listed."""
    listed = tables.render(rows, indent="  ")
    more = f"  ... and {count - len(rows)} more\n" if count > len(rows) else ""
    return f"{intro}\n{listed}{more}{ask}"


def require_one(given: dict[str, bool]) -> None:
    """Refuse a command that says nothing of what is to be done, or things that don't go together.

    Raises:
        UsageError: none of the options was given, or more than one.
    """
    wanted = [name for name, is_given in given.items() if is_given]
    if not wanted:
        *first, last = given
        raise UsageError(f"nothing to do: give {', '.join(first)} or {last}")
    if len(wanted) > 1:
        raise UsageError(f"{wanted[0]} and {wanted[1]} cannot both be used")
