"""Which run a process belongs to."""

from __future__ import annotations

from orchestra.child import supervisor
from orchestra.engine.judge import is_alive
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, RunNotFound
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, Run
from orchestra.workspace.fence import probe


async def run_of_process(session: Session, pid: int) -> Run:
    """The active run that the process with this pid executes, watches over, or was started by.

    A process that is several runs, a queue that executes a batch, is the first of them.

    Raises:
        RunNotFound: it belongs to none.
    """
    active = (await session.store.query(RunQuery(states=ACTIVE, oldest_first=True))).runs
    for run in active:
        if _has_started(session, run, pid):
            return run
    cookie = supervisor.cookie_of(pid)
    if cookie is not None:
        run_id = cookie.rsplit(".", 2)[0]
        for run in active:
            if run.id == run_id:
                return run
    raise RunNotFound(
        f"process {pid} belongs to no running run", "Try 'orchestra runs list' for a list of runs."
    )


def _has_started(session: Session, run: Run, pid: int) -> bool:
    """Whether that very process has won the fence of the run's attempt, and has not let go of it."""
    if not run.attempt:
        return False
    try:
        found = probe(session.attempt_directory(run))
    except OrchestraError:
        return False
    if found is None or found.fence.fence != "started" or found.fence.identity.pid != pid:
        return False
    return bool(found.alive) and is_alive(found.fence.identity) is True
