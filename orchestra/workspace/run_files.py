"""The files of a run's directory: listed, and opened for reading without leaving it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Literal, NamedTuple

from orchestra.errors import UserError, text_of_os_error
from orchestra.model.scalars import natural_key

FileType = Literal["file", "directory", "other"]

MOST_NAMED = 20
"""Entries of a directory that a hint lists."""

_WILD = frozenset("*?[")


class RunFile(NamedTuple):
    """An entry of a run's directory, below it at whatever depth."""

    path: str
    """Relative to the run's directory."""
    type: FileType
    """Of what a link leads to; ``other`` where that is not there, too."""
    size: int | None
    """Bytes; None of what is no file."""
    link: str | None
    """Where a link leads, as it is written there."""


def is_pattern(path: str) -> bool:
    """Whether ``path`` stands for all that it matches, not for one file or folder."""
    return not _WILD.isdisjoint(path)


def parts_within(path: str) -> tuple[str, ...]:
    """The parts of a path relative to a run's directory; none of the directory itself.

    Raises:
        UserError: it leads out of the directory.
    """
    normal = os.path.normpath(path)
    parts = () if normal == os.curdir else tuple(normal.split(os.sep))
    if os.path.isabs(normal) or os.pardir in parts:
        raise UserError(f"'{path}' is outside of the run's directory", "Give a path relative to it.")
    return parts


def is_plain(path: str) -> bool:
    """Whether ``path`` leads downwards, wherever it begins, and is written as simply as can be."""
    is_simple = os.path.normpath(path) == path and path != os.curdir
    return is_simple and not os.path.isabs(path) and path.split(os.sep, 1)[0] != os.pardir


def list_files(
    root: str,
    *,
    within: tuple[str, ...] = (),
    hidden: bool = False,
    entered: Sequence[str] | None = None,
) -> list[RunFile]:
    """What is below ``root``, folders included, each with what is in it behind it, numbers by their value.

    ``within``: only what begins with parts that match these. Names that begin with a dot are left out unless
    ``hidden``, or asked for by such a part. Links are listed; with ``entered`` those to folders in these places, and
    in ``root``, are entered, too.
    """
    places = None if entered is None else [os.path.realpath(place) for place in (root, *entered)]
    found = _below(root, _Wanted(within, hidden), places)
    # Folders are named in the path of all that is in them.
    key_of = cache(natural_key)
    return sorted(found, key=lambda file: [key_of(part) for part in file.path.split("/")])


class _Wanted(NamedTuple):
    within: tuple[str, ...]
    hidden: bool

    def takes(self, place: int, name: str) -> bool:
        """Whether a name, so deep in a path, may be part of it."""
        part = self.within[place] if place < len(self.within) else None
        if part is not None and not fnmatchcase(name, part):
            return part == name
        is_asked_for = part is not None and part.startswith(".")
        return self.hidden or is_asked_for or not name.startswith(".")


class _Folder(NamedTuple):
    path: str
    parts: tuple[str, ...]
    seen: frozenset[str]
    """The folders that links on the way have led to."""


def _below(root: str, wanted: _Wanted, places: list[str] | None) -> Iterator[RunFile]:
    # No recursion: how deep the folders are is up to whatever made them.
    waiting = [_Folder(root, (), frozenset())]
    while waiting:
        folder = waiting.pop()
        for entry in _entries(folder.path):
            if not wanted.takes(len(folder.parts), entry.name):
                continue
            parts = (*folder.parts, entry.name)
            file = _described(entry, "/".join(parts))
            if len(parts) >= len(wanted.within):
                yield file
            if file.type != "directory":
                continue
            if file.link is None:
                waiting.append(_Folder(entry.path, parts, folder.seen))
                continue
            real = os.path.realpath(entry.path)
            if (
                places is not None
                and real not in folder.seen
                and any(is_inside(place, real) for place in places)
            ):
                waiting.append(_Folder(entry.path, parts, folder.seen | {real}))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        # Not ours to read, or gone meanwhile.
        return []


def _described(entry: os.DirEntry[str], path: str) -> RunFile:
    link = None
    if entry.is_symlink():
        try:
            link = os.readlink(entry.path)
        except OSError:
            link = ""
    try:
        status = entry.stat()
    except OSError:
        return RunFile(path, "other", None, link)
    if stat.S_ISDIR(status.st_mode):
        return RunFile(path, "directory", None, link)
    is_file = stat.S_ISREG(status.st_mode)
    return RunFile(path, "file" if is_file else "other", status.st_size if is_file else None, link)


def is_inside(place: str, path: str) -> bool:
    """Whether ``path`` is ``place`` or below it; both without links."""
    return path == place or path.startswith(place.rstrip("/") + "/")


def parents_of(path: str) -> Iterator[str]:
    """The folders that a relative ``path`` is in, the innermost first."""
    while path := path.rpartition("/")[0]:
        yield path


def real_path(directory: str | os.PathLike[str], path: str, elsewhere: Sequence[str] = ()) -> str:
    """Where ``path`` below ``directory`` is; links may lead to places inside it or ``elsewhere``.

    Raises:
        UserError: it is outside of them.
    """
    inside = os.path.realpath(directory)
    target = os.path.realpath(os.path.join(inside, path))
    if not any(is_inside(place, target) for place in (inside, *map(os.path.realpath, elsewhere))):
        raise UserError(f"'{path}' is outside of the run's directory")
    return target


def open_inside(directory: str | os.PathLike[str], path: str, elsewhere: Sequence[str] = ()) -> int:
    """Open a regular file below ``directory`` for reading; links may lead to places inside it or ``elsewhere``.

    Raises:
        UserError: it is outside, missing, or no regular file.
    """
    target = real_path(directory, path, elsewhere)
    if os.path.isdir(target):
        raise UserError(f"'{path}' is a directory", _what_it_holds(target))
    try:
        return open_regular(target)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ELOOP):
            raise UserError(f"'{path}' is not a regular file") from None
        raise UserError(f"'{path}' can't be read: {error.strerror}") from error


def open_regular(path: str) -> int:
    """Open a regular file for reading; a link is none.

    Raises:
        OSError: it can't be; ``ENXIO`` or ``ELOOP`` where it is something else.
    """
    # Not blocking: opening a FIFO would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ENXIO, "not a regular file", path)
    return descriptor


def _what_it_holds(directory: str) -> str:
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        return f"It can't be read: {text_of_os_error(error)}."
    if not names:
        return "It is empty."
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"Name a file in it: {', '.join(names[:MOST_NAMED])}{more}."
