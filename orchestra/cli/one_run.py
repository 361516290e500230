"""The one run that a verb looks at."""

from __future__ import annotations

import re
import shlex

from orchestra.cli.selection import FILTERS, Filters, chosen
from orchestra.engine.presence import is_reachable, unreached
from orchestra.engine.session import Session
from orchestra.errors import RunNotFound, UserError
from orchestra.model.run import Run

_PATH = re.compile(r"[*?/.\[]")
"""What is in the names of files, and in few ids."""


def hint_of_path(verb: str, path: str) -> str:
    """What to do for a file, or for those that match, where a run was expected."""
    return f"A file of a run is named with --path: orchestra {verb} RUN --path {shlex.quote(path)}"


async def one_run(
    session: Session, spec: str | None, filters: Filters = FILTERS, *, verb: str | None = None
) -> Run:
    """The run that ``spec`` names among those that ``filters`` leave, else the latest of them.

    ``verb``: which takes paths with ``--path``, where somebody may have given one in the place of a run.

    Raises:
        RunNotFound: there is none.
        UserError: ``spec`` names several.
    """
    try:
        found = await chosen(session, () if spec is None else (spec,), filters, default="latest")
    except RunNotFound as error:
        if verb is None or spec is None or not _PATH.search(spec):
            raise
        raise RunNotFound(error.message, hint_of_path(verb, spec)) from error
    if not found:
        raise RunNotFound("no matching runs")
    first, *others = found
    if others:
        raise UserError(f"'{spec}' stands for {len(found)} runs", "Name one of them.")
    if verb is not None and not is_reachable(first):
        session.emit("log.message", first, level="warning", message=unreached(first), logger="")
    return first
