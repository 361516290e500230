"""``orchestra mark``: mark runs as better than others of their operation."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import terminal
from orchestra.cli.changing import change_runs
from orchestra.cli.selection import FILTERS, Filters, Yes
from orchestra.engine.annotating import mark_runs


def mark(
    *runs: str,
    clear: Annotated[bool, Parameter(name=("--clear", "-c"))] = False,
    yes: Yes = False,
    filters: Filters = FILTERS,
) -> int:
    """Mark runs; the latest run unless told otherwise.

    Where an operation needs what another one has made, the newest marked run of that is used, else the newest.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :, last), ids, or beginnings of ids.
    clear
        Take the marks away.
    yes
        Do not ask.
    """
    count = change_runs(
        runs,
        filters,
        lambda session, found: mark_runs(session, found, marked=not clear),
        intro=f"You are about to {'unmark' if clear else 'mark'} the following runs:",
        yes=yes,
    )
    terminal.write(f"{'Unmarked' if clear else 'Marked'} {count} run(s)\n")
    return 0
