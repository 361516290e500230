"""The one run that a verb looks at."""

from __future__ import annotations

from orchestra.cli.selection import FILTERS, Filters, chosen
from orchestra.engine.session import Session
from orchestra.errors import RunNotFound, UserError
from orchestra.model.run import Run


async def one_run(session: Session, spec: str | None, filters: Filters = FILTERS) -> Run:
    """The run that ``spec`` names among those that ``filters`` leave, else the latest of them.

    Raises:
        RunNotFound: there is none.
        UserError: ``spec`` names several.
    """
    found = await chosen(session, () if spec is None else (spec,), filters, default="latest")
    if not found:
        raise RunNotFound("no matching runs")
    first, *others = found
    if others:
        raise UserError(f"'{spec}' stands for {len(found)} runs", "Name one of them.")
    return first
