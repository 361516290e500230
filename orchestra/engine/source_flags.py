"""Flags that choose runs: the run that is meant is settled, and shown, before anything starts."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

from msgspec import structs

from orchestra.engine.request import RunRequest
from orchestra.engine.runs import select_runs
from orchestra.engine.session import Session
from orchestra.engine.stage import Plan, plan_batch
from orchestra.errors import ResolveError, RunNotFound
from orchestra.model.dependencies import OPERATION, operation_flags, source_name, split_source
from orchestra.model.operation import FlagValue, SourceDef
from orchestra.model.run import Run
from orchestra.placing.choice import OtherOperation, choose_run


async def with_chosen_runs(session: Session, request: RunRequest, planned: Plan) -> Plan:
    """The plan with the full ids of runs in its flags and sources. What can't be settled now is left for the start.

    Raises:
        OtherOperation: a run that was named is of another operation than the one that is needed.
    """
    changes: dict[str, FlagValue] = {}
    pipeline = request.parent if request.isolate_runs else None
    for name, source in operation_flags(planned.operation).items():
        given = planned.flags.get(name)
        if isinstance(given, list):
            values = cast("list[FlagValue]", given)
            chosen: FlagValue = [await _chosen(session, source, value, pipeline) for value in values]
        else:
            chosen = await _chosen(session, source, given, pipeline)
        if chosen != given:
            changes[name] = chosen
        if chosen is None:
            message = f"cannot find a suitable run for required resource '{source_name(source)}'"
            session.emit("log.message", level="warning", message=message, logger="")
    sources = tuple([await _settled(session, text, pipeline) for text in planned.sources])
    if not changes:
        return structs.replace(planned, sources=sources)
    flags = {**planned.flags, **changes}
    rows = planned.batch.rows if planned.batch else ()
    batch = plan_batch(request, planned.operation, flags, rows)
    return structs.replace(planned, flags=flags, batch=batch, sources=sources)


async def with_chosen_runs_again(session: Session, request: RunRequest, run: Run) -> Run:
    """A run that is to be started again, with the full ids of the runs that the request chooses.

    Raises:
        OtherOperation: a run that was named is of another operation than the one that is needed.
    """
    pipeline = run.parent if run.isolate_runs else None
    flags = dict(run.flags)
    for name, source in operation_flags(run.operation).items():
        if {name, source.value} & request.flags.keys() and isinstance(flags.get(name), str):
            flags[name] = await _chosen(session, source, flags[name], pipeline)
    return structs.replace(run, flags=flags)


async def _settled(session: Session, text: str, pipeline: str | None) -> str:
    """``operation:NAME=RUN`` with the full id of that run; others as they are."""
    scheme, value = split_source(text)
    names, given, spec = value.rpartition("=")
    if scheme != OPERATION or not given:
        return text
    return f"{scheme}:{names}={await _run_of(session, names, spec, pipeline)}"


async def _chosen(session: Session, source: SourceDef, value: FlagValue, pipeline: str | None) -> FlagValue:
    if isinstance(value, str):
        return await _run_of(session, source.value, value, pipeline)
    if value is not None:
        return value
    try:
        return (await choose_run(source.value, session, pipeline=pipeline)).id
    except ResolveError:
        # Reported, with its reason, when the run is to start: it may be there by then.
        return None


async def _run_of(session: Session, names: str, spec: str, pipeline: str | None) -> str:
    """The id of the run of one of these operations that ``spec`` names: an index now, or a part of an id."""
    if spec.isdecimal():
        with suppress(RunNotFound):
            (run,) = await select_runs(session, (spec,))
            spec = run.id
    try:
        return (await choose_run(f"{names}={spec}", session, pipeline=pipeline)).id
    except OtherOperation:
        raise
    except ResolveError:
        return spec
