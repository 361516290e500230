"""What a person does with runs that are there: choose, stop, delete."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from msgspec import structs

from orchestra.contracts import Page
from orchestra.engine.deleting import delete_runs, finish_deletions
from orchestra.engine.presence import forget_gone, hint_of_missing
from orchestra.engine.session import Session
from orchestra.engine.stopping import StopReport, stop_runs
from orchestra.errors import RunNotFound
from orchestra.model.filters import RunQuery
from orchestra.model.ids import listing_place, short_id
from orchestra.model.run import Run

__all__ = [
    "StopReport",
    "delete_runs",
    "finish_deletions",
    "select_among",
    "select_runs",
    "short_beginnings",
    "stop_runs",
    "with_members",
]

Default = Literal["all", "latest", "none"]


class Listed(Protocol):
    """Runs that can be listed: those of a store, or those in the trash."""

    async def query(self, query: RunQuery) -> Page:
        """As of a store."""
        ...


CANDIDATES = 10
"""How many runs are named when a prefix fits several."""
_CLOCKS_APART = 24 * 3600 * 1_000_000
"""Microseconds that the clocks of two hosts never differ by."""
LONGEST_INDEX = 3
"""Digits up to which a number is rather an index than the beginning of an id."""
LAST = "last"
"""Stands for the newest run of a listing, unless that is a run's id."""
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
        chosen = await select_among(
            session.store,
            specs,
            query=query,
            default=default,
            hint=lambda spec: hint_of_missing(session, spec),
        )
        if not await forget_gone(session, chosen):
            return chosen


async def select_among(
    listed: Listed,
    specs: Sequence[str],
    *,
    query: RunQuery | None = None,
    default: Default = "all",
    hint: Callable[[str], str],
) -> tuple[Run, ...]:
    """As :func:`select_runs`, among the runs that are ``listed``, whether they have a directory or not.

    ``hint``: what to do where a spec names no run.
    """
    query = query or RunQuery()
    if not specs:
        if default == "none":
            return ()
        limited = structs.replace(query, limit=1) if default == "latest" else query
        return (await listed.query(limited)).runs
    chosen: dict[str, Run] = {}
    whole = await _by_id(listed, specs, query)
    for spec in specs:
        found = (whole[spec],) if spec in whole else await _named(listed, spec, query)
        if not found:
            raise RunNotFound(f"could not find a run matching '{spec}'", hint(spec))
        chosen.update((run.id, run) for run in found)
    return tuple(chosen.values())


async def short_beginnings(
    listed: Listed, specs: Sequence[str], found: Sequence[Run], query: RunQuery
) -> tuple[str, ...]:
    """What is to be told where a spec was probably meant as an index, is too large for one, and begins an id."""
    told: list[str] = []
    for spec in dict.fromkeys(specs):
        if listing_place(spec) is None or len(spec) > LONGEST_INDEX:
            continue
        run = next((run for run in found if run.id.startswith(spec) and run.id != spec), None)
        total = 0 if run is None else (await listed.query(structs.replace(query, limit=1))).total
        if run is not None and int(spec) > total:
            told.append(f"there is no run {spec} among the {total} listed: run {run.short_id} is meant")
    return tuple(told)


async def _by_id(listed: Listed, specs: Sequence[str], query: RunQuery) -> dict[str, Run]:
    page = await listed.query(structs.replace(query, ids=tuple(dict.fromkeys(specs))))
    return {run.id: run for run in page.runs}


async def _named(listed: Listed, spec: str, query: RunQuery) -> tuple[Run, ...]:
    part, place = _SLICE.fullmatch(spec), listing_place(spec)
    if part is not None:
        first, last = int(part[1] or 1), int(part[2]) if part[2] else None
        return await _sliced(listed, max(first, 1), last, query)
    if spec == LAST:
        return await _sliced(listed, 1, 1, query)
    if place is not None:
        return await _sliced(listed, place, place, query) or await _beginning(listed, spec, query)
    return await _beginning(listed, spec, query)


async def _sliced(listed: Listed, first: int, last: int | None, query: RunQuery) -> tuple[Run, ...]:
    if last is not None and last < first:
        return ()
    limit = None if last is None else last - first + 1
    part = structs.replace(query, offset=query.offset + first - 1, limit=limit)
    return (await listed.query(part)).runs


async def _beginning(listed: Listed, spec: str, query: RunQuery) -> tuple[Run, ...]:
    """The one run whose id begins with ``spec``. Only the store is asked: a spec never becomes a path."""
    if not spec or not spec.isascii():
        return ()
    prefix = structs.replace(query, id_prefix=spec, limit=CANDIDATES + 1)
    page = await listed.query(prefix)
    if page.total > 1:
        names = ", ".join(_told_apart(run, spec) for run in page.runs[:CANDIDATES])
        more = f" and {page.total - CANDIDATES} more" if page.total > CANDIDATES else ""
        raise RunNotFound(f"'{spec}' matches multiple runs: {names}{more}", "Give more of the id.")
    return page.runs


def _told_apart(run: Run, spec: str) -> str:
    return short_id(run.id) if len(spec) < len(short_id(run.id)) else run.id


async def with_members(session: Session, runs: Sequence[Run]) -> tuple[Run, ...]:
    """``runs`` and, of batches and pipelines among them, the trials and steps."""
    found = {run.id: run for run in runs}
    latest = tuple(runs)
    while latest:
        members = [*await _trials(session, latest), *await _steps(session, latest)]
        latest = tuple({run.id: run for run in members if run.id not in found}.values())
        found.update((run.id, run) for run in latest)
    return tuple(found.values())


async def _trials(session: Session, runs: Sequence[Run]) -> list[Run]:
    queries = [RunQuery(batch=run.id) for run in runs if run.kind == "batch"]
    return [run for query in queries for run in (await session.store.query(query)).runs]


async def _steps(session: Session, runs: Sequence[Run]) -> list[Run]:
    """The steps of the pipelines among ``runs``: looked for among the runs that are not older than these."""
    pipelines = {run.id: run for run in runs if run.kind == "steps"}
    if not pipelines:
        return []
    from orchestra.model.conditions import AllOf, Comparison, During, Name

    since = min(run.created for run in pipelines.values()) - _CLOCKS_APART
    of_them = Comparison(Name("parent", "attribute"), "in", list(pipelines))
    query = RunQuery(where=AllOf((During(since, None), of_them)))
    return [run for run in (await session.store.query(query)).runs if run.parent in pipelines]
