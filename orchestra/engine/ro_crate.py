"""Export runs as an RO-Crate: a folder with their files and a document that tells what they are."""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeAlias, TypeVar, cast

from msgspec import json

from orchestra import __version__
from orchestra.child.supervisor import failpoint
from orchestra.engine.off_loop import off_loop
from orchestra.engine.results import results_of
from orchestra.engine.session import Session
from orchestra.engine.steady import open_steady
from orchestra.errors import OrchestraError, UserError, text_of_os_error
from orchestra.model.crate import METADATA, CrateFile, CrateRun, CrateTerms, crate_metadata
from orchestra.model.encoding import encode
from orchestra.model.redaction import redact_data
from orchestra.model.run import Run
from orchestra.model.scalars import SYSTEM
from orchestra.placing.archive_writing import ArchiveFile, FolderWriter, Writer, write_mode
from orchestra.placing.making import Making
from orchestra.placing.steps import Steps, finish
from orchestra.workspace.durable import fail, storage_error, sync_directories, sync_filesystem
from orchestra.workspace.guild_runs import GUILD
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.output import OUTPUT
from orchestra.workspace.personal_files import require_folder

T = TypeVar("T")
Tell = Callable[[str], None]
Written: TypeAlias = Generator[str, None, T]
"""As of :data:`~orchestra.placing.steps.Steps`, none the last, with what was written as the result."""
_PASSED_OVER = frozenset((CONTROL, GUILD))


def crate_place(location: str, cwd: Path) -> Path:
    """Where a crate is to be.

    Raises:
        UserError: something is there, or it would be an archive of another kind than a zip file.
    """
    if write_mode(location) not in (None, "zip"):
        raise UserError(
            f"'{location}' can't be an RO-Crate", "Name a directory, or a file that ends with .zip."
        )
    place = Path(os.path.abspath(cwd / os.path.expanduser(location)))
    if os.path.lexists(place) and not (place.is_dir() and not os.listdir(place)):
        raise UserError(
            f"'{location}' can't be made an RO-Crate: something is there already",
            "Name a directory that is empty or does not exist.",
        )
    require_folder(place.parent)
    return place


async def export_crate(
    session: Session, runs: Sequence[Run], place: Path, *, license: str | None = None, tell: Tell
) -> None:
    """Write an RO-Crate of ``runs`` to ``place``, which is there as a whole or not at all.

    Links are left out: they lead to what is elsewhere. Of the environment there is nothing in it.

    Raises:
        HomeError, StoreUnavailable: it can't be written.
        UserError: something was put there meanwhile, or was changed while it was read.
    """
    crate = _Crate(session, license, tell)
    try:
        await (crate.to_file(runs, place) if write_mode(place.name) else crate.to_folder(runs, place))
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno == errno.ENOTEMPTY:
            raise UserError(f"'{place}' was made by somebody else meanwhile") from error
        fail(error, error.filename or place)


class _Crate:
    def __init__(self, session: Session, license: str | None, tell: Tell) -> None:
        self.session = session
        self.license = license
        self.tell = tell

    async def to_folder(self, runs: Sequence[Run], place: Path) -> None:
        making = Making(place.parent, f".{place.name[:100]}.crate-")
        try:
            made = making.path / "crate"
            await finish(self._steps(runs, FolderWriter(made), making.path))
            await off_loop(lambda: self._place(made, place))
        finally:
            making.close()

    def _place(self, made: Path, place: Path) -> None:
        if self.session.fsync:
            sync_filesystem(made)
        failpoint("export.written")
        # In the place of nothing, or of an empty folder.
        os.rename(made, place)
        if self.session.fsync:
            sync_directories(place.parent)

    async def to_file(self, runs: Sequence[Run], place: Path) -> None:
        file = ArchiveFile(place, "zip", own=False)
        try:
            file.open()
            await finish(self._steps(runs, file, place.parent))
            await off_loop(lambda: file.finish(replace=False, fsync=self.session.fsync))
        finally:
            file.discard()

    def _steps(self, runs: Sequence[Run], writer: Writer, beside: Path) -> Steps:
        """Write all that is in the crate; ``beside`` there is room for what is needed for a moment."""
        described: list[CrateRun] = []
        for run in runs:
            described.append((yield from _Part(self, run, writer, beside).steps()))
        document = crate_metadata(described, _terms(self.session, runs, self.license))
        yield from _write(writer, METADATA, json.format(json.encode(document), indent=2) + b"\n")
        yield "written"


def _terms(session: Session, runs: Sequence[Run], license: str | None) -> CrateTerms:
    names = list(dict.fromkeys(run.operation_name for run in runs))
    shown = ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")
    count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    return CrateTerms(
        name=f"Runs of {shown}" if len(runs) > 1 else f"Run {runs[0].short_id} of {shown}",
        description=f"{count} of {shown}, exported by Orchestra {__version__}",
        published=session.clock.now(),
        version=__version__,
        license=license,
    )


class _Part:
    """One run on its way into a crate."""

    def __init__(self, crate: _Crate, run: Run, writer: Writer, beside: Path) -> None:
        self.session = crate.session
        self.tell = crate.tell
        self.run = run
        self.writer = writer
        self.steady = beside if run.busy else None
        """Of a run whose files may change: where copies of them can be."""

    def steps(self) -> Written[CrateRun]:
        run, directory = self.run, self.session.directory(self.run)
        source = self._source()
        given = {path for resolved in run.resolved for path in resolved.paths}
        inputs = tuple(f"{path}/" for path in given)
        kinds: dict[str, list[CrateFile]] = {"source": [], "inputs": [], "results": []}
        by_path: dict[str, CrateFile] = {}
        for path in _files(directory, self.tell):
            file = yield from self._copy(directory / path, f"runs/{run.id}/{path}")
            if file is None:
                continue
            by_path[path] = file
            is_input = path in given or path.startswith(inputs)
            kinds["source" if path in source else "inputs" if is_input else "results"].append(file)
        output = self.session.attempt_directory(run) / OUTPUT
        if output.is_file() and (file := (yield from self._copy(output, f"output/{run.id}.txt"))):
            kinds["results"].append(file)
        script = by_path.get(os.path.normpath(run.operation.main)) if run.operation.main else None
        if run.kind in ("batch", "steps"):
            script = yield from _write(self.writer, f"operations/{run.id}.json", _described(run))
        return CrateRun(
            run=run,
            script=script,
            source=tuple(kinds["source"]),
            inputs=tuple(kinds["inputs"]),
            results=tuple(kinds["results"]),
            scalars=self._scalars(),
        )

    def _copy(self, origin: Path, path: str) -> Written[CrateFile | None]:
        """Copy a file as it is now; None if it can't be read."""
        try:
            path.encode()
            found = yield from open_steady(str(origin), self.steady)
        except UnicodeEncodeError:
            self.tell(f"WARNING: {path!r} is left out: its name is no UTF-8")
            return None
        except (OSError, UserError) as error:
            why = error.message if isinstance(error, UserError) else text_of_os_error(error)
            self.tell(f"WARNING: {path!r} is left out: {why}")
            return None
        if found is None:
            self.tell(f"WARNING: {path!r} is left out: the run changed or removed it meanwhile")
            return None
        reader, status = found
        with reader:
            return (yield from _written(self.writer, path, reader, status.st_size, status.st_mtime))

    def _source(self) -> frozenset[str]:
        try:
            return self.session.source_files(self.run)
        except OrchestraError as error:
            self.tell(f"WARNING: run {self.run.id}: which files are its source is not known: {error.message}")
            return frozenset()

    def _scalars(self) -> dict[str, float]:
        try:
            results = results_of(self.session, self.run)
        except OrchestraError as error:
            self.tell(f"WARNING: run {self.run.id}: {error.message}")
            return {}
        return {
            name: one.last for name, one in sorted(results.scalars.items()) if not name.startswith(SYSTEM)
        }


def _write(writer: Writer, path: str, data: bytes) -> Written[CrateFile]:
    return _written(writer, path, cast(IO[bytes], io.BytesIO(data)), len(data), time.time())


def _written(writer: Writer, path: str, reader: IO[bytes], size: int, modified: float) -> Written[CrateFile]:
    digest = ""
    for step in writer.file(path, reader, size, executable=False, modified=modified):
        digest = step
        yield ""
    return CrateFile(path=path, size=size, sha256=digest)


def _described(run: Run) -> bytes:
    """What a batch or a pipeline consists of, as its record has it."""
    operation, batch = run.operation, run.batch_spec
    told = {
        "operation": operation.name,
        "description": operation.description,
        "steps": [{"name": step.name, "run": step.run, "flags": step.flags} for step in operation.steps],
        "space": {} if batch is None else batch.space,
        "fixed": {} if batch is None else batch.fixed,
        "rows": () if batch is None else batch.rows,
        "expander": None if batch is None else batch.expander,
        "seed": None if batch is None else batch.seed,
    }
    plain = redact_data(
        json.decode(encode({name: value for name, value in told.items() if value})), named=True
    )
    return json.format(json.encode(plain), indent=2) + b"\n"


def _files(directory: Path, tell: Tell) -> Iterator[str]:
    """The files of a run's directory, but for records and what links lead to, by their paths."""
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(directory / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            tell(f"WARNING: {storage_error(error, directory / folder).message}")
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if path not in _PASSED_OVER:
                    pending.append(path)
            elif entry.is_file(follow_symlinks=False):
                yield path
