"""Copy the directory of a run into an archive or out of one, and tell what it consists of."""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Literal, cast

from msgspec import Struct

from orchestra.engine.session import Session
from orchestra.engine.steady import open_steady
from orchestra.errors import UserError
from orchestra.model import versions
from orchestra.model.archived import RunManifest, essence, run_of_link
from orchestra.model.links import Tree, direct, keep_links
from orchestra.model.run import Run
from orchestra.placing.archive_writing import Writer, storable
from orchestra.placing.steps import Steps, finish
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.portable import Follows, Part, content_elsewhere, is_essential, parts_of
from orchestra.workspace.records import RUN
from orchestra.workspace.run_files import parents_of

RECORD = f"{CONTROL}/{RUN}"
NAMED = 5
"""How many things a message names."""


class Terms(Struct, frozen=True, kw_only=True):
    """How a run is copied."""

    record: bytes | None = None
    """What its record holds in the copy; None: all is copied as it is."""
    environment: bool = False
    follows: Follows = lambda path, real: False
    is_along: Callable[[str], bool] = lambda run_id: False
    """Whether a run is where this one is copied to: then links to its files are links there, too."""
    names: Literal["any", "tar", "zip"] = "any"
    """Which names of files can be kept."""
    steady: Path | None = None
    """Of a run that goes on, whose files change: a folder for copies of them that don't."""


class Packing:
    """One run on its way. After :meth:`steps` it is known what it consists of."""

    def __init__(self, run_dir: Path, runs_dir: Path, terms: Terms) -> None:
        self.run_dir = run_dir
        self._runs_dir = runs_dir
        self._terms = terms
        self._tree = Tree()
        self.files: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.outside: dict[str, str] = {}
        self.followed: dict[str, str] = {}
        self.left: list[str] = []
        """What can't be copied: pipes and sockets."""
        self.gone: list[str] = []
        """Of a run that goes on, what it changed or removed meanwhile."""

    @property
    def manifest(self) -> RunManifest:
        """What the run consists of."""
        return RunManifest(
            format=versions.ARCHIVE,
            files=self.files,
            links=self.links,
            outside=self.outside,
            followed=self.followed,
        )

    def steps(self, writer: Writer, prefix: str) -> Steps:
        """Copy it below ``prefix``.

        Raises:
            OSError, UserError: something can't be read or written, or has a name that can't be kept there.
        """
        writer.folder(prefix)
        links: dict[str, Part] = {}
        for part in parts_of(self.run_dir, self._runs_dir, self._terms.follows):
            yield ""
            if part.kind == "other":
                self.left.append(part.path)
                continue
            if part.kind == "gone":
                self._miss(part)
                continue
            self._require_storable(part.path, prefix)
            if part.kind == "link":
                links[part.path] = part
            elif part.kind == "outside":
                self._leave_outside(part, writer, prefix)
            elif part.kind == "folder":
                writer.folder(f"{prefix}/{part.path}")
                self._have(part)
            else:
                yield from self._file(part, writer, prefix)
        self._link(links, writer, prefix)
        yield "copied"

    def _have(self, part: Part) -> None:
        self._tree.add(part.path, "folder" if part.kind == "folder" else "file")
        if part.target:
            self.followed[part.path] = part.target

    def _miss(self, part: Part) -> None:
        if self._terms.steady is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), part.source)
        self.gone.append(part.path)

    def _link(self, links: dict[str, Part], writer: Writer, prefix: str) -> None:
        """Make the links that whoever reads it takes; the others are known as such that lead elsewhere."""
        wished = {path: (part.target, part.inside) for path, part in links.items()}
        self.links.update(keep_links(self._tree, wished))
        for path, target in self.links.items():
            writer.link(f"{prefix}/{path}", target)
        for path, part in links.items():
            if path not in self.links:
                self.outside[path] = direct(path, part.inside)
        # It is not needed any more, and there may be many runs.
        self._tree = Tree()

    def _require_storable(self, path: str, run_id: str) -> None:
        kind = self._terms.names
        if kind != "any" and not storable(path, as_zip=kind == "zip"):
            raise UserError(
                f"run {run_id} has something in it whose name no {kind} file can keep: {path!r}",
                "Export to a directory, which keeps all names, or rename it.",
            )

    def _leave_outside(self, part: Part, writer: Writer, prefix: str) -> None:
        self.outside[part.path] = part.target
        other = run_of_link(part.path, part.target)
        if other is not None and self._terms.is_along(other[0]):
            writer.link(f"{prefix}/{part.path}", part.target)

    def _file(self, part: Part, writer: Writer, prefix: str) -> Steps:
        content = self._content(part)
        if content is not None:
            reader, size = cast(IO[bytes], io.BytesIO(content)), len(content)
            executable, modified = False, time.time()
        else:
            found = yield from open_steady(part.source, self._terms.steady)
            if found is None:
                self._miss(part)
                return
            reader, status = found
            size, modified = status.st_size, status.st_mtime
            executable = bool(status.st_mode & 0o100)
        with reader:
            for step in writer.file(
                f"{prefix}/{part.path}", reader, size, executable=executable, modified=modified
            ):
                if step:
                    self.files[part.path] = step
                yield ""
        self._have(part)

    def _content(self, part: Part) -> bytes | None:
        if self._terms.record is None:
            return None
        if part.path == RECORD:
            return self._terms.record
        return content_elsewhere(part.path, part.source, environment=self._terms.environment)


class _Nowhere:
    """A writer that only tells the digests."""

    def folder(self, name: str) -> None:
        pass

    def file(self, name: str, reader: IO[bytes], size: int, *, executable: bool, modified: float) -> Steps:
        from orchestra.placing.steps import CHUNK, sha256

        digest = sha256()
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            yield ""
        yield digest.hexdigest()

    def link(self, name: str, target: str) -> None:
        pass


class Copy(Struct, kw_only=True):
    """A run, here or in an archive, and what it consists of there."""

    run: Run
    packing: Packing
    manifest: RunManifest | None = None
    """What the archive says of that."""

    @property
    def apart(self) -> set[str]:
        """The links that lead out of the run: there may be copies of what they lead to in their places."""
        return {
            path
            for links in (self.packing, *([self.manifest] if self.manifest else ()))
            for path in (*links.outside, *links.followed)
        }


async def look_at(run: Run, run_dir: Path, runs_dir: Path) -> Copy:
    """What ``run`` consists of in ``run_dir``; nothing is copied.

    Raises:
        OSError, UserError: something can't be read.
    """
    packing = Packing(run_dir, runs_dir, Terms())
    await finish(packing.steps(_Nowhere(), ""))
    return Copy(run=run, packing=packing)


def is_same(one: Copy, other: Copy) -> bool:
    """Whether two copies are of the same run, and it has not gone on since; whatever people say of it."""
    apart = one.apart | other.apart
    return _essence(one, apart) == _essence(other, apart)


def _essence(copy: Copy, apart: set[str]) -> str:
    def own(path: str) -> bool:
        return path not in apart and apart.isdisjoint(parents_of(path))

    files = {path: digest for path, digest in copy.packing.files.items() if is_essential(path) and own(path)}
    return essence(copy.run, files, {path: to for path, to in copy.packing.links.items() if own(path)})


def named(paths: Sequence[str]) -> str:
    """Some names of files, for a message."""
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(map(repr, paths[:NAMED])) + more


def tell(session: Session, run: Run, message: str) -> None:
    """Tell what becomes of ``run``."""
    session.emit("log.message", run, level="info", message=message, logger="")


def warn(session: Session, run: Run | None, message: str) -> None:
    """Tell what a person should know who exports or imports ``run``."""
    session.emit("log.message", run, level="warning", message=message, logger="")
