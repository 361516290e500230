"""``orchestra runs info``: what is known of a run."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Annotated, Any, NamedTuple

import msgspec
from cyclopts import Parameter

from orchestra.cli import run_text, terminal
from orchestra.cli.context import complete, current
from orchestra.cli.disk_usage import disk_usage
from orchestra.cli.one_run import one_run
from orchestra.cli.run_ending import attempt_lines, ending_fields, one_line
from orchestra.cli.scalars import scalar_text, shown_scalars
from orchestra.cli.selection import FILTERS, Filters
from orchestra.cli.tables import cell
from orchestra.cli.told_terms import TERMS, term_fields, term_lines
from orchestra.engine.judge import may_be_scheduled, settle
from orchestra.engine.presence import is_reachable
from orchestra.engine.recorded_environment import recorded_environment
from orchestra.engine.results import results_of
from orchestra.engine.run_files import dependencies_of, manifest_of
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, PluginError
from orchestra.model.ending import leftovers_text
from orchestra.model.flags import encode
from orchestra.model.resources import format_memory
from orchestra.model.run import ACTIVE, Comment, Run
from orchestra.model.scalars import natural
from orchestra.workspace import records
from orchestra.workspace.results import Results
from orchestra.workspace.source_patch import patch_path

_MOMENTS = ("started", "stopped")
UNSEEN_MINUTES = 5
"""After so long without a sign a run on another host is shown as unseen: its fence is touched twice a minute."""


def runs_info(
    run: str | None = None,
    /,
    *,
    filters: Filters = FILTERS,
    json: Annotated[bool, Parameter(name="--json")] = False,
    all_scalars: Annotated[bool, Parameter(name=("--all-scalars", "-s"))] = False,
    env: Annotated[bool, Parameter(name=("--env", "-e"))] = False,
    deps: Annotated[bool, Parameter(name=("--deps", "-d"))] = False,
    comments: Annotated[bool, Parameter(name=("--comments", "-c"))] = False,
    manifest: Annotated[bool, Parameter(name=("--manifest", "-m"))] = False,
    size: bool = False,
    private_attrs: Annotated[bool, Parameter(name="--private-attrs")] = False,
) -> int:
    """Show what is known of a run; of the latest one unless told otherwise.

    With --json it is printed as one object with the same keys as of the lines; the terms on which it is started
    (resources, priority, retry ...) are lines only where somebody has said them. Times are whole microseconds since
    1970 (UTC), null where there is none yet.

    Parameters
    ----------
    run
        Which run: its index in the listing, its id, or the beginning of its id.
    json
        Print JSON.
    all_scalars
        Show those that we measured, too, and of each the first, last, least and greatest value, mean and sum.
    env
        Show the environment: variables (no secrets), computer, interpreter and installed packages.
    deps
        Show what was resolved for the run.
    comments
        Show the comments, also where there are none.
    manifest
        Show the files that were copied for the run, with their SHA-256 and where they came from.
    size
        Show how much room the run takes on the disk.
    private_attrs
        Show what else the run's record has, for Orchestra's own use: it may change from version to version.
    """
    wanted = Extras(
        all_scalars=all_scalars,
        comments=comments,
        env=env,
        deps=deps,
        manifest=manifest,
        private=private_attrs,
        size=size,
    )
    return complete(lambda: _info(run, filters, wanted, as_json=json))


class Extras(NamedTuple):
    """What is shown beyond the fields that every run has."""

    all_scalars: bool = False
    comments: bool = False
    env: bool = False
    deps: bool = False
    manifest: bool = False
    size: bool = False
    private: bool = False


async def _info(spec: str | None, filters: Filters, wanted: Extras, *, as_json: bool) -> int:
    async with current().session(looking=True) as session:
        run = await settle(session, await one_run(session, spec, filters))
        results = results_of(session, run)
        fields = describe(session, run, results, wanted) | await _job_fields(session, run)
        if not as_json:
            fields["status"] += _unseen(session, run) if is_reachable(run) else " (unreachable)"
        for problem in results.problems:
            session.emit("log.message", run, level="warning", message=problem)
    if as_json:
        terminal.write_json(fields)
    else:
        terminal.write("".join(map(field_lines, as_lines(fields, run).items())))
    return 0


async def _job_fields(session: Session, run: Run) -> dict[str, Any]:
    """What the scheduler that has an active run's job says of it."""
    if run.state not in ACTIVE or not may_be_scheduled(run):
        return {}
    from orchestra.engine.scheduled import job_status

    try:
        status = await job_status(session, run)
    except PluginError as error:
        return {"job": error.message}
    return {"job": status.reason} if status is not None and status.reason else {}


def as_lines(fields: dict[str, Any], run: Run) -> dict[str, Any]:
    """``fields`` with what is shown otherwise to people."""
    said = term_lines(run)
    shown = {
        name: said.get(name, value) for name, value in fields.items() if name in said or name not in TERMS
    }
    shown["scalars"] = {name: scalar_text(value) for name, value in fields["scalars"].items()}
    if "manifest" in fields:
        shown["manifest"] = [" ".join(filter(None, one.values())) for one in fields["manifest"]]
    if "size" in fields:
        shown["size"] = format_memory(fields["size"])
    if "reason" in fields:
        shown["reason"] = one_line(fields["reason"])
    if "leftovers" in fields:
        shown["leftovers"] = f"it left {leftovers_text(fields['leftovers'])}"
    attempts = attempt_lines(shown.pop("attempts", []))
    return shown | ({"attempts": attempts} if attempts else {})


def describe(session: Session, run: Run, results: Results, wanted: Extras) -> dict[str, Any]:
    """The fields of a run in the order in which they are shown."""
    fields: dict[str, Any] = {
        **core_fields(session, run),
        "tags": list(run.tags),
        "flags": _natural(run.flags),
        **({"proto-flags": _natural(run_text.searched(run.batch_spec))} if run.batch_spec else {}),
        "scalars": shown_scalars(results, everything=wanted.all_scalars),
        **({"attributes": _natural(results.attributes)} if results.attributes else {}),
        **({"comments": run.comments} if run.comments or wanted.comments else {}),
    }
    if wanted.env:
        fields.update(recorded_environment(session, run))
    if wanted.deps:
        fields["dependencies"] = dependencies_of(run)
    if wanted.manifest:
        fields["manifest"] = manifest_of(session, run)
    if wanted.size:
        fields["size"] = disk_usage(session, run)
    fields.update(term_fields(run))
    ours = {"batch": run.batch, "parent": run.parent, "imported": run.imported and run.imported.source}
    fields |= {name: value for name, value in ours.items() if value} | ending_fields(session, run)
    if wanted.private:
        fields["private_attributes"] = _private(run, fields)
    return fields


def core_fields(session: Session, run: Run) -> dict[str, Any]:
    """What is known of every run, whatever it does."""
    return {
        "id": run.id,
        "operation": run.operation_name,
        "from": run.operation.source or "",
        "status": run_text.status(session, run),
        "started": run.started,
        "stopped": run.stopped,
        "marked": run.marked,
        "label": run.label or "",
        "sourcecode_digest": run.sourcecode_digest or "",
        "vcs_commit": run.vcs_commit or "",
        **_patch(session, run),
        "run_dir": run_text.run_directory(session, run),
        "command": run_text.command(session, run),
        "exit_status": run.exit_code,
        "pid": _pid(session, run),
    }


def _patch(session: Session, run: Run) -> dict[str, str]:
    """Where the changes are that the commit does not have: with the run, or with its batch."""
    directories = [session.directory(run)]
    if run.batch is not None:
        directories.append(session.layout.directory_of(run.batch))
    found = next((path for path in map(patch_path, directories) if os.path.exists(path)), None)
    return {} if found is None else {"vcs_patch": found}


def _private(run: Run, shown: Collection[str]) -> dict[str, Any]:
    """What the record of ``run`` has, beyond what is ``shown`` of it by other names."""
    told: dict[str, Any] = msgspec.to_builtins(run)
    known = {*shown, "state", "exit_code", "operation", "batch_spec", "resolved"}
    return _natural({name: value for name, value in told.items() if name not in known})


def _unseen(session: Session, run: Run) -> str:
    """Since when nothing is known of a run that goes on on another host, if that is long; else nothing."""
    if run_text.status(session, run) != "running":
        return ""
    try:
        found = records.attempt_status(session.directory(run), run.attempt)
    except OrchestraError:
        return ""
    if found.alive is not None or found.fence is None or found.seen is None:
        return ""
    minutes = (session.clock.now() - found.seen) // 60_000_000
    host = found.fence.identity.host.partition("/")[0]
    return f" (not seen for {minutes} minutes on {host})" if minutes >= UNSEEN_MINUTES else ""


def _pid(session: Session, run: Run) -> int | None:
    """Of the process above a run that goes on."""
    if run_text.status(session, run) != "running":
        return None
    try:
        fence = records.read_fence(session.attempt_directory(run))
    except OrchestraError:
        return None
    return None if fence is None else fence.identity.pid


def _natural(values: dict[str, Any]) -> dict[str, Any]:
    """Sorted by name, numbers in names by their value."""
    return {name: values[name] for name in natural(values)}


def field_lines(field: tuple[str, Any]) -> str:
    """A field as it is shown."""
    name, value = field
    if name in _MOMENTS:
        return f"{name}: {run_text.format_time(value)}".rstrip(" ") + "\n"
    if name == "scalars":
        return f"{name}:\n" + "".join(f"  {cell(key)}:{text}\n" for key, text in value.items())
    if name == "traceback":
        return f"{name}:\n" + "".join(f"  {line}\n" for line in value.split("\n"))
    if name == "comments":
        return f"{name}:\n" + "".join(_comment(comment) for comment in value)
    if isinstance(value, dict):
        inner = "".join(f"  {cell(key)}: {_text(one)}\n" for key, one in value.items())  # pyright: ignore
        inner = inner.replace(": \n    ", ":\n    ")
        return f"{name}:\n{inner}"
    if isinstance(value, list):
        inner = "".join(f"  - {_text(one)}\n" for one in value)  # pyright: ignore
        return f"{name}:\n{inner}"
    if isinstance(value, bool):
        return f"{name}: {'yes' if value else 'no'}\n"
    return f"{name}: {'' if value is None else cell(str(value))}".rstrip(" ") + "\n"


def _comment(comment: Comment) -> str:
    head, *body = run_text.comment_lines(comment)
    return "".join(f"{line}\n" for line in (f"  - {head}", *(f"  {line}" for line in body)))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        told = ((key, one) for key, one in value.items() if one)  # pyright: ignore
        return "".join(f"\n    {cell(key)}: {_text(one)}" for key, one in told)  # pyright: ignore
    if isinstance(value, str):
        return cell(value)
    if isinstance(value, list):
        return "[" + ", ".join(cell(encode(one)) for one in value) + "]"  # pyright: ignore
    return cell(encode(value))
