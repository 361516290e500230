"""Stop queues, and with them, if that is wanted, the runs that they have started or taken over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestra.engine.off_loop import off_loop
from orchestra.engine.session import Session
from orchestra.engine.stopping import TIMEOUT, StopReport, stop_runs
from orchestra.errors import UserError, text_of_os_error
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, Run
from orchestra.workspace import queue_orders


async def stop_queues(
    session: Session, queues: Sequence[Run], *, and_runs: bool, tell: Callable[[str], object]
) -> StopReport:
    """Tell ``queues`` to end and wait for it; ``and_runs``: they stop their runs first.

    Those that a queue has left running all the same, as one that was killed has, are stopped after it.

    Raises:
        UserError: a queue can't be told to stop its runs.
    """
    await off_loop(lambda: _tell_of_runs(session, queues, and_runs))
    told = {queue.id for queue in queues}
    runs = await _runs_of(session, told) if and_runs else ()
    report = await stop_runs(session, queues, timeout=TIMEOUT, tell=tell)
    if not and_runs:
        return report
    still = {run.id: run for run in (*runs, *await _runs_of(session, told))}
    active = (await session.store.query(RunQuery(ids=tuple(still), states=ACTIVE))).runs
    left = [run for run in active if run.worker is not None]
    return _both(report, await stop_runs(session, left, timeout=TIMEOUT, tell=tell))


def _tell_of_runs(session: Session, queues: Sequence[Run], wanted: bool) -> None:
    for queue in queues:
        directory = session.attempt_directory(queue)
        try:
            if directory.is_dir():
                queue_orders.set_stop_runs(directory, wanted)
        except OSError as error:
            raise UserError(
                f"queue {queue.id} can't be told what to do with its runs: {text_of_os_error(error)}",
                f"See that '{directory}' can be written to.",
            ) from error


async def _runs_of(session: Session, queues: set[str]) -> tuple[Run, ...]:
    """What these queues have started, and what they have taken over from others."""
    active = (await session.store.query(RunQuery(states=ACTIVE))).runs
    return tuple(
        run
        for run in active
        if run.worker is not None
        and run.kind != "queue"
        and not queues.isdisjoint((run.queue, run.worker.queue))
    )


def _both(queues: StopReport, runs: StopReport) -> StopReport:
    return StopReport(
        stopped=queues.stopped + runs.stopped,
        not_running=queues.not_running + runs.not_running,
        elsewhere=queues.elsewhere + runs.elsewhere,
        left=queues.left + runs.left,
    )
