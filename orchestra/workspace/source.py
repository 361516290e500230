"""The source snapshot: which files of a project belong to a run, as they are when it is made.

Which ones, :mod:`orchestra.workspace.walk` tells; :mod:`orchestra.workspace.copies` copies them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from orchestra.errors import ScriptError, UserError, text_of_os_error
from orchestra.model.operation import SourceCode
from orchestra.workspace.manifest import SOURCE, ManifestEntry, read_manifest, read_raw_manifest, render
from orchestra.workspace.walk import Found, Walked, walk

if TYPE_CHECKING:
    from hashlib import _Hash as _Digest  # pyright: ignore[reportPrivateUsage]

HELD = 16 << 20
"""Bytes of source that a selection keeps in memory; larger ones are copied from the project each time."""
MUCH = 100 << 20
"""Bytes of source that nobody wants in each run without being told."""

_BLOCK = 1 << 20
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

Signature = tuple[int, int, int, int]
"""Device, inode, size and time of modification of a file: when it changes, so may have the content."""


class SelectedFile(Struct, frozen=True, kw_only=True):
    """One file of a selection, as it was when it was selected."""

    path: str
    """In the run's directory, with ``/`` between its parts."""
    origin: str
    """In the selection's root."""
    mode: int
    """Permission bits."""
    signature: Signature
    digest: str
    """SHA-256 of the content."""
    content: bytes | None
    """None: too big to be kept in memory."""


class Selection(Struct, frozen=True, kw_only=True):
    """The source of a run, selected once and copied into any number of runs, all with the same content."""

    root: str
    files: tuple[SelectedFile, ...]
    """Sorted by path."""
    folders: tuple[str, ...]
    """Those that hold them, parents first."""
    digest: str | None
    """MD5 over path, NUL, content, NUL of each file in order; None when there are none, or none is wanted."""
    skipped: tuple[str, ...]
    """The files that were looked at and left out, as they are named in the root."""
    warnings: tuple[str, ...]
    in_git: bool = False
    """Git told which files these are."""
    manifest: bytes = b""
    """As :mod:`orchestra.workspace.manifest` writes it."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The relative paths of the files."""
        return tuple(file.path for file in self.files)


def select(
    source_dir: Path,
    *,
    always: Sequence[str] = (),
    excluded: Sequence[Path] = (),
    sourcecode: SourceCode | None = None,
) -> Selection:
    """Choose and read the source of the project in ``source_dir``.

    ``always`` are files (as they are named in a run) that belong to it whatever the rules say: the main script.
    ``excluded`` are folders that don't, wherever they are: the home, a run's directory.

    Raises:
        UserError: what the project says of its source can't be followed.
        ScriptError: a file of ``always`` is missing, or a file kept changing while it was read.
    """
    wanted = sourcecode or SourceCode()
    root = _root(os.path.abspath(source_dir), wanted)
    dest = _dest(wanted)
    required = [path[len(dest) :] for path in map(os.path.normpath, always) if path.startswith(dest)]
    found = walk(root, always=required, excluded=tuple(excluded), rules=wanted.rules)
    return _read_all(root, found, dest, with_digest=wanted.digest)


def _root(source_dir: str, wanted: SourceCode) -> str:
    if wanted.root is None:
        return source_dir
    root = os.path.normpath(os.path.join(source_dir, os.path.expanduser(wanted.root)))
    if not os.path.isdir(root):
        raise UserError(
            f"the source folder '{wanted.root}' of the project in '{source_dir}' is not a directory",
            "Check 'root' of 'sourcecode' in the project file.",
        )
    return root


def _dest(wanted: SourceCode) -> str:
    """With a ``/`` at its end, or empty for the run's directory itself."""
    dest = os.path.normpath(wanted.dest or ".")
    first = dest.split(os.sep, 1)[0]
    if os.path.isabs(dest) or first in ("..", ".orchestra", ".guild"):
        raise UserError(
            f"the source can't be copied to '{wanted.dest}'",
            "'dest' of 'sourcecode' in the project file is a folder in the run's directory.",
        )
    return "" if dest == "." else f"{dest}/"


def select_copied(run_dir: Path) -> Selection:
    """The source that a run has taken along, as far as it is still there, without what the run has written.

    Raises:
        ScriptError: a file can't be read, or kept changing while it was read.
        RunBroken, StoreUnavailable: the run's manifest can't be read.
    """
    root = os.path.abspath(run_dir)
    paths = sorted(entry.path for entry in read_manifest(root) if entry.kind == SOURCE)
    there = tuple(Found(path, True) for path in paths if os.path.isfile(os.path.join(root, path)))
    selection = _read_all(root, Walked(there, (), ()), "", with_digest=True)
    # Where the files came from in the first place, not where they were on the way.
    return structs.replace(selection, manifest=read_raw_manifest(root))


def _read_all(root: str, found: Walked, dest: str, *, with_digest: bool) -> Selection:
    digest = _hash("md5")
    room = HELD
    files: list[SelectedFile] = []
    for each in found.files:
        read = _read_stable(root, each, dest, digest, room)
        if read is not None:
            file, digest = read
            room -= len(file.content or b"")
            files.append(file)
    return Selection(
        root=root,
        files=tuple(files),
        folders=_folders(files),
        digest=digest.hexdigest() if files and with_digest else None,
        skipped=found.skipped,
        warnings=(*found.warnings, *_warn_of_size(files)),
        in_git=found.in_git,
        manifest=render(_entries(root, files)),
    )


def _entries(root: str, files: Sequence[SelectedFile]) -> Iterator[ManifestEntry]:
    for file in files:
        origin = os.path.join(root, file.origin)
        yield ManifestEntry(kind=SOURCE, path=file.path, digest=file.digest, origin=origin)


def _warn_of_size(files: Sequence[SelectedFile]) -> tuple[str, ...]:
    size = sum(file.signature[2] for file in files)
    if size <= MUCH:
        return ()
    biggest = max(files, key=lambda file: file.signature[2])
    return (
        f"Copying {size >> 20} MiB of source code ({len(files)} files, the biggest is {biggest.origin}) to each run. "
        "To control which files are copied, define 'sourcecode' for the operation in a project file.",
    )


def _hash(name: str, size: int = 0) -> _Digest:
    # hashlib loads OpenSSL, which costs a start more than the digests of a usual project, and is faster on big files.
    if size <= _BLOCK:
        for module in (f"_{name}", "_sha2"):
            try:
                return getattr(import_module(module), name)(usedforsecurity=False)
            except (AttributeError, ImportError):
                continue
    return getattr(import_module("hashlib"), name)(usedforsecurity=False)


def sha256(size: int) -> _Digest:
    """A SHA-256 to feed with about ``size`` bytes."""
    return _hash("sha256", size)


def _folders(files: Sequence[SelectedFile]) -> tuple[str, ...]:
    folders: set[str] = set()
    for file in files:
        folder = os.path.dirname(file.path)
        while folder and folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    return tuple(sorted(folders))


def _read_stable(
    root: str, each: Found, dest: str, digest: _Digest, room: int
) -> tuple[SelectedFile, _Digest] | None:
    path = os.path.join(root, each.path)
    for _ in range(2):
        try:
            read = _read_once(path, each.path, dest + each.path, digest.copy(), room)
        except OSError as error:
            if each.required:
                raise ScriptError(text_of_os_error(error)) from error
            # It went away, or can't be read: then a run can do without it, as the project does.
            return None
        if read is not None:
            return read
    raise changed(path)


def _read_once(
    path: str, origin: str, relative: str, digest: _Digest, room: int
) -> tuple[SelectedFile, _Digest] | None:
    descriptor = os.open(path, _READ)
    try:
        before = os.fstat(descriptor)
        digest.update(os.fsencode(relative) + b"\0")
        own = sha256(before.st_size)
        size = 0
        content: bytes | None = None
        block_size = before.st_size if before.st_size <= room else _BLOCK
        # No more than was there at first: a log may grow faster than it is read.
        while size < before.st_size and (
            block := os.read(descriptor, min(block_size, before.st_size - size))
        ):
            digest.update(block)
            own.update(block)
            size += len(block)
            content = block if size == len(block) else None
        digest.update(b"\0")
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if size != before.st_size or not still_holds(signature_of(before), after):
        return None
    file = SelectedFile(
        path=relative,
        origin=origin,
        mode=stat.S_IMODE(before.st_mode) & 0o777,
        signature=signature_of(before),
        digest=own.hexdigest(),
        content=(content or b"") if size <= room and (content is not None or size == 0) else None,
    )
    return file, digest


def signature_of(status: os.stat_result) -> Signature:
    """What tells whether a file is still as it was."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def still_holds(signature: Signature, status: os.stat_result) -> bool:
    """Whether a file is as it was, or has only grown: then what it began with is taken to be there still."""
    now = signature_of(status)
    return now == signature or (now[:2] == signature[:2] and now[2] > signature[2])


def changed(path: str) -> ScriptError:
    """The error of a file that nobody can make sense of."""
    return ScriptError(
        f"source file '{path}' changed while it was being copied", "Try again when nothing writes to it."
    )
