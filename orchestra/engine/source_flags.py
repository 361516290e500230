"""Flags that choose runs: the run that is meant is settled, and shown, before anything starts."""

from __future__ import annotations

from typing import cast

from msgspec import structs

from orchestra.engine.request import RunRequest
from orchestra.engine.session import Session
from orchestra.engine.stage import Plan, plan_batch
from orchestra.errors import ResolveError
from orchestra.model.dependencies import operation_flags, source_name
from orchestra.model.operation import FlagValue, SourceDef
from orchestra.placing.choice import choose_run


async def with_chosen_runs(session: Session, request: RunRequest, planned: Plan) -> Plan:
    """The plan with the full ids of runs in its flags. What can't be settled now is left for the start."""
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
    if not changes:
        return planned
    flags = {**planned.flags, **changes}
    return structs.replace(planned, flags=flags, batch=plan_batch(request, planned.operation, flags))


async def _chosen(session: Session, source: SourceDef, value: FlagValue, pipeline: str | None) -> FlagValue:
    if value is not None and not isinstance(value, str):
        return value
    try:
        return (await choose_run(source.value if value is None else value, session, pipeline=pipeline)).id
    except ResolveError:
        # Reported, with its reason, when the run is to start: it may be there by then.
        return value
