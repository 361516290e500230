"""The one module that writes records, so that each is either the old one or the new one whatever happens.

Failures are raised as :class:`StoreUnavailable` when trying again later can help (no space, I/O error, too
many open files), else as :class:`HomeError`; both carry the operating system's reason and the file's name.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from orchestra.errors import HomeError, OrchestraError, StoreUnavailable

TEMPORARY = ".tmp"
"""The ending of files that are being written; after a crash they are rubbish."""

_TRY_AGAIN_LATER = frozenset(
    (
        errno.EAGAIN,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOLCK,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ESTALE,
        errno.ETIMEDOUT,
    )
)
_NO_ROOM = frozenset((errno.EDQUOT, errno.EFBIG, errno.ENOSPC))
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


def storage_error(error: OSError, path: str | os.PathLike[str]) -> OrchestraError:
    """``error`` as one of ours, naming ``path``."""
    message = f"{error.strerror or error}: '{os.fspath(path)}'"
    if error.errno in _NO_ROOM:
        return StoreUnavailable(message, "Free some space there, and try again.")
    if error.errno in _TRY_AGAIN_LATER:
        return StoreUnavailable(message, "Try again later.")
    return HomeError(message, "Check the directory and its permissions.")


def fail(error: OSError, path: str | os.PathLike[str]) -> NoReturn:
    """Raise :func:`storage_error`."""
    raise storage_error(error, path) from error


def write_atomic(path: str | os.PathLike[str], data: bytes, *, fsync: bool) -> None:
    """Replace ``path`` by ``data`` (mode 0600): a reader sees the old content or the new one, never a part.

    With ``fsync`` the new one has reached the disk when this returns; without, it survives the death of any
    process but not a power cut.

    Raises:
        StoreUnavailable, HomeError: it could not be written; the old content is still there.
    """
    target = os.fspath(path)
    try:
        try:
            _replace(target, data, fsync)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            # After a failed fsync that file can't be trusted, whatever a second fsync says: write anew, once.
            _replace(target, data, fsync)
    except OSError as error:
        fail(error, target)


def _replace(target: str, data: bytes, fsync: bool) -> None:
    temporary = f"{target}.{os.urandom(6).hex()}{TEMPORARY}"
    descriptor = os.open(temporary, _CREATE, 0o600)
    try:
        try:
            write_all(descriptor, data)
            if fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, target)
    except OSError:
        _remove(temporary)
        raise
    if fsync:
        _sync_directory(os.path.dirname(target))


def write_all(descriptor: int, data: bytes | memoryview) -> int:
    """Write all of ``data`` however little each call takes; return its size."""
    written = os.write(descriptor, data)
    if written == len(data):
        return written
    view = memoryview(data)
    while written < len(view):
        written += os.write(descriptor, view[written:])
    return written


def append_line(path: str | os.PathLike[str], data: bytes) -> None:
    """Append ``data`` and a newline as one write (mode 0600 when new). A torn line before it stays on its
    own.

    Raises:
        StoreUnavailable, HomeError: it could not be written.
    """
    try:
        descriptor = os.open(path, _APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            write_all(descriptor, b"\n" + data + b"\n" if torn else data + b"\n")
        finally:
            os.close(descriptor)
    except OSError as error:
        fail(error, path)


def make_dirs(path: str | os.PathLike[str], *, fsync: bool = False) -> None:
    """Make a directory (mode 0700) and those above it that are missing.

    With ``fsync`` their names have reached the disk when this returns.

    Raises:
        StoreUnavailable, HomeError: one of them could not be made.
    """
    target = os.fspath(path)
    try:
        made = _make(target)
        if fsync:
            for directory in made:
                _sync_directory(os.path.dirname(directory))
    except OSError as error:
        fail(error, error.filename or target)


def make_run_directory(path: str | os.PathLike[str]) -> None:
    """Make one directory (mode 0700) that must not be there yet.

    Raises:
        FileExistsError: something of that name is there.
        StoreUnavailable, HomeError: it could not be made.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        raise
    except OSError as error:
        fail(error, path)


def link_directory(link: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Make ``link`` a symbolic link to a directory that lies elsewhere.

    Raises:
        FileExistsError: something of that name is there.
        StoreUnavailable, HomeError: it could not be made.
    """
    try:
        os.symlink(target, link)
    except FileExistsError:
        raise
    except OSError as error:
        fail(error, link)


def _make(target: str) -> list[str]:
    try:
        os.mkdir(target, 0o700)
    except FileExistsError:
        if not os.path.isdir(target):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), target) from None
        return []
    except FileNotFoundError:
        parent = os.path.dirname(target)
        if parent == target:
            raise
        made = _make(parent)
        # Not once more from the start: /proc says ENOENT for what can't be made in it.
        try:
            os.mkdir(target, 0o700)
        except FileExistsError:
            return [*made, *_make(target)]
        return [*made, target]
    return [target]


def sync_directories(*paths: str | os.PathLike[str]) -> None:
    """Let the names in these directories reach the disk.

    Raises:
        StoreUnavailable, HomeError: the disk failed.
    """
    for path in paths:
        try:
            _sync_directory(os.fspath(path))
        except OSError as error:
            fail(error, path)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems have no fsync for directories; their renames are synchronous.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sync_files(root: str | os.PathLike[str], files: Iterable[str]) -> None:
    """Let these files below ``root`` (relative paths), and the names of their folders, reach the disk.

    Raises:
        StoreUnavailable, HomeError: the disk failed.
    """
    base = os.fspath(root)
    folders = {base}
    for name in files:
        path = os.path.join(base, name)
        folders.add(os.path.dirname(path))
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            fail(error, path)
    sync_directories(*folders)


def sync_filesystem(path: str | os.PathLike[str]) -> None:
    """Let all that was written on the file system of ``path`` reach the disk: one wait for many records.

    Raises:
        StoreUnavailable, HomeError: the disk failed.
    """
    syncfs = _find_syncfs()
    if syncfs is None:
        os.sync()
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if syncfs(descriptor) != 0:
                import ctypes

                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(descriptor)
    except OSError as error:
        fail(error, path)


_syncfs: list[Callable[[int], int] | None] = []


def _find_syncfs() -> Callable[[int], int] | None:
    if not _syncfs:
        import ctypes

        library: Any = ctypes.CDLL(None, use_errno=True)
        _syncfs.append(getattr(library, "syncfs", None))
    return _syncfs[0]


def temporary(directory: str | os.PathLike[str], *, older_than: float) -> list[str]:
    """The paths of what writers that died have left in ``directory``.

    ``older_than`` (seconds) spares those that are being written; whoever needs longer has locked one of his.
    """
    import time

    oldest = time.time() - older_than
    try:
        with os.scandir(directory) as entries:
            old = [
                entry for entry in entries if entry.name.endswith(TEMPORARY) and _is_old_file(entry, oldest)
            ]
    except OSError:
        return []
    paths = [entry.path for entry in old]
    return [] if any(map(_is_locked, paths)) else paths


def remove_all(paths: Iterable[str]) -> int:
    """Remove files; return how many those were. What can't be removed stays."""
    return sum([_remove(path) for path in paths])


def _is_old_file(entry: os.DirEntry[str], oldest: float) -> bool:
    try:
        return entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime <= oldest
    except OSError:
        return False


def _is_locked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # There are no locks here.
    finally:
        os.close(descriptor)
    return False


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True
