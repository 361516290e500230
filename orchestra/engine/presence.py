"""What runs are at this moment: whether one still has a directory, and the state to show of it.

One whose directory was removed behind our back is no run any more. One whose chosen directory is away still is, and
what is not reached of it is not known: nobody deletes anything for having looked.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Final

from msgspec import structs

from orchestra.contracts import Mark, Marking, Store
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, Run, State
from orchestra.workspace import records
from orchestra.workspace.layout import CONTROL

_TELLING = 4
"""So many characters of an id, or more, are hardly meant for another run than one that was deleted."""
_FEW = 200
"""Up to so many runs are looked for one by one; of more, all names are listed once."""

_PART = 200
"""So many runs are looked at for their tags at once."""
_MANY_SETS = 50
"""So many sets of tags, or more, are not looked for one after the other."""


def without_directory(session: Session, runs: Sequence[Run]) -> list[Run]:
    """Those of ``runs`` whose directory is gone."""
    root = str(session.layout.runs_dir)
    names = set(os.listdir(root)) if len(runs) > _FEW else None
    return [run for run in runs if not _is_there(run, root, names)]


def _is_there(run: Run, root: str, names: set[str] | None) -> bool:
    # As long as the home has its link to a directory that a person has chosen, the run is kept, whatever is there: its
    # disk may be away, and nothing be in the place of it, or something else.
    is_named = run.id in names if names is not None else os.path.lexists(f"{root}/{run.id}")
    return is_named or (run.directory is not None and is_reachable(run))


def is_reachable(run: Run) -> bool:
    """Whether the records of ``run`` are where they should be, if a person has chosen where: the disk may be away."""
    return run.directory is None or os.path.lexists(f"{run.directory}/{CONTROL}")


def unreached(run: Run) -> str:
    """The sentence that says that :func:`is_reachable` does not hold."""
    return (
        f"the directory of run {run.short_id} can't be reached: there is nothing of it in '{run.directory}'"
    )


MOUNT: Final = "Mount the disk that it is on, or delete the run with 'orchestra runs delete'."
"""What to do then."""


def hint_of_missing(session: Session, spec: str) -> str:
    """What to do where no run is called so: it may have been deleted."""
    if len(spec) >= _TELLING:
        from orchestra.workspace.trash import Trash

        if any(entry.run_id.startswith(spec) for entry in Trash(session.layout).entries()):
            return f"It was deleted: use 'orchestra runs restore {spec}' to bring it back."
    where = f" -A {shlex.quote(session.layout.shown)}" if session.layout.shown else ""
    return f"Try 'orchestra runs list{where}' for a list of runs."


async def forget_gone(session: Session, runs: Sequence[Run]) -> bool:
    """Remove those whose directory is gone from the store; True if there were any.

    Active runs stay: what becomes of them is to be judged.
    """
    if session.read_only:
        return False
    gone = without_directory(session, [run for run in runs if run.state not in ACTIVE])
    return bool(gone) and await session.store.delete([run.id for run in gone]) > 0


async def existing_runs(session: Session, query: RunQuery) -> tuple[Sequence[Run], int]:
    """The runs that ``query`` finds, and how many in all; those without a directory are forgotten."""
    query = await _without_results(session, query)
    while True:
        page = await session.store.query(query)
        if not await forget_gone(session, page.runs):
            return page.runs, page.total


async def existing_ids(session: Session, query: RunQuery) -> Sequence[str]:
    """The ids of the runs that ``query`` finds, in its order, without their records; as of :func:`existing_runs`."""
    query = await _without_results(session, query)
    while True:
        ids = [run_id for run_id, _, _ in await marks_of(session.store, query)]
        names = set(os.listdir(session.layout.runs_dir)) if ids else set[str]()
        absent = tuple(run_id for run_id in ids if run_id not in names)
        if not absent or not await forget_gone(
            session, (await session.store.query(RunQuery(ids=absent))).runs
        ):
            return ids


async def existing_tags(session: Session, query: RunQuery) -> frozenset[str]:
    """The tags that the runs have that ``query`` finds.

    Runs have few sets of tags between them: those with another set than was seen are asked for, again and again.
    """
    from orchestra.model.conditions import AllOf, Comparison, Name, Not, conjuncts

    query = await _without_results(session, query)
    seen: set[tuple[str, ...]] = {()}
    while True:
        limit = None if len(seen) > _MANY_SETS else _PART
        known = Comparison(
            Name("tags", "attribute"), "in", [list(tags) for tags in sorted(seen)[:_MANY_SETS]]
        )
        where = AllOf((*conjuncts(query.where), Not(known)))
        part = structs.replace(query, where=where, limit=limit, offset=0)
        runs, _ = await existing_runs(session, part)
        seen.update(run.tags for run in runs)
        if limit is None or len(runs) < limit:
            return frozenset(tag for tags in seen for tag in tags)


async def marks_of(store: Store, query: RunQuery) -> Sequence[Mark]:
    """The marks of the runs that ``query`` finds, whether the store has them at hand or not."""
    if isinstance(store, Marking):
        return await store.marks(query)
    return [mark_of(run) for run in (await store.query(query)).runs]


def mark_of(run: Run) -> Mark:
    """The mark that ``run`` has now."""
    return run.id, run.revision, run.time


async def _without_results(session: Session, query: RunQuery) -> RunQuery:
    if query.where is None:
        return query
    from orchestra.engine.search import without_results

    return await without_results(session, query)


def shown_state(session: Session, run: Run) -> State:
    """The state to show: a claimed run whose start the store has not heard of yet is running."""
    if not run.claimed:
        return run.state
    try:
        fence = records.read_fence(session.attempt_directory(run))
    except OrchestraError:
        return run.state
    return "running" if fence is not None and fence.fence == "started" else run.state
