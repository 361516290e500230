"""Staging a run that needs files: they are provided at once, so that later changes of the project don't matter."""

from __future__ import annotations

from msgspec import structs

from orchestra.console import Console
from orchestra.engine.changes import change, tell, write_record
from orchestra.engine.control import Control
from orchestra.engine.giving_up import given_up_on_failure
from orchestra.engine.launch import RESOLVED, fail_to_start
from orchestra.engine.resolve import resolve
from orchestra.engine.session import Session
from orchestra.engine.stage import make_runs
from orchestra.errors import PluginError, ResolveError
from orchestra.model import lifecycle
from orchestra.model.run import Run
from orchestra.workspace.source import Selection


async def make_staged(
    session: Session,
    run: Run,
    selection: Selection | None,
    *,
    console: Console,
    control: Control | None = None,
) -> Run:
    """Make a run, provide what it needs (but what other runs make), and stage it.

    It is claimed meanwhile: no queue starts it, and if we die it is aborted.

    Raises:
        ResolveError: a dependency was not met: the run's state is ``error``.
    """
    claimed = lifecycle.admit(structs.replace(run, staged=None), session.worker)
    (run,) = await make_runs(session, (claimed,), selection)
    async with given_up_on_failure(session, run, console=console):
        try:
            resolved = await resolve(session, run, console=console, control=control, staging=True)
        except (ResolveError, PluginError) as error:
            await fail_to_start(session, run, error)
            raise
        return await _stage(session, run, resolved)


async def _stage(session: Session, run: Run, resolved: Run) -> Run:
    def staged(current: Run) -> Run:
        settled = {name: getattr(resolved, name) for name in RESOLVED}
        kept = structs.replace(current, rest="staged", **settled)
        return structs.replace(lifecycle.release(kept), staged=session.clock.now())

    run = await change(session, run, staged)
    write_record(session, run)
    tell(session, "run.staged", run)
    return run
