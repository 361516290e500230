"""Runs of what another run is: its operation, flags and source; and its operation as the project defines it now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from msgspec import structs

from orchestra.engine.off_loop import off_loop
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import find_run
from orchestra.engine.session import Session
from orchestra.engine.snapshot import Snapshot, where_it_runs
from orchestra.engine.stage import Plan, settle_plan, wanted_operation
from orchestra.engine.terms import own_terms
from orchestra.errors import OperationNotFound, ScriptError, UserError
from orchestra.model.batch import unexpanded
from orchestra.model.operation import Operation
from orchestra.model.run import Run
from orchestra.workspace import source


async def plan_proto(session: Session, request: RunRequest) -> Plan:
    """What a request comes to that names a run to go by.

    Another operation may be named: then only the flags and the source of that run apply.

    Raises:
        RunNotFound: there is no such run.
        UserError: in one of its kinds, when the request can't be met.
    """
    assert request.proto is not None
    proto = await find_run(session, request.proto, cwd=request.cwd)
    return await off_loop(lambda: _plan(session, request, proto))


def _plan(session: Session, request: RunRequest, proto: Run) -> Plan:
    warnings: list[str] = []
    operation = proto.operation
    if request.operation is not None:
        operation = where_it_runs(wanted_operation(session, request, warnings.append))
    elif request.force_sourcecode:
        operation = defined_now(session, proto)
    stored = proto.flags if proto.batch_spec is None else unexpanded(proto.batch_spec)
    if request.operation is not None and not proto.is_of(request.operation):
        _require_source(session, request, proto, operation)
        known = {flag.name for flag in operation.flags}
        stored = {name: value for name, value in stored.items() if name in known}
    rows = () if proto.batch_spec is None or request.batch_files else proto.batch_spec.rows
    rows = tuple({name: value for name, value in row.items() if name not in request.flags} for row in rows)
    planned = settle_plan(session, inherited(request, proto), operation, warnings, stored=stored, rows=rows)
    batch = planned.batch
    if batch is not None and proto.batch_spec is not None and request.minimize is request.maximize is None:
        batch = structs.replace(batch, objective=proto.batch_spec.objective)
    return structs.replace(planned, batch=batch, proto=proto)


def _require_source(session: Session, request: RunRequest, proto: Run, operation: Operation) -> None:
    """Refuse another operation whose file the run has not taken along."""
    if request.force_sourcecode or operation.kind not in ("script", "executable") or not operation.main:
        return
    if os.path.isabs(operation.main) or (session.directory(proto) / operation.main).is_file():
        return
    raise UserError(
        f"run {proto.id} has no '{operation.main}' in its source code",
        "Use --force-sourcecode to take the project's instead.",
    )


def inherited(request: RunRequest, proto: Run) -> RunRequest:
    """``request`` with what it leaves open as ``proto`` has it; of another operation that is nothing."""
    if request.operation is not None and not proto.is_of(request.operation):
        return request
    changes: dict[str, Any] = {
        name: given
        for name, given in (
            ("label", proto.label_template),
            ("stop_after", proto.stop_after),
            ("gpus", proto.gpus),
            # Its turn is its own: the new run has waited for nothing yet.
            *((name, value) for name, value in own_terms(proto).items() if name != "priority"),
        )
        if getattr(request, name) is None
    }
    changes["tags"] = request.tags or (proto.tags if proto.batch_spec is None else proto.trial_tags)
    changes["sources"] = tuple(dict.fromkeys((*proto.sources, *request.sources)))
    changes["environment"] = {**proto.environment, **request.environment}
    spec = proto.batch_spec
    if spec is None:
        return structs.replace(request, **changes)
    if request.expander is None and not request.optimize and spec.expander != "grid":
        changes["expander"] = spec.expander
        changes["expander_options"] = {**spec.options, **request.expander_options}
    if request.max_trials is None:
        changes["max_trials"] = spec.max_trials
    changes["max_fails"] = request.max_fails if request.max_fails is not None else spec.max_fails
    changes["fail_on_trial_error"] = request.fail_on_trial_error or spec.fail_on_trial_error
    return structs.replace(request, **changes)


def snapshot_of(session: Session, proto: Run) -> Snapshot:
    """The source that ``proto`` took along, without what it has written since."""
    if proto.sourcecode_digest is None:
        return Snapshot(vcs_commit=proto.vcs_commit)
    return Snapshot(selection=source.select_copied(session.directory(proto)), vcs_commit=proto.vcs_commit)


def defined_now(session: Session, run: Run) -> Operation:
    """The operation of ``run`` as its project defines it now.

    Raises:
        UserError: it defines none of this name.
    """
    operation = run.operation
    project = os.path.dirname(operation.project_file) if operation.project_file else operation.source
    name = operation.main if os.path.isabs(operation.main) and not operation.project_file else operation.name
    request = RunRequest(operation=name, cwd=session.layout.home if project is None else Path(project))
    try:
        return where_it_runs(wanted_operation(session, request, lambda _: None))
    except (OperationNotFound, ScriptError) as error:
        raise UserError(
            f"cannot find definition for operation '{operation.name}' in run {run.id}",
            "The definition is needed to take the project's source code again.\n"
            "Leave --force-sourcecode out to go on with what the run has.",
        ) from error
