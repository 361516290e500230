"""From a run directory of Guild's to a run of ours: what it was, how it ended, and what belongs to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from orchestra.engine.guild_attributes import Attributes, as_list, as_mapping
from orchestra.engine.guild_batch import batch_of_guild
from orchestra.engine.guild_operation import Kept, is_queue, operation_of_guild, requirements_of_guild
from orchestra.model.labels import format_flags, run_label
from orchestra.model.operation import Operation
from orchestra.model.run import ResolvedSource, Run, RunKind, State
from orchestra.workspace.guild_runs import (
    GUILD,
    GuildFile,
    Opref,
    has_proto,
    linked_runs,
    lock_of,
    old_source,
    read_guild_manifest,
    read_opref,
)


class GuildRun(Struct, kw_only=True):
    """A run of Guild's that was looked at."""

    directory: Path
    run: Run
    """As it would be here."""
    manifest: tuple[GuildFile, ...] = ()
    """What it has got: paths relative to its directory."""
    proto: bool = False
    """It is a batch: its source is in the folder of its prototype."""
    links: tuple[tuple[str, str], ...] = ()
    """The runs that links in its directory lead to: (name, id)."""
    given: frozenset[str] = frozenset()
    """Where what it depends on is in its directory, and where that came from."""
    is_pending: bool = False
    """It was to be started by its batch."""
    going_on: str | None = None
    """Why it is not over; None: it is."""
    problems: list[str] = []
    """What of it can't be had, each in a sentence."""


def read_guild_run(directory: Path) -> GuildRun:
    """The run in ``directory``; whatever is wrong with it, there is something to say of it."""
    problems: list[str] = []
    control = directory / GUILD
    own = Attributes(control, problems)
    opref = _opref(control, problems)
    is_batch = has_proto(control) and not is_queue(opref)
    # What a batch is of is told by its prototype: a run of its own that is never started.
    what = control / "proto" if is_batch else directory
    inner = Attributes(what / GUILD, problems) if is_batch else own
    manifest = _manifest(what, problems)
    operation = _operation(_opref(what / GUILD, problems) if is_batch else opref, inner, manifest, problems)
    flags = inner.mapping("flags")
    kind: RunKind = "batch" if is_batch else operation.kind if operation.kind in ("queue", "steps") else "run"
    run = Run(
        id=directory.name,
        kind=kind,
        operation=operation,
        flags={} if is_batch else flags,
        batch_spec=batch_of_guild(opref, own, inner, problems) if is_batch else None,
        state="aborted",
        created=own.time("initialized") or _modified(control),
        resolved=_resolved(directory, manifest, own.mapping("deps")),
        command=own.texts("cmd"),
        random_seed=own.number("random_seed"),
        sourcecode_digest=inner.text("sourcecode_digest"),
        vcs_commit=own.text("vcs_commit") or inner.text("vcs_commit"),
        user=own.text("user") or "",
        host=own.text("host") or "",
        **_marks(own),
    )
    given = (file.path for file in manifest if file.kind == "d")
    return GuildRun(
        directory=directory,
        run=_with_end(run, control, own),
        manifest=manifest,
        proto=is_batch,
        links=tuple(linked_runs(directory)),
        given=frozenset((*_places(directory, own.get("deps")), *given)),
        is_pending=os.path.lexists(control / "PENDING"),
        going_on=_going_on(control, own),
        problems=problems,
    )


def _operation(
    opref: Opref, attributes: Attributes, manifest: Sequence[GuildFile], problems: list[str]
) -> Operation:
    return operation_of_guild(
        Kept(
            opref=opref,
            op=attributes.mapping("op"),
            requires=requirements_of_guild(attributes.document("op"), problems),
            flags=attributes.mapping("flags"),
            steps=attributes.items("steps"),
            attributes=attributes.others(),
            compare=attributes.texts("compare"),
            source=frozenset(file.path for file in manifest if file.kind == "s"),
        )
    )


def _opref(control: Path, problems: list[str]) -> Opref:
    try:
        found = read_opref(control)
    except (OSError, ValueError) as error:
        problems.append(f"its operation is not known: 'opref' can't be read ({error})")
        found = Opref(package_type="", package="", operation="?")
    if found is None:
        problems.append("its operation is not known: there is no 'opref'")
        found = Opref(package_type="", package="", operation="?")
    return found


def _manifest(directory: Path, problems: list[str]) -> tuple[GuildFile, ...]:
    try:
        found = read_guild_manifest(directory / GUILD)
    except (OSError, ValueError) as error:
        problems.append(f"which files are its source is not known: 'manifest' can't be read ({error})")
        found = ()
    if found:
        return found
    return tuple(GuildFile(kind="s", path=path, digest="", origin="") for path in old_source(directory))


def _marks(attributes: Attributes) -> dict[str, Any]:
    """What people have said of the run."""
    label, tags = attributes.text("label"), attributes.texts("tags")
    template = attributes.mapping("op").get("label-template")
    if not isinstance(template, str):
        flags = {name: value for name, value in attributes.mapping("flags").items() if value is not None}
        shown = format_flags(flags)
        by_itself = {run_label(None, flags), run_label(None, flags, tags), shown, " ".join((*tags, shown))}
        template = None if label is None or label in by_itself else label
    return {
        "label": label,
        "label_template": template,
        "tags": tags,
        "comments": attributes.comments(),
        "marked": attributes.get("marked") is True,
    }


def _with_end(run: Run, control: Path, attributes: Attributes) -> Run:
    """``run`` in the state that it is in; none that somebody would start by himself."""
    started, stopped = attributes.time("started"), attributes.time("stopped")
    code = attributes.number("exit_status")
    waits = next((name for name in ("PENDING", "STAGED") if os.path.lexists(control / name)), None)
    executed = code is not None or os.path.lexists(control / "output") or (started is not None and not waits)
    state: State
    reason: str | None = None
    if waits:
        state, reason = "aborted", f"it was {waits.lower()} in Guild"
    elif code is not None:
        state = "completed" if code == 0 else "terminated" if code < 0 else "error"
    elif executed:
        state, reason = "lost", "Guild has not recorded how it ended"
    else:
        state, reason = "aborted", "it was not started: what it depends on may not have been there"
    return structs.replace(
        run,
        state=state,
        reason=reason,
        attempt=int(executed),
        executions=int(executed),
        started=started if executed or not waits else None,
        staged=started if waits == "STAGED" else None,
        stopped=stopped if code is None else stopped or started or run.created,
        exit_code=None if waits else code,
    )


def _going_on(control: Path, attributes: Attributes) -> str | None:
    if not os.path.lexists(control / "LOCK.remote") and (
        attributes.get("exit_status") is not None
        or any(os.path.lexists(control / name) for name in ("PENDING", "STAGED"))
    ):
        return None
    return lock_of(control)


def _resolved(
    directory: Path, manifest: Sequence[GuildFile], deps: Mapping[str, Any]
) -> tuple[ResolvedSource, ...]:
    """Where the files came from that the run depends on."""
    known: dict[str, tuple[str, str]] = {}
    for resource, sources in deps.items():
        for name, told in as_mapping(sources).items():
            paths = as_list(as_mapping(told).get("paths"))
            first = next((path for path in paths if isinstance(path, str)), "")
            known[name] = (resource, os.path.normpath(directory / first) if first else name)
    places: dict[str, list[str]] = {}
    for file in manifest:
        if file.kind == "d":
            places.setdefault(file.origin, []).append(file.path)
    for source, (_, origin) in known.items():
        # Older releases have not noted where it is, which is where it always was.
        name = os.path.basename(origin)
        if source not in places and name and os.path.lexists(directory / name):
            places[source] = [name]
    return tuple(
        ResolvedSource(
            source=source,
            resource=known.get(source, ("", ""))[0],
            paths=tuple(found),
            origin=known.get(source, ("", source))[1],
        )
        for source, found in places.items()
    )


def _places(directory: Path, deps: Any) -> Iterator[str]:
    """Every path that is named as a dependency, in whichever form."""
    if isinstance(deps, str):
        yield os.path.normpath(directory / deps)
    for item in (*as_mapping(deps).values(), *as_list(deps)):
        yield from _places(directory, item)


def _modified(control: Path) -> int:
    try:
        return os.stat(control).st_mtime_ns // 1000
    except OSError:
        return 0


def related(found: Sequence[GuildRun]) -> None:
    """Make runs trials of their batches and steps of their pipelines, as links in the directories of these tell."""
    by_id = {one.run.id: one for one in found}
    for one in found:
        inner = [by_id[run] for name, run in one.links if run in by_id and (not one.proto or name == run)]
        inner.sort(key=lambda trial: (trial.run.created, trial.run.id))
        for number, trial in enumerate(inner, 1):
            if one.run.kind == "batch":
                trial.run = structs.replace(trial.run, batch=one.run.id, trial=number, generation=1)
                if trial.is_pending and not trial.run.attempt:
                    # Nobody starts it but its batch, once somebody starts that again.
                    trial.run = structs.replace(trial.run, state="pending", rest="pending", reason=None)
            elif one.run.kind == "steps":
                trial.run = structs.replace(trial.run, parent=one.run.id)
