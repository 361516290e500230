"""A run's directory as archives hold it: what of it goes along, and with which content.

What only has a meaning where the run was made stays there: orders with their variables, locks, what is being written.
No link is followed, but for those that the caller wants to be.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple

from msgspec import structs

from orchestra.errors import OrchestraError, UserError
from orchestra.model.archived import MANIFEST, run_of_link
from orchestra.model.encoding import encode
from orchestra.model.execution import Identity
from orchestra.workspace.codec import read_record
from orchestra.workspace.durable import TEMPORARY
from orchestra.workspace.env_file import ENV
from orchestra.workspace.environment import ENVIRONMENT, EnvironmentRecord
from orchestra.workspace.fence import FENCE, read_fence
from orchestra.workspace.layout import ATTEMPTS, CONTROL, REPLACING
from orchestra.workspace.orders import ORDERS
from orchestra.workspace.results import SCALARS

DEEPEST = 200
_LEFT = frozenset((ENV, MANIFEST, REPLACING, SCALARS, "resolving", "pid"))
"""What stays behind of a run's records: what is of the place, and what can be worked out again."""
_ATTEMPT = re.compile(rf"{re.escape(CONTROL)}/{ATTEMPTS}/([0-9]+)/([^/]+)")
NOWHERE = Identity(host="", boot="-", pid=0, start=0)
"""The process of an attempt that was made elsewhere: none that could be here."""


class Part(NamedTuple):
    """One thing in a run's directory."""

    path: str
    """Relative to it."""
    kind: Literal["file", "folder", "link", "outside", "other", "gone"]
    """``link``: to what the run has itself; ``outside``: a link to anything else; ``other``: a pipe or a device;
    ``gone``: it was removed while it was looked at."""
    source: str
    """Where it is."""
    target: str = ""
    """Of a link that is kept or was followed: as it is written, or relative if it is to a file of another run."""
    inside: str = ""
    """Of a link to what the run has itself: where that is, without links."""


Follows = Callable[[str, str], bool]
"""Whether the link at a path (relative to the run's directory) to a real path is followed."""


def parts_of(run_dir: Path, runs_dir: Path, follows: Follows = lambda path, real: False) -> Iterator[Part]:
    """What of the run in ``run_dir`` goes along, by name, folders before what they hold.

    Args:
        run_dir: the run's directory.
        runs_dir: the folder that holds the directories of the runs that its links may lead to.
        follows: which links are taken for what they lead to.

    Raises:
        UserError: it is nested too deeply, or links that are followed lead in a circle.
        OSError: it can't be read.
    """
    walk = _Walk(os.path.realpath(run_dir), os.path.realpath(runs_dir), follows)
    return walk.parts(walk.root, "", ())


class _Walk:
    def __init__(self, root: str, runs_dir: str, follows: Follows) -> None:
        self.root = root
        self.runs_dir = runs_dir
        self.follows = follows

    def parts(self, folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[Part]:
        if len(above) > DEEPEST:
            raise UserError(f"'{self.root}' is nested too deeply (limit {DEEPEST})")
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=_order)
        except (FileNotFoundError, NotADirectoryError):
            if not above:
                raise
            yield Part(prefix.rstrip("/"), "gone", folder)
            return
        for entry in found:
            path = f"{prefix}{entry.name}"
            if _stays(path):
                continue
            if entry.is_symlink():
                yield from self._link(path, entry.path, above)
            elif entry.is_dir(follow_symlinks=False):
                yield Part(path, "folder", entry.path)
                yield from self.parts(entry.path, f"{path}/", (*above, folder))
            else:
                yield Part(path, "file" if entry.is_file(follow_symlinks=False) else "other", entry.path)

    def _link(self, path: str, source: str, above: tuple[str, ...]) -> Iterator[Part]:
        try:
            text = os.readlink(source)
        except OSError:
            yield Part(path, "gone", source)
            return
        real = os.path.realpath(source)
        target = self._target(path, text, real)
        if (real + os.sep).startswith(self.root + os.sep) and os.path.exists(real):
            yield Part(path, "link", source, text, real[len(self.root) + 1 :])
        elif os.path.isfile(real) and self.follows(path, real):
            yield Part(path, "file", real, target)
        elif os.path.isdir(real) and self.follows(path, real):
            if real in above or (self.root + os.sep).startswith(real + os.sep):
                raise UserError(f"'{source}' is a link to a folder that holds it")
            yield Part(path, "folder", real, target)
            yield from self.parts(real, f"{path}/", (*above, real))
        else:
            yield Part(path, "outside", source, target)

    def _target(self, path: str, text: str, real: str) -> str:
        """``../ID/...`` for a file of another run, wherever the runs are; else as it is written."""
        if real.startswith(self.runs_dir + os.sep):
            place = os.path.join(self.runs_dir, os.path.basename(self.root), os.path.dirname(path))
            target = os.path.relpath(real, place)
            if run_of_link(path, target) is not None:
                return target
        return text


def _order(entry: os.DirEntry[str]) -> tuple[bool, str]:
    # The index of an output before the output, which may be growing: it must not tell of more than there is.
    return entry.name == "output", entry.name


def _stays(path: str) -> bool:
    """Whether it has no meaning elsewhere."""
    first, _, rest = path.partition("/")
    if first != CONTROL or not rest:
        return False
    if rest.partition("/")[0] in _LEFT or rest.endswith(TEMPORARY):
        return True
    attempt = _ATTEMPT.fullmatch(path)
    return attempt is not None and attempt[2] == ORDERS


def content_elsewhere(path: str, source: str, *, environment: bool) -> bytes | None:
    """What the record at ``path`` has elsewhere instead of its content; None for all that stays as it is.

    No process is named; without ``environment`` neither are variables.
    """
    attempt = _ATTEMPT.fullmatch(path)
    if attempt is None:
        return None
    try:
        if attempt[2] == FENCE:
            fence = read_fence(Path(source).parent)
            return None if fence is None else encode(structs.replace(fence, identity=NOWHERE)) + b"\n"
        if attempt[2] == ENVIRONMENT and not environment:
            record = read_record(source, EnvironmentRecord)
            return None if record is None else encode(structs.replace(record, variables={})) + b"\n"
    except OrchestraError:
        # Nothing that we could make sense of: nobody else could either.
        return b""
    return None


def is_essential(path: str) -> bool:
    """Whether a file is a part of what the run is, rather than told or worked out of it."""
    if not path.startswith(f"{CONTROL}/"):
        return True
    attempt = _ATTEMPT.fullmatch(path)
    return attempt is not None and attempt[2] in ("exit", "output")


def is_made_by_run(real: str, runs_dir: str) -> bool:
    """Whether a real path is that of something in a run's directory below ``runs_dir``, other than its records."""
    parts = os.path.relpath(real, runs_dir).split(os.sep)
    return parts[0] != ".." and len(parts) > 1 and parts[1] != CONTROL


def open_part(source: str) -> tuple[IO[bytes], os.stat_result]:
    """A file of a run, open, and what it is: never what a link that took its place leads to.

    Raises:
        OSError: it can't be read.
        UserError: it is no file any more.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UserError(f"'{source}' is no file any more")
    return open(descriptor, "rb", buffering=0), status
