"""From a request to a run that is claimed, staged, or skipped: what every front end calls."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, structs

from orchestra.console import Console
from orchestra.engine.capture import after_making, share_with_trials
from orchestra.engine.concealment import concealed_flags
from orchestra.engine.control import Control
from orchestra.engine.giving_up import given_up_on_failure
from orchestra.engine.marking import warn_of_label
from orchestra.engine.off_loop import off_loop
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart, find_run, found_after, plan_restart
from orchestra.engine.session import Session
from orchestra.engine.snapshot import Snapshot, take_snapshot
from orchestra.engine.stage import (
    Plan,
    announce_staged,
    check_can_stage,
    make_runs,
    new_run,
    place,
    plan,
    prepare_for_hand,
    wanted_operation,
)
from orchestra.engine.start_again import claim_restart, restage
from orchestra.model import lifecycle
from orchestra.model.batch import Batch, Choices, Interval, is_same_search
from orchestra.model.filters import RunQuery
from orchestra.model.operation import Operation
from orchestra.model.run import FINAL, Run, State

MATCHING: frozenset[State] = frozenset(("completed", "terminated"))
"""What ``--needed`` lets stand for a new run."""


class Begun(Struct, frozen=True, kw_only=True):
    """What became of a request."""

    what: Literal["claimed", "staged", "skipped", "extended"]
    run: Run | None = None
    """The claimed or staged run, or the batch that was extended and is not ours to execute."""
    matching: tuple[Run, ...] = ()
    """Skipped: the runs that match already."""


async def prepare(session: Session, request: RunRequest) -> Plan | Restart:
    """Settle what the request comes to; nothing is made or changed yet.

    Raises:
        UserError: in one of its kinds, when the request can't be met.
    """
    prepared = await _settled(session, request)
    if request.after or request.restart is not None:
        from orchestra.engine.run_order import check_order

        await check_order(session, request, prepared)
    return prepared


async def _settled(session: Session, request: RunRequest) -> Plan | Restart:
    if request.extend is not None:
        from orchestra.engine.extending import plan_extension

        return await plan_extension(session, request)
    if request.redo:
        from orchestra.engine.redoing import check_redo

        check_redo(request)
    if request.restart is not None:
        return await _prepare_restart(session, request)
    if request.proto is not None:
        from orchestra.engine.proto import plan_proto

        planned = await plan_proto(session, request)
    else:
        # A parser that can't be read statically is run, which may take a while.
        planned = await off_loop(lambda: plan(session, request))
    check_can_stage(planned, request)
    _warn_of_flags(session, planned.warnings)
    warn_of_label(session, request, planned)
    if planned.batch is not None:
        _warn_of_no_trials(session, planned.batch)
        _warn_of_whole_bounds(session, planned.operation, planned.batch)
    if planned.operation.requires or planned.sources:
        from orchestra.engine.source_flags import with_chosen_runs

        planned = await with_chosen_runs(session, request, planned)
    if planned.operation.kind == "steps" and request.parent is None:
        from orchestra.engine.steps_ahead import check_planned

        await check_planned(session, request, planned)
    return planned


async def _prepare_restart(session: Session, request: RunRequest) -> Restart:
    restart = await plan_restart(session, request)
    if restart.run.kind != "run" or not (request.flags and restart.run.operation.requires):
        return restart
    from orchestra.engine.source_flags import with_chosen_runs_again

    return structs.replace(restart, run=await with_chosen_runs_again(session, request, restart.run))


async def operation_of(session: Session, request: RunRequest) -> Operation:
    """The operation that is asked for; the request's flags are not looked at.

    Raises:
        UserError: in one of its kinds, when there is no such operation or run.
    """
    if (earlier := request.restart or request.extend) is not None:
        return (await find_run(session, earlier, cwd=request.cwd)).operation
    if request.proto is not None and request.operation is None:
        return (await find_run(session, request.proto, cwd=request.cwd)).operation
    warnings: list[str] = []
    operation = await off_loop(lambda: wanted_operation(session, request, warnings.append))
    _warn_of_flags(session, warnings)
    return operation


def _warn_of_flags(session: Session, warnings: Sequence[str]) -> None:
    for warning in warnings if not os.environ.get("NO_WARN_FLAGS_IMPORT") else ():
        if warning in session.warned:
            continue
        session.warned.add(warning)
        session.emit("log.message", level="warning", message=warning, logger="")


def _warn_of_whole_bounds(session: Session, operation: Operation, batch: Batch) -> None:
    """Warn of a flag that is a float and is searched over whole numbers, because its bounds are."""
    for flag in operation.flags:
        searched = batch.space.get(flag.name)
        if isinstance(searched, Interval) and searched.integer and isinstance(flag.default, float):
            message = (
                f"'{flag.name}' is searched over whole numbers, for its bounds are: "
                f"write {float(searched.low)} for {searched.low} to search it over all numbers"
            )
            session.emit("log.message", level="warning", message=message, logger="")


def _warn_of_no_trials(session: Session, batch: Batch) -> None:
    for name, values in batch.space.items():
        if isinstance(values, Choices) and not values.values:
            message = f"the batch has no trials: the list of flag '{name}' is empty"
            session.emit("log.message", level="warning", message=message, logger="")


def as_wanted(request: RunRequest, prepared: Plan | Restart) -> RunRequest:
    """``request``, where trials are to be staged and there are none: the run is, in their place.

    A step is not: the ones after it may need what it makes.
    """
    is_single = request.stage_trials and request.parent is None and prepared.kind in ("run", "steps")
    return structs.replace(request, stage=True) if is_single else request


def may_lack(request: RunRequest, prepared: Plan | Restart) -> bool:
    """Whether it asks for resources, of which there may be too little."""
    if isinstance(prepared, Restart):
        return bool(prepared.run.resources)
    return bool(request.resources or prepared.operation.terms.resources)


async def begin(
    session: Session,
    request: RunRequest,
    prepared: Plan | Restart,
    *,
    console: Console,
    quiet: bool = False,
    control: Control | None = None,
) -> Begun:
    """Make, stage, claim or skip the prepared run, and say so."""
    request = as_wanted(request, prepared)
    if may_lack(request, prepared):
        from orchestra.engine.capacity import require_capacity, warn_of_capacity

        await require_capacity(session, request, prepared)
        await warn_of_capacity(session, request, prepared)
    if isinstance(prepared, Restart):
        return await _begin_again(session, request, prepared, console, quiet)
    request = structs.replace(request, after=await found_after(session, request))
    if request.needed:
        return await _begin_if_needed(session, request, prepared, console, quiet, control)
    return await _begin_new(session, request, prepared, console, quiet, control)


async def _begin_if_needed(
    session: Session,
    request: RunRequest,
    planned: Plan,
    console: Console,
    quiet: bool,
    control: Control | None,
) -> Begun:
    from orchestra.engine import needed

    while True:
        async with needed.decided_alone(session, control):
            # In this order: one that ends between the two looks is seen by the second.
            states = needed.STAGED_TOO if request.stage else needed.AT_WORK
            same = await needed.at_work(session, await find_matching(session, planned, states))
            matching = await find_matching(session, planned)
            if not matching and not same:
                return await _begin_new(session, request, planned, console, quiet, control)
        if matching or request.stage:
            _say_matching(session, console, matching or same)
            return Begun(what="skipped", matching=matching or same)
        await needed.wait_for_them(session, same, console=console, control=control)


async def _begin_new(
    session: Session,
    request: RunRequest,
    prepared: Plan,
    console: Console,
    quiet: bool,
    control: Control | None,
) -> Begun:
    taken = await off_loop(lambda: _snapshot(session, request, prepared))
    selection = taken.selection
    for warning in selection.warnings if selection else ():
        session.emit("log.message", level="warning", message=warning, console=console, logger="")
    if request.run_dir is not None and not request.stage:
        _warn_of_directory(session, request, console)
    if request.stage:
        new = new_run(session, request, prepared, state="staged")
        new = structs.replace(new, vcs_commit=taken.vcs_commit)
        if prepared.kind == "run" and (new.sources or new.operation.requires):
            from orchestra.engine.staged_sources import make_staged

            run = await make_staged(session, new, selection, console=console, control=control)
        else:
            (run,) = await make_runs(session, (new,), selection)
        await _keep_patch(session, request, prepared, run)
        prepare_for_hand(session, run)
        if not quiet:
            announce_staged(session, console, run, in_directory=request.run_dir is not None)
        return Begun(what="staged", run=run)
    new = lifecycle.admit(new_run(session, request, prepared, state="pending"), session.worker)
    (run,) = await make_runs(session, (structs.replace(new, vcs_commit=taken.vcs_commit),), selection)
    async with given_up_on_failure(session, run, console=console):
        await _keep_patch(session, request, prepared, run)
    return Begun(what="claimed", run=run)


def _snapshot(session: Session, request: RunRequest, planned: Plan) -> Snapshot:
    if planned.kind == "queue":
        return Snapshot()
    if planned.proto is not None and not request.force_sourcecode:
        from orchestra.engine.proto import snapshot_of

        return snapshot_of(session, planned.proto)
    return take_snapshot(session, planned.operation)


async def _keep_patch(session: Session, request: RunRequest, planned: Plan, run: Run) -> None:
    if planned.proto is not None and not request.force_sourcecode:
        await share_with_trials(session, planned.proto, (run,))
    else:
        after_making(session, run)


def _warn_of_directory(session: Session, request: RunRequest, console: Console) -> None:
    directory = place(session, request)[1]
    if directory is not None and not os.environ.get("NO_WARN_RUNDIR"):
        message = f"Run directory is '{directory}' (results will not be visible to other homes)"
        session.emit("log.message", level="info", message=message, console=console, logger="")


async def _begin_again(
    session: Session, request: RunRequest, restart: Restart, console: Console, quiet: bool
) -> Begun:
    run = restart.run
    if restart.idle is not None:
        console.say(restart.idle)
        session.emit("run.skipped", run, console=console)
        return Begun(what="skipped", matching=(run,))
    if restart.extension is not None:
        from orchestra.engine.extending import extend

        extended = await extend(session, restart, console)
        if extended is not None:
            console.say(f"Extended batch {extended.id}, which is {extended.state}")
            return Begun(what="extended", run=extended)
        if restart.run.state not in FINAL:
            # It has ended since it was looked at.
            return await begin(
                session, request, await prepare(session, request), console=console, quiet=quiet
            )
    if request.needed and restart.unchanged:
        _say_restarting(session, restart, console)
        console.say("Skipping run because flags have not changed (--needed specified)")
        session.emit("run.skipped", run, console=console)
        return Begun(what="skipped", matching=(run,))
    if request.stage:
        run = await restage(session, restart)
        _say_restarting(session, restart, console)
        prepare_for_hand(session, run)
        if not quiet:
            announce_staged(session, console, run, in_directory=request.run_dir is not None)
        return Begun(what="staged", run=run)
    run = await claim_restart(session, restart)
    _say_restarting(session, restart, console)
    return Begun(what="claimed", run=run)


def _say_restarting(session: Session, restart: Restart, console: Console) -> None:
    if restart.announced:
        console.say(f"Restarting {restart.run.id}")
        session.emit("run.restarting", restart.run, console=console)


async def find_matching(
    session: Session, planned: Plan, states: frozenset[State] = MATCHING
) -> tuple[Run, ...]:
    """The runs in ``states`` of the same operation with the same flags, newest first."""
    flags, batch = concealed_flags(session, planned.operation, planned.flags, planned.batch)
    planned = structs.replace(planned, flags=flags, batch=batch)
    page = await session.store.query(RunQuery(states=states, kinds=frozenset((planned.kind,))))
    return tuple(run for run in page.runs if _is_match(run, planned))


def _is_match(run: Run, planned: Plan) -> bool:
    operation, wanted = run.operation, planned.operation
    if (operation.name, operation.kind, operation.source) != (wanted.name, wanted.kind, wanted.source):
        return False
    if planned.batch is None or run.batch_spec is None:
        return run.flags == planned.flags
    return is_same_search(run.batch_spec, planned.batch)


def _say_matching(session: Session, console: Console, matching: tuple[Run, ...]) -> None:
    console.say("Skipping because the following runs match this operation (--needed specified):")
    for run in matching:
        label = f"  {run.label}" if run.label else ""
        console.say(f"  [{run.short_id}]  {run.operation_name}  {local_time(run.time)}  {run.state}{label}")
        session.emit("run.skipped", run, console=console)


def local_time(microseconds: int) -> str:
    """``2025-01-02 10:11:12`` in the local time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(microseconds / 1_000_000))
