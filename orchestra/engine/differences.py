"""How one run differs from another, or from a folder: the project that it was made of, above all."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from orchestra.engine import file_differences as files
from orchestra.engine.recorded_environment import recorded_environment
from orchestra.engine.results import results_of
from orchestra.engine.run_files import dependencies_of
from orchestra.engine.session import Session
from orchestra.errors import UserError
from orchestra.model.attributes import ATTRIBUTES
from orchestra.model.differences import SECTIONS, Change, Differences, Section, changes
from orchestra.model.run import Run
from orchestra.model.scalars import SYSTEM

EVERYTHING: Final[tuple[Section, ...]] = tuple(
    section for section in SECTIONS if section not in ("attributes", "files")
)
"""What is compared of two runs unless some of it is asked for."""

_OWN: Final = frozenset(
    [
        "id",
        "run",
        "short_id",
        "created",
        "staged",
        "started",
        "stopped",
        "time",
        "attempt",
        "batch",
        "trial",
        "parent",
        "op",
        "op_model",
        "sourcecode",
    ]
)
"""Attributes that are every run's own, or told by another name."""
_OWN_VARIABLES: Final = frozenset(("RUN_ATTEMPT", "RUN_DIR", "RUN_ID"))

_NAMED: Final[tuple[Section, ...]] = ("flags", "attributes", "dependencies", "scalars")


def differences(
    session: Session,
    before: Run,
    after: Run,
    *,
    sections: Collection[Section] = (),
    paths: Sequence[str] = (),
) -> Differences:
    """How ``after`` differs from ``before``, in all of :data:`EVERYTHING`, or in ``sections`` and the files ``paths``.

    Raises:
        UserError: a path leads out of the runs, or none of them has it.
        RunBroken, StoreUnavailable: a record can't be read.
    """
    wanted = set(sections) or set(() if paths else EVERYTHING)
    notes: list[str] = []
    found: dict[str, Any] = {
        section: changes(values_of(session, before, section), values_of(session, after, section))
        for section in _NAMED
        if section in wanted
    }
    if "environment" in wanted:
        found["environment"] = _environment(session, before, after, notes)
    if "source" in wanted:
        found["source"] = _source(session, before, after, notes)
    if "output" in wanted:
        found["output"] = files.file_changes(
            files.output_of_run(session, before), files.output_of_run(session, after)
        )
    if paths:
        found["files"] = _files(session, before, after, paths)
    return Differences(before=before.id, after=after.id, notes=tuple(notes), **found)


def differences_from_folder(
    session: Session, run: Run, folder: Path, *, is_project: bool = False, paths: Sequence[str] = ()
) -> Differences:
    """How the source in ``folder``, or its files ``paths``, differ from those of ``run``.

    Raises:
        UserError: the run has no source, or the folder is not there; a path leads out of it, or is nowhere.
        RunBroken, StoreUnavailable: a record can't be read.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a directory", "Give the one to compare with: --dir DIR.")
    if paths:
        one, other = files.paths_in_run(session, run, paths), files.paths_in_folder(folder, paths)
        _check_there(paths, one, other)
        found = files.file_changes(one, other)
        return Differences(before=run.id, after=str(folder), files=found)
    one = files.source_of_run(session, run)
    if not one.digests:
        raise UserError(
            f"run {run.short_id} has no copy of its source", "Compare files by name: --path PATH."
        )
    other = files.source_of_folder(session, run, folder, is_project=is_project)
    return Differences(before=run.id, after=str(folder), source=files.file_changes(one, other))


def project_of(run: Run) -> Path:
    """The folder that the source of ``run`` was copied from.

    Raises:
        UserError: it has none, or that is gone.
    """
    if run.operation.source is None:
        raise UserError(f"run {run.short_id} belongs to no project", "Name a folder: --dir DIR.")
    found = Path(run.operation.source)
    if not found.is_dir():
        raise UserError(
            f"the project of run {run.short_id}, '{found}', is not there", "Name a folder: --dir DIR."
        )
    return found


def values_of(session: Session, run: Run, section: Section) -> dict[str, Any]:
    """What ``run`` has of a section that consists of named values."""
    if section == "flags":
        return run.flags
    if section == "attributes":
        return _attributes(session, run)
    if section == "dependencies":
        return dict(dependencies_of(run))
    if section == "scalars":
        return _scalars(session, run)
    return dict(_groups(recorded_environment(session, run)))


def _attributes(session: Session, run: Run) -> dict[str, Any]:
    own = {name: value(run) for name, value in ATTRIBUTES.items() if name not in _OWN}
    return {**own, "command": shlex.join(run.command), **results_of(session, run).attributes}


def _scalars(session: Session, run: Run) -> dict[str, Any]:
    """The last value of each, with its step; not of those that we measured, which differ in any case."""
    found = results_of(session, run).scalars.items()
    return {name: list(scalar.point("last")) for name, scalar in found if not name.startswith(SYSTEM)}


def _environment(
    session: Session, before: Run, after: Run, notes: list[str]
) -> dict[str, tuple[Change, ...]]:
    groups = [_groups(recorded_environment(session, run)) for run in (before, after)]
    if lacking := [
        run for run, known in zip((before, after), groups, strict=True) if "platform" not in known
    ]:
        notes += (f"run {run.short_id} has no record of its environment" for run in lacking)
        return {}
    one, other = groups
    found: dict[str, tuple[Change, ...]] = {}
    for name in dict.fromkeys((*one, *other)):
        if name in one and name in other:
            if differing := changes(one[name], other[name]):
                found[name] = differing
        elif name != "lock_files":
            lacks = before if name not in one else after
            notes.append(f"run {lacks.short_id} has no record of its {name}")
        else:
            found[name] = changes(one.get(name, {}), other.get(name, {}))
    return found


def _groups(recorded: dict[str, Any]) -> dict[str, dict[str, Any]]:
    variables = {name: value for name, value in recorded["environment"].items() if name not in _OWN_VARIABLES}
    groups = {name: recorded[name] for name in ("python", "packages") if name in recorded}
    groups["variables"] = variables
    return groups | {name: recorded[name] for name in ("platform", "lock_files") if name in recorded}


def _source(session: Session, before: Run, after: Run, notes: list[str]) -> Any:
    one, other = files.source_of_run(session, before), files.source_of_run(session, after)
    for side in (one, other):
        if not side.digests and (one.digests or other.digests):
            notes.append(f"run {side.name} has no copy of its source")
            return ()
    return files.file_changes(one, other)


def _files(session: Session, before: Run, after: Run, paths: Sequence[str]) -> Any:
    one, other = (files.paths_in_run(session, run, paths) for run in (before, after))
    _check_there(paths, one, other)
    return files.file_changes(one, other)


def _check_there(paths: Sequence[str], one: files.Side, other: files.Side) -> None:
    for path in paths:
        inner = "/".join(files.parts_within(path))
        if not any(_is_at(inner, name) for name in (*one.digests, *other.digests)):
            raise UserError(f"{path} does not exist")


def _is_at(path: str, name: str) -> bool:
    return not path or name == path or name.startswith(f"{path}/")
