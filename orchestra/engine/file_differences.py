"""How the files of two places differ: of two runs, or of a run and a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from orchestra.console import printable
from orchestra.engine.run_files import linked_places
from orchestra.engine.session import Session
from orchestra.errors import UserError, text_of_os_error
from orchestra.model.differences import FileChange, unified_diff
from orchestra.model.run import Run
from orchestra.model.scalars import natural_key
from orchestra.workspace.file_kinds import is_text
from orchestra.workspace.layout import CONTROL, attempt_directory
from orchestra.workspace.manifest import SOURCE, read_manifest
from orchestra.workspace.output import OUTPUT
from orchestra.workspace.run_files import (
    is_plain,
    list_files,
    open_inside,
    open_regular,
    parts_within,
    real_path,
)
from orchestra.workspace.source import select

MOST_SHOWN: Final = 4 << 20
"""Bytes of a file that is compared line by line."""
_BLOCK: Final = 1 << 20
_SHA256_DIGITS: Final = 64


class Side(NamedTuple):
    """Files to compare, by their paths."""

    name: str
    """What headings begin with."""
    digests: Mapping[str, str]
    """The SHA-256 of each file, as far as it is known; empty where it isn't."""
    open: Callable[[str], int]
    """A descriptor to read a file by.

    Raises:
        UserError: it can't be read.
    """


def source_of_run(session: Session, run: Run) -> Side:
    """The source that a run has taken along.

    Raises:
        RunBroken, StoreUnavailable: the run's manifest can't be read.
    """
    entries = read_manifest(session.directory(run))
    digests = {
        entry.path: entry.digest
        for entry in entries
        # A run may be anybody's: paths are taken as names in other folders, too.
        if entry.kind == SOURCE and is_plain(entry.path)
    }
    return Side(run.short_id, digests, _opener_in(session, run))


def source_of_folder(session: Session, run: Run, folder: Path, *, is_project: bool) -> Side:
    """The source of a folder, chosen by the rules of the run's operation, and named as in the run.

    Of a folder that is no project of the run, it is all that the rules say, whatever folder of a project they begin in.

    Raises:
        UserError, ScriptError: it can't be chosen, or read.
    """
    rules = run.operation.sourcecode
    root = (rules.root if rules and is_project else None) or os.curdir
    dest = (rules.dest if rules else None) or os.curdir
    place = os.path.normpath(folder / os.path.expanduser(root))
    if rules is not None and not is_project:
        from msgspec import structs

        rules = structs.replace(rules, root=None)
    # What the run has of it belongs to it, whatever the rules say.
    copied = [path for path in source_of_run(session, run).digests if _is_below(dest, path)]
    there = [path for path in copied if os.path.isfile(os.path.join(place, os.path.relpath(path, dest)))]
    selected = select(folder, always=there, excluded=(session.layout.home,), sourcecode=rules)
    origins = {file.path: os.path.join(selected.root, file.origin) for file in selected.files}
    digests = {file.path: file.digest for file in selected.files}

    def open_(path: str) -> int:
        return _open(origins[path])

    return Side(os.path.basename(place) or "/", digests, open_)


def _is_below(folder: str, path: str) -> bool:
    return os.path.relpath(path, folder).split(os.sep, 1)[0] != os.pardir


def paths_in_run(session: Session, run: Run, paths: Iterable[str]) -> Side:
    """Some files of a run, and all in some of its folders; what it does not have is left out.

    Raises:
        UserError: a path leads out of the run.
    """
    root = session.directory(run)
    files: list[str] = []
    for path in paths:
        target = real_path(root, path, linked_places(session, run, path))
        files += _files_at(target, "/".join(parts_within(path)))
    return Side(run.short_id, dict.fromkeys(files, ""), _opener_in(session, run))


def paths_in_folder(folder: Path, paths: Iterable[str]) -> Side:
    """The same of a folder.

    Raises:
        UserError: a path leads out of it.
    """
    found = [
        name for path in paths for name in _files_at(os.path.join(folder, path), "/".join(parts_within(path)))
    ]
    name = os.path.basename(os.path.abspath(folder)) or "/"

    def open_(path: str) -> int:
        return _open(os.path.join(folder, path))

    return Side(name, dict.fromkeys(found, ""), open_)


def _files_at(target: str, path: str) -> list[str]:
    if not os.path.isdir(target):
        return [path] if os.path.lexists(target) else []
    prefix = f"{path}/" if path else ""
    names = [file.path for file in list_files(target, hidden=True) if file.type != "directory"]
    # Our own records, here or behind a link to another run, differ in any case.
    return [f"{prefix}{name}" for name in names if CONTROL not in name.split("/")]


def output_of_run(session: Session, run: Run) -> Side:
    """What the newest attempt of a run has printed."""
    inner = os.path.join(attempt_directory(Path(), run.attempt), OUTPUT)
    directory = session.directory(run)
    digests = {OUTPUT: ""} if os.path.exists(directory / inner) else {}

    def open_(_path: str) -> int:
        return open_inside(directory, inner)

    return Side(run.short_id, digests, open_)


def _opener_in(session: Session, run: Run) -> Callable[[str], int]:
    directory = session.directory(run)
    return lambda path: open_inside(directory, path, linked_places(session, run, path))


def _open(path: str) -> int:
    try:
        return open_regular(os.path.realpath(path))
    except OSError as error:
        raise UserError(f"'{path}' can't be read: {error.strerror}") from error


def file_changes(before: Side, after: Side) -> tuple[FileChange, ...]:
    """What differs, by path. Files whose digests are the same are not read."""
    if before.name == after.name:
        # Ids of one's own choice may begin alike.
        before, after = before._replace(name="from"), after._replace(name="to")
    paths = sorted({*before.digests, *after.digests}, key=_path_key)
    found = (_compare(path, before, after) for path in paths)
    return tuple(change for change in found if change is not None)


def _path_key(path: str) -> list[list[tuple[int, str]]]:
    return [natural_key(part) for part in path.split("/")]


def _compare(path: str, before: Side, after: Side) -> FileChange | None:
    digest = before.digests.get(path)
    if digest and digest == after.digests.get(path):
        return None
    one, other = _read(before, path), _read(after, path)
    if one is None or other is None:
        change: Literal["added", "removed", "changed"] = "added" if one is None else "removed"
    else:
        change = "changed"
        if one.is_same(other):
            return None
    names = (_heading(before, path, one), _heading(after, path, other))
    return _described(path, change, one or _NOTHING, other or _NOTHING, names)


class _Content(NamedTuple):
    size: int
    digest: str
    """SHA-256."""
    data: bytes | None
    """None: too much, or it can't be read."""
    note: str = ""

    def is_same(self, other: _Content) -> bool:
        return self.digest == other.digest != ""


_NOTHING: Final = _Content(0, "", b"")


def _read(side: Side, path: str) -> _Content | None:
    """None: there is no such file."""
    expected = side.digests.get(path)
    if expected is None:
        return None
    try:
        descriptor = side.open(path)
    except UserError as error:
        return _Content(0, "", None, error.message)
    try:
        read = _read_all(descriptor)
    except OSError as error:
        return _Content(0, "", None, f"'{path}' can't be read: {text_of_os_error(error)}")
    finally:
        os.close(descriptor)
    if len(expected) == _SHA256_DIGITS and expected != read.digest:
        return read._replace(note=f"{side.name} has changed it since it was copied")
    return read


def _read_all(descriptor: int) -> _Content:
    digest = hashlib.sha256(usedforsecurity=False)
    kept: list[bytes] = []
    size = 0
    while block := os.read(descriptor, _BLOCK):
        digest.update(block)
        size += len(block)
        if size <= MOST_SHOWN:
            kept.append(block)
        else:
            kept.clear()
    return _Content(size, digest.hexdigest(), b"".join(kept) if size <= MOST_SHOWN else None)


def _heading(side: Side, path: str, content: _Content | None) -> str:
    if content is None:
        return "/dev/null"
    return printable(f"{side.name.rstrip('/')}/{path}".replace("\t", "\\t").replace("\n", "\\n"))


def _described(
    path: str,
    change: Literal["added", "removed", "changed"],
    one: _Content,
    other: _Content,
    names: tuple[str, str],
) -> FileChange:
    notes = [content.note for content in (one, other) if content.note]
    sizes = (
        f"{one.size} and {other.size} bytes" if change == "changed" else f"{max(one.size, other.size)} bytes"
    )
    if one.data is None or other.data is None:
        too_big = max(one.size, other.size) > MOST_SHOWN
        notes += [f"too big to be compared line by line: {sizes}"] if too_big else []
        return FileChange(path=path, change=change, note="; ".join(notes))
    if not (_is_text(one.data) and _is_text(other.data)):
        return FileChange(path=path, change=change, binary=True, note="; ".join((f"binary, {sizes}", *notes)))
    texts = [data.decode(errors="surrogateescape") for data in (one.data, other.data)]
    diff = unified_diff(texts[0], texts[1], names)
    if diff is None:
        notes.append(f"too many lines differ to be compared one by one: {sizes}")
    elif not diff:
        notes.append("empty")
    return FileChange(path=path, change=change, diff=diff or "", note="; ".join(notes))


def _is_text(data: bytes) -> bool:
    return b"\0" not in data and is_text(data[:8192])
