"""``orchestra api runs``: all that is known of runs, as JSON for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from msgspec import structs

from orchestra.cli import run_text, terminal
from orchestra.cli.context import complete, current
from orchestra.cli.selection import FILTERS, Filters, chosen, query_of
from orchestra.engine.recorded_environment import recorded_environment
from orchestra.engine.results import results_of
from orchestra.engine.run_files import ListedFile, dependencies_of, files_of_run
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model.attributes import duration
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run, RunKind
from orchestra.model.scalars import Scalar, natural

PLAIN_KINDS: frozenset[RunKind] = frozenset(("run", "steps"))


def api_runs(
    *runs: str,
    filters: Filters = FILTERS,
    format_: Annotated[bool, Parameter(name=("--format", "-f"))] = False,
    include_batch: Annotated[bool, Parameter(name="--include-batch")] = False,
    deleted: Annotated[bool, Parameter(name=("--deleted", "-d"))] = False,
) -> int:
    """Print runs as an array of JSON objects, the newest first; all but batches and queues unless told otherwise.

    The keys are id, shortId, operation, opRef, kind, status, reason, exitStatus, started, stopped, time, label, tags,
    marked, comments, command, dir, projectDir, flags, otherAttrs, scalars, env, deps, sourcecode, vcsCommit, files,
    batch and trial. Times are local, as in listings.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :), ids, or beginnings of ids.
    format_
        Break and indent the lines.
    include_batch
        Batches and queues, too.
    deleted
        Deleted runs, which 'runs restore' brings back, instead.
    """
    base = RunQuery() if include_batch else RunQuery(kinds=PLAIN_KINDS)
    return complete(lambda: _api_runs(runs, filters, base, deleted=deleted, indented=format_))


async def _api_runs(
    specs: tuple[str, ...], filters: Filters, base: RunQuery, *, deleted: bool, indented: bool
) -> int:
    async with current().session(looking=True) as session:
        if deleted:
            found = await _deleted(session, specs, query_of(filters, base))
        else:
            found = await chosen(session, specs, filters, default="all", base=base)
        described = [_described(session, run) for run in found]
    terminal.write_json(described, indented=indented)
    return 0


async def _deleted(session: Session, specs: Sequence[str], query: RunQuery) -> Sequence[Run]:
    from orchestra.engine.trashing import deleted_runs, select_deleted

    return [one.run for one in await select_deleted(await deleted_runs(session), specs, query=query)]


def _described(session: Session, run: Run) -> dict[str, Any]:
    results = results_of(session, run)
    return {
        "id": run.id,
        "shortId": run.short_id,
        "operation": run.operation_name,
        "opRef": run_text.reference_parts(run.operation).as_json(),
        "kind": run.kind,
        "status": run_text.status(session, run),
        "reason": run.reason,
        "exitStatus": run.exit_code,
        "started": run_text.format_time(run.started),
        "stopped": run_text.format_time(run.stopped),
        "time": _time_text(duration(run)),
        "label": run.label or "",
        "tags": list(run.tags),
        "marked": run.marked,
        "comments": [structs.asdict(one) | {"time": run_text.format_time(one.time)} for one in run.comments],
        "command": run_text.command(session, run),
        "dir": run_text.run_directory(session, run),
        "projectDir": run.operation.source or "",
        "flags": run.flags,
        "otherAttrs": results.attributes,
        "scalars": [_scalar(name, results.scalars[name]) for name in natural(results.scalars)],
        "deps": [{"name": name, **told} for name, told in dependencies_of(run).items()],
        "vcsCommit": run.vcs_commit or "",
        "batch": run.batch,
        "trial": run.trial,
        **_recorded(session, run),
    }


def _recorded(session: Session, run: Run) -> dict[str, Any]:
    """What the run's directory tells; nothing of a run whose records can't be read."""
    try:
        environment = recorded_environment(session, run)["environment"]
        found = files_of_run(session, run, hidden=True)
    except OrchestraError:
        environment, found = {}, []
    source = [file for file in found if file.kind == "source" and (file.type != "directory" or file.link)]
    files = [file for file in found if file.type == "file" and not _is_hidden(file)]
    rules = run.operation.sourcecode
    return {
        "env": environment,
        "sourcecode": {
            "root": (rules.dest if rules else None) or "",
            "digest": run.sourcecode_digest or "",
            "files": [file.path for file in source],
        },
        "files": [_file(file) for file in files],
    }


def _is_hidden(file: ListedFile) -> bool:
    return any(part.startswith(".") for part in file.path.split("/"))


def _file(file: ListedFile) -> dict[str, Any]:
    return {"path": file.path, "kind": file.kind, "size": file.size, "link": file.link}


def _scalar(name: str, scalar: Scalar) -> dict[str, Any]:
    prefix, _, tag = name.rpartition("#")
    return {
        "prefix": prefix,
        "tag": tag,
        "firstVal": scalar.first,
        "firstStep": scalar.first_step,
        "lastVal": scalar.last,
        "lastStep": scalar.last_step,
        "minVal": scalar.min,
        "minStep": scalar.min_step,
        "maxVal": scalar.max,
        "maxStep": scalar.max_step,
        "avgVal": scalar.average,
        "total": scalar.total,
        "count": scalar.count,
    }


def _time_text(seconds: float | None) -> str:
    """``1:02:03``; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
