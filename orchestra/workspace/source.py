"""The source snapshot: which files of a project belong to a run, and their copy in its directory.

The rules are those for a project that is not in Git: text files of at most 1 MiB, at most 100 of them, none
from hidden folders, virtual environments, builds and caches, and never what looks like a secret.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from orchestra.errors import ScriptError, text_of_os_error
from orchestra.workspace.durable import fail, make_dirs, write_all
from orchestra.workspace.walk import Found, Walked, walk, walk_all

if TYPE_CHECKING:
    from hashlib import _Hash as _Digest  # pyright: ignore[reportPrivateUsage]

HELD = 16 << 20
"""Bytes of source that a selection keeps in memory; larger ones are copied from the project each time."""

_BLOCK = 1 << 20
_CANT_COPY = frozenset((errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF))
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class SelectedFile(Struct, frozen=True, kw_only=True):
    """One file of a selection, as it was when it was selected."""

    path: str
    """Relative, with ``/`` between its parts."""
    mode: int
    """Permission bits."""
    signature: tuple[int, int, int, int]
    """Device, inode, size and time of modification: when it changes, so may have the content."""
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
    """MD5 over path, NUL, content, NUL of each file in order; None when there are none."""
    skipped: int
    """How many files were looked at and left out."""
    warnings: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The relative paths of the files."""
        return tuple(file.path for file in self.files)


class SnapshotResult(Struct, frozen=True, kw_only=True):
    """What was copied."""

    files: tuple[str, ...]
    digest: str | None
    skipped_count: int
    warnings: tuple[str, ...]


def snapshot(
    source_dir: Path, into: Path, *, always: Sequence[str] = (), excluded: Sequence[Path] = ()
) -> SnapshotResult:
    """:func:`select` and :func:`copy_selection` at once.

    Raises:
        ScriptError, HomeError, StoreUnavailable: as they do.
    """
    selection = select(source_dir, always=always, excluded=(*excluded, into))
    return copy_selection(selection, into)


def select(source_dir: Path, *, always: Sequence[str] = (), excluded: Sequence[Path] = ()) -> Selection:
    """Choose and read the source of the project in ``source_dir``.

    ``always`` are files (relative) that belong to it whatever the rules say: the main script. ``excluded``
    are folders that don't, wherever they are: the home, a run's directory.

    Raises:
        ScriptError: a file of ``always`` is missing, or a file kept changing while it was read.
    """
    root = os.path.abspath(source_dir)
    return _read_all(root, walk(root, always=tuple(always), excluded=tuple(excluded)))


def select_all(run_dir: Path) -> Selection:
    """The source that a run has taken along, for those that a batch makes of it: all files, by no rules.

    Raises:
        ScriptError: a file can't be read, or kept changing while it was read.
    """
    root = os.path.abspath(run_dir)
    return _read_all(root, walk_all(root))


def _read_all(root: str, found: Walked) -> Selection:
    digest = _md5()
    room = HELD
    files: list[SelectedFile] = []
    for each in found.files:
        read = _read_stable(root, each, digest, room)
        if read is not None:
            file, digest = read
            room -= len(file.content or b"")
            files.append(file)
    return Selection(
        root=root,
        files=tuple(files),
        folders=_folders(files),
        digest=digest.hexdigest() if files else None,
        skipped=found.skipped,
        warnings=found.warnings,
    )


def _md5() -> _Digest:
    # hashlib loads OpenSSL, which costs a start more than the digest of a usual project.
    try:
        module = import_module("_md5")
    except ImportError:
        module = import_module("hashlib")
    return module.md5(usedforsecurity=False)


def _folders(files: Sequence[SelectedFile]) -> tuple[str, ...]:
    folders: set[str] = set()
    for file in files:
        folder = os.path.dirname(file.path)
        while folder and folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    return tuple(sorted(folders))


def _read_stable(root: str, each: Found, digest: _Digest, room: int) -> tuple[SelectedFile, _Digest] | None:
    path = os.path.join(root, each.path)
    for _ in range(2):
        try:
            read = _read_once(path, each.path, digest.copy(), room)
        except OSError as error:
            if each.required:
                raise ScriptError(text_of_os_error(error)) from error
            # It went away, or can't be read: then a run can do without it, as the project does.
            return None
        if read is not None:
            return read
    raise _changed(path)


def _read_once(path: str, relative: str, digest: _Digest, room: int) -> tuple[SelectedFile, _Digest] | None:
    descriptor = os.open(path, _READ)
    try:
        before = os.fstat(descriptor)
        digest.update(os.fsencode(relative) + b"\0")
        size = 0
        content: bytes | None = None
        while block := os.read(
            descriptor, max(_BLOCK, before.st_size + 1) if before.st_size <= room else _BLOCK
        ):
            digest.update(block)
            size += len(block)
            content = block if size == len(block) else None
        digest.update(b"\0")
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if _signature(before) != _signature(after) or size != before.st_size:
        return None
    file = SelectedFile(
        path=relative,
        mode=stat.S_IMODE(before.st_mode) & 0o777,
        signature=_signature(before),
        content=(content or b"") if size <= room and (content is not None or size == 0) else None,
    )
    return file, digest


def _signature(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _changed(path: str) -> ScriptError:
    return ScriptError(
        f"source file '{path}' changed while it was being copied", "Try again when nothing writes to it."
    )


def copy_selection(selection: Selection, into: Path | str) -> SnapshotResult:
    """Copy the files of ``selection`` below ``into``, which is made if need be; files of such names are
    replaced.

    Each copy is a file of its own: a run that changes its source changes no other run's.

    Raises:
        ScriptError: a file that was too big to be kept in memory has changed since it was selected, or a
            copy would replace the file itself.
        HomeError, StoreUnavailable: ``into`` can't be written.
    """
    target = os.fspath(into)
    if not os.path.isdir(target):
        make_dirs(target)
    try:
        for folder in selection.folders:
            _make_folder(f"{target}/{folder}")
        for file in selection.files:
            _copy(selection.root, file, f"{target}/{file.path}")
    except OSError as error:
        fail(error, error.filename or target)
    return SnapshotResult(
        files=selection.paths,
        digest=selection.digest,
        skipped_count=selection.skipped,
        warnings=selection.warnings,
    )


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        # A link leads out of the run: what lies there is not ours to write to.
        if os.path.islink(path):
            os.unlink(path)
            os.mkdir(path)


def _copy(root: str, file: SelectedFile, target: str) -> None:
    try:
        descriptor = os.open(target, _WRITE, file.mode)
    except FileExistsError:
        status = os.stat(target, follow_symlinks=False)
        if (status.st_dev, status.st_ino) == file.signature[:2]:
            raise _same(target) from None
        # Never written through: what is there may be a link to somebody else's file.
        os.unlink(target)
        descriptor = os.open(target, _WRITE, file.mode)
    try:
        if file.content is None:
            _copy_from_project(os.path.join(root, file.path), file, descriptor)
        elif file.content:
            write_all(descriptor, file.content)
        os.fchmod(descriptor, file.mode)
    except OSError as error:
        error.filename = error.filename or target
        raise
    finally:
        os.close(descriptor)


def _same(path: str) -> ScriptError:
    return ScriptError(
        f"source file '{path}' can't be copied onto itself", "Choose another directory for the run."
    )


def _copy_from_project(path: str, file: SelectedFile, descriptor: int) -> None:
    try:
        source = os.open(path, _READ)
    except OSError as error:
        raise ScriptError(text_of_os_error(error)) from error
    try:
        if _signature(os.fstat(source)) != file.signature:
            raise _changed(path)
        _copy_bytes(source, descriptor, file.signature[2])
        if _signature(os.fstat(source)) != file.signature:
            raise _changed(path)
    finally:
        os.close(source)


def _copy_bytes(source: int, target: int, size: int) -> None:
    """Copy by the kernel, which can share blocks of a file where the file system knows how; else by hand."""
    copied = 0
    if hasattr(os, "copy_file_range"):
        try:
            while copied < size and (count := os.copy_file_range(source, target, size - copied)):
                copied += count
        except OSError as error:
            if copied or error.errno not in _CANT_COPY:
                raise
    while block := os.read(source, _BLOCK):
        write_all(target, block)
