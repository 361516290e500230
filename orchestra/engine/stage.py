"""From what was asked for to runs that are there: directory, source snapshot, record, row in the store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from orchestra.child.supervisor import failpoint
from orchestra.console import Console
from orchestra.engine.changes import tell
from orchestra.engine.command_line import command_line, operation_python, print_command
from orchestra.engine.concealment import concealed
from orchestra.engine.limits import check_fails, check_limits
from orchestra.engine.marking import marks_of_new, user_name
from orchestra.engine.off_loop import off_loop, shielded
from orchestra.engine.queue_settings import QueueSettings
from orchestra.engine.request import RunRequest
from orchestra.engine.requested_flags import settled_flags, shadowed_flags
from orchestra.engine.search_space import search_dimensions
from orchestra.engine.session import LEASE, Session, hostname
from orchestra.engine.snapshot import where_it_runs
from orchestra.engine.terms import check_terms, settled_terms
from orchestra.errors import FlagError, IdTaken, ResolveError, UserError
from orchestra.model import flags as flag_rules
from orchestra.model.batch import Batch
from orchestra.model.dependencies import split_source, with_source_flags
from orchestra.model.ids import check_run_id, new_run_id
from orchestra.model.marks import bears_marks
from orchestra.model.operation import FlagValue, Operation
from orchestra.model.run import Run, RunKind, State
from orchestra.project.find import find_operation
from orchestra.workspace import durable, env_file, records
from orchestra.workspace.layout import FIRST_ATTEMPT

if TYPE_CHECKING:
    from orchestra.workspace import source

SEED_LIMIT = 2**32
LOCAL = "local"
"""The executor that is always there."""


class Plan(Struct, frozen=True, kw_only=True):
    """What a request comes to, before anything is made."""

    operation: Operation
    flags: dict[str, FlagValue]
    """Every flag with its value; lists and searches unexpanded."""
    batch: Batch | None
    sources: tuple[str, ...] = ()
    """What is needed beyond what the operation requires."""
    warnings: tuple[str, ...] = ()
    """What a person should know of how the flags were found."""
    proto: Run | None = None
    """The run that the new one goes by."""

    @property
    def kind(self) -> RunKind:
        """What the planned run is."""
        if self.batch is not None:
            return "batch"
        return own_kind(self.operation)


def check_queue(session: Session, values: dict[str, FlagValue]) -> None:
    """Refuse flags that a queue can't work with, before it makes errors of what is staged.

    Raises:
        FlagError: a value is out of range.
        PluginError: there is no such executor.
    """
    executor = QueueSettings.from_flags(values).executor
    if executor is not None and executor != LOCAL:
        session.require("executor", executor)


def own_kind(operation: Operation) -> RunKind:
    """What a run of ``operation`` is that is no batch."""
    return operation.kind if operation.kind in ("queue", "steps") else "run"


def plan(session: Session, request: RunRequest) -> Plan:
    """Find the operation and settle its flags.

    Raises:
        OperationNotFound: there is no such operation.
        ScriptError: the script can't be read.
        FlagError: a flag is unknown, missing, or has a value that it can't have.
        UserError: the directory asked for holds files, or the project.
    """
    warnings: list[str] = []
    operation = where_it_runs(wanted_operation(session, request, warnings.append))
    return settle_plan(session, request, operation, warnings)


def settle_plan(
    session: Session,
    request: RunRequest,
    operation: Operation,
    warnings: list[str],
    *,
    stored: Mapping[str, FlagValue] | None = None,
    rows: tuple[dict[str, FlagValue], ...] = (),
) -> Plan:
    """Settle the flags of ``operation``; ``stored`` and ``rows`` are those of a run that the new one goes by.

    Raises:
        UserError: in one of the kinds of :func:`plan`, or the interpreter is none that the operation can do with.
    """
    if request.batch_files:
        from orchestra.engine.requested_rows import take_rows

        request, rows = take_rows(operation, request)
    if request.expander is not None or request.optimize:
        from orchestra.engine.optimizers import with_optimizer

        request = with_optimizer(request, operation)
    # A batch that the new one goes by says itself what is searched.
    is_wide = request.expander is not None and not flag_rules.is_batch(dict(stored or {}))
    dimensions = search_dimensions(operation, request, rows) if is_wide else {}
    varied = frozenset(dimensions).union(*rows)
    values = {**settled_flags(operation, request, stored, varied=varied), **dimensions}
    warnings += shadowed_flags(operation, values)
    if operation.kind == "queue":
        check_queue(session, values)
    batch = plan_batch(request, operation, values, rows)
    if operation.env and batch is None:
        from orchestra.model.templates import filled_environment

        filled_environment(operation, values)
    check_limits(own_kind(operation), request)
    check_terms(own_kind(operation), request, operation.terms.time_limit, operation.terms.resources)
    if operation.python_requires is not None:
        from orchestra.engine.python_version import check_python

        check_python(operation)
    _require_plugins(session, request, operation, batch)
    _check_directory(session, request, operation)
    return Plan(
        operation=operation,
        flags=values,
        batch=batch,
        sources=tuple(request.sources),
        warnings=tuple(warnings),
    )


def wanted_operation(session: Session, request: RunRequest, warn: Callable[[str], None]) -> Operation:
    """Find the operation that is asked for. ``warn`` is told why its flags could not be found.

    Raises:
        OperationNotFound: there is no such operation.
        ScriptError: the script can't be read.
    """
    operation = find_operation(
        request.operation,
        cwd=request.cwd,
        cache_dir=session.layout.cache_dir,
        python=operation_python(),
        warn=warn,
    )
    return with_source_flags(operation) if operation.requires else operation


def executor_of_new(session: Session, request: RunRequest, operation: Operation) -> str:
    """The executor of a new run, with options: as the request says, else as the operation, else as the settings."""
    return request.executor or operation.terms.executor or session.settings.executor


def _require_plugins(
    session: Session, request: RunRequest, operation: Operation, batch: Batch | None
) -> None:
    executor = executor_of_new(session, request, operation)
    if executor != LOCAL:
        session.require("executor", executor)
    if batch is not None:
        session.require("expander", batch.expander, batch.options)
    for source_text in request.sources:
        session.require("resolver", split_source(source_text)[0])
    for needed in (needed for requirement in operation.requires for needed in requirement.sources):
        session.require("resolver", needed.scheme)


def plan_batch(
    request: RunRequest,
    operation: Operation,
    values: dict[str, FlagValue],
    rows: tuple[dict[str, FlagValue], ...] = (),
) -> Batch | None:
    """The batch that the values make, or None where they make one run."""
    if operation.kind == "queue":
        return None
    name, options = request.expander, request.expander_options
    if name is None and not rows and not flag_rules.is_batch(values):
        if options:
            first = next(iter(options.items()))
            raise FlagError(
                f"invalid optimizer flag {first[0]}={flag_rules.encode(first[1])}: no optimizer specified",
                "Name one with --optimizer.",
            )
        return None
    seed = request.random_seed if request.random_seed is not None else int.from_bytes(os.urandom(4), "big")
    batch = flag_rules.make_batch(
        values,
        expander=name,
        options=options,
        seed=seed % SEED_LIMIT,
        max_trials=request.max_trials,
        stage_trials=request.stage_trials,
        fail_on_trial_error=request.fail_on_trial_error,
        rows=rows,
    )
    if batch.max_trials is None and batch.expander != "grid":
        batch = structs.replace(batch, max_trials=operation.default_max_trials)
    if request.max_fails is not None:
        batch = structs.replace(batch, max_fails=request.max_fails)
        check_fails(batch)
    if request.minimize is None and request.maximize is None and operation.objective is None:
        return batch
    from orchestra.engine.objective import wanted_objective

    return structs.replace(batch, objective=wanted_objective(request, operation.objective))


def new_run(session: Session, request: RunRequest, planned: Plan, *, state: State) -> Run:
    """The record of the planned run in ``state``, not yet made."""
    if planned.proto is not None:
        from orchestra.engine.proto import inherited

        request = inherited(request, planned.proto)
    now = session.clock.now()
    run_id, directory = place(session, request)
    is_batch = planned.batch is not None
    flags = {} if is_batch else planned.flags
    return Run(
        id=run_id,
        kind=planned.kind,
        operation=planned.operation,
        flags=flags,
        **marks_of_new(session, request, planned),
        parent=request.parent,
        isolate_runs=request.isolate_runs,
        directory=directory,
        batch_spec=planned.batch,
        state=state,
        created=now,
        staged=now if state == "staged" else None,
        sources=planned.sources,
        force_deps=request.force_deps,
        stop_after=request.stop_after,
        gpus=request.gpus,
        **settled_terms(planned.operation, request),
        environment=request.environment,
        random_seed=planned.batch.seed if planned.batch else request.random_seed,
        executor=executor_of_new(session, request, planned.operation),
        command=() if is_batch else command_line(planned.operation, planned.flags),
        user=user_name(),
        host=hostname(),
    )


def place(session: Session, request: RunRequest) -> tuple[str, str | None]:
    """The new run's id, and its directory where that is not the home's."""
    if request.run_dir is None:
        return (check_run_id(request.run_id) if request.run_id else new_run_id()), None
    directory = Path(os.path.abspath(request.cwd / request.run_dir))
    if directory.parent == Path(os.path.abspath(session.layout.runs_dir)):
        return check_run_id(directory.name), None
    return (check_run_id(request.run_id) if request.run_id else new_run_id()), str(directory)


def _check_directory(session: Session, request: RunRequest, operation: Operation) -> None:
    directory = place(session, request)[1]
    if directory is None:
        return
    if operation.source is not None and _holds(directory, operation.source):
        raise UserError(
            f"'{directory}' can't be a run's directory: the project is in it",
            "Choose a --run-dir that is empty or does not exist.",
        )
    if session.layout.control(Path(directory)).exists():
        raise _is_a_run(directory)
    try:
        is_empty = not os.listdir(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        durable.fail(error, directory)
    if not is_empty:
        raise UserError(
            f"'{directory}' can't be a run's directory: it is not empty",
            "Choose a --run-dir that is empty or does not exist.",
        )


def _holds(directory: str, project: str) -> bool:
    outer, inner = os.path.realpath(directory), os.path.realpath(project)
    return os.path.commonpath((outer, inner)) == outer


def _is_a_run(directory: str | Path) -> IdTaken:
    return IdTaken(f"'{directory}' is the directory of a run already", "Choose another --run-dir.")


async def make_runs(
    session: Session, runs: Sequence[Run], selection: source.Selection | None
) -> tuple[Run, ...]:
    """Make the runs' directories and records, then enter them in the store; all or none.

    They are made in a thread where there is an event loop, and have reached the disk when this returns.

    Raises:
        IdTaken: an id is in use.
        HomeError: a directory can't be made, or there is no space.
    """
    runs = [concealed(session, run) for run in runs]
    made: list[Path] = []
    single = len(runs) == 1

    def make() -> list[Run]:
        prepared = [_make_directory(session, run, selection, made, single=single) for run in runs]
        if session.fsync and not single:
            durable.sync_filesystem(session.layout.runs_dir)
        return prepared

    try:
        prepared = await off_loop(make)
        failpoint("run.created")
        kept = await shielded(lambda: _enter(session, prepared))
    except BaseException:
        for path in made:
            records.discard_directory(path)
        raise
    for run in kept:
        tell(session, "run.staged" if run.state == "staged" else "run.created", run)
    return kept


async def _enter(session: Session, runs: Sequence[Run]) -> tuple[Run, ...]:
    try:
        return await session.store.create(runs, lease=LEASE)
    except IdTaken:
        # The directories are ours, made by nobody else: who has these ids in the store is a ghost, or was entered
        # by somebody who found the store empty and our directories already there.
        await session.store.delete([run.id for run in runs])
        return await session.store.create(runs, lease=LEASE)


def _make_directory(
    session: Session, run: Run, selection: source.Selection | None, made: list[Path], *, single: bool
) -> Run:
    directory = session.directory(run)
    outside = run.directory is not None
    try:
        if outside:
            if session.layout.control(directory).exists():
                raise _is_a_run(directory)
            durable.make_dirs(directory, fsync=session.fsync)
            durable.link_directory(session.layout.runs_dir / run.id, directory)
            made.append(session.layout.runs_dir / run.id)
            if session.fsync:
                durable.sync_directories(session.layout.runs_dir)
        else:
            durable.make_run_directory(directory)
    except FileExistsError:
        raise IdTaken(f"there is a run with the id '{run.id}' already", "Choose another id.") from None
    made.append(session.layout.control(directory) if outside else directory)
    if selection is not None and run.kind != "queue":
        from orchestra.workspace import copies
        from orchestra.workspace.manifest import write_manifest

        copies.copy_selection(selection, directory)
        write_manifest(directory, selection.manifest)
        run = structs.replace(run, sourcecode_digest=selection.digest)
        if session.fsync and single and run.state == "staged":
            # Its id is about to be printed, and its source may be gone when it is started.
            durable.sync_files(directory, selection.paths)
    if bears_marks(run):
        session.vault.keep(run, fsync=session.fsync)
    records.write_run(directory, run, fsync=session.fsync and single)
    if not single:
        # Reaches the disk with all the others: one thing less to wait for when the run is started.
        durable.make_dirs(session.layout.attempt_directory(directory, FIRST_ATTEMPT))
    return run


def check_can_stage(planned: Plan, request: RunRequest) -> None:
    """Refuse what makes no sense together.

    Raises:
        UserError: ``--stage-trials`` was asked for a run that has no trials.
    """
    if request.stage_trials and planned.kind == "queue":
        raise UserError("a queue has no trials to stage", "Leave --stage-trials out.")


def announce_staged(session: Session, console: Console, run: Run, *, in_directory: bool = False) -> None:
    """Say that ``run`` is staged, and how to start it."""
    name = run.operation_name
    if not in_directory:
        console.say(f"{name} staged as {run.id}")
        console.say(f"To start the operation, use 'orchestra run --start {run.id}'")
        return
    directory = str(session.directory(run))
    console.say(f"{name} staged in '{directory}'")
    console.say(
        "To start the operation, use "
        f'"(cd {shell_quote(directory)} && source .orchestra/ENV && {start_command(session, run)})"'
    )


def shell_quote(text: str) -> str:
    """``text`` in single quotes for a shell."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def start_command(session: Session, run: Run) -> str:
    """The command that executes a staged run from within its directory."""
    if run.kind != "run" or bears_marks(run):
        return f"orchestra run -y --start {run.id}"
    return print_command(run)


def prepare_for_hand(session: Session, run: Run) -> None:
    """Write what a person needs to start a staged run by hand: the file to source, and the operation's own one.

    A run with secrets can be started by its id alone.
    """
    from orchestra.engine.config_destination import write_config
    from orchestra.engine.launch import operation_environment

    directory = session.directory(run)
    if run.kind == "run" and not bears_marks(run):
        try:
            write_config(directory, run)
        except ResolveError as error:
            # Whoever starts it is told the same, and by then it may be there.
            message = f"{error.message}: run {run.id} can't be started yet"
            session.emit("log.message", run, level="warning", message=message, logger="")

    env_file.write(
        directory,
        os.environ,
        operation_environment(session, run),
        secret=run.operation.env_secrets,
    )
