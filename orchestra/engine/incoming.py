"""Bring the runs of an archive to where they are prepared, and compare them with its checksums."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct, structs

from orchestra.engine.archived import Archive, manifest_path, read_index, require_runs, unpack_runs
from orchestra.engine.off_loop import off_loop
from orchestra.engine.packing import RECORD, Copy, Packing, Terms, named, warn
from orchestra.engine.rebuild import read_recorded_in
from orchestra.engine.removal import remove_tree
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, UserError
from orchestra.model import versions
from orchestra.model.archived import INDEX, ArchiveIndex, RunManifest, require_format
from orchestra.model.run import Run
from orchestra.placing.archive_writing import FolderWriter
from orchestra.placing.steps import finish, hash_file
from orchestra.workspace.codec import read_record
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.orders import read_orders
from orchestra.workspace.portable import is_made_by_run
from orchestra.workspace.run_files import parents_of


class Importing(Struct, frozen=True, kw_only=True):
    """How runs are imported."""

    move: bool = False
    """Remove them from the archive, which is a directory."""
    copy_resources: bool = False
    """Take along what links lead to in other runs of the archive."""
    new_id: bool = False
    """Give another id to a run whose id is taken by another one."""
    allow_damaged: bool = False
    """Take what differs from the checksums, too."""


class Incoming:
    """Runs on their way into the home: below ``making``, which nobody else writes to."""

    def __init__(self, session: Session, archive: Archive, how: Importing, making: Path) -> None:
        self.session = session
        self.archive = archive
        self.how = how
        self.ready = making / "ready"
        """Where the runs are, each in a folder of its id."""
        self.moved: list[str] = []
        """The ids of runs that somebody else has moved out of the archive while they were read."""
        self.unpacked = making / "unpacked"
        self.source = archive.path if archive.kind is None else self.unpacked

    async def bring(self, ids: Sequence[str] | None) -> list[Copy]:
        """Copy the runs with these ids (None: all), and check them.

        Raises:
            UserError: the archive is damaged or hostile, or a run of it can't be read.
            OSError: something can't be read or written.
        """
        self.ready.mkdir()
        if self.archive.kind is not None:
            self.unpacked.mkdir()
            wanted = None if self.how.copy_resources else ids
            await unpack_runs(self.archive, self.unpacked, ids=wanted, resources=self.how.copy_resources)
        index = read_index(self.source, self.archive.shown)
        there = require_runs(self.archive, self.source)
        chosen = there if ids is None else [run_id for run_id in there if run_id in set(ids)]
        await self._check_index(index, there, whole=ids is None)
        brought: list[Copy] = []
        for run_id in chosen:
            try:
                brought.append(await self._bring(run_id))
            except FileNotFoundError:
                if os.path.lexists(self.source / run_id):
                    raise
                self.moved.append(run_id)
                await off_loop(lambda run_id=run_id: remove_tree(str(self.ready / run_id)))
        return brought

    async def _check_index(self, index: ArchiveIndex | None, there: Sequence[str], *, whole: bool) -> None:
        """What a file says that it holds must be what it holds; ``whole``: all of it is ``there``."""
        if index is None:
            if self.archive.kind is not None and not self.how.allow_damaged:
                raise UserError(
                    f"'{self.archive.shown}' is not an archive of runs: it has no {INDEX}",
                    "Use --allow-damaged if you know what it is.",
                )
            return
        missing = sorted(set(index.runs) - set(there)) if whole else []
        if missing:
            self._damaged(f"run {missing[0]} is missing in it")
        added = sorted(set(there) - set(index.runs)) if self.archive.kind is not None else []
        if added:
            self._damaged(f"run {added[0]} was added to it")
        for run_id, digest in index.runs.items():
            path = manifest_path(self.source, run_id)
            if not path.exists():
                if run_id in there:
                    self._damaged(f"the checksums of run {run_id} are missing in it")
            elif await finish(hash_file(path)) != digest:
                self._damaged(f"what it says of run {run_id} was changed")

    def _damaged(self, what: str) -> None:
        if not self.how.allow_damaged:
            raise UserError(
                f"'{self.archive.shown}' is damaged: {what}",
                "Nothing was imported. Use --allow-damaged to take it as it is.",
            )
        warn(self.session, None, what)

    async def _bring(self, run_id: str) -> Copy:
        """Copy a run to where it is prepared, and check it."""
        folder = self.source / run_id
        terms = Terms(follows=self._follows())
        packing = Packing(folder, self.source, terms)
        await finish(packing.steps(FolderWriter(self.ready), run_id))
        run = self._with_command(self._read(run_id))
        manifest = self._manifest(run_id)
        if not os.path.lexists(folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        if manifest is not None:
            self._compare(run_id, packing, manifest)
        elif self.archive.home is None:
            warn(self.session, run, f"{run_id} has no checksums: it is taken as it is")
        if packing.left:
            warn(self.session, run, f"{run_id}: not imported: {named(packing.left)}")
        return Copy(run=run, packing=packing, manifest=manifest)

    def _follows(self) -> Callable[[str, str], bool]:
        """Other runs of the archive are followed to, if that is wanted; nothing else ever is."""
        root = os.path.realpath(self.source)

        if not self.how.copy_resources:
            return lambda path, real: False
        return lambda path, real: is_made_by_run(real, root)

    def _read(self, run_id: str) -> Run:
        run = read_recorded_in(self.ready, run_id)
        if run is None or run.state == "broken":
            reason = "its record is missing" if run is None else run.reason
            raise UserError(
                f"run {run_id} of '{self.archive.shown}' can't be read: {self._as_shown(reason or '')}",
                "Nothing was imported. Name the runs that are to be imported to leave it out.",
            )
        if run.schema > versions.RUN:
            raise UserError(
                f"run {run_id} of '{self.archive.shown}' was written by a newer version of orchestra",
                "Upgrade orchestra to import it.",
            )
        return run

    def _with_command(self, run: Run) -> Run:
        """With the command of its newest start, which in a home only its orders may know: they stay there."""
        if run.command or not run.attempt or self.archive.home is None:
            return run
        try:
            orders = read_orders(attempt_directory(self.source / run.id, run.attempt))
        except OrchestraError:
            return run
        return run if orders is None else structs.replace(run, command=orders.arguments)

    def _as_shown(self, text: str) -> str:
        return text.replace(f"{self.ready}/", f"{self.archive.shown}/")

    def _manifest(self, run_id: str) -> RunManifest | None:
        try:
            manifest = read_record(manifest_path(self.source, run_id), RunManifest)
        except OrchestraError as error:
            self._damaged(f"the checksums of run {run_id} can't be read: {error.message}")
            return None
        if manifest is not None:
            require_format(manifest.format, f"run {run_id} of '{self.archive.shown}'")
        elif self.archive.kind is not None:
            self._damaged(f"run {run_id} has no checksums")
        return manifest

    def _compare(self, run_id: str, packing: Packing, manifest: RunManifest) -> None:
        def is_apart(path: str) -> bool:
            # What was copied in place of a link is what the other run has, whose own digests tell of it.
            return path in manifest.outside or not manifest.outside.keys().isdisjoint(parents_of(path))

        files, links = packing.files, packing.links
        known = manifest.files
        if files.get(RECORD) == manifest.record_before:
            known = {**known, RECORD: manifest.record_before}
        differing = sorted(
            path
            for path in files.keys() | known.keys()
            if files.get(path) != known.get(path) and (path in known or not is_apart(path))
        )
        differing += sorted(
            path
            for path in links.keys() | manifest.links.keys()
            if links.get(path) != manifest.links.get(path) and not is_apart(path)
        )
        if differing:
            self._damaged(f"run {run_id} differs from its checksums in {named(differing)}")
