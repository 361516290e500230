"""Give a batch more values or more trials, while it runs as well as before and after."""

from __future__ import annotations

import os

from msgspec import Struct, structs

from orchestra.console import Console
from orchestra.engine.changes import change, tell, write_record
from orchestra.engine.concealment import concealed_flags
from orchestra.engine.expansion import expand
from orchestra.engine.judge import settle
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart, find_run, plan_restart
from orchestra.engine.session import Session
from orchestra.engine.terms import given_terms
from orchestra.engine.trials import trials_of
from orchestra.errors import RunBusy, UserError
from orchestra.model import flags as flag_rules
from orchestra.model.batch import Batch
from orchestra.model.growing import grown
from orchestra.model.marks import bears_marks
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run

LOOK_EVERY = 0.05
"""Seconds between two looks at a batch that is ending."""
LONGEST_END = 30.0
"""Seconds that a batch may take to end when it has closed."""


class Extension(Struct, frozen=True, kw_only=True):
    """What a batch is to get."""

    given: dict[str, FlagValue]
    max_trials: int | None

    def of(self, run: Run) -> Run:
        """The batch with it, whatever else it has been given meanwhile."""
        spec = run.batch_spec
        assert spec is not None
        more = grown(spec, run.operation, self.given, self.max_trials)
        if more is spec:
            return run
        if more.redo and "missing" not in more.redo:
            # Started for some of its trials, it goes on with all.
            more = structs.replace(more, redo=(*more.redo, "missing"), unfinished=False)
        return structs.replace(run, batch_spec=more)


def check_extend(request: RunRequest) -> None:
    """Refuse what can't be asked for together with ``extend``.

    Raises:
        UserError: names the option.
    """
    given = {
        "an operation": request.operation is not None,
        "--restart": request.restart is not None,
        **{f"--{word}": True for word in request.redo},
        "--proto": request.proto is not None,
        "a batch file": bool(request.batch_files),
        "--optimizer": request.expander is not None,
        "--optimize": request.optimize,
        "--opt-flag": bool(request.expander_options),
        "--run-id": bool(request.run_id),
        "--run-dir": request.run_dir is not None,
        "--dep": bool(request.sources),
        "--needed": request.needed,
        "--force-sourcecode": request.force_sourcecode,
        "--stage-trials": request.stage_trials,
        "--random-seed": request.random_seed is not None,
        "--minimize": request.minimize is not None,
        "--maximize": request.maximize is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise UserError(f"{name} cannot be used with --extend")
    if not request.flags and request.max_trials is None:
        raise UserError(
            "there is nothing to extend the batch by", "Give flags with more values, or --max-trials N."
        )


async def plan_extension(session: Session, request: RunRequest) -> Restart:
    """Find the batch and settle what it will be; changes nothing but what is due anyway.

    Raises:
        RunNotFound: there is no such run.
        FlagError: a flag is unknown or can't have these values.
        UserError: it is no batch, or all of its trials have been proposed and it would get no more.
    """
    assert request.extend is not None
    check_extend(request)
    run = await settle(session, await find_run(session, request.extend, cwd=request.cwd))
    if run.batch_spec is None:
        raise UserError(
            f"run {run.id} is not a batch and can't be extended",
            "Use --restart to start it with other flags.",
        )
    extension = _extension_of(session, run, request)
    changed = extension.of(run)
    if changed is run:
        return Restart(
            run=run, before=run, unchanged=True, idle=f"Nothing to do: batch {run.id} has all of that already"
        )
    assert changed.batch_spec is not None
    await _require_more(session, run, changed.batch_spec)
    if run.worker is None and run.state != "staged":
        # It is started again: with what else was asked for, and as a batch that goes on.
        again = structs.replace(request, restart=run.id, flags={}, max_trials=None)
        planned = await plan_restart(session, again)
        settled = planned.run.batch_spec
        assert settled is not None and run.batch_spec is not None
        spec = structs.replace(settled, generation=run.batch_spec.generation)
        changed = extension.of(structs.replace(planned.run, batch_spec=spec))
    else:
        _check_open(run, request)
    return Restart(run=changed, before=run, unchanged=False, extension=extension)


def _extension_of(session: Session, run: Run, request: RunRequest) -> Extension:
    assert run.batch_spec is not None
    known = run.batch_spec.fixed.keys() | run.batch_spec.space.keys()
    place = flag_rules.PathBase(os.path.abspath(request.cwd), os.path.exists)
    given = flag_rules.check_given(
        run.operation, request.flags, request.force_flags, place=place, known=known
    )
    return Extension(
        given=concealed_flags(session, run.operation, given, None)[0], max_trials=request.max_trials
    )


def _check_open(run: Run, request: RunRequest) -> None:
    """Refuse what can only be given to a batch that is started."""
    given = {
        "--stage": request.stage and run.state != "staged",
        "--label": request.label is not None,
        "--tag": bool(request.tags),
        "--comment": request.comment is not None,
        "--batch-label": request.batch_label is not None,
        "--batch-tag": bool(request.batch_tags),
        "--batch-comment": request.batch_comment is not None,
        "--gpus": request.gpus is not None,
        "--stop-after": request.stop_after is not None,
        "--executor": request.executor is not None,
        "--max-fails": request.max_fails is not None,
        "--fail-on-trial-error": request.fail_on_trial_error,
        "environment variables": bool(request.environment),
        **{f"--{name.replace('_', '-')}": True for name in given_terms(request)},
    }
    for name, is_given in given.items():
        if is_given:
            raise UserError(
                f"batch {run.id} is {run.state}: it can be given more values or --max-trials, but not {name}",
                "Leave that out, or give it when the batch is started again.",
            )


async def _require_more(session: Session, run: Run, spec: Batch) -> None:
    assert run.batch_spec is not None
    before = (await expand(session, run.batch_spec)).count()
    count = (await expand(session, spec)).count()
    if count is None:
        return
    if before is not None and count < before:
        raise UserError(
            f"batch {run.id} would get fewer trials: it is to have {before} as it is",
            f"Give --max-trials above {before}, or leave it out.",
        )
    there = len(await trials_of(session, run))
    if count <= there:
        raise UserError(
            f"batch {run.id} would get no more trials: it has {there} already",
            f"Give --max-trials, too, more than {there}."
            if spec.max_trials == run.batch_spec.max_trials
            else "Give flags with more values, too.",
        )


async def extend(session: Session, restart: Restart, console: Console) -> Run | None:
    """Give the batch what was planned, if it runs or is staged; None: it has ended and is to be started again.

    Raises:
        RunBusy: it is ending, and does not come to its end.
    """
    extension = restart.extension
    assert extension is not None
    run = await session.store.get(restart.run.id)
    waited = 0.0
    while True:
        run = await settle(session, run)
        if run.worker is None and run.state != "staged":
            return None
        if not _has_closed(run):
            kept = await _keep(session, run, extension)
            if kept is not None:
                tell(session, "batch.extended", kept, console=console)
                return kept
        if waited >= LONGEST_END:
            raise RunBusy(f"batch {run.id} is ending", "Try again once it has ended.")
        await session.clock.sleep(LOOK_EVERY)
        waited += LOOK_EVERY
        run = await session.store.get(run.id)


def _has_closed(run: Run) -> bool:
    return run.worker is not None and run.closed == run.attempt


async def _keep(session: Session, run: Run, extension: Extension) -> Run | None:
    """The batch as it is kept now; None where it has come to its end meanwhile."""
    is_open = True

    def changed(current: Run) -> Run:
        nonlocal is_open
        is_open = not _has_closed(current) and (current.worker is not None or current.state == "staged")
        return extension.of(current) if is_open else current

    kept = await change(session, run, changed)
    if not is_open:
        return None
    if bears_marks(kept):
        session.vault.keep(kept, fsync=session.fsync)
    write_record(session, kept)
    return kept
