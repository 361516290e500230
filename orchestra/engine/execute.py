"""From the claim to the end: the one path of foreground runs, trials and what a queue starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from orchestra.console import Console
from orchestra.engine.control import Control
from orchestra.engine.giving_up import given_up_on_failure, put_back
from orchestra.engine.judge import require_record
from orchestra.engine.launch import Launch, Ready, fail_to_start, launch
from orchestra.engine.limits import given_environment
from orchestra.engine.presence import is_reachable
from orchestra.engine.session import Session
from orchestra.errors import ResolveError
from orchestra.model.run import FINAL, Run


async def execute(
    session: Session,
    run: Run,
    *,
    console: Console,
    control: Control | None = None,
    how: Launch | None = None,
    stop_runs: bool = False,
    keep: bool = False,
    foretold: Callable[[], object] | None = None,
    ready: Ready | None = None,
    meanwhile: Callable[[], Awaitable[object]] | None = None,
) -> Run:
    """Start a claimed run of any kind, watch it to its end, and return it in its final state.

    ``stop_runs``: a queue that is told to end stops its runs. ``keep``: a run that completed is not
    deleted, whatever is set for its operation or for interim runs. ``foretold``: see
    :func:`~orchestra.engine.supervise.supervise`. ``ready``: see :func:`~orchestra.engine.launch.launch`.
    ``meanwhile`` is called once an operation has been started: for what takes little time, and can be done as well
    while it runs.
    """
    control = control or Control()
    if run.kind != "run":
        if not is_reachable(run):
            return await put_back(session, run, console=console)
        async with given_up_on_failure(session, run, console=console):
            ended = await _execute_here(session, run, console, control, how, stop_runs)
        await tidy_up(session, ended, console=console, keep=keep)
        return ended
    from orchestra.engine.supervise import supervise

    started = await launch(session, run, how or Launch(), console=console, control=control, ready=ready)
    if meanwhile is not None and started.state not in FINAL:
        await meanwhile()
    ended = await supervise(session, started, console=console, control=control, how=how, foretold=foretold)
    await tidy_up(session, ended, console=console, keep=keep)
    return ended


async def tidy_up(session: Session, run: Run, *, console: Console, keep: bool = False) -> None:
    """Delete a run that has ended if it is one to be deleted when it succeeds."""
    if not keep and is_interim(session, run):
        from orchestra.engine.interim import delete_interim

        await delete_interim(session, run, console=console)


def is_interim(session: Session, run: Run) -> bool:
    """Whether ``run`` is to be deleted when it succeeds. A trial never is: its batch counts it."""
    if run.kind in ("batch", "queue"):
        return session.settings.interim == "delete"
    return run.operation.delete_on_success is True and run.batch is None


async def _execute_here(
    session: Session, run: Run, console: Console, control: Control, how: Launch | None, stop_runs: bool
) -> Run:
    """Execute a batch, a queue or a pipeline, which this process is."""
    await require_record(session, run)
    if run.kind == "steps":
        from orchestra.engine.steps import run_steps

        return await run_steps(session, run, console=console, control=control, how=how)
    if run.kind == "batch":
        from orchestra.engine.batch import run_batch

        if run.needs and run.starter != "queue":
            from orchestra.engine.leasing import wait_for_resources

            try:
                run = await wait_for_resources(session, run, console=console, control=control)
            except ResolveError as error:
                return await fail_to_start(session, run, error)
        environment = {**(how.environment if how else {}), **(given_environment(run) if run.needs else {})}
        return await run_batch(session, run, console=console, control=control, environment=environment)
    from orchestra.engine.queue import run_queue

    return await run_queue(session, run, console=console, control=control, stop_runs=stop_runs)
