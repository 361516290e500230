"""Remove a tree of files by directory descriptors: nothing outside is touched, whatever links it holds."""

from __future__ import annotations

import os
import stat

DEEPEST = 64
"""How many directories may be open at once; what lies deeper is moved up first."""

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a file, a link (never what it points to) or a directory with all that is in it.

    What is gone already is fine: two may remove the same tree at once.

    Raises:
        OSError: something can't be removed.
    """
    parent, name = os.path.split(path)
    try:
        parent_fd = os.open(parent or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _Removal(parent_fd, name).run()
    finally:
        os.close(parent_fd)


class _Removal:
    def __init__(self, parent_fd: int, name: str) -> None:
        self.parent_fd = parent_fd
        self.name = name
        self.moved = 0

    def run(self) -> None:
        self._remove(self.parent_fd, self.name, 0)

    def _remove(self, folder: int, name: str, depth: int) -> None:
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                _unlink(folder, name)
                return
            if depth > DEEPEST:
                self._move_up(folder, name)
                return
            self._empty(folder, name, found, depth)
            os.rmdir(name, dir_fd=folder)
        except FileNotFoundError:
            pass

    def _empty(self, folder: int, name: str, found: os.stat_result, depth: int) -> None:
        inner = _open_directory(folder, name, found)
        try:
            while names := _some_names(inner):
                for each in names:
                    self._remove(inner, each, depth + 1)
        finally:
            os.close(inner)

    def _move_up(self, folder: int, name: str) -> None:
        """Bring a deep directory next to the top of the tree, where the next look at the top finds it."""
        self.moved += 1
        top = os.open(self.name, _OPEN, dir_fd=self.parent_fd)
        try:
            target = f".moved-{os.getpid()}-{self.moved}"
            os.rename(name, target, src_dir_fd=folder, dst_dir_fd=top)
        finally:
            os.close(top)


def _some_names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _open_directory(folder: int, name: str, found: os.stat_result) -> int:
    try:
        return os.open(name, _OPEN, dir_fd=folder)
    except PermissionError:
        # Programs lock their own directories at times.
        os.chmod(name, 0o700, dir_fd=folder)
    descriptor = os.open(name, _OPEN, dir_fd=folder)
    if not os.path.samestat(os.fstat(descriptor), found):
        os.close(descriptor)
        raise FileNotFoundError
    return descriptor


def _unlink(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except PermissionError:
        os.fchmod(folder, 0o700)
        os.unlink(name, dir_fd=folder)
