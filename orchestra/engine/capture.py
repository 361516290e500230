"""What is kept of the surroundings of a run once it has been made, or started: nothing that it has to wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestra.engine.off_loop import off_loop
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model.run import Run
from orchestra.workspace.durable import fail


def after_making(session: Session, run: Run) -> None:
    """Keep the patch of a dirty working tree: at once, or when a run that is about to be started has been."""
    if run.vcs_commit is None or not run.vcs_commit.endswith("*"):
        return
    session.afterwards.patches_due.add(run.id)
    if run.state == "staged" or run.kind != "run":
        write_due_patch(session, run)


def after_starting(session: Session, run: Run, added: Mapping[str, str]) -> None:
    """Keep what a run was started with: the patch that is due, and the environment with the variables ``added``."""
    write_due_patch(session, run)
    directory, now = session.attempt_directory(run), session.clock.now()

    def write() -> str | None:
        return _write_environment(session, run, added, directory, now)

    if session.afterwards.surroundings is None:
        session.afterwards.do(write)
    else:
        # What was looked at for a run before this one is quicker written than a thread is started.
        session.afterwards.do_now(write)


def _write_environment(
    session: Session, run: Run, added: Mapping[str, str], directory: Path, now: int
) -> str | None:
    # Loaded while the operation runs.
    from orchestra.engine.surroundings import Surroundings
    from orchestra.workspace.environment import write_environment

    known = session.afterwards.surroundings
    if known is None:
        known = session.afterwards.surroundings = Surroundings()
    try:
        write_environment(directory, known.describe(run, added, now))
    except OrchestraError as error:
        # It may have been deleted meanwhile.
        return (
            f"The environment of run {run.id} is not recorded: {error.message}"
            if directory.is_dir()
            else None
        )
    return None


def write_due_patch(session: Session, run: Run) -> None:
    """Write the patch of a run that was made here and has none yet."""
    if run.id not in session.afterwards.patches_due:
        return
    session.afterwards.patches_due.discard(run.id)
    project, commit = run.operation.source, run.vcs_commit
    assert project is not None and commit is not None
    directory = session.directory(run)
    session.afterwards.do(lambda: _write_patch(project, directory, commit))


def _write_patch(project: str, directory: Path, vcs_commit: str) -> str | None:
    # Not loaded by those who start what has no changes.
    from orchestra.workspace.source_patch import write_patch

    try:
        problem = write_patch(project, directory, vcs_commit.removeprefix("git:").removesuffix("*"))
    except (OrchestraError, OSError) as error:
        problem = str(error)
    # It may have been deleted meanwhile.
    return (
        None
        if problem is None or not directory.is_dir()
        else f"There is no patch of the changes in '{project}': {problem}"
    )


async def share_with_trials(session: Session, batch: Run, trials: Sequence[Run]) -> None:
    """Give trials the patch of their batch.

    Raises:
        HomeError, StoreUnavailable: it can't be read or written.
    """
    if batch.vcs_commit is None or not batch.vcs_commit.endswith("*"):
        return
    from orchestra.workspace.source_patch import share_patch

    await session.finish_afterwards()
    origin, places = session.directory(batch), [session.directory(trial) for trial in trials]
    try:
        await off_loop(lambda: share_patch(origin, places))
    except OSError as error:
        fail(error, error.filename or origin)
