"""Copy a run directory of Guild's to one of ours: files with times and modes, links only where they stay harmless."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from orchestra.child.cloning import clone
from orchestra.errors import text_of_os_error
from orchestra.workspace.codec import READ
from orchestra.workspace.copies import copy_bytes
from orchestra.workspace.guild_runs import GUILD, GuildFile, line_times
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.manifest import SOURCE, ManifestEntry
from orchestra.workspace.output import INDEX, OUTPUT

MOST_LEVELS = 100
_LEFT = frozenset(
    (
        *("attrs", "opref", "manifest", "output", "output.index", "LOCK", "LOCK.remote"),
        *("PENDING", "STAGED", "ENV", "proto", "job-packages"),
    )
)
"""What Guild keeps of a run for itself: we have it in another form, or, as its variables, not at all."""
_BLOCK = 1 << 20
_ENTRY = struct.Struct(">QQB")
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_PASSED_OVER = frozenset((errno.EACCES, errno.EPERM, errno.EIO, errno.ELOOP, errno.ENOENT, errno.ENXIO))

Complain = Callable[[str], None]


def copy_files(origin: Path, target: Path, *, given: Collection[str], complain: Complain) -> None:
    """Copy what is in the run directory ``origin`` below ``target``, which is there.

    ``given``: where what the run depends on is in its directory, and where it came from. Links that lead elsewhere are
    kept if they lead there, or to another run, and are left out otherwise, as is what is neither file, folder nor link.

    Raises:
        OSError: ``target`` can't be written.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        for entry in _entries(origin / folder, complain):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if _is_left(path):
                if path == CONTROL:
                    complain(f"'{CONTROL}' in it is left out: it is not Guild's")
            elif entry.is_symlink():
                _copy_link(origin, path, target, given, complain)
            elif entry.is_dir(follow_symlinks=False):
                if path.count("/") >= MOST_LEVELS:
                    complain(f"'{path}' is left out: it is nested too deeply")
                    continue
                os.mkdir(target / path, 0o700)
                pending.append(path)
            elif entry.is_file(follow_symlinks=False):
                copy_file(origin / path, target / path, complain=complain, name=path)
            else:
                complain(f"'{path}' is left out: it is neither a file nor a folder")


def copy_source(origin: Path, target: Path, files: tuple[GuildFile, ...], *, complain: Complain) -> None:
    """Copy the source ``files`` of a batch, which are in the folder of its prototype, to ``target``."""
    for file in files:
        if file.kind != "s" or os.path.lexists(target / file.path):
            continue
        if not _is_beside(origin, file.path):
            complain(f"source file '{file.path}' is left out: it is not there, or a link")
            continue
        os.makedirs((target / file.path).parent, 0o700, exist_ok=True)
        copy_file(origin / file.path, target / file.path, complain=complain, name=file.path)


def manifest_entries(
    target: Path, files: tuple[GuildFile, ...], complain: Complain
) -> Iterator[ManifestEntry]:
    """Our manifest of the source that was copied to ``target``; files that Guild knows otherwise are named."""
    for file in files:
        if file.kind != SOURCE or not _is_beside(target, file.path):
            continue
        guilds, ours = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
        with open(target / file.path, "rb") as copied:
            while block := copied.read(_BLOCK):
                guilds.update(block)
                ours.update(block)
        if file.digest and guilds.hexdigest() != file.digest:
            complain(f"source file '{file.path}' has changed since the run was made")
        yield ManifestEntry(
            kind=SOURCE, path=file.path, digest=ours.hexdigest(), origin=file.origin or file.path
        )


def copy_output(origin: Path, attempt_dir: Path, *, complain: Complain) -> int:
    """Copy what a run has printed, with the time and stream of each line; return its size."""
    control = origin / GUILD
    if not os.path.lexists(control / OUTPUT):
        return 0
    copy_file(control / OUTPUT, attempt_dir / OUTPUT, complain=complain, name=OUTPUT)
    try:
        size = os.stat(attempt_dir / OUTPUT).st_size
    except FileNotFoundError:
        return 0
    with open(attempt_dir / OUTPUT, "rb") as output, open(attempt_dir / INDEX, "xb") as index:
        offset, before = 0, (-1, -1)
        for time, stream in line_times(control):
            if offset >= size:
                break
            if (time, stream) != before:
                index.write(_ENTRY.pack(offset, time, stream))
                before = (time, stream)
            while (line := output.readline(1 << 20)) and not line.endswith(b"\n"):
                offset += len(line)
            offset += len(line)
    return size


def copy_file(origin: Path, target: Path, *, complain: Complain, name: str) -> None:
    """Copy one file, which is no link. One that can't be read is complained about.

    Raises:
        OSError: ``target`` can't be written.
    """
    try:
        source = os.open(origin, READ | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno not in _PASSED_OVER:
            raise
        complain(f"'{name}' can't be read: {text_of_os_error(error)}")
        return
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            complain(f"'{name}' is left out: it is no file")
            return
        descriptor = os.open(target, _WRITE, 0o600)
        try:
            if not clone(source, descriptor):
                copy_bytes(source, descriptor, status.st_size)
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & 0o755 | stat.S_IRUSR | stat.S_IWUSR)
            os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(descriptor)
    finally:
        os.close(source)


def _entries(folder: Path, complain: Complain) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        complain(f"a folder can't be read: {text_of_os_error(error)}")
        return []


def _is_left(path: str) -> bool:
    folder, name, *_ = [*path.split("/"), ""]
    return folder == CONTROL or (folder == GUILD and name in _LEFT)


def _copy_link(origin: Path, path: str, target: Path, given: Collection[str], complain: Complain) -> None:
    text, folder = os.readlink(origin / path), (origin / path).parent
    place = os.path.normpath(folder / text)
    beside = os.path.relpath(place, origin.parent)
    run = beside.split("/", 1)[0]
    if run == origin.name:
        is_fine = _leads_inside(origin, origin / path)
    else:
        is_fine = run != os.pardir or path in given or place in given
    if not is_fine:
        complain(f"'{path}' is left out: it is a link to '{text}', which is no part of the run")
        return
    # What is in a run, be it another one, is found from where they are taken to as well.
    os.symlink(place if run == os.pardir else os.path.relpath(place, folder), target / path)


def _leads_inside(origin: Path, link: Path) -> bool:
    """Whether a link stays in the run's directory, whichever other links it leads over."""
    real, root = os.path.realpath(link), os.path.realpath(origin)
    inside = os.path.relpath(real, root)
    return not inside.startswith(os.pardir) and not _is_left(inside)


def _is_beside(folder: Path, path: str) -> bool:
    """Whether there is a file at ``path`` in ``folder``, and no link on the way to it."""
    place = folder
    for part in path.split("/"):
        place = place / part
        if place.is_symlink():
            return False
    return place.is_file()
