"""What ``run`` shows before it does anything: the preview, an operation's flags, commands, trials; never a secret."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestra.cli import tables
from orchestra.console import printable
from orchestra.engine.command_line import print_command
from orchestra.engine.expansion import expand
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart
from orchestra.engine.session import Session
from orchestra.engine.stage import Plan, new_run
from orchestra.errors import UserError
from orchestra.model.batch import Batch, unexpanded
from orchestra.model.flags import Text, complete, encode
from orchestra.model.marks import may_be_secret, may_hold_secrets
from orchestra.model.operation import FlagValue, Operation
from orchestra.model.run import Run

if TYPE_CHECKING:
    from orchestra.engine.redoing import Todo

MOST_SHOWN = 100_000


async def preview(session: Session, request: RunRequest, prepared: Plan | Restart) -> str:
    """The text above the prompt ``Continue? (Y/n)``."""
    if isinstance(prepared, Restart):
        run, batch = prepared.run, prepared.run.batch_spec
        flags = unexpanded(batch) if batch is not None else run.flags
        subject = f"{'stage' if request.stage else 'start'} {run.id} ({run.operation_name})"
        if prepared.extension is not None and batch is not None:
            subject = f"extend {run.id} ({run.operation_name}) {await _as_batch(session, batch)}"
        elif prepared.todo is not None:
            subject += f" for {_work(prepared.todo)}"
    else:
        batch = prepared.batch
        flags = prepared.flags
        subject = f"{'stage' if request.stage else 'run'} {prepared.operation.name}"
        if batch is not None:
            verb = "stage trials for" if batch.stage_trials and not request.stage else subject.split()[0]
            subject = f"{verb} {prepared.operation.name} {await _as_batch(session, batch)}"
            subject += " (flags below used unless specified in batch trial)" if batch.rows else ""
    lines = [f"You are about to {subject}"]
    operation = _operation_of(prepared)
    flags = _shown_flags(operation, flags)
    lines += [f"  {name}: {_shown_value(operation, name, flags[name])}" for name in sorted(flags)]
    if batch is not None and batch.options:
        lines.append("Optimizer flags:")
        lines += [f"  {name}: {encode(batch.options[name])}" for name in sorted(batch.options)]
    return "\n".join(map(printable, lines))


def _work(todo: Todo) -> str:
    """What a batch is started for, when it is for some of its trials."""
    counts = {"that ended": len(todo.again), "that never ran": len(todo.pending)}
    parts = [f"{count} trial{'' if count == 1 else 's'} {words}" for words, count in counts.items() if count]
    parts += ["new trials"] if todo.proposes else []
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def _shown_flags(operation: Operation, flags: Mapping[str, FlagValue]) -> dict[str, FlagValue]:
    """``flags`` without what their names or shapes tell to be secrets."""
    if not any(may_be_secret(name, value) for name, value in flags.items()):
        return dict(flags)
    from orchestra.model.concealing import conceal_flags

    return conceal_flags(operation, flags, _hidden)


def _hidden(secret: str) -> str:
    from orchestra.model.redaction import REDACTED

    return REDACTED


def _shown_value(operation: Operation, name: str, value: FlagValue) -> str:
    if value == _hidden(""):
        return _hidden("")
    definition = operation.flag(name)
    if value is None and definition is not None and definition.null_label is not None:
        return definition.null_label
    return encode(value)


async def _as_batch(session: Session, batch: Batch) -> str:
    count = await _trial_count(session, batch)
    details = [f"{count} trial{'' if count == 1 else 's'}"] if count is not None else []
    if batch.objective is not None:
        greatest = batch.objective.startswith("-")
        details.append(f"{'maximize' if greatest else 'minimize'} {batch.objective[greatest:]}")
    trials = f" ({', '.join(details)})" if details else ""
    if batch.expander == "grid":
        return f"as a batch{trials}"
    if batch.expander == "random":
        return f"with random search{trials}"
    return f"with {batch.expander} optimizer{trials}"


async def _trial_count(session: Session, batch: Batch) -> int | None:
    return (await expand(session, batch)).count()


async def trial_flags_of(
    session: Session, batch: Batch, operation: Operation
) -> tuple[dict[str, FlagValue], ...]:
    """The flags of every trial that ``batch`` would make of ``operation``."""
    proposal = await (await expand(session, batch)).propose((), MOST_SHOWN)
    return tuple(complete(operation, flags) for flags in proposal.trials)


async def trials_of(session: Session, prepared: Plan | Restart) -> tuple[dict[str, FlagValue], ...] | None:
    """The flags of every trial of what is prepared; None where it is no batch.

    Of a batch that is there, and is finished or extended, only of those that are to be run.
    """
    batch = _batch_of(prepared)
    if isinstance(prepared, Restart) and (prepared.todo is not None or prepared.extension is not None):
        from orchestra.engine.redoing import coming_trials

        return await coming_trials(session, prepared.run, prepared.todo, MOST_SHOWN)
    return None if batch is None else await trial_flags_of(session, batch, _operation_of(prepared))


async def print_trials(session: Session, prepared: Plan | Restart) -> str:
    """A table of the trials, numbered from 1."""
    found = await trials_of(session, prepared)
    if found is None:
        raise UserError("cannot print trials for a non-batch operation")
    trials = [_shown_flags(_operation_of(prepared), trial) for trial in found]
    names = sorted({name for trial in trials for name in trial})
    rows = [["#", *map(printable, names)]]
    for number, trial in enumerate(trials, 1):
        rows.append([str(number), *(printable(encode(trial.get(name))) for name in names)])
    return tables.render(rows).rstrip("\n")


def print_environment(session: Session, request: RunRequest, prepared: Plan | Restart) -> str:
    """The variables that the operation gets beyond ours; of a batch, those that its trials have in common."""
    from msgspec import structs

    from orchestra.engine.launch import operation_environment

    run = _run_of(session, request, prepared)
    batch = _batch_of(prepared)
    if batch is not None:
        run = structs.replace(run, flags=_shown_flags(run.operation, batch.fixed))
    return "\n".join(f"{name}={value}" for name, value in sorted(operation_environment(session, run).items()))


def _run_of(session: Session, request: RunRequest, prepared: Plan | Restart) -> Run:
    """The run as it may be shown."""
    run = (
        prepared.run
        if isinstance(prepared, Restart)
        else new_run(session, request, prepared, state="pending")
    )
    if not may_hold_secrets(run):
        return run
    from orchestra.model.concealing import conceal

    return conceal(run, _hidden)


async def print_commands(session: Session, request: RunRequest, prepared: Plan | Restart) -> str:
    """The command line of the run; of a batch, those of its trials."""
    run = _run_of(session, request, prepared)
    batch = _batch_of(prepared)
    if batch is None:
        return print_command(run) if run.kind == "run" else _own_command(run, request)
    from msgspec import structs

    trials = await trials_of(session, prepared) or ()
    shown = [_shown_flags(_operation_of(prepared), flags) for flags in trials]
    commands = [print_command(structs.replace(run, flags=flags, batch_spec=None)) for flags in shown]
    return "\n".join([_own_command(run, request), *commands])


def _own_command(run: Run, request: RunRequest) -> str:
    """How a queue or batch is started: they execute in a process of ours."""
    command = ["orchestra", "run", "-y"]
    if request.restart is not None:
        # Only what is changed: without flags a batch goes on with the trials that it has.
        flags, wanted = request.flags, [*command, "--start", run.id, *(f"--{word}" for word in request.redo)]
    elif request.extend is not None:
        flags, wanted = request.flags, [*command, "--extend", run.id]
    else:
        flags = unexpanded(run.batch_spec) if run.batch_spec is not None else run.flags
        proto = ["--proto", request.proto] if request.proto is not None else []
        named = [run.operation.name] if request.proto is None or request.operation is not None else []
        wanted = [*command, *named, *proto, *(["--force-sourcecode"] if request.force_sourcecode else [])]
    # A flag that is given on its own would win over those of the files.
    listed = {name for row in (run.batch_spec.rows if run.batch_spec else ()) for name in row}
    given = [
        f"{name}={_as_argument(value)}"
        for name, value in _shown_flags(run.operation, flags).items()
        if value is not None and name not in listed
    ]
    files = [f"@{name}" for name in request.batch_files]
    return shlex.join([*wanted, *given, *files, *_batch_options(run.batch_spec, request)])


def _as_argument(value: FlagValue) -> str:
    return str(value) if isinstance(value, Text) else encode(value)


def _batch_options(batch: Batch | None, request: RunRequest) -> list[str]:
    """The options that make the same trials of the same flags."""
    if batch is None:
        return []
    options: list[str] = []
    is_new = request.restart is None and request.extend is None
    if is_new and batch.expander != "grid":
        options += ["--optimizer", batch.expander]
        for name, value in batch.options.items():
            options += ["--opt-flag", f"{name}={encode(value)}"]
    if batch.max_trials is not None:
        options += ["--max-trials", str(batch.max_trials)]
    if request.extend is not None:
        return options
    if request.random_seed is not None or batch.expander != "grid" or batch.max_trials is not None:
        options += ["--random-seed", str(batch.seed)]
    options += ["--stage-trials"] if batch.stage_trials else []
    options += ["--max-fails", str(batch.max_fails)] if batch.max_fails is not None else []
    options += ["--fail-on-trial-error"] if batch.fail_on_trial_error else []
    return options


def _operation_of(prepared: Plan | Restart) -> Operation:
    return prepared.run.operation if isinstance(prepared, Restart) else prepared.operation


def _batch_of(prepared: Plan | Restart) -> Batch | None:
    return prepared.run.batch_spec if isinstance(prepared, Restart) else prepared.batch
