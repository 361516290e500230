"""The trash: the directories of runs that were deleted, whole, until they are restored or purged.

A run goes in, and comes out again, by one rename: whoever is killed leaves it in one place or in the other. In
``trash/runs`` each has its id and the time of its deletion for a name; what lies beside that folder is on its way out,
and is removed by whoever comes next. Where the home's trash is on another disk than the runs, ``runs/.trash`` is used:
nothing is copied, and no space is needed to delete.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from msgspec import Struct

from orchestra.errors import IdTaken
from orchestra.workspace.durable import fail, make_dirs, sync_directories
from orchestra.workspace.layout import Layout

DELETED: Final = "runs"
"""The folder of runs that can be restored."""
_DELETED: Final = re.compile(r"([A-Za-z0-9].*)\.([0-9]{1,18})")
_LEAVING: Final = re.compile(r"([A-Za-z0-9].*)\.[0-9a-f]{8}")
"""What has another name was put there by somebody else, and is left alone."""
_BESIDE: Final = ".trash"
_NOREPLACE: Final = 1
_AT_FDCWD: Final = -100


class Entry(Struct, frozen=True):
    """The place of a run in the trash."""

    path: str
    run_id: str
    time: int
    """When it was deleted, in microseconds since the epoch."""


class Trash:
    """The trash of one home."""

    def __init__(self, layout: Layout) -> None:
        self._runs = os.fspath(layout.runs_dir)
        self._roots = (os.fspath(layout.trash_dir), os.path.join(self._runs, _BESIDE))
        self._mark = os.fspath(layout.restoring_mark)

    def entries(self) -> list[Entry]:
        """What can be restored, the oldest deletion first."""
        found: list[Entry] = []
        for root in self._roots:
            folder = os.path.join(root, DELETED)
            for name in _names(folder):
                if match := _DELETED.fullmatch(name):
                    found.append(Entry(os.path.join(folder, name), match[1], int(match[2])))
        return sorted(found, key=lambda entry: entry.time)

    def holds(self, run_id: str) -> bool:
        """Whether a run with this id can be restored."""
        beginning = f"{run_id}."
        folders = (os.path.join(root, DELETED) for root in self._roots)
        return any(
            name.startswith(beginning) and name[len(beginning) :].isdigit()
            for folder in folders
            for name in _names(folder)
        )

    def leaving(self) -> list[tuple[str, str]]:
        """What is to be removed for good: where it is, and the run's id."""
        return [
            (os.path.join(root, name), match[1])
            for root in self._roots
            for name in _names(root)
            if (match := _LEAVING.fullmatch(name))
        ]

    def put(self, run_id: str, time: int, *, target: str | None = None) -> str | None:
        """Move a run in and return where it is now; None if it has no directory.

        ``target``: where its files are, if a person chose that. Then only the link to it is moved.

        Raises:
            HomeError, StoreUnavailable: it can't be moved.
        """
        origin = os.path.join(self._runs, run_id)
        if target is not None and not os.path.lexists(origin):
            os.symlink(target, origin)
        return self._move(origin, os.path.join(DELETED, f"{run_id}.{time}"))

    def drop(self, path: str, run_id: str) -> str | None:
        """Move a run, from wherever it is, to what is removed for good; None if it has no directory.

        Raises:
            HomeError, StoreUnavailable: it can't be moved.
        """
        return self._move(path, f"{run_id}.{os.urandom(4).hex()}")

    def take_out(self, entry: Entry) -> bool:
        """Move a run back among the others; False if it is no longer in the trash.

        Raises:
            IdTaken: a run with its id is there.
            HomeError, StoreUnavailable: it can't be moved.
        """
        place = os.path.join(self._runs, entry.run_id)
        try:
            _rename_new(entry.path, place)
        except FileNotFoundError:
            return False
        except FileExistsError:
            raise IdTaken(
                f"run {entry.run_id} can't be restored: there is a run with this id",
                "Delete that one first, or purge the one in the trash.",
            ) from None
        except OSError as error:
            fail(error, entry.path)
        return True

    def sync(self) -> None:
        """Let what was moved reach the disk.

        Raises:
            HomeError, StoreUnavailable: the disk failed.
        """
        folders = [os.path.join(root, DELETED) for root in self._roots]
        sync_directories(self._runs, *(folder for folder in folders if os.path.isdir(folder)))

    def _move(self, path: str, name: str) -> str | None:
        for root in self._roots:
            place = os.path.join(root, name)
            try:
                make_dirs(os.path.dirname(place))
                os.rename(path, place)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno == errno.EXDEV and root != self._roots[-1]:
                    continue
                fail(error, path)
            return place
        return None

    @contextmanager
    def restoring(self) -> Generator[None]:
        """While runs are moved out and entered into the store. Who is killed, or fails, leaves a mark behind."""
        with self._marked(os.O_CREAT, fcntl.LOCK_SH) as descriptor:
            yield
            if _locked(descriptor, fcntl.LOCK_EX):
                self._unmark()

    @contextmanager
    def cut_short(self) -> Generator[bool]:
        """Whether somebody died while restoring; afterwards it counts as repaired."""
        with self._marked(0, fcntl.LOCK_EX) as descriptor:
            yield descriptor is not None
            if descriptor is not None:
                self._unmark()

    def _unmark(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._mark)

    @contextmanager
    def _marked(self, flags: int, how: int) -> Generator[int | None]:
        """The mark, open and locked; None if it is not there, or somebody else has it."""
        while True:
            try:
                descriptor = os.open(self._mark, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
            except FileNotFoundError:
                yield None
                return
            except OSError as error:
                fail(error, self._mark)
            try:
                if not _locked(descriptor, how):
                    if how == fcntl.LOCK_SH:
                        # Somebody repairs, and takes the mark away when he is done.
                        fcntl.flock(descriptor, how)
                        continue
                    yield None
                    return
                if _is_at(descriptor, self._mark):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)


def _locked(descriptor: int | None, how: int) -> bool:
    if descriptor is None:
        return False
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # No locks on this file system: as if alone.
        return True
    return True


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _names(folder: str) -> Sequence[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return ()
    except OSError as error:
        fail(error, folder)


def _rename_new(source: str, target: str) -> None:
    """Rename, but never over something that is there."""
    # Slow to load, and needed by few.
    import ctypes

    rename: Any = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(number, os.strerror(number), source)
    # The file system can't: what is made between the look and the rename can but be an empty directory.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target)
