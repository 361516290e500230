"""What runs are at this moment: whether one still has a directory, and the state to show of it.

One whose directory was removed behind our back is no run any more; one whose chosen directory is away still is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

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


def without_directory(session: Session, runs: Sequence[Run]) -> list[Run]:
    """Those of ``runs`` whose directory is gone."""
    root = str(session.layout.runs_dir)
    names = set(os.listdir(root)) if len(runs) > _FEW else None
    return [run for run in runs if not _is_there(run, root, names)]


def _is_there(run: Run, root: str, names: set[str] | None) -> bool:
    if run.directory is not None:
        # Chosen by a person, who may have deleted our records there and nothing else; or its disk is away, and back
        # some day, as long as the home's own link to it is kept.
        away = not os.path.lexists(run.directory) and os.path.lexists(f"{root}/{run.id}")
        return away or os.path.lexists(f"{run.directory}/{CONTROL}")
    return run.id in names if names is not None else os.path.lexists(f"{root}/{run.id}")


def hint_of_missing(session: Session, spec: str) -> str:
    """What to do where no run is called so: it may have been deleted."""
    if len(spec) >= _TELLING:
        from orchestra.workspace.trash import Trash

        if any(entry.run_id.startswith(spec) for entry in Trash(session.layout).entries()):
            return f"It was deleted: use 'orchestra runs restore {spec}' to bring it back."
    return "Try 'orchestra runs list' for a list of runs."


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
    if query.where is not None:
        from orchestra.engine.search import without_results

        query = await without_results(session, query)
    while True:
        page = await session.store.query(query)
        if not await forget_gone(session, page.runs):
            return page.runs, page.total


def shown_state(session: Session, run: Run) -> State:
    """The state to show: a claimed run whose start the store has not heard of yet is running."""
    if not run.claimed:
        return run.state
    try:
        fence = records.read_fence(session.attempt_directory(run))
    except OrchestraError:
        return run.state
    return "running" if fence is not None and fence.fence == "started" else run.state
