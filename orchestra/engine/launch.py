"""From a claimed run to a job that an executor has taken. Suspends nowhere that plugins don't."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, structs

from orchestra.child import install
from orchestra.child.supervisor import COOKIE, failpoint
from orchestra.console import Console
from orchestra.contracts import Preparing, Scheduling
from orchestra.engine.capture import after_starting, write_due_patch
from orchestra.engine.changes import change, tell, warn_of_store
from orchestra.engine.command_line import command_line
from orchestra.engine.config_destination import has_config, write_config
from orchestra.engine.control import Control
from orchestra.engine.giving_up import given_up_on_failure, put_back
from orchestra.engine.judge import may_be_scheduled, require_record, settle
from orchestra.engine.limits import given_environment
from orchestra.engine.off_loop import shielded
from orchestra.engine.presence import is_reachable
from orchestra.engine.session import Session
from orchestra.errors import (
    ExecutorError,
    OrchestraError,
    PluginError,
    ResolveError,
    RunBusy,
    Stopped,
    StoreUnavailable,
)
from orchestra.model import flags as flag_rules
from orchestra.model import lifecycle
from orchestra.model.execution import Exit, Handle, Job
from orchestra.model.marks import bears_marks
from orchestra.model.run import FINAL, Run
from orchestra.workspace import durable, records
from orchestra.workspace.layout import REPLACING
from orchestra.workspace.orders import (
    GRACE,
    ORDERS,
    STOP_TIMEOUT,
    Orders,
    name_ahead,
    name_orders,
    write_orders,
)

RESOLVED = ("resolved", "flags", "label")
"""What providing what a run needs may change of its record."""


class Launch(Struct, frozen=True, kw_only=True):
    """How a run is to be started."""

    attached: bool = False
    """The supervisor is a child of ours, started plainly, without a launcher between."""
    stdin: Literal["null", "inherit"] = "null"
    environment: Mapping[str, str] = {}
    """Variables beyond those that the run asked for (a queue's devices)."""


class Ready(Struct, frozen=True, kw_only=True):
    """A run, claimed or about to be, with its orders written: what is left is to hand its job over."""

    claimed: Run
    """The run as it is claimed, or will be."""
    how: Launch
    run: Run
    """The same with its command."""
    job: Job
    nonce: str
    environment: Mapping[str, str]
    """The variables that are ordered."""

    def is_for(self, run: Run, how: Launch) -> bool:
        """Whether it was made for just this run, just so claimed."""
        return how == self.how and structs.replace(self.claimed, lease=run.lease) == run


async def launch(
    session: Session,
    run: Run,
    how: Launch,
    *,
    console: Console | None = None,
    control: Control | None = None,
    ready: Ready | None = None,
) -> Run:
    """Resolve what a claimed run needs, write the attempt's orders and hand the job to its executor.

    ``ready``: what :func:`make_ready_ahead` has made of that already; used if it fits.

    A dependency or an executor that fails ends the run with an exit record that says why: it is the run's
    failure, not the caller's. Whatever else fails, and a cancellation, ends the claim.

    Raises:
        RunBroken: the run's record can't be read: it is ``broken`` now.
    """
    async with given_up_on_failure(session, run, console=console, control=control):
        failpoint("run.claimed")
        try:
            if ready is not None and ready.is_for(run, how) and _name_orders(session, ready):
                return await _hand_over(session, ready, console, control)
            if not is_reachable(run):
                return await put_back(session, run, console=console)
            if not os.path.isdir(session.directory(run)):
                return await settle(session, run, given_up=True)
            await require_record(session, run)
            return await _launch(session, run, how, console, control)
        except (ExecutorError, PluginError, ResolveError) as error:
            write_due_patch(session, run)
            return await fail_to_start(session, run, error)


async def _launch(
    session: Session, claimed: Run, how: Launch, console: Console | None, control: Control | None
) -> Run:
    run = claimed
    directory = session.attempt_directory(run)
    # Its name must be on the disk before its fence: no power cut may leave a started run that knows no start.
    durable.make_dirs(directory, fsync=session.fsync)
    if run.operation.python_requires is not None:
        from orchestra.engine.python_version import check_python

        check_python(run.operation)
    if run.needs and run.starter != "queue":
        from orchestra.engine.leasing import wait_for_resources

        run = await wait_for_resources(session, run, console=console, control=control)
    if run.sources or run.operation.requires:
        from orchestra.engine.resolve import resolve

        run = await resolve(session, run, console=console, control=control)
    clear = session.vault.revealed(run) if bears_marks(run) else run
    write_config(session.directory(run), clear)
    ready = _write_orders(session, claimed, run, clear, how)
    return await _hand_over(session, ready, console, control)


def _write_orders(
    session: Session, claimed: Run, run: Run, clear: Run, how: Launch, *, ahead: bool = False
) -> Ready:
    """Write the orders for ``run``, which is ``claimed`` with all that it needs provided; ``clear``: with its secrets.

    ``ahead``: it is not claimed yet, and may be another's. The orders get their name when it is.
    """
    directory = session.attempt_directory(run)
    command = command_line(run.operation, run.flags)
    in_clear = command if clear is run else command_line(clear.operation, clear.flags)
    run = structs.replace(run, command=command)
    nonce = os.urandom(8).hex()
    orders = _orders(session, clear, in_clear, nonce, how)
    write_orders(directory, orders, name=name_ahead(nonce) if ahead else ORDERS)
    job = _job(session, run, directory, nonce, how)
    return Ready(claimed=claimed, how=how, run=run, job=job, nonce=nonce, environment=orders.environment)


def _name_orders(session: Session, ready: Ready) -> bool:
    """Let the orders that were written ahead be those of the run, which is claimed now; False if they are gone."""
    try:
        name_orders(session.attempt_directory(ready.run), ready.nonce)
    except OrchestraError:
        return False
    return True


async def _hand_over(session: Session, ready: Ready, console: Console | None, control: Control | None) -> Run:
    failpoint("run.ordered")
    run, claimed = ready.run, ready.claimed
    executor = await session.executor(run.executor)
    changed = {name: getattr(run, name) for name in RESOLVED if getattr(run, name) != getattr(claimed, name)}
    changed |= {"command": run.command, "executor": run.executor}
    if may_be_scheduled(run):
        from orchestra.engine.submitting import submit_heedfully

        handle = await submit_heedfully(session, run, ready.job, console=console, control=control)
    else:
        handle = await executor.submit(ready.job)
    failpoint("run.submitted")
    # Whoever is cancelled now must learn that there is an operation, or nobody could stop it.
    run = await shielded(lambda: _note_submission(session, run, handle, changed))
    if run.handle != handle and may_be_scheduled(run) and isinstance(executor, Scheduling):
        from orchestra.engine.scheduled import withdraw_job

        await withdraw_job(session, run, executor, handle)
    after_starting(session, run, ready.environment)
    return run


async def make_ready_ahead(session: Session, run: Run, how: Launch) -> Ready | None:
    """Do what can be done now for a run that this session will probably claim next; None if that is nothing.

    Nothing is decided by that, and nothing of it is to be seen: the run can still be claimed by others, changed or
    deleted, and may be executed elsewhere already. So nothing is written but orders under a name of their own. Left
    alone are runs that ask for more than a process, for that may have to be waited for, or told of.
    """
    try:
        executor = await session.executor(run.executor)
        if not isinstance(executor, Preparing) or not _is_plain(session, run):
            return None
        claimed = lifecycle.claim(run, session.worker, 0)
        claimed = structs.replace(claimed, revision=run.revision + 1)
        records.read_run(session.directory(run))
        durable.make_dirs(session.attempt_directory(claimed), fsync=session.fsync)
        ready = _write_orders(session, claimed, claimed, claimed, how, ahead=True)
    except OrchestraError:
        # It will be said when the run is to be started, if it is still so then.
        return None
    executor.prepare(ready.job, name_ahead(ready.nonce))
    return ready


def discard_ready(session: Session, ready: Ready | None) -> None:
    """Remove what :func:`make_ready_ahead` has made, if it was not used."""
    if ready is not None:
        with suppress(OSError):
            os.unlink(session.attempt_directory(ready.run) / name_ahead(ready.nonce))


def _is_plain(session: Session, run: Run) -> bool:
    """Whether a start of ``run`` takes nothing but its orders and a process."""
    operation = run.operation
    if run.kind != "run" or run.state in FINAL or run.worker is not None:
        return False
    if run.needs or run.sources or operation.requires or operation.python_requires is not None:
        return False
    if has_config(operation) or bears_marks(run):
        return False
    return not os.path.exists(session.layout.control(session.directory(run)) / REPLACING)


async def _note_submission(session: Session, run: Run, handle: Handle, changed: Mapping[str, Any]) -> Run:
    """Keep the handle, and what the launch has ``changed``; the start, too, if it is to be seen already."""
    fence = records.read_fence(session.attempt_directory(run))
    started = fence if fence is not None and fence.fence == "started" else None

    def noted(current: Run) -> Run:
        # Who looked meanwhile may have seen the start, or even the end, before us.
        if current.attempt != run.attempt or current.worker is None:
            return current
        current = lifecycle.submit(current, handle)
        if started is not None and current.state == "pending":
            current = lifecycle.start(current, started)
        return structs.replace(current, **changed)

    if started is not None:
        failpoint("run.started")
    try:
        kept = await change(session, run, noted)
    except StoreUnavailable as error:
        # The operation is on its way all the same: it is followed, and its end entered with all else.
        warn_of_store(session, run, error)
        kept = noted(run)
    session.emit("run.submitted", kept, executor=handle.executor)
    if kept.state == "running":
        tell(session, "run.started", kept)
    failpoint("run.noted")
    return kept


async def with_handle(session: Session, run: Run) -> Run:
    """A running run with its handle, also if its starter died before it could note one.

    The job is submitted again, by the same name: its executor knows it by that, and where it does not, the
    fence ends the second one before it comes to the operation.

    Raises:
        ExecutorError: the executor can't be asked.
    """
    fence = records.read_fence(session.attempt_directory(run))
    if run.handle is not None or fence is None:
        return run
    executor = await session.executor(run.executor)
    job = _job(session, run, session.attempt_directory(run), fence.nonce, Launch())
    return await _note_submission(session, run, await executor.submit(job), {})


async def fail_to_start(
    session: Session, run: Run, error: OrchestraError, *, console: Console | None = None
) -> Run:
    """Record that a claimed run could not be started: its attempt ends with the reason, or was stopped.

    Raises:
        RunBusy: it was started all the same, or its claim was revoked.
    """
    directory = session.attempt_directory(run)
    now = session.clock.now()
    reason = error.message + (f"\n{error.hint}" if error.hint else "")
    exit_record = Exit(code=1, started=now, stopped=now, cause="not_started", reason=reason)
    if isinstance(error, Stopped):
        exit_record = structs.replace(exit_record, code=error.code, cause=None, stopped_by=error.signal)
    try:
        with records.hold(directory, session.worker.nonce, fsync=session.fsync):
            records.write_exit(directory, exit_record, fsync=session.fsync)
    except records.FenceLost:
        raise RunBusy(f"run {run.id} is being started by somebody else") from None
    return await settle(session, run, console=console)


def operation_environment(session: Session, run: Run) -> dict[str, str]:
    """What a run's operation finds in its environment beyond that of whoever starts it."""
    directory = session.directory(run)
    return {
        "PYTHONUNBUFFERED": "1",
        **(_defined_environment(run, directory) if run.operation.project_file is not None else {}),
        **run.environment,
        **given_environment(run),
        **flag_rules.environment(run.flags, run.operation.flags),
        "RUN_DIR": str(directory),
        "RUN_ID": run.id,
        "RUN_ATTEMPT": str(run.executions + 1),
        "ORCHESTRA_HOME": str(session.layout.home),
        "ORCHESTRA_OP": run.operation.name,
        **({"PROJECT_DIR": run.operation.source} if run.operation.source else {}),
        "FLAGS_DEST": run.operation.flags_dest,
        **_command_directory(),
    }


def _command_directory() -> dict[str, str]:
    """Where whoever starts the run is: an operation may be given paths as seen from there."""
    try:
        return {"CMD_DIR": os.getcwd()}
    except FileNotFoundError:
        # It was removed.
        return {}


def _defined_environment(run: Run, directory: Path) -> dict[str, str]:
    """What the project's file says of the environment."""
    from orchestra.model.templates import filled_environment

    variables = filled_environment(run.operation, run.flags)
    if run.operation.python_path:
        inherited = variables.get("PYTHONPATH", os.environ.get("PYTHONPATH"))
        paths = [os.path.normpath(directory / path) for path in run.operation.python_path]
        variables["PYTHONPATH"] = os.pathsep.join([*paths, *([inherited] if inherited else [])])
    return variables


def _orders(session: Session, run: Run, command: tuple[str, ...], nonce: str, how: Launch) -> Orders:
    warning = (0, 0.0)
    if run.warning is not None:
        from orchestra.model.term_words import parse_warning

        warning = parse_warning(run.warning)
    return Orders(
        run=run.id,
        attempt=run.attempt,
        nonce=nonce,
        cwd=str(session.directory(run)),
        arguments=command,
        environment={**operation_environment(session, run), **how.environment, **given_environment(run)},
        output=run.operation.output or session.settings.output,
        streams="one" if session.one_stream else "two",
        stdin=how.stdin,
        fsync=session.fsync,
        grace=GRACE if run.operation.grace is None else run.operation.grace,
        stop_timeout=STOP_TIMEOUT if run.operation.stop_timeout is None else run.operation.stop_timeout,
        starter=run.starter or "command",
        queue=run.queue,
        stop_after=None if run.stop_after is None else run.stop_after * 60,
        time_limit=run.time_limit,
        warning=warning[0],
        warn_before=warning[1],
        output_limit=session.settings.most_output,
    )


def _job(session: Session, run: Run, directory: Path, nonce: str, how: Launch) -> Job:
    name = f"{run.id}.{run.attempt}"
    return Job(
        name=name,
        argv=install.supervisor_command(sys.executable, session.library, str(directory)),
        directory=str(directory),
        environment={COOKIE: f"{name}.{nonce}"},
        attached=how.attached,
        resources=_resources(run),
    )


def _resources(run: Run) -> dict[str, str | int | float]:
    """What a job's executor may reserve for it: see :attr:`Job.resources`."""
    needs = run.needs
    wanted: dict[str, str | int | float] = {
        name: amount
        for name, amount in (("cpus", needs.cpus), ("memory", needs.memory), ("gpus", needs.gpus))
        if amount
    }
    limits = [run.time_limit, None if run.stop_after is None else run.stop_after * 60]
    ends = min((limit for limit in limits if limit is not None), default=None)
    if ends is not None:
        stop_timeout = STOP_TIMEOUT if run.operation.stop_timeout is None else run.operation.stop_timeout
        grace = GRACE if run.operation.grace is None else run.operation.grace
        wanted["time"] = ends + stop_timeout + grace
    return wanted
