"""The run directories of a Guild home, as they lie on disk. They are read and never changed.

Nothing in them is believed: links are not followed, and what is neither file, folder nor link is passed over.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import stat
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from orchestra.child.supervisor import process_start
from orchestra.workspace.codec import READ, read_open

GUILD = ".guild"
"""The folder of a run's directory that holds what is Guild's."""
OLD_SOURCE = f"{GUILD}/sourcecode"
"""Where releases before 0.9 put a run's source."""
MOST_BYTES = 8 << 20
"""Larger records are no records."""
_ENTRY = struct.Struct(">QB")
"""Of the index of the output: milliseconds since the epoch and stream of each line."""
_CLOCKS_APART = 2.0
"""Seconds that a file's time may be before that of the process that has written it."""
_SHA1 = re.compile(r"[0-9a-f]{40}")


class GuildFolders(Struct, frozen=True, kw_only=True):
    """The folders in which Guild keeps runs."""

    home: Path
    runs: Path
    trash: Path
    """Of the deleted ones."""


class Opref(Struct, frozen=True, kw_only=True):
    """Which operation a run is of, as Guild writes it: ``guildfile:/p/guild.yml HASH MODEL OP``."""

    package_type: str
    package: str
    model: str = ""
    operation: str = ""

    @property
    def name(self) -> str:
        """As listings show it."""
        return f"{self.model}:{self.operation}" if self.model else self.operation


class GuildFile(Struct, frozen=True, kw_only=True):
    """A line of a run's manifest: a file that it has got."""

    kind: str
    """``s``: source · ``d``: of a dependency."""
    path: str
    digest: str
    """SHA-1, or nothing."""
    origin: str


def guild_folders(path: Path) -> GuildFolders | None:
    """The folders of the Guild home at ``path``, or of which that is the folder of runs; None: it is neither."""
    if (path / "runs").is_dir():
        return GuildFolders(home=path, runs=path / "runs", trash=path / "trash" / "runs")
    if path.is_dir() and (path.name == "runs" or any(True for _ in run_directories(path))):
        return GuildFolders(home=path.parent, runs=path, trash=path.parent / "trash" / "runs")
    return None


def is_guild_home(path: Path) -> bool:
    """Whether there are runs of Guild's at ``path``."""
    folders = guild_folders(path)
    return folders is not None and any(True for _ in run_directories(folders.runs))


def run_directories(folder: Path) -> Iterator[Path]:
    """The directories of runs in ``folder``, by their names."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        directory = folder / name
        control = directory / GUILD
        if not _is(directory, stat.S_ISDIR) or not _is(control, stat.S_ISDIR):
            continue
        if _is(control / "opref", stat.S_ISREG) or _is(control / "attrs", stat.S_ISDIR):
            yield directory


def has_proto(control: Path) -> bool:
    """Whether the run with the folder ``control`` is a batch (a queue is none, but has an empty folder)."""
    proto = control / "proto"
    return all(_is(folder, stat.S_ISDIR) for folder in (proto, proto / GUILD)) and _is(
        proto / GUILD / "opref", stat.S_ISREG
    )


def read_small(path: Path) -> bytes | None:
    """What the file at ``path`` holds; None where there is none.

    Raises:
        OSError: it can't be read, or leads elsewhere.
        ValueError: it is no file, or too large.
    """
    try:
        descriptor = os.open(path, READ | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            raise ValueError("it is no file, or too large")
        return read_open(descriptor)
    finally:
        os.close(descriptor)


def read_opref(control: Path) -> Opref | None:
    """Which operation the run with the folder ``control`` is of; None where that is not said.

    Raises:
        OSError, ValueError: it can't be read, or has another form.
    """
    data = read_small(control / "opref")
    if not data:
        return None
    words = shlex.split(data.decode())
    kind, separator, package = words[0].partition(":") if words else ("", "", "")
    if not separator or not 2 <= len(words) <= 4:
        raise ValueError("it has another form")
    model = words[2] if len(words) == 4 else ""
    return Opref(package_type=kind, package=package, model=model, operation=words[-1])


def read_guild_manifest(control: Path) -> tuple[GuildFile, ...]:
    """The files that the run has got.

    Raises:
        OSError, ValueError: it can't be read.
    """
    data = read_small(control / "manifest") or b""
    files: list[GuildFile] = []
    for line in data.decode(errors="surrogateescape").splitlines():
        words = shlex.split(line)
        if len(words) >= 3 and words[0] in ("s", "d") and is_inside(words[1]):
            digest = words[2] if _SHA1.fullmatch(words[2]) else ""
            origin = words[3] if len(words) > 3 else ""
            files.append(
                GuildFile(kind=words[0], path=os.path.normpath(words[1]), digest=digest, origin=origin)
            )
    return tuple(files)


def old_source(directory: Path) -> tuple[str, ...]:
    """The source files of a run that was made before there were manifests, relative to its directory."""
    found: list[str] = []
    pending = [OLD_SOURCE]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(directory / folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif entry.is_file(follow_symlinks=False):
                found.append(path)
    return tuple(sorted(found))


def is_inside(path: str) -> bool:
    """Whether a relative path leads to something below where it begins, and to no records of ours."""
    path = os.path.normpath(path)
    first = path.split(os.sep, 1)[0]
    return (
        bool(path) and not os.path.isabs(path) and first not in (".", "..", ".orchestra") and "\0" not in path
    )


def linked_runs(folder: Path) -> Iterator[tuple[str, str]]:
    """The runs that links in the directory ``folder`` of a run lead to: (name of the link, id)."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_symlink() and (run := run_of_link(os.readlink(entry.path), folder)):
            yield entry.name, run


def run_of_link(text: str, run_dir: Path) -> str | None:
    """The run that a link in ``run_dir`` leads to, if it leads to the directory of a run beside it."""
    target = os.path.normpath(run_dir / text)
    parent, name = os.path.split(target)
    return name if parent == os.path.normpath(run_dir.parent) and name != run_dir.name else None


def lock_of(control: Path) -> str | None:
    """Why Guild would say that the run goes on; None: nothing says so, or its process is gone.

    A pid may be used again: it is the run's if the process is older than the lock.
    """
    if os.path.lexists(control / "LOCK.remote"):
        return "it is running on a remote"
    try:
        pid = int(read_small(control / "LOCK") or b"")
        locked = os.stat(control / "LOCK", follow_symlinks=False).st_mtime
        if pid <= 0:
            return None
        os.kill(pid, 0)
    except PermissionError:
        return None
    except (OSError, ValueError, OverflowError):
        return None
    return f"its process {pid} is running" if start_time(pid) <= locked + _CLOCKS_APART else None


def start_time(pid: int) -> float:
    """When a process was started, in seconds since the epoch; 0 where it is not known, never if it has ended."""
    ticks = process_start(pid)
    if ticks is None:
        return math.inf
    if not ticks or not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK")


def line_times(control: Path) -> Iterator[tuple[int, int]]:
    """Of each line of output: when it was written (microseconds since the epoch), and by which stream."""
    try:
        descriptor = os.open(control / "output.index", READ | os.O_NOFOLLOW)
    except OSError:
        return
    with open(descriptor, "rb") as file:
        while block := file.read(_ENTRY.size * 4096):
            whole = len(block) - len(block) % _ENTRY.size
            for milliseconds, stream in _ENTRY.iter_unpack(block[:whole]):
                yield milliseconds * 1000, min(stream, 1)


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether there is something of a kind itself, and no link to it."""
    try:
        return kind(os.stat(path, follow_symlinks=False).st_mode)
    except OSError:
        return False
