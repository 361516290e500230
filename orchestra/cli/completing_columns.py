"""What may come next where a column is typed: what the newest runs have."""

from __future__ import annotations

import os
from collections.abc import Iterator

from orchestra.cli.context import complete, current
from orchestra.engine.search import results_of_many
from orchestra.model.aggregates import STATISTICS
from orchestra.model.filters import RunQuery
from orchestra.model.scalars import natural
from orchestra.model.subjects import scalar_names

_OF_PLOTS = ("curves", "importance", "scatter")
"""Options that take scalars; one of them a flag before it, too, written as it is called."""


def columns(field: str, most_runs: int) -> Iterator[str]:
    """What an option may be that is called so: scalars and flags, as columns are written, or statistics."""
    if field == "agg":
        yield from STATISTICS
        return
    if not os.path.isdir(current().home):
        return
    flags, scalars = complete(lambda: _known(most_runs))
    if field in ("group_by", "scatter"):
        yield from natural(flags)
    if field != "group_by":
        yield from natural(scalars)
    if field not in ("group_by", *_OF_PLOTS):
        yield from (f"={name}" for name in natural(flags))


async def _known(most_runs: int) -> tuple[set[str], set[str]]:
    """The names of the flags and of the scalars of the newest runs."""
    async with current().session(looking=True) as session:
        runs = (await session.store.query(RunQuery(limit=most_runs))).runs
        results = results_of_many(session, runs).values()
    flags = {name for run in runs for name in run.flags}
    return flags, {name for found in results for name in scalar_names(found.scalars)}
