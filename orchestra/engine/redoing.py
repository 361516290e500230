"""Finish a batch that has been run: which of its trials are to be run again, and whether there is anything to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from msgspec import Struct, structs

from orchestra.engine.changes import change, write_record
from orchestra.engine.expansion import expand
from orchestra.engine.judge import settle_active
from orchestra.engine.request import RunRequest
from orchestra.engine.session import Session
from orchestra.engine.trials import trials_of
from orchestra.errors import UserError
from orchestra.model.batch import Redo, TrialResult
from orchestra.model.flags import complete
from orchestra.model.marks import bears_marks
from orchestra.model.operation import FlagValue
from orchestra.model.run import FINAL, Run, State

FAILED_ENDS: frozenset[State] = frozenset(("error", "terminated", "aborted", "broken"))
TERMS = ("stop_after", "time_limit", "warning", "retry", "gpus", "environment")
"""What a trial has of its batch for each start."""
QUEUE_TERMS = ("resources", "priority", "group", "after")
"""What it has of it only where a queue starts it."""
WORDS: tuple[Redo, ...] = get_args(Redo)


class Todo(Struct, frozen=True, kw_only=True):
    """What a batch that is started again for some of its trials will do."""

    again: tuple[Run, ...] = ()
    """Trials that have ended and are to be run again."""
    pending: tuple[Run, ...] = ()
    """Trials that were never started, where they are to be run."""
    proposes: bool = False
    """Whether new trials are to follow, as far as is known."""
    left: str = ""
    """What is not to be done, where a person may have meant it."""

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.again or self.pending or self.proposes)


def check_redo(request: RunRequest) -> None:
    """Refuse what can't be asked for together with ``redo``.

    Raises:
        UserError: names the option.
    """
    for word in request.redo:
        if word not in WORDS:
            raise UserError(f"invalid value '{word}' for redo", f"Give some of {', '.join(WORDS)}.")
    option = f"--{request.redo[0]}"
    if request.restart is None:
        raise UserError(f"{option} can only be used with --restart", "Name the batch with --restart BATCH.")
    if request.flags or request.batch_files:
        raise UserError(
            f"{option} runs trials again with the flags that they have: no others can be given",
            "Use --extend BATCH to add values, or --restart BATCH without options to begin anew with other flags.",
        )
    given = {
        "--needed": request.needed,
        "--force-sourcecode": request.force_sourcecode,
        "--stage-trials": request.stage_trials,
        "--max-trials": request.max_trials is not None,
        "--random-seed": request.random_seed is not None,
        "--minimize": request.minimize is not None,
        "--maximize": request.maximize is not None,
        "--label": request.label is not None,
        "--tag": bool(request.tags),
        "--comment": request.comment is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise UserError(f"{name} cannot be used with {option}")


def is_to_be_redone(trial: Run, redo: Sequence[Redo]) -> bool:
    """Whether a trial that has ended is one of those."""
    return ("failed" in redo and trial.state in FAILED_ENDS) or ("lost" in redo and trial.state == "lost")


async def look_for_work(session: Session, batch: Run) -> Todo:
    """What the batch, with its ``redo``, has to do; trials that nobody watches are judged first."""
    spec = batch.batch_spec
    assert spec is not None
    await settle_active(session, batch=batch.id)
    trials = await trials_of(session, batch)
    wanted = [trial for trial in trials if is_to_be_redone(trial, spec.redo)]
    again = tuple(trial for trial in wanted if trial.state != "broken")
    pending = tuple(trial for trial in trials if trial.state == "pending" and trial.worker is None)
    left: list[str] = []
    if batch.state == "staged":
        left.append(f"It is staged: a queue starts it, or 'orchestra run --start {batch.short_id}'.")
    if staged := sum(trial.state == "staged" for trial in trials):
        left.append(f"Trials are staged ({staged}): a queue starts them.")
    if len(again) < len(wanted):
        ids = ", ".join(trial.short_id for trial in wanted if trial.state == "broken")
        left.append(f"Trials can't be read: {ids}. Use 'orchestra check --runs --fix' to repair them.")
    if "missing" not in spec.redo:
        if pending:
            left.append(f"Trials that were not started are left as they are ({len(pending)}): see --missing.")
        return Todo(again=again, left="\n".join(left))
    count = (await expand(session, spec)).count()
    return Todo(
        again=again,
        pending=pending,
        proposes=count is None or count > len(trials),
        left="\n".join(left),
    )


def nothing_to_do(batch: Run, todo: Todo) -> str:
    """What is said where there is nothing to do."""
    assert batch.batch_spec is not None
    *others, last = batch.batch_spec.redo
    words = f"{', '.join(others)} or {last}" if others else last
    message = f"Nothing to do: batch {batch.id} has no {words} trial"
    return f"{message}\n{todo.left}" if todo.left else message


async def coming_trials(
    session: Session, batch: Run, todo: Todo | None, limit: int
) -> tuple[dict[str, FlagValue], ...]:
    """The flags of the trials that the batch is going to run: of ``todo``, or all that it has not run yet."""
    spec = batch.batch_spec
    assert spec is not None
    trials = await trials_of(session, batch)
    if todo is None:
        todo = Todo(pending=tuple(trial for trial in trials if trial.state == "pending"), proposes=True)
    there = [trial.flags for trial in sorted((*todo.again, *todo.pending), key=lambda run: run.trial or 0)]
    if not todo.proposes:
        return tuple(there)
    history = [
        TrialResult(flags=trial.flags, outcome=trial.state if trial.state in FINAL else None)
        for trial in trials
    ]
    proposal = await (await expand(session, spec)).propose(history, limit)
    return (*there, *(complete(batch.operation, flags) for flags in proposal.trials))


async def on_terms_of(session: Session, batch: Run, trial: Run) -> Run:
    """The trial with the terms that its batch has now: they may have been changed since it was made."""
    assert batch.batch_spec is not None
    names = (*TERMS, *QUEUE_TERMS) if batch.batch_spec.stage_trials else TERMS
    terms = {name: getattr(batch, name) for name in names}

    def changed(current: Run) -> Run:
        if current.worker is not None or all(getattr(current, name) == terms[name] for name in names):
            return current
        return structs.replace(current, **terms)

    kept = await change(session, trial, changed)
    if kept is not trial:
        if bears_marks(kept):
            session.vault.keep(kept, fsync=session.fsync)
        write_record(session, kept)
    return kept
