"""Start a run that is there: a staged or pending one for the first time, an ended one again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from orchestra.child import supervisor
from orchestra.engine.concealment import concealed
from orchestra.engine.judge import settle
from orchestra.engine.limits import check_fails, check_limits
from orchestra.engine.marking import marks_of_restart
from orchestra.engine.off_loop import off_loop
from orchestra.engine.presence import MOUNT, hint_of_missing, is_reachable, unreached
from orchestra.engine.request import RunRequest
from orchestra.engine.requested_flags import settled_flags
from orchestra.engine.session import Session
from orchestra.engine.snapshot import Snapshot, take_snapshot
from orchestra.engine.stage import Plan, check_queue, executor_of_new, own_kind
from orchestra.engine.terms import check_terms, given_terms, redefined_terms
from orchestra.errors import FlagError, RunBusy, RunNotFound, UserError
from orchestra.model import flags as flag_rules
from orchestra.model.batch import Batch, is_same_search, unexpanded
from orchestra.model.filters import RunQuery
from orchestra.model.ids import listing_place
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run, RunKind, State
from orchestra.workspace import records

if TYPE_CHECKING:
    from orchestra.engine.extending import Extension
    from orchestra.engine.redoing import Todo

NOT_DONE: frozenset[State] = frozenset(("staged", "pending", "error", "lost", "aborted"))
"""What ``--needed`` starts again though the flags are the same."""
CANDIDATES = 10


class Restart(Struct, frozen=True, kw_only=True):
    """What a request to start a run comes to, before anything is changed."""

    run: Run
    """The run as it is, with the flags, label and settings of the coming start."""
    before: Run
    """The run as it was when that was planned."""
    unchanged: bool
    """Its flags are those that it has been started with already: what ``--needed`` asks."""
    snapshot: Snapshot | None = None
    """The source that is to replace what the run has."""
    todo: Todo | None = None
    """Of a batch that is started for some of its trials: what there is to do."""
    extension: Extension | None = None
    """What the batch is to get; ``run`` has it already."""
    idle: str | None = None
    """Why nothing is to be done at all."""

    @property
    def kind(self) -> RunKind:
        """What it is that is started."""
        return self.run.kind

    @property
    def announced(self) -> bool:
        """Whether the start is a restart that a person is told of."""
        return self.run.executions > 0


async def find_run(session: Session, spec: str, *, cwd: Path) -> Run:
    """The one run that ``spec`` names: an id, its place in the listing of all runs, the beginning of an id, or a
    run's directory.

    Raises:
        RunNotFound: none matches, or several do.
    """
    if spec.startswith((".", "/")):
        return await _run_in(session, (cwd / spec).resolve())
    runs = list((await session.store.query(RunQuery(ids=(spec,)))).runs)
    place = listing_place(spec)
    if not runs and place is not None:
        # As everywhere else: its place in the listing, where there is one.
        runs = list((await session.store.query(RunQuery(limit=1, offset=place - 1))).runs)
    if not runs and spec:
        runs = list((await session.store.query(RunQuery(id_prefix=spec, limit=CANDIDATES + 1))).runs)
    if not runs:
        raise RunNotFound(f"could not find a run matching '{spec}'", hint_of_missing(session, spec))
    if len(runs) > 1:
        names = ", ".join(run.short_id for run in runs[:CANDIDATES])
        raise RunNotFound(f"'{spec}' matches multiple runs: {names}", "Give more of the id.")
    return runs[0]


def executor_of(session: Session, request: RunRequest, prepared: Plan | Restart) -> str:
    """The executor, with options, that the run is given to, or the runs of the batch."""
    if isinstance(prepared, Restart):
        return request.executor or prepared.run.executor
    return executor_of_new(session, request, prepared.operation)


async def found_after(session: Session, request: RunRequest) -> tuple[str, ...]:
    """What the request says of runs to follow, with their whole ids: ``ID:ok``, ``ID:any``.

    Raises:
        RunNotFound, UserError: there is no such run, or no such condition.
    """
    conditions: list[str] = []
    for text in request.after:
        name, separator, how = text.rpartition(":")
        if not separator:
            name, how = text, "ok"
        if how not in ("ok", "any"):
            raise UserError(
                f"invalid condition '{text}' of --after",
                "Give a run, followed by ':ok' (it ended well, the default) or ':any' (it ended).",
            )
        run = await find_run(session, name, cwd=request.cwd)
        conditions.append(f"{run.id}:{how}")
    return tuple(dict.fromkeys(conditions))


async def _run_in(session: Session, directory: Path) -> Run:
    if not (session.layout.control(directory) / "run.json").exists():
        raise RunNotFound(f"'{directory}' is not the directory of a run", "Give a run's id or its directory.")
    return await session.store.get(records.read_run(directory).id)


async def plan_restart(session: Session, request: RunRequest) -> Restart:
    """Find the run and settle what it will be started with; changes nothing but what is due anyway.

    Raises:
        RunNotFound: there is no such run.
        RunBusy: it is running, or being started, or is lost but processes of it live.
        UserError: the request names another operation than that of the run.
        FlagError: a flag is unknown or has a value that it can't have.
    """
    spec = request.restart
    assert spec is not None
    request = structs.replace(request, after=await found_after(session, request))
    run = await settle(session, await find_run(session, spec, cwd=request.cwd))
    if request.operation is not None and not run.is_of(request.operation):
        raise UserError(
            f"run {run.id} is of {run.operation_name}, not of {request.operation}",
            f"Leave the operation out, or use --proto {run.short_id} for a new run with its flags.",
        )
    if run.state == "running":
        raise RunBusy(
            f"cannot restart run {run.id} because it's running",
            f"Use 'orchestra stop {run.short_id}' to stop it first and try again.",
        )
    if run.worker is not None:
        raise RunBusy(f"run {run.id} is already being started by {run.worker.name}")
    require_startable(session, run)
    if run.imported is not None and not request.force_sourcecode:
        from orchestra.engine.missing_parts import require_parts

        require_parts(session, run)
    if request.redo:
        return await _plan_redo(session, run, request)
    if not request.force_sourcecode:
        changed = concealed(session, _with_request(session, run, request))
        return Restart(run=changed, before=run, unchanged=_same_start(run, changed))
    from orchestra.engine.proto import defined_now

    operation = await off_loop(lambda: defined_now(session, run))
    taken = await off_loop(lambda: take_snapshot(session, operation))
    digest = taken.selection.digest if taken.selection else None
    redefined = structs.replace(
        run,
        operation=operation,
        sourcecode_digest=digest,
        vcs_commit=taken.vcs_commit,
        **redefined_terms(run, operation),
    )
    changed = concealed(session, _with_request(session, redefined, request))
    return Restart(run=changed, before=run, unchanged=False, snapshot=taken)


async def _plan_redo(session: Session, run: Run, request: RunRequest) -> Restart:
    from orchestra.engine.redoing import look_for_work, nothing_to_do

    if run.batch_spec is None:
        raise UserError(
            f"run {run.id} is not a batch: --{request.redo[0]} is about the trials of one",
            "Leave the option out to restart the run.",
        )
    changed = concealed(session, _with_request(session, run, request))
    todo = await look_for_work(session, changed)
    idle = nothing_to_do(changed, todo) if todo.is_nothing else None
    return Restart(run=changed, before=run, unchanged=False, todo=todo, idle=idle)


def require_startable(session: Session, run: Run) -> None:
    """Refuse a run that has ended and can't be started again as things are.

    A run whose supervisor was killed is lost, but its operation may go on: two of them must not.

    Raises:
        UserError: it can't be read, or reached.
        RunBusy: processes of it live.
    """
    if run.state == "broken":
        raise UserError(
            f"run {run.id} can't be read: {run.reason}",
            "Use 'orchestra check --runs --fix' to repair it, or 'orchestra runs delete'.",
        )
    if not is_reachable(run):
        raise UserError(unreached(run), MOUNT)
    if run.state != "lost":
        return
    fence = records.read_fence(session.attempt_directory(run))
    if fence is None or fence.identity.host != supervisor.host_id():
        return
    tree = supervisor.tree_of(f"{run.id}.{run.attempt}.{fence.nonce}")
    if tree:
        pids = ", ".join(str(pid) for pid, _ in tree)
        raise RunBusy(
            f"cannot restart run {run.id} because processes of it go on: {pids}",
            "End them (or use 'orchestra check --runs --fix') and try again.",
        )


def _same_start(before: Run, after: Run) -> bool:
    if before.state in NOT_DONE:
        return False
    if before.batch_spec is None or after.batch_spec is None:
        return before.flags == after.flags
    if before.batch_spec.unfinished:
        return False
    return is_same_search(before.batch_spec, after.batch_spec)


def _with_request(session: Session, run: Run, request: RunRequest) -> Run:
    changes: dict[str, Any] = {}
    if run.batch_spec is not None:
        changes["batch_spec"] = _batch_of_restart(run, run.batch_spec, request)
    elif request.flags or request.force_sourcecode or (run.kind == "queue" and request.max_fails is not None):
        changes["flags"] = _flags_of_restart(run, request)
    if run.kind == "steps":
        changes["needed"] = request.needed
    if run.kind == "queue":
        check_queue(session, changes.get("flags", run.flags))
    changes |= marks_of_restart(session, run, request, changes.get("flags", run.flags))
    check_limits(own_kind(run.operation), request)
    check_terms(own_kind(run.operation), request, run.time_limit, run.resources)
    changes.update(given_terms(request))
    if request.stop_after is not None:
        changes["stop_after"] = request.stop_after
    if request.gpus is not None:
        changes["gpus"] = request.gpus
    if request.executor is not None:
        changes["executor"] = request.executor
    if request.force_deps:
        changes["force_deps"] = True
    if request.random_seed is not None:
        changes["random_seed"] = request.random_seed
    if request.environment:
        changes["environment"] = {**run.environment, **request.environment}
    return structs.replace(run, **changes)


def _flags_of_restart(run: Run, request: RunRequest) -> dict[str, FlagValue]:
    values = settled_flags(run.operation, request, stored=run.flags)
    if flag_rules.is_batch(values):
        raise FlagError(
            f"run {run.id} is one run and can't be restarted with a list of values",
            "Start a new batch with these values instead.",
        )
    return values


def _batch_of_restart(run: Run, spec: Batch, request: RunRequest) -> Batch:
    """A batch that completed, or that gets flags, proposes new trials; another goes on with its own.

    One that is started for some of its trials does just that. One that is staged for it is, still.
    """
    is_complete = run.state == "completed" and not spec.unfinished
    changes: dict[str, Any] = {}
    if request.redo or run.state != "staged":
        is_partial = bool(request.redo) and "missing" not in request.redo
        changes.update(redo=request.redo, unfinished=is_partial and not is_complete)
    if request.flags or request.force_sourcecode:
        values = settled_flags(run.operation, request, stored=unexpanded(spec))
        fresh = flag_rules.make_batch(
            values,
            expander=spec.expander,
            options=spec.options,
            seed=spec.seed,
            max_trials=spec.max_trials,
            stage_trials=spec.stage_trials,
            fail_on_trial_error=spec.fail_on_trial_error,
        )
        rows = tuple(
            {name: value for name, value in row.items() if name not in request.flags} for row in spec.rows
        )
        changes.update(space=fresh.space, fixed=fresh.fixed, rows=rows)
    if request.max_trials is not None:
        changes["max_trials"] = request.max_trials
    if request.random_seed is not None:
        changes["seed"] = request.random_seed
    if request.stage_trials:
        changes["stage_trials"] = True
    if request.fail_on_trial_error:
        changes["fail_on_trial_error"] = True
    if request.max_fails is not None:
        changes["max_fails"] = request.max_fails
    if request.minimize is not None or request.maximize is not None:
        from orchestra.engine.objective import wanted_objective

        changes["objective"] = wanted_objective(request, spec.objective)
    is_new = bool(request.flags or request.force_sourcecode) or (is_complete and not request.redo)
    if run.executions and is_new:
        changes.update(generation=spec.generation + 1, redo=(), extended=False)
    changed = structs.replace(spec, **changes)
    check_fails(changed)
    return changed
