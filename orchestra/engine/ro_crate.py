"""Export runs as an RO-Crate: a folder with their files and a document that tells what they are."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from msgspec import json

from orchestra import __version__
from orchestra.engine.off_loop import off_loop
from orchestra.engine.results import results_of
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, UserError, text_of_os_error
from orchestra.model.crate import METADATA, CrateFile, CrateRun, CrateTerms, crate_metadata
from orchestra.model.encoding import encode
from orchestra.model.redaction import redact_data
from orchestra.model.run import Run
from orchestra.model.scalars import SYSTEM
from orchestra.placing.archive_writing import write_mode
from orchestra.placing.making import place as give_name
from orchestra.workspace.durable import fail, storage_error
from orchestra.workspace.guild_runs import GUILD
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.output import OUTPUT
from orchestra.workspace.personal_files import require_folder

Tell = Callable[[str], None]
_BLOCK = 1 << 20
_ZIP = ".zipped"
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
    """
    partial = place.with_name(f".{place.name[:100]}.{os.urandom(4).hex()}.part")

    def write() -> None:
        try:
            partial.mkdir(0o755)
            described = [_copy_run(session, run, partial, tell) for run in runs]
            document = crate_metadata(described, _terms(session, runs, license))
            (partial / METADATA).write_bytes(json.format(json.encode(document), indent=2) + b"\n")
            if write_mode(place.name) == "zip":
                give_name(_zipped(partial), place, replace=False)
            else:
                os.replace(partial, place)
        except OSError as error:
            if isinstance(error, FileExistsError) or error.errno == errno.ENOTEMPTY:
                raise UserError(f"'{place}' was made by somebody else meanwhile") from error
            fail(error, error.filename or place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            partial.with_suffix(_ZIP).unlink(missing_ok=True)

    await off_loop(write)


def _zipped(folder: Path) -> Path:
    """A zip file of what is in ``folder``, beside it."""
    target = folder.with_suffix(_ZIP)
    with ZipFile(target, "x", ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return target


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


def _copy_run(session: Session, run: Run, crate: Path, tell: Tell) -> CrateRun:
    directory, folder = session.directory(run), f"runs/{run.id}"
    source = _source(session, run, tell)
    given = {path for resolved in run.resolved for path in resolved.paths}
    inputs = tuple(f"{path}/" for path in given)
    kinds: dict[str, list[CrateFile]] = {"source": [], "inputs": [], "results": []}
    by_path: dict[str, CrateFile] = {}
    for path in _files(directory, tell):
        file = _copy(directory / path, crate, f"{folder}/{path}", tell)
        if file is None:
            continue
        by_path[path] = file
        is_input = path in given or path.startswith(inputs)
        kinds["source" if path in source else "inputs" if is_input else "results"].append(file)
    output = session.attempt_directory(run) / OUTPUT
    if output.is_file() and (file := _copy(output, crate, f"output/{run.id}.txt", tell)):
        kinds["results"].append(file)
    script = by_path.get(os.path.normpath(run.operation.main)) if run.operation.main else None
    if run.kind in ("batch", "steps"):
        script = _describe(run, crate, f"operations/{run.id}.json")
    return CrateRun(
        run=run,
        script=script,
        source=tuple(kinds["source"]),
        inputs=tuple(kinds["inputs"]),
        results=tuple(kinds["results"]),
        scalars=_scalars(session, run, tell),
    )


def _source(session: Session, run: Run, tell: Tell) -> frozenset[str]:
    try:
        return session.source_files(run)
    except OrchestraError as error:
        tell(f"WARNING: run {run.id}: which files are its source is not known: {error.message}")
        return frozenset()


def _scalars(session: Session, run: Run, tell: Tell) -> dict[str, float]:
    try:
        results = results_of(session, run)
    except OrchestraError as error:
        tell(f"WARNING: run {run.id}: {error.message}")
        return {}
    return {name: one.last for name, one in sorted(results.scalars.items()) if not name.startswith(SYSTEM)}


def _describe(run: Run, crate: Path, path: str) -> CrateFile:
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
    data = json.format(json.encode(plain), indent=2) + b"\n"
    place = crate / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return CrateFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


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


def _copy(origin: Path, crate: Path, path: str, tell: Tell) -> CrateFile | None:
    """Copy a file as far as it is there now; None if it can't be read."""
    try:
        path.encode()
        descriptor = os.open(origin, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except UnicodeEncodeError:
        tell(f"WARNING: {path!r} is left out: its name is no UTF-8")
        return None
    except OSError as error:
        tell(f"WARNING: {path!r} is left out: {text_of_os_error(error)}")
        return None
    digest, size = hashlib.sha256(), 0
    place = crate / path
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(descriptor, "rb") as reader, open(place, "xb") as writer:
        left = os.fstat(descriptor).st_size
        while left and (block := reader.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
            size += writer.write(block)
    return CrateFile(path=path, size=size, sha256=digest.hexdigest())
