"""Stop runs: tell those who run them, prove that they are who they are, and wait for the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

from msgspec import Struct, structs

from orchestra.child import supervisor
from orchestra.contracts import StopHow
from orchestra.engine.changes import change, tell
from orchestra.engine.hosted import tell_guest
from orchestra.engine.judge import may_be_scheduled, settle, watcher_is_gone
from orchestra.engine.presence import is_reachable, unreached
from orchestra.engine.session import Session
from orchestra.errors import ExecutorError, RunBusy, RunNotFound, Stopped
from orchestra.model import lifecycle
from orchestra.model.execution import Fence, Identity
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, Run
from orchestra.workspace import records
from orchestra.workspace.fence import shares_our_pids

TIMEOUT = 30.0
"""Seconds to wait for runs that were told to stop."""
KILL_TIMEOUT = 10.0
"""Seconds to wait for those that were told so with force."""
POLL = 0.02


class StopReport(Struct, frozen=True, kw_only=True):
    """What became of a request to stop runs."""

    stopped: tuple[Run, ...] = ()
    """Told to stop, and ended (or not waited for)."""
    not_running: tuple[Run, ...] = ()
    elsewhere: tuple[tuple[Run, str], ...] = ()
    """Runs that can't be told from here, and the host that they run on."""
    left: tuple[tuple[Run, int], ...] = ()
    """Runs that did not end in time, and the pid above them."""

    @property
    def done(self) -> bool:
        """Whether nothing goes on that was to be stopped."""
        return not self.elsewhere and not self.left


def not_stopped(report: StopReport) -> str:
    """A line on the runs that go on though they were told to stop."""
    if report.left:
        pids = ", ".join(f"{pid} (run {run.short_id})" for run, pid in report.left)
        return f"The following processes did not stop as expected: {pids}"
    return "\n".join(
        f"Run {run.id} runs on host {host} and can't be stopped from here" for run, host in report.elsewhere
    )


async def stop_runs(
    session: Session,
    runs: Sequence[Run],
    *,
    timeout: float | None = TIMEOUT,
    force: bool = False,
    tell: Callable[[str], object] | None = None,
) -> StopReport:
    """Tell ``runs`` to stop, with all processes of theirs, and wait ``timeout`` seconds; None: don't wait.

    What does not end in time is killed with ``force``. ``tell`` is given a line for each run.
    """
    say = tell or _say_nothing
    told: list[tuple[Run, int]] = []
    report = StopReport()
    for run in runs:
        run = await settle(session, run)
        if run.busy and not is_reachable(run):
            report = await _stop_unreached(session, run, report, say)
            continue
        fence = await _started(session, run)
        if fence is None and await _cancel_waiting(session, run):
            say(f"Stopping {run.id}, which has not begun")
            report = structs.replace(report, stopped=(*report.stopped, await session.store.get(run.id)))
            continue
        if fence is None:
            fence = await _started(session, await session.store.get(run.id))
        if fence is None:
            run = await _keep_from_starting(session, run)
            if await _give_up_retries(session, run):
                say(f"Run {run.id} will not be tried again")
                continue
            report = structs.replace(report, not_running=(*report.not_running, run))
            say(await _not_running(session, run))
        elif await _signal(session, run, fence, "terminate"):
            told.append((run, fence.identity.pid))
            rest = ", which goes on" if fence.kind == "guest" else ""
            say(f"Stopping {run.id} ({'in ' if rest else ''}pid {fence.identity.pid}{rest})")
        elif _is_here(fence.identity):
            told.append((run, fence.identity.pid))
        else:
            host = fence.identity.host.partition("/")[0]
            place = "in another container on" if fence.identity.host == supervisor.host_id() else "on"
            report = structs.replace(report, elsewhere=(*report.elsewhere, (run, host)))
            say(f"Run {run.id} runs {place} host {host} and can't be stopped from here")
    if timeout is None:
        return structs.replace(report, stopped=(*report.stopped, *(run for run, _ in told)))
    return await _await_end(session, told, report, timeout, force)


async def _stop_unreached(
    session: Session, run: Run, report: StopReport, say: Callable[[str], object]
) -> StopReport:
    """Stop a run whose disk is away, by its executor; where nobody knows of it any more, a person ends our wait."""
    if await _tell_executor(session, run, "terminate"):
        say(f"Stopping {run.id}: how it ends is seen when its disk is back")
        return structs.replace(report, stopped=(*report.stopped, run))

    def given_up(current: Run) -> Run:
        is_left = current.busy and current.attempt == run.attempt
        if not is_left or not watcher_is_gone(current, session.clock.now()):
            return current
        return lifecycle.lose(current, session.clock.now(), "its directory can't be reached")

    kept = await change(session, run, given_up)
    if kept.worker is not None:
        say(f"Run {run.id} can't be stopped: {unreached(run)}")
        host = kept.worker.identity.host.partition("/")[0]
        return structs.replace(report, elsewhere=(*report.elsewhere, (kept, host)))
    if kept.state == "lost":
        tell(session, "run.lost", kept, reason=kept.reason)
    say(f"Run {run.id} is given up as {kept.state}: {unreached(run)}. What of it may still run is not known")
    return structs.replace(report, not_running=(*report.not_running, kept))


async def _give_up_retries(session: Session, run: Run) -> bool:
    """End a run that waits for nothing but the time of its next try; False if it doesn't."""

    def ended(now: Run) -> Run:
        if now.state != "staged" or now.not_before is None or not now.executions:
            return now
        return lifecycle.abort(now, session.clock.now(), "aborted because it was stopped before its next try")

    if ended(run) is run:
        return False
    run = await change(session, run, ended)
    if run.state == "aborted":
        tell(session, "run.aborted", run, reason=run.reason)
    return run.state == "aborted"


async def _not_running(session: Session, run: Run) -> str:
    """That there is nothing to stop; and what to do where a person may mean that it is not to be started."""
    if run.state == "staged":
        return (
            f"Run {run.id} is staged and not running: "
            f"use 'orchestra runs delete {run.short_id}' if no queue is to start it"
        )
    told = f"Run {run.id} is not running"
    if run.kind != "batch":
        return told
    staged = (await session.store.query(RunQuery(batch=run.id, states=frozenset(("staged",)), limit=1))).total
    if not staged:
        return told
    return (
        f"{told}, and {staged} of its trials are staged: "
        f"use \"orchestra runs delete -F 'batch = {run.id} and status = staged'\" if no queue is to start them"
    )


def _say_nothing(line: str) -> None:
    del line


async def _await_end(
    session: Session, told: list[tuple[Run, int]], report: StopReport, timeout: float, force: bool
) -> StopReport:
    ended, left = await _ended(session, told, timeout)
    if left and force:
        for run, _ in left:
            fence = await _started(session, run)
            if fence is not None:
                await _signal(session, run, fence, "kill")
        more, left = await _ended(session, left, KILL_TIMEOUT)
        ended += more
    return structs.replace(report, stopped=(*report.stopped, *ended), left=tuple(left))


async def _ended(
    session: Session, told: list[tuple[Run, int]], timeout: float
) -> tuple[list[Run], list[tuple[Run, int]]]:
    """Wait until all have ended, at most ``timeout`` seconds; return those that have, and the others."""
    import anyio

    deadline = time.monotonic() + timeout
    ended: list[Run] = []
    left = told
    while True:
        waiting: list[tuple[Run, int]] = []
        for run, pid in left:
            try:
                run = await settle(session, await session.store.get(run.id))
            except RunNotFound:
                continue
            if run.busy:
                waiting.append((run, pid))
            else:
                ended.append(run)
        left = waiting
        if not left or time.monotonic() >= deadline:
            return ended, left
        await anyio.sleep(POLL)


async def _started(session: Session, run: Run) -> Fence | None:
    """The fence of a run that has started and not ended."""
    if run.state not in ACTIVE or run.worker is None:
        return None
    fence = records.read_fence(session.attempt_directory(run))
    return fence if fence is not None and fence.fence == "started" else None


async def _keep_from_starting(session: Session, run: Run) -> Run:
    """Take the right to start a claimed run away from whoever has it."""
    if not run.claimed:
        return run
    records.revoke(session.attempt_directory(run), fsync=session.fsync)
    return await settle(session, run)


async def _cancel_waiting(session: Session, run: Run) -> bool:
    """End a run whose job waits with its scheduler; False if there is none, or it has begun."""
    if not run.claimed or run.handle is None or not may_be_scheduled(run):
        return False
    from orchestra.engine.launch import fail_to_start
    from orchestra.engine.scheduled import withdraw_job

    try:
        # The fence first: then it can't begin, whether its scheduler can be reached or not.
        await fail_to_start(session, run, Stopped("stopped before it was started", "TERM", -signal.SIGTERM))
    except RunBusy:
        return False
    await withdraw_job(session, run, await session.executor(run.executor), run.handle)
    return True


async def _signal(session: Session, run: Run, fence: Fence, how: StopHow) -> bool:
    """Tell whoever runs ``run``. Signals go only to the process that won the fence."""
    session.emit("run.stopping", run, how=how)
    identity = fence.identity
    if fence.kind == "guest":
        tell_guest(session, run, how)
        return True
    if await _tell_executor(session, run, how):
        return True
    if not _is_here(identity):
        return False
    # What executes in a process of ours has no supervisor that could kill it.
    number = signal.SIGKILL if how == "kill" and run.kind != "run" else supervisor.STOP_SIGNALS[how]
    directory = os.fspath(session.attempt_directory(run))
    job = f"{run.id}.{run.attempt}"
    return supervisor.signal_owner(directory, job, identity.pid, identity.start, number)


async def _tell_executor(session: Session, run: Run, how: StopHow) -> bool:
    """Whether the run's executor has told its job: it proves by the handle alone whom it tells."""
    if run.kind != "run" or run.handle is None:
        return False
    executor = await session.executor(run.executor)
    try:
        return await executor.stop(run.handle, how)
    except ExecutorError as error:
        session.emit("log.message", run, level="warning", message=f"run {run.id}: {error.message}")
        return False


def _is_here(identity: Identity) -> bool:
    here = identity.host == supervisor.host_id() and identity.boot == supervisor.boot_id()
    return here and shares_our_pids(identity)
