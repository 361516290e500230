"""Changes of a run: made in the store whoever else is at it, told to whoever listens, kept in its history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestra.console import Console
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, RevisionConflict, StoreUnavailable
from orchestra.model.run import Run
from orchestra.workspace import records


def tell(session: Session, name: str, run: Run, *, console: Console | None = None, **data: Any) -> None:
    """Emit the event ``name`` and append it to the run's ``events.jsonl``."""
    session.emit(name, run, console=console, data=data)
    entry = {"time": session.clock.now(), "event": name, "state": run.state, "attempt": run.attempt, **data}
    try:
        records.append_event(session.directory(run), entry)
    except OrchestraError as error:
        if not session.layout.control(session.directory(run)).exists():
            # It is being deleted, and has no history any more; or its disk is away.
            return
        # The history is a convenience; the records beside it decide. A full disk must not stop the watch.
        session.emit("log.message", run, level="warning", message=f"run {run.id}: {error.message}")


def write_record(session: Session, run: Run, *, fsync: bool | None = None) -> None:
    """Write the record of a run that was changed, which must outlive the store: on the disk as settled, unless it is
    said otherwise. One that somebody has deleted meanwhile, or whose disk is away, is not made again.

    Raises:
        RunNotFound, HomeError, StoreUnavailable: as of :func:`~orchestra.workspace.records.write_run`.
    """
    records.write_run(
        session.directory(run), run, fsync=session.fsync if fsync is None else fsync, create=False
    )


def warn_of_store(
    session: Session, run: Run, error: StoreUnavailable, *, console: Console | None = None
) -> None:
    """Tell that the store does not know what becomes of ``run``, which is no reason to leave it."""
    message = f"{error.message}. What becomes of run {run.id} is in its directory, and entered later"
    session.emit("log.message", run, level="warning", message=message, console=console)


async def change(session: Session, run: Run, how: Callable[[Run], Run]) -> Run:
    """Keep what ``how`` makes of ``run``, in the store; again if somebody else has changed the run meanwhile.

    Anybody may judge a run at any time, so a conflict is no error. ``how`` is given the run as it is then,
    and returns that very run where nothing is left to be done.

    Raises:
        RunNotFound: the run was deleted.
    """
    while True:
        changed = how(run)
        if changed is run:
            return run
        try:
            (kept,) = await session.store.update((changed,))
        except RevisionConflict:
            run = await session.store.get(run.id)
        else:
            return kept
