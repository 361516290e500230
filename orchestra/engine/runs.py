"""What a person does with runs that are there: choose, stop, delete."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from msgspec import structs

from orchestra.engine.deleting import delete_runs, finish_deletions
from orchestra.engine.presence import forget_gone
from orchestra.engine.session import Session
from orchestra.engine.stopping import StopReport, stop_runs
from orchestra.errors import RunNotFound
from orchestra.model.filters import RunQuery
from orchestra.model.ids import listing_place, short_id
from orchestra.model.run import Run

__all__ = ["StopReport", "delete_runs", "finish_deletions", "select_runs", "stop_runs"]

Default = Literal["all", "latest", "none"]

CANDIDATES = 10
"""How many runs are named when a prefix fits several."""
LAST = "last"
"""Stands for the newest run of a listing, unless that is a run's id."""
_HINT = "Try 'orchestra runs list' for a list of runs."
_SLICE = re.compile(r"([0-9]{0,9}):([0-9]{0,9})")


async def select_runs(
    session: Session, specs: Sequence[str], *, query: RunQuery | None = None, default: Default = "all"
) -> tuple[Run, ...]:
    """The runs that ``specs`` name among those that ``query`` finds, each once, in the order they are named.

    A spec is the whole id of a run, its 1-based index in the listing of ``query``, the beginning of an id
    that no other id begins with, a slice of the listing (``2:4`` is 2, 3 and 4, ``:3``, ``2:``, ``:``), or ``last``,
    the newest run of the listing.
    Without specs ``default`` says which runs are meant. Runs whose directory is gone are forgotten.

    Raises:
        RunNotFound: a spec names no run, or its prefix fits several.
    """
    query = query or RunQuery()
    if query.where is not None:
        from orchestra.engine.search import without_results

        query = await without_results(session, query)
    while True:
        chosen = await _select(session, specs, query, default)
        if not await forget_gone(session, chosen):
            return chosen


async def _select(
    session: Session, specs: Sequence[str], query: RunQuery, default: Default
) -> tuple[Run, ...]:
    if not specs:
        if default == "none":
            return ()
        limited = structs.replace(query, limit=1) if default == "latest" else query
        return (await session.store.query(limited)).runs
    chosen: dict[str, Run] = {}
    whole = await _by_id(session, specs, query)
    for spec in specs:
        found = (whole[spec],) if spec in whole else await _named(session, spec, query)
        chosen.update((run.id, run) for run in found)
    return tuple(chosen.values())


async def _by_id(session: Session, specs: Sequence[str], query: RunQuery) -> dict[str, Run]:
    page = await session.store.query(structs.replace(query, ids=tuple(dict.fromkeys(specs))))
    return {run.id: run for run in page.runs}


async def _named(session: Session, spec: str, query: RunQuery) -> tuple[Run, ...]:
    part, place = _SLICE.fullmatch(spec), listing_place(spec)
    if part is not None:
        first, last = int(part[1] or 1), int(part[2]) if part[2] else None
        runs = await _sliced(session, max(first, 1), last, query)
    elif spec == LAST:
        runs = await _sliced(session, 1, 1, query)
    elif place is not None:
        runs = await _sliced(session, place, place, query) or await _beginning(session, spec, query)
    else:
        runs = await _beginning(session, spec, query)
    if not runs:
        raise RunNotFound(f"could not find a run matching '{spec}'", _HINT)
    return runs


async def _sliced(session: Session, first: int, last: int | None, query: RunQuery) -> tuple[Run, ...]:
    if last is not None and last < first:
        return ()
    limit = None if last is None else last - first + 1
    part = structs.replace(query, offset=query.offset + first - 1, limit=limit)
    return (await session.store.query(part)).runs


async def _beginning(session: Session, spec: str, query: RunQuery) -> tuple[Run, ...]:
    """The one run whose id begins with ``spec``. Only the store is asked: a spec never becomes a path."""
    if not spec or not spec.isascii():
        return ()
    prefix = structs.replace(query, id_prefix=spec, limit=CANDIDATES + 1)
    page = await session.store.query(prefix)
    if page.total > 1:
        names = ", ".join(_told_apart(run, spec) for run in page.runs[:CANDIDATES])
        more = f" and {page.total - CANDIDATES} more" if page.total > CANDIDATES else ""
        raise RunNotFound(f"'{spec}' matches multiple runs: {names}{more}", "Give more of the id.")
    return page.runs


def _told_apart(run: Run, spec: str) -> str:
    return short_id(run.id) if len(spec) < len(short_id(run.id)) else run.id
