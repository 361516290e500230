"""The trials of a batch: those that there are, and the record of one that is to come."""

from __future__ import annotations

import os

from orchestra.engine.command_line import command_line
from orchestra.engine.session import Session
from orchestra.engine.stage import own_kind
from orchestra.model import flags as flag_rules
from orchestra.model.filters import RunQuery
from orchestra.model.ids import new_run_id
from orchestra.model.operation import FlagValue
from orchestra.model.progress import present_trials
from orchestra.model.resources import Resources
from orchestra.model.run import Run


async def trials_of(session: Session, batch: Run) -> tuple[Run, ...]:
    """The trials of the batch's present generation, by their numbers."""
    page = await session.store.query(RunQuery(batch=batch.id, oldest_first=True))
    return tuple(sorted(present_trials(batch, page.runs), key=lambda run: run.trial or 0))


def new_trial(batch: Run, executor: str, flags: dict[str, FlagValue], number: int, now: int) -> Run:
    """The record of a trial of ``batch`` with these flags, not yet made; of the time ``now``."""
    spec = batch.batch_spec
    assert spec is not None
    staged = spec.stage_trials
    return Run(
        id=new_run_id(),
        kind=own_kind(batch.operation),
        operation=batch.operation,
        flags=flags,
        label=flag_rules.run_label(batch.label_template, flags, batch.trial_tags, os.path.exists),
        label_template=batch.label_template,
        tags=batch.trial_tags,
        comments=batch.trial_comments,
        batch=batch.id,
        parent=batch.parent,
        isolate_runs=batch.isolate_runs,
        trial=number,
        generation=spec.generation,
        state="staged" if staged else "pending",
        created=now,
        staged=now if staged else None,
        sources=batch.sources,
        vcs_commit=batch.vcs_commit,
        force_deps=batch.force_deps,
        stop_after=batch.stop_after,
        retry=batch.retry,
        time_limit=batch.time_limit,
        warning=batch.warning,
        priority=batch.priority if staged else 0,
        group=batch.group if staged else None,
        after=batch.after if staged else (),
        # A batch that executes its trials itself has what they need for all of them.
        resources=batch.resources if staged else Resources(),
        gpus=batch.gpus,
        environment=batch.environment,
        random_seed=spec.seed,
        executor=executor,
        command=command_line(batch.operation, flags),
        user=batch.user,
        host=batch.host,
    )
