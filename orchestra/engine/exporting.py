"""Export runs: to a directory, run by run, or into an archive file, which is there once it is whole."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, cast

from msgspec import Struct, structs

from orchestra.child.supervisor import failpoint
from orchestra.engine.archived import read_index
from orchestra.engine.deleting import delete_runs
from orchestra.engine.export_target import Target
from orchestra.engine.exported_copy import bring_word, same_run_in
from orchestra.engine.judge import settle
from orchestra.engine.off_loop import off_loop
from orchestra.engine.packing import RECORD, Packing, Terms, named, tell, warn
from orchestra.engine.presence import is_reachable, unreached
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, RunBusy, UserError, text_of_os_error
from orchestra.model import versions
from orchestra.model.archived import INDEX, MANIFEST, ArchiveIndex, portable, run_of_link, says_later
from orchestra.model.encoding import encode
from orchestra.model.links import folder_above
from orchestra.model.run import Run
from orchestra.placing.archive_writing import ArchiveFile, FolderWriter, WriteMode, Writer, taken
from orchestra.placing.making import Making
from orchestra.placing.steps import Steps, finish
from orchestra.workspace.durable import storage_error, sync_directories, sync_filesystem, write_atomic
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.orders import read_orders
from orchestra.workspace.portable import is_made_by_run

MAKING = ".exporting-"
CHUNK = 100
"""So many runs reach the disk with one wait."""


class How(Struct, frozen=True, kw_only=True):
    """How runs are exported."""

    move: bool = False
    """Delete them once they are exported."""
    copy_resources: bool = False
    """Take along what the resources of a run are links to."""
    environment: bool = False
    """With the variables that were recorded."""
    force: bool = False
    """Replace what is there."""
    description: str = ""


class Exported(Struct, frozen=True, kw_only=True):
    """What was exported, and what was there already."""

    runs: tuple[Run, ...]
    skipped: tuple[Run, ...] = ()


async def export_runs(session: Session, runs: Sequence[Run], target: Target, how: How) -> Exported:
    """Export ``runs``. What goes wrong leaves no part of a run at its place, and of a file nothing.

    A run that is running is exported as it is at that moment, and counts as lost from then on in the archive.

    Raises:
        RunBusy: one of them is running and is to be moved, or was started meanwhile; or one that is moved was
            changed after it was packed, and is kept.
        UserError: a run has files that can't be kept there, or something can't be read or written.
        StoreUnavailable: no space.
    """
    settled = [await settle(session, run) for run in runs]
    if how.move:
        busy = [run for run in settled if run.busy]
        if busy:
            raise RunBusy(
                f"run {busy[0].short_id} has not ended: running runs are not moved",
                "Stop it with 'orchestra stop' first, or export without --move.",
            )
    broken = tuple(run for run in settled if run.state == "broken")
    for run in broken:
        warn(session, run, f"{run.id} can't be read, skipping: {run.reason}")
    away = tuple(run for run in settled if not is_reachable(run) and run not in broken)
    for run in away:
        warn(session, run, f"{unreached(run)}, skipping")
    broken = (*broken, *away)
    export = _Export(session, [run for run in settled if run not in broken], target, how)
    try:
        exported = await (export.to_folder() if target.mode is None else export.to_file(target.mode))
    except OSError as error:
        raise storage_error(error, error.filename or target.path) from error
    if how.move:
        await delete_runs(session, exported.runs, permanent=True, unchanged=True)
        for run in exported.runs:
            if run.directory is not None and os.path.isdir(run.directory):
                warn(
                    session, run, f"{run.id}: the files in '{run.directory}', chosen with --run-dir, are kept"
                )
    return structs.replace(exported, skipped=(*exported.skipped, *broken))


class _Export:
    def __init__(self, session: Session, runs: Sequence[Run], target: Target, how: How) -> None:
        self.session = session
        self.runs = runs
        self.target = target
        self.how = how
        self.along = {run.id for run in runs}
        self.beside = target.path.parent
        """Where there is room for what is needed for a moment."""
        self.word = "Moving" if how.move else "Copying"

    def _announce(self, run: Run) -> None:
        where = str(self.target.path)
        self.session.emit(
            "run.exported", run, level="info", message=f"{self.word} {run.id}", logger="", to=where
        )

    async def to_folder(self) -> Exported:
        path = self.target.path
        await self._require_room()
        path.mkdir(exist_ok=True)
        making = Making(path, MAKING)
        self.beside = making.path
        done: list[Run] = []
        skipped: list[Run] = []
        try:
            self._write_index(path)
            for run in self.runs:
                if await self._is_there(run):
                    skipped.append(run)
                    continue
                self._announce(run)
                await self._pack(run, FolderWriter(making.path))
                done.append(run)
                if len(done) % CHUNK == 0:
                    await off_loop(lambda: self._place(making, done[-CHUNK:]))
            await off_loop(lambda: self._place(making, done[len(done) // CHUNK * CHUNK :]))
        finally:
            making.close()
        return Exported(runs=tuple(done), skipped=tuple(skipped))

    def _place(self, making: Making, runs: Sequence[Run]) -> None:
        if self.session.fsync and runs:
            sync_filesystem(making.path)
        for run in runs:
            failpoint("export.written")
            making.put_in_place(run.id)
        if self.session.fsync and runs:
            sync_directories(self.target.path)

    async def _is_there(self, run: Run) -> bool:
        if self.how.force or not os.path.lexists(self.target.path / run.id):
            return False
        there = await same_run_in(self.session, self.target.path, run)
        if there is None:
            told = f"{run.id} exists with other content, skipping (use --force to replace it)"
            warn(self.session, run, told)
        elif says_later(run, there.run):
            await off_loop(lambda: bring_word(there, run, fsync=self.session.fsync))
            tell(self.session, run, f"{run.id} exists, annotations updated")
        else:
            warn(self.session, run, f"{run.id} exists, skipping")
        return True

    async def to_file(self, mode: WriteMode) -> Exported:
        file = ArchiveFile(self.target.path, mode)
        try:
            file.open()
            digests: dict[str, str] = {}
            for run in self.runs:
                self._announce(run)
                digests[run.id] = await self._pack(run, file)
            index = structs.replace(self._index(), runs=digests)
            await finish(_write(file, INDEX, encode(index)))
            replace = self.how.force
            await off_loop(lambda: file.finish(replace=replace, fsync=self.session.fsync))
        except FileExistsError:
            raise taken(self.target.path) from None
        finally:
            file.discard()
        return Exported(runs=tuple(self.runs))

    async def _pack(self, run: Run, writer: Writer) -> str:
        """Copy one run with what tells what it consists of; the digest of that."""
        directory = self.session.directory(run)
        if run.state == "running":
            warn(self.session, run, f"{run.id} is running: it is exported as it is now")
        record = encode(portable(self._with_command(run), environment=self.how.environment)) + b"\n"
        terms = Terms(
            record=record,
            environment=self.how.environment,
            follows=self._follows(run),
            is_along=self._is_along,
            names="any" if self.target.mode is None else "zip" if self.target.mode == "zip" else "tar",
            steady=self.beside if run.busy else None,
        )
        packing = Packing(directory, self.session.layout.runs_dir, terms)
        try:
            await finish(packing.steps(writer, run.id))
        except FileNotFoundError as error:
            raise UserError(
                f"run {run.id} was changed while it was exported: {text_of_os_error(error)}", "Try again."
            ) from error
        if RECORD not in packing.files:
            packing.files[RECORD] = ""
            await finish(_write(writer, f"{run.id}/{RECORD}", record))
            packing.files[RECORD] = hashlib.sha256(record).hexdigest()
        await self._require_unchanged(run)
        self._tell_left(run, packing)
        manifest = encode(packing.manifest) + b"\n"
        await finish(_write(writer, f"{run.id}/{CONTROL}/{MANIFEST}", manifest))
        return hashlib.sha256(manifest).hexdigest()

    def _with_command(self, run: Run) -> Run:
        """With the command of its newest start, which only its orders may know: they stay here."""
        if run.command or not run.attempt:
            return run
        try:
            orders = read_orders(self.session.attempt_directory(run))
        except OrchestraError:
            return run
        return run if orders is None else structs.replace(run, command=orders.arguments)

    async def _require_unchanged(self, run: Run) -> None:
        current = await self.session.store.get(run.id)
        if current.attempt != run.attempt:
            raise RunBusy(f"run {run.id} was started while it was exported", "Try again.")

    def _follows(self, run: Run) -> Callable[[str, str], bool]:
        """Resources are followed: what the run asked for, and what another run has made."""
        runs_dir = os.path.realpath(self.session.layout.runs_dir)
        asked = {path for source in run.resolved for path in source.paths}

        def follows(path: str, real: str) -> bool:
            parts = path.split("/")
            within = ("/".join(parts[: count + 1]) for count in range(len(parts)))
            return is_made_by_run(real, runs_dir) or any(part in asked for part in within)

        return follows if self.how.copy_resources else lambda path, real: False

    def _is_along(self, run_id: str) -> bool:
        return run_id in self.along or (self.target.mode is None and (self.target.path / run_id).is_dir())

    def _tell_left(self, run: Run, packing: Packing) -> None:
        if packing.left and self.how.move:
            raise UserError(
                f"run {run.id} can't be moved: '{packing.left[0]}' is neither a file nor a folder",
                "Remove it from the run's directory, or export without --move.",
            )
        if packing.left:
            warn(self.session, run, f"{run.id}: not exported: {named(packing.left)}")
        if packing.gone:
            told = f"{run.id}: not exported, for it changed or removed them meanwhile: {named(packing.gone)}"
            warn(self.session, run, told)
        lost = [path for path, target in sorted(packing.outside.items()) if not self._is_kept(path, target)]
        if lost:
            offer = (
                ""
                if self.how.copy_resources
                else " (--copy-resources copies those of resources and other runs)"
            )
            warn(
                self.session,
                run,
                f"{run.id}: not exported, for they are links to what does not go along: {named(lost)}{offer}",
            )

    def _is_kept(self, path: str, target: str) -> bool:
        """Whether there is such a link again where the run is imported."""
        other = run_of_link(path, target)
        return folder_above(path, target) is not None if other is None else self._is_along(other[0])

    def _index(self) -> ArchiveIndex:
        return ArchiveIndex(
            format=versions.ARCHIVE, created=self.session.clock.now(), description=self.how.description
        )

    def _write_index(self, folder: Path) -> None:
        known = read_index(folder, self.target.shown)
        index = self._index()
        if known is not None:
            # Unpacked from a file it has digests, of runs that are as they were there.
            index = structs.replace(known, runs={}, description=index.description or known.description)
        if index != known:
            write_atomic(folder / INDEX, encode(index) + b"\n", fsync=self.session.fsync)

    async def _require_room(self) -> None:
        """Refuse what can't fit before anything is written."""
        free = shutil.disk_usage(self.target.path.parent).free
        size = await off_loop(lambda: sum(_size_of(self.session.directory(run)) for run in self.runs))
        if size > free:
            raise UserError(
                f"there is no room for the runs at '{self.target.shown}': they need {size} bytes, {free} are free",
                "Make room there, or choose fewer runs.",
            )


def _write(writer: Writer, name: str, content: bytes) -> Steps:
    reader = cast(IO[bytes], io.BytesIO(content))
    return writer.file(name, reader, len(content), executable=False, modified=time.time())


def _size_of(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(os.path.join(parent, name), follow_symlinks=False).st_size
            except OSError:
                continue
    return total
