"""What is being made beside its place: it takes that when it is whole, and is known from what was left behind.

Whoever makes it holds a lock on it: what can be locked is left of somebody who was killed, and is removed by the next.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestra.child.supervisor import failpoint

BEFORE = ".before"
"""Ends the names of what is being replaced."""
_OURS = "[0-9a-f]" * 8
"""What tells those who are at it apart, as a pattern: nothing else is ever taken for left behind."""


def place(partial: Path, path: Path, *, replace: bool) -> None:
    """Give a file its name.

    Raises:
        FileExistsError: there is one, and it is not to be replaced.
    """
    if replace:
        os.replace(partial, path)
        return
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links.
        if path.exists():
            raise FileExistsError from None
        os.rename(partial, path)
    else:
        partial.unlink()


def sweep_partial(path: Path) -> None:
    """Remove what is left of those who were writing ``path`` when they were killed."""
    for left in path.parent.glob(f".{glob.escape(path.name[:100])}.{_OURS}.part"):
        with suppress(OSError):
            descriptor = _held_by_nobody(left)
            left.unlink()
            os.close(descriptor)


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Nobody else looks for what was left behind in ``folder`` meanwhile."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _held_by_nobody(path: Path) -> int:
    """What is left behind, open and held.

    Raises:
        OSError: somebody holds it, or that can't be known.
    """
    import fcntl

    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def hold(descriptor: int) -> int:
    """Hold what is open, so that nobody takes it for left behind, where the file system can do that.

    Raises:
        BlockingIOError: somebody holds it.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        # Without locks nothing is ever taken for left behind.
        pass
    return descriptor


class Making:
    """A folder in which something is made, beside its place: it goes with whoever makes it."""

    def __init__(self, parent: Path, prefix: str) -> None:
        self.path = parent / f"{prefix}{os.urandom(4).hex()}"
        with alone_in(parent):
            for left in parent.glob(f"{glob.escape(prefix)}{_OURS}"):
                with suppress(OSError):
                    descriptor = _held_by_nobody(left)
                    _remove(left)
                    os.close(descriptor)
            self.path.mkdir(mode=0o700)
            self._lock = hold(_open(self.path))

    def put_in_place(self, name: str) -> None:
        """Let what was made under this name take its place, also that of what is there.

        Raises:
            OSError: it can't; then what is there stays, or comes back when this is closed.
        """
        target = self.path.parent / name
        if os.path.lexists(target):
            os.rename(target, self.path / f"{name}{BEFORE}")
            failpoint("making.replaced")
        os.rename(self.path / name, target)

    def close(self) -> None:
        """Remove it with all that is still in it."""
        _remove(self.path)
        os.close(self._lock)


def _remove(making: Path) -> None:
    """Remove such a folder; what was to be replaced and was not goes back."""
    for before in making.glob(f"*{BEFORE}"):
        target = making.parent / before.name.removesuffix(BEFORE)
        if not os.path.lexists(target):
            os.rename(before, target)
    shutil.rmtree(making, ignore_errors=True)


def sync(folder: Path) -> None:
    """Let the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
