"""Copy the directory of a run into an archive or out of one, and tell what it consists of."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal, cast

from msgspec import Struct

from orchestra.engine.session import Session
from orchestra.errors import UserError
from orchestra.model import versions
from orchestra.model.archived import RunManifest, essence, run_of_link
from orchestra.model.run import Run
from orchestra.placing.archive_writing import Writer, storable
from orchestra.placing.steps import Steps
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.portable import Follows, Part, content_elsewhere, is_essential, open_part, parts_of
from orchestra.workspace.records import RUN

RECORD = f"{CONTROL}/{RUN}"


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


class Packing:
    """One run on its way. After :meth:`steps` it is known what it consists of."""

    def __init__(self, run_dir: Path, runs_dir: Path, terms: Terms) -> None:
        self.run_dir = run_dir
        self._runs_dir = runs_dir
        self._terms = terms
        self.files: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.outside: dict[str, str] = {}
        self.left: list[str] = []
        """What can't be copied: pipes and sockets."""

    @property
    def manifest(self) -> RunManifest:
        """What the run consists of."""
        return RunManifest(format=versions.ARCHIVE, files=self.files, links=self.links, outside=self.outside)

    def steps(self, writer: Writer, prefix: str) -> Steps:
        """Copy it below ``prefix``.

        Raises:
            OSError, UserError: something can't be read or written, or has a name that can't be kept there.
        """
        writer.folder(prefix)
        for part in parts_of(self.run_dir, self._runs_dir, self._terms.follows):
            yield ""
            if part.kind == "other":
                self.left.append(part.path)
                continue
            self._require_storable(part.path, prefix)
            if part.kind == "folder":
                writer.folder(f"{prefix}/{part.path}")
            elif part.kind == "link":
                self.links[part.path] = part.target
                writer.link(f"{prefix}/{part.path}", part.target)
            elif part.kind == "outside":
                self._leave_outside(part, writer, prefix)
            else:
                yield from self._file(part, writer, prefix)
        yield "copied"

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
            reader, status = open_part(part.source)
            size, modified = status.st_size, status.st_mtime
            executable = bool(status.st_mode & 0o100)
        with reader:
            for step in writer.file(
                f"{prefix}/{part.path}", reader, size, executable=executable, modified=modified
            ):
                if step:
                    self.files[part.path] = step
                yield ""

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


def looking(run_dir: Path, runs_dir: Path) -> tuple[Packing, Steps]:
    """What a run consists of, once the steps were gone through; nothing is copied."""
    packing = Packing(run_dir, runs_dir, Terms())
    return packing, packing.steps(_Nowhere(), "")


def essence_of(run: Run, packing: Packing) -> str:
    """As of :func:`~orchestra.model.archived.essence`."""
    files = {path: digest for path, digest in packing.files.items() if is_essential(path)}
    return essence(run, files, packing.links)


def warn(session: Session, run: Run | None, message: str) -> None:
    """Tell what a person should know who exports or imports ``run``."""
    session.emit("log.message", run, level="warning", message=message, logger="")
