"""Delete runs so that each is whole or gone, whenever we are killed.

A run's directory is moved into the trash by one rename, then the store forgets the run. One that is deleted for good
is moved to where it is removed; each deletion first finishes those that were cut short.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from msgspec import Struct

from orchestra.child.supervisor import failpoint
from orchestra.engine.changes import write_record
from orchestra.engine.judge import settle
from orchestra.engine.off_loop import off_loop, shielded
from orchestra.engine.presence import is_reachable, unreached
from orchestra.engine.removal import remove_tree
from orchestra.engine.session import LEASE, Session
from orchestra.engine.stopping import stop_runs
from orchestra.errors import OrchestraError, RunBusy, UserError, text_of_os_error
from orchestra.model import lifecycle, versions
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import Run
from orchestra.workspace import records
from orchestra.workspace.layout import ATTEMPTS, CONTROL
from orchestra.workspace.trash import Trash

CHUNK = 100
NAMED = 10
"""How many runs an error names."""
_WAITING = frozenset(("staged", "pending"))


class _Moved(Struct, frozen=True, kw_only=True):
    """A run on its way out: where its directory is now."""

    run: Run
    place: str | None
    """None: there was no directory."""


async def delete_runs(
    session: Session,
    runs: Sequence[Run],
    *,
    stop: bool = False,
    permanent: bool = False,
    unchanged: bool = False,
) -> int:
    """Move ``runs`` into the trash, or delete them for good, and return how many there were.

    Running ones are stopped first if ``stop``. Where only ``unchanged`` ones are meant, those stay that have another
    revision by now than they are given with. A directory of the person's own choice (``--run-dir``) stays where it
    is; for good only the records are removed from it.

    Raises:
        RunBusy: one of them is running, or was started (or changed) meanwhile.
        UserError: a directory is not that of a run.
        HomeError, StoreUnavailable: a directory can't be moved.
    """
    await finish_deletions(session)
    count, busy = 0, list[Run]()
    if unchanged:
        idle, busy = await _sorted_out(session, runs)
    else:
        idle = await _without_running(session, runs, stop)
    for run in idle:
        _refuse_strange(session, run)
    remaining = iter(idle)
    while chunk := tuple(islice(remaining, CHUNK)):
        deleted, refused = await _delete_chunk(session, chunk, permanent, unchanged)
        count += deleted
        busy += refused
    if session.fsync and count and not permanent:
        await off_loop(Trash(session.layout).sync)
    if busy:
        what = "been changed meanwhile" if unchanged else "just been started"
        raise RunBusy(f"{_named(busy)} {what}", "The other runs were deleted.")
    return count


async def _sorted_out(session: Session, runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Those that are as they are given, and those that have changed; what is gone is neither."""
    ids = tuple(run.id for run in runs)
    revisions = {run.id: run.revision for run in (await session.store.query(RunQuery(ids=ids))).runs}
    there = [run for run in runs if run.id in revisions]
    same = [run for run in there if revisions[run.id] == run.revision]
    return same, [run for run in there if run not in same]


async def _without_running(session: Session, runs: Sequence[Run], stop: bool) -> list[Run]:
    settled = [await settle(session, run) for run in runs]
    running = [run for run in settled if run.busy]
    started = [run for run in running if _has_started(session, run)]
    if started and not stop:
        raise RunBusy(
            f"{_named(started)} not ended: running runs are not deleted",
            "Stop them with 'orchestra stop' first, or use --stop.",
        )
    if running:
        report = await stop_runs(session, running)
        if not report.done:
            left = [run for run, _ in (*report.left, *report.elsewhere)]
            raise RunBusy(f"{_named(left)} not stopped: nothing was deleted")
    return [await _current(session, run) if run in running else run for run in settled]


async def _current(session: Session, run: Run) -> Run:
    return await session.store.get(run.id)


def _has_started(session: Session, run: Run) -> bool:
    fence = records.read_fence(session.attempt_directory(run))
    return run.state == "running" or (fence is not None and fence.fence == "started")


def _named(runs: Sequence[Run]) -> str:
    names = ", ".join(run.short_id for run in runs[:NAMED])
    more = f" and {len(runs) - NAMED} more" if len(runs) > NAMED else ""
    return f"run {names} has" if len(runs) == 1 else f"runs {names}{more} have"


def _refuse_strange(session: Session, run: Run) -> None:
    """Never remove a directory that a run's record only claims to have."""
    directory = os.fspath(session.directory(run))
    control = os.path.join(directory, CONTROL)
    if run.directory is not None or not os.path.lexists(directory):
        # Of one that a person has chosen, which may be away, nothing but our records goes.
        return
    if not os.path.lexists(os.path.join(control, "run.json")) and not os.path.isdir(
        os.path.join(control, ATTEMPTS)
    ):
        raise UserError(
            f"'{directory}' is not the directory of a run: it has no {CONTROL}/run.json",
            "Move it away if it is to be kept, or remove it by hand.",
        )


async def _delete_chunk(
    session: Session, runs: Sequence[Run], permanent: bool, unchanged: bool
) -> tuple[int, list[Run]]:
    """Delete some runs; return how many that were, and those that somebody started (or changed) meanwhile."""
    mine, busy = await _take_from_queues(session, runs)
    # The claim is a revision, too.
    expected = {run.id: run.revision + any(run.id == one.id for one in mine) for run in runs}
    moved: list[_Moved] = []
    try:
        for run in runs:
            if run not in busy:
                moved.append(_move(session, run, permanent))
                failpoint("delete.renamed")
    except BaseException:
        left = [run for run in mine if not any(one.run.id == run.id for one in moved)]
        await shielded(lambda: _give_back(session, left))
        raise
    finally:
        # What has been moved is gone, whoever is cancelled meanwhile.
        kept = await shielded(lambda: _forget(session, moved, expected if unchanged else {}))
        failpoint("delete.forgotten")
        for one in moved:
            if one.run in kept:
                continue
            session.emit("run.deleted", one.run, data={"permanent": permanent})
            if permanent:
                await remove(session, one.run, one.place)
    return len(moved) - len(kept), [*busy, *kept]


async def _take_from_queues(session: Session, runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Claim those that a queue could start, so that none does while they go; those that are taken already."""
    waiting = [run for run in runs if run.state in _WAITING]
    if not waiting:
        return [], []
    wanted = Wanted(ids=tuple(run.id for run in waiting), states=_WAITING)
    # What was claimed must be known to whoever is cancelled now: it is given back.
    claimed = await shielded(lambda: session.store.claim(session.worker, LEASE, len(waiting), wanted))
    ids = {run.id for run in claimed}
    return list(claimed), [run for run in waiting if run.id not in ids]


async def _give_back(session: Session, claimed: Sequence[Run]) -> None:
    for run in claimed:
        try:
            await session.store.update((lifecycle.release(run),))
        except OrchestraError as error:
            session.emit("log.message", run, level="warning", message=f"run {run.id}: {error.message}")


def _move(session: Session, run: Run, permanent: bool) -> _Moved:
    trash, origin = Trash(session.layout), os.path.join(session.layout.runs_dir, run.id)
    # One that a person has chosen may be away: who brings its disk back can restore the run.
    is_there = run.directory is not None or os.path.isdir(session.layout.control(session.directory(run)))
    if permanent or not is_there:
        return _Moved(run=run, place=trash.drop(origin, run.id))
    if run.state != "broken" and run.worker is None and run.schema <= versions.RUN:
        # So that nothing that only the store knows is lost. No room for that is no reason not to delete.
        with suppress(OrchestraError):
            write_record(session, run, fsync=False)
    failpoint("delete.recorded")
    return _Moved(run=run, place=trash.put(run.id, session.clock.now(), target=run.directory))


async def _forget(session: Session, moved: Sequence[_Moved], expected: Mapping[str, int]) -> list[Run]:
    """Let the store forget them; those that somebody started meanwhile are moved back, and returned.

    So are those that do not have the revision that is ``expected`` of them.
    """
    ids = tuple(one.run.id for one in moved)
    known = {run.id: run for run in (await session.store.query(RunQuery(ids=ids))).runs}
    kept: list[Run] = []
    for one in moved:
        current = known.get(one.run.id)
        if current is None or one.place is None:
            continue
        others = current.worker not in (None, session.worker)
        if others or current.revision != expected.get(current.id, current.revision):
            os.rename(one.place, os.path.join(session.layout.runs_dir, one.run.id))
            kept.append(one.run)
            if not others and current.worker is not None:
                await _give_back(session, [current])
    await session.store.delete([one.run.id for one in moved if one.run not in kept])
    return kept


async def remove(session: Session, run: Run, place: str | None) -> None:
    """Remove the files of a run that was moved out of the way for good, and the secrets that only it needs."""
    _forget_secrets(session, run.id)
    if not is_reachable(run):
        message = f"{unreached(run)}; should it be there again, it is left as it is"
        session.emit("log.message", run, level="warning", message=message)
    try:
        await off_loop(lambda: _remove_files(place, run.directory, run.id))
    except OSError as error:
        session.emit(
            "log.message",
            run,
            level="warning",
            message=f"the files of run {run.id} can't be removed: {text_of_os_error(error)}",
        )


def _forget_secrets(session: Session, run_id: str) -> None:
    """Unless another run has this id: one that was made since, or one in the trash."""
    if not os.path.exists(session.layout.secrets_dir):
        return
    if os.path.lexists(os.path.join(session.layout.runs_dir, run_id)):
        return
    if not Trash(session.layout).holds(run_id):
        session.vault.forget(run_id)


def _remove_files(place: str | None, chosen: str | None, run_id: str) -> None:
    """``chosen``: a directory that a person chose, of which only what is ours is removed."""
    if chosen is not None:
        _remove_records(chosen, run_id)
    if place is not None:
        remove_tree(place)


def _remove_records(directory: str, run_id: str) -> None:
    """Remove what is ours in a directory that a person chose, if it still is that of the run."""
    try:
        if records.read_run(Path(directory)).id != run_id:
            return
    except OrchestraError:
        return
    remove_tree(os.path.join(directory, CONTROL))


async def finish_deletions(session: Session) -> int:
    """Finish the deletions for good that were cut short; return how many there were."""
    trash = Trash(session.layout)
    left = trash.leaving()
    for path, run_id in left:
        target = os.readlink(path) if os.path.islink(path) else None
        if not os.path.lexists(os.path.join(session.layout.runs_dir, run_id)):
            await session.store.delete((run_id,))
        _forget_secrets(session, run_id)
        try:
            await off_loop(
                lambda place=path, chosen=target, run_id=run_id: _remove_files(place, chosen, run_id)
            )
        except OSError as error:
            session.emit(
                "log.message",
                level="warning",
                message=f"what is left of run {run_id} can't be removed: {text_of_os_error(error)}",
            )
    return len(left)


def pending_deletions(session: Session) -> list[str]:
    """The ids of the runs whose deletion for good was cut short."""
    return [run_id for _, run_id in Trash(session.layout).leaving()]
