"""What is done with deleted runs: list them, restore them, delete them for good."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, structs

from orchestra.child.supervisor import failpoint
from orchestra.contracts import Page
from orchestra.engine.deleting import finish_deletions, remove
from orchestra.engine.judge import watcher_is_gone
from orchestra.engine.off_loop import off_loop
from orchestra.engine.rebuild import adopt_unknown, enter, run_in, trial_key
from orchestra.engine.runs import Default, select_among
from orchestra.engine.search import answered_among
from orchestra.engine.session import Session
from orchestra.errors import IdTaken, RunNotFound
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run, unreadable_run
from orchestra.workspace.trash import Entry, Trash


class Deleted(Struct, frozen=True):
    """A run in the trash."""

    run: Run
    """As it was; its directory is where it is now."""
    entry: Entry


class DeletedRuns:
    """The runs in the trash, to be chosen from as from those of a store."""

    def __init__(self, session: Session, found: Sequence[Deleted]) -> None:
        self._session = session
        self._found = sorted(found, key=lambda one: one.run.created)
        self._times = {id(one.run): one.entry.time for one in found}

    async def query(self, query: RunQuery) -> Page:
        """As of a store; results may be asked for, too."""
        query = await answered_among(self._session, query, [one.run for one in self._found])
        return Page.of(query, (one.run for one in self._found))

    def deleted_at(self, run: Run) -> int:
        """When a run that a query has found was deleted."""
        return self._times[id(run)]

    def of(self, runs: Sequence[Run]) -> list[Deleted]:
        """Those that these runs are, in their order. Of two with the same id both are."""
        ids = {run.id: place for place, run in enumerate(runs)}
        return sorted((one for one in self._found if one.run.id in ids), key=lambda one: ids[one.run.id])


async def select_deleted(
    found: DeletedRuns, specs: Sequence[str], *, query: RunQuery | None = None, default: Default = "all"
) -> list[Deleted]:
    """Those of the trash that ``specs`` name, as runs are named elsewhere; without specs all that ``query`` finds.

    Raises:
        RunNotFound: a spec names none, or its prefix fits several.
    """
    hint = "Try 'orchestra runs list --deleted' for a list of deleted runs."
    return found.of(await select_among(found, specs, query=query, default=default, hint=lambda _: hint))


async def deleted_runs(session: Session, *, older_than: float | None = None) -> DeletedRuns:
    """The runs in the trash; with ``older_than`` (seconds) those that were deleted at least so long ago."""
    latest = None if older_than is None else session.clock.now() - round(older_than * 1e6)

    def look() -> list[Deleted]:
        entries = Trash(session.layout).entries()
        return [_read(entry) for entry in entries if latest is None or entry.time <= latest]

    return DeletedRuns(session, await off_loop(look))


def _read(entry: Entry) -> Deleted:
    directory = Path(entry.path)
    try:
        run = run_in(directory, entry.run_id)
    except RunNotFound as error:
        run = unreadable_run(entry.run_id, error.message, entry.time)
    if run.directory is None:
        run = structs.replace(run, directory=entry.path)
    return Deleted(run, entry)


async def restore_runs(session: Session, runs: Sequence[Deleted]) -> tuple[Run, ...]:
    """Take runs out of the trash, each as it was, and return them. Of two with the same id the newest is taken.

    Raises:
        IdTaken: there is a run with the same id, or the same trial of a batch; nothing was restored.
        RunNotFound: the directory of one, which a person chose, is gone.
    """
    newest = {one.run.id: one for one in sorted(runs, key=lambda one: one.entry.time)}
    wanted = [newest[run_id] for run_id in dict.fromkeys(one.run.id for one in runs)]
    for one in wanted:
        await _require_restorable(session, one)
    trash = Trash(session.layout)
    restored: list[Run] = []
    with trash.restoring():
        for one in wanted:
            run = await _restore(session, trash, one.entry)
            restored += [run] if run is not None else []
    if session.fsync and restored:
        await off_loop(trash.sync)
    return tuple(restored)


async def _require_restorable(session: Session, one: Deleted) -> None:
    run = one.run
    if os.path.lexists(os.path.join(session.layout.runs_dir, run.id)):
        raise IdTaken(
            f"run {run.id} can't be restored: there is a run with this id",
            "Delete that one first, or purge the one in the trash.",
        )
    if not os.path.isdir(session.layout.control(Path(one.entry.path))):
        raise RunNotFound(
            f"run {run.id} can't be restored: {run.reason}", "Use 'orchestra runs purge' to forget it."
        )
    key = trial_key(run)
    if key is not None and run.attempt == 0:
        others = (await session.store.query(RunQuery(batch=run.batch))).runs
        twin = next((other for other in others if trial_key(other) == key), None)
        if twin is not None:
            raise IdTaken(
                f"run {run.id} can't be restored: run {twin.id} is the same trial of batch {run.batch}",
                "Purge it, for it was never started.",
            )


async def _restore(session: Session, trash: Trash, entry: Entry) -> Run | None:
    if not trash.take_out(entry):
        return None
    failpoint("restore.renamed")
    run = run_in(session.layout.directory_of(entry.run_id), entry.run_id)
    known = (await session.store.query(RunQuery(ids=(run.id,)))).runs
    if known and watcher_is_gone(known[0], session.clock.now()):
        # What is left of a deletion that was cut short.
        await session.store.delete((run.id,))
    # Somebody may have found and entered it already.
    await enter(session, [run])
    session.emit("run.restored", run)
    return await session.store.get(run.id)


async def finish_restoring(session: Session) -> None:
    """Enter the runs into the store whose restoring was cut short."""
    with Trash(session.layout).cut_short() as was_cut_short:
        if was_cut_short:
            await adopt_unknown(session)


async def purge_runs(session: Session, runs: Sequence[Deleted]) -> int:
    """Delete runs that are in the trash for good, and return how many there were."""
    await finish_deletions(session)
    trash = Trash(session.layout)
    count = 0
    for one in runs:
        chosen = os.readlink(one.entry.path) if os.path.islink(one.entry.path) else None
        place = trash.drop(one.entry.path, one.run.id)
        if place is None:
            # Somebody else was faster.
            continue
        failpoint("purge.renamed")
        session.emit("run.deleted", one.run, data={"permanent": True})
        await remove(session, structs.replace(one.run, directory=chosen), place)
        count += 1
    return count
