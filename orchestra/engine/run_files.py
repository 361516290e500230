"""What the files of a run are: its source, what it needed, what it made; and where they may be read."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any, Final, Literal, get_args

from msgspec import Struct

from orchestra.engine.session import Session
from orchestra.errors import UserError
from orchestra.model.run import Run
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.manifest import SOURCE, read_manifest
from orchestra.workspace.run_files import (
    FileType,
    RunFile,
    is_inside,
    is_pattern,
    list_files,
    open_inside,
    parents_of,
    parts_within,
    real_path,
)

FileKind = Literal["source", "dependency", "generated", "internal"]
KINDS: Final[tuple[FileKind, ...]] = get_args(FileKind)
_INTERNAL: Final = (CONTROL, ".guild")


class ListedFile(Struct, frozen=True, kw_only=True):
    """A file or folder of a run."""

    path: str
    type: FileType
    kind: FileKind
    """``generated`` is all that was not copied or linked for the run, and is none of our records."""
    size: int | None = None
    link: str | None = None
    """Where a link leads, as it is written there."""


def files_of_run(
    session: Session,
    run: Run,
    path: str | None = None,
    *,
    kinds: Collection[FileKind] = KINDS,
    hidden: bool = False,
    follow_links: bool = False,
) -> list[ListedFile]:
    """The files of ``run``: all but hidden ones, those below ``path``, or those that match it as a pattern.

    Where only some ``kinds`` are wanted, folders are left out, but for those that were linked or copied as such.

    Raises:
        UserError: ``path`` leads out of the run's directory, or is not there.
        RunBroken, StoreUnavailable: the manifest can't be read.
    """
    root = str(session.directory(run))
    within = parts_within(path) if path is not None else ()
    entered = linked_places(session, run) if follow_links else None
    found = list_files(root, within=within, hidden=hidden or set(kinds) == {"source"}, entered=entered)
    if path is not None and within and not found and not is_pattern(path):
        raise UserError(f"{path} does not exist")
    kind_of = _Kinds(root, run)
    everything = set(kinds) == set(KINDS)
    listed = [_listed(file, kind_of(file.path)) for file in found]
    return [
        file
        for file in listed
        if everything
        or (file.kind in kinds and (file.type != "directory" or file.link or file.kind == "dependency"))
    ]


def _listed(file: RunFile, kind: FileKind) -> ListedFile:
    return ListedFile(path=file.path, type=file.type, kind=kind, size=file.size, link=file.link)


class _Kinds:
    def __init__(self, root: str, run: Run) -> None:
        entries = read_manifest(root)
        self._source = {entry.path for entry in entries if entry.kind == SOURCE}
        needed = {entry.path for entry in entries if entry.kind != SOURCE}
        self._needed = needed | {os.path.normpath(path) for entry in run.resolved for path in entry.paths}

    def __call__(self, path: str) -> FileKind:
        if path in self._source:
            return "source"
        if path.split("/", 1)[0] in _INTERNAL:
            return "internal"
        needed = path in self._needed or not self._needed.isdisjoint(parents_of(path))
        return "dependency" if needed else "generated"


def source_path(run: Run, path: str) -> str:
    """``path`` in the source of ``run``, as a path in its directory."""
    rules = run.operation.sourcecode
    return os.path.join((rules.dest if rules else None) or "", path)


def linked_places(session: Session, run: Run, path: str | None = None) -> list[str]:
    """Where links of a run may lead to outside of its directory: to other runs, and whence we have linked.

    With ``path``, only where that may.
    """
    inner = None if path is None else os.path.normpath(path)
    if inner is not None and (os.path.isabs(inner) or inner.split(os.sep, 1)[0] == os.pardir):
        return []
    runs = str(session.layout.runs_dir)
    # An origin is the id of a run, or the absolute path of a file or folder.
    origins = [
        os.path.join(runs, entry.origin)
        for entry in run.resolved
        if inner is None or any(is_inside(place, inner) for place in entry.paths)
    ]
    return [runs, str(session.layout.cache_dir), *origins]


def open_run_file(session: Session, run: Run, path: str) -> int:
    """Open a file of ``run`` for reading.

    Raises:
        UserError: it is outside of the run's directory, missing, or no regular file.
    """
    return open_inside(session.directory(run), path, linked_places(session, run, path))


def real_run_path(session: Session, run: Run, path: str) -> str:
    """Where a file or folder of ``run`` really is.

    Raises:
        UserError: it is outside of the run's directory, or missing.
    """
    target = real_path(session.directory(run), path, linked_places(session, run, path))
    if not os.path.exists(target):
        raise UserError(f"{path} does not exist")
    return target


def names_of(files: Sequence[ListedFile]) -> list[str]:
    """The paths of ``files``, those of folders with a ``/`` at their end."""
    return [f"{file.path}/" if file.type == "directory" else file.path for file in files]


def manifest_of(session: Session, run: Run) -> list[dict[str, str]]:
    """The files that were copied for the run: its source, and what it needs.

    Raises:
        RunBroken, StoreUnavailable: the manifest can't be read.
    """
    kinds = {"s": "source", "d": "dependency"}
    copied = [
        {
            "path": entry.path,
            "kind": kinds.get(entry.kind, entry.kind),
            "digest": entry.digest,
            "origin": entry.origin,
        }
        for entry in read_manifest(session.directory(run))
    ]
    named = {entry["path"] for entry in copied}
    return copied + [
        {"path": path, "kind": "dependency", "digest": found.digest or "", "origin": found.origin}
        for found in run.resolved
        for path in found.paths
        if path not in named
    ]


def dependencies_of(run: Run) -> dict[str, dict[str, Any]]:
    """By the requirement and the source: what is in the run's directory, and where it came from."""
    found: dict[str, dict[str, Any]] = {}
    for entry in run.resolved:
        name = entry.source if entry.resource in ("", entry.source) else f"{entry.resource} {entry.source}"
        found[name] = {"paths": list(entry.paths), "uri": entry.origin, "digest": entry.digest}
    return found
