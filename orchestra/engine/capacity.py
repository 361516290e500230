"""Whether this computer ever has what a run asks for: told before anything is made of the run, or changed."""

from __future__ import annotations

from orchestra.engine.machine import ThisMachine
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart, executor_of
from orchestra.engine.scheduled import scheduler_of
from orchestra.engine.session import Session
from orchestra.engine.stage import Plan
from orchestra.engine.terms import settled_terms
from orchestra.errors import UserError
from orchestra.model.batch import Batch
from orchestra.model.resources import Resources
from orchestra.model.scheduling import never


async def require_capacity(session: Session, request: RunRequest, prepared: Plan | Restart) -> None:
    """Refuse a run that would be started here and could never have what it asks for.

    Raises:
        UserError: says what there is too little of.
        PluginError: its executor can't be opened.
    """
    if is_staged(request, prepared):
        return
    lacking = await _lacking(session, request, prepared)
    if lacking is not None:
        raise UserError(
            f"the run can't be started here: it needs {lacking}",
            "Ask for less with --resources, or leave it to a queue on another machine (--stage).",
        )


async def warn_of_capacity(session: Session, request: RunRequest, prepared: Plan | Restart) -> None:
    """Warn of what is staged and waits for ever unless a queue of another machine takes it."""
    if not is_staged(request, prepared):
        return
    lacking = await _lacking(session, request, prepared)
    if lacking is not None:
        # Devices that can't be found here may be there all the same: a queue takes the user's word.
        told = " that is not told which devices it has (gpus=IDS)" if " GPU(s)," in lacking else ""
        message = f"No queue on this machine{told} can ever start it: it needs {lacking}"
        session.emit("log.message", level="warning", message=message, logger="")


async def lacking_here(session: Session, needs: Resources, executor: str) -> str | None:
    """What there is too little of here, where it matters: what a scheduler places elsewhere needs nothing here.

    Raises:
        PluginError: the executor can't be opened.
    """
    lacking = never(needs, ThisMachine().machine) if needs else None
    if lacking is None or await scheduler_of(session, executor) is not None:
        return None
    return lacking


def is_staged(request: RunRequest, prepared: Plan | Restart) -> bool:
    """Whether the run, or each trial of the batch, is only staged."""
    batch = _batch(prepared)
    return request.stage or request.stage_trials or (batch is not None and batch.stage_trials)


def _batch(prepared: Plan | Restart) -> Batch | None:
    return prepared.run.batch_spec if isinstance(prepared, Restart) else prepared.batch


async def _lacking(session: Session, request: RunRequest, prepared: Plan | Restart) -> str | None:
    return await lacking_here(session, _needs(request, prepared), executor_of(session, request, prepared))


def _needs(request: RunRequest, prepared: Plan | Restart) -> Resources:
    """What the first of its executions to come asks for."""
    if isinstance(prepared, Restart):
        run = prepared.run
        is_over = prepared.idle is not None or (request.needed and prepared.unchanged)
        # A batch that is extended where it is, is started by somebody else.
        is_extended = prepared.extension is not None and (run.worker is not None or run.state == "staged")
        return Resources() if is_over or is_extended else run.resources
    if prepared.kind not in ("run", "batch"):
        return Resources()
    return settled_terms(prepared.operation, request).get("resources", Resources())
