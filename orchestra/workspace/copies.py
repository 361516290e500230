"""Copy a selected source into the directories of runs, each with files of its own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from orchestra.child.cloning import clone
from orchestra.errors import ScriptError, text_of_os_error
from orchestra.workspace.durable import fail, make_dirs, write_all
from orchestra.workspace.source import (
    SelectedFile,
    Selection,
    changed,
    sha256,
    signature_of,
    still_holds,
)

CLONED = 4096
"""Bytes from which on a file may be worth sharing its blocks."""

_BLOCK = 1 << 20
_CANT_COPY = frozenset((errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF))
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def copy_selection(selection: Selection, into: Path | str) -> None:
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
    copier = _Copier(selection.root)
    try:
        for folder in selection.folders:
            _make_folder(f"{target}/{folder}")
        for file in selection.files:
            copier.copy(file, f"{target}/{file.path}")
    except OSError as error:
        fail(error, error.filename or target)


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        # A link leads out of the run: what lies there is not ours to write to.
        if os.path.islink(path):
            os.unlink(path)
            os.mkdir(path)


class _Copier:
    """Copies files to one directory. Whether blocks can be shared is found out with the first file, once."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._can_clone = True

    def copy(self, file: SelectedFile, target: str) -> None:
        """Make ``target`` a copy of ``file``."""
        descriptor = _open_new(file, target)
        try:
            path = os.path.join(self._root, file.origin)
            if file.content is None:
                self._copy_from_project(path, file, descriptor)
            elif not self._clone_from_project(path, file, descriptor):
                write_all(descriptor, file.content)
            os.fchmod(descriptor, file.mode)
        except OSError as error:
            error.filename = error.filename or target
            raise
        finally:
            os.close(descriptor)

    def _clone_from_project(self, path: str, file: SelectedFile, descriptor: int) -> bool:
        """Share the blocks of a file that is as it was; what it was is in memory, if not."""
        if not self._can_clone or file.signature[2] < CLONED:
            return False
        try:
            source = os.open(path, _READ)
        except OSError:
            return False
        try:
            self._can_clone = clone(source, descriptor)
            if not self._can_clone:
                return False
            if signature_of(os.fstat(source)) == file.signature:
                return True
            os.ftruncate(descriptor, 0)
            return False
        finally:
            os.close(source)

    def _copy_from_project(self, path: str, file: SelectedFile, descriptor: int) -> None:
        try:
            source = os.open(path, _READ)
        except OSError as error:
            raise ScriptError(text_of_os_error(error)) from error
        size = file.signature[2]
        try:
            if signature_of(os.fstat(source)) == file.signature:
                self._can_clone = self._can_clone and clone(source, descriptor)
                if not self._can_clone:
                    copy_bytes(source, descriptor, size)
            if signature_of(os.fstat(source)) == file.signature:
                return
            if not still_holds(file.signature, os.fstat(source)) or not _copy_checked(
                source, descriptor, file
            ):
                raise changed(path)
        finally:
            os.close(source)


def _open_new(file: SelectedFile, target: str) -> int:
    try:
        return os.open(target, _WRITE, file.mode)
    except FileExistsError:
        status = os.stat(target, follow_symlinks=False)
        if (status.st_dev, status.st_ino) == file.signature[:2]:
            raise _same(target) from None
        # Never written through: what is there may be a link to somebody else's file.
        os.unlink(target)
        return os.open(target, _WRITE, file.mode)


def _same(path: str) -> ScriptError:
    return ScriptError(
        f"source file '{path}' can't be copied onto itself", "Choose another directory for the run."
    )


def copy_bytes(source: int, target: int, size: int) -> None:
    """Copy by the kernel, which can share blocks of a file where the file system knows how; else by hand."""
    copied = 0
    if hasattr(os, "copy_file_range"):
        try:
            while copied < size and (count := os.copy_file_range(source, target, size - copied)):
                copied += count
        except OSError as error:
            if copied or error.errno not in _CANT_COPY:
                raise
    while copied < size and (block := os.read(source, min(_BLOCK, size - copied))):
        copied += write_all(target, block)


def _copy_checked(source: int, target: int, file: SelectedFile) -> bool:
    """Copy what a file that has grown began with; False: it is no longer what it was."""
    os.lseek(source, 0, os.SEEK_SET)
    os.lseek(target, 0, os.SEEK_SET)
    os.ftruncate(target, 0)
    left = file.signature[2]
    digest = sha256(left)
    while left and (block := os.read(source, min(_BLOCK, left))):
        digest.update(block)
        left -= write_all(target, block)
    return digest.hexdigest() == file.digest
