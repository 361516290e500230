"""Import runs from an archive: all of it is checked before anything is entered, and each run is whole or not there.

What was made elsewhere is data: nothing of it is started, adopted or judged by what it says of processes. A person may
start such a run again, having been shown what that would execute.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, structs

from orchestra.child.supervisor import failpoint
from orchestra.engine.annotating import take_word
from orchestra.engine.archived import Archive, looked_into
from orchestra.engine.import_links import Links
from orchestra.engine.incoming import Importing, Incoming
from orchestra.engine.off_loop import off_loop, shielded
from orchestra.engine.packing import NAMED, Copy, is_same, look_at, named, tell, warn
from orchestra.engine.presence import is_reachable, unreached
from orchestra.engine.rebuild import enter, read_recorded
from orchestra.engine.removal import remove_tree
from orchestra.engine.runs import select_runs, with_members
from orchestra.engine.session import Session
from orchestra.errors import IdTaken, UserError
from orchestra.model import versions
from orchestra.model.archived import inert, returned, says_later, says_other, without_secrets
from orchestra.model.filters import RunQuery
from orchestra.model.ids import new_run_id
from orchestra.model.run import Imported, Run
from orchestra.placing.making import Making
from orchestra.workspace import records
from orchestra.workspace.durable import storage_error, sync_directories, sync_filesystem, write_atomic
from orchestra.workspace.layout import ATTEMPTS, CONTROL
from orchestra.workspace.portable import content_elsewhere
from orchestra.workspace.trash import Trash

MAKING = ".importing-"


class ImportedRuns(Struct, frozen=True, kw_only=True):
    """What was imported, and what was here already."""

    runs: tuple[Run, ...]
    skipped: tuple[str, ...] = ()


async def import_runs(
    session: Session,
    archive: Archive,
    ids: Sequence[str] | None,
    how: Importing,
) -> ImportedRuns:
    """Import the runs with these ids (None: all) from an archive.

    A run that is here already is skipped. Nothing is entered unless everything can be.

    Raises:
        UserError: the archive is damaged or hostile, has no such run, or an id is taken by another run.
        StoreUnavailable: no space.
    """
    require_movable(archive, how)
    making = Making(session.layout.runs_dir, MAKING)
    try:
        work = _Import(session, archive, how, making.path)
        try:
            return await work.all(ids)
        except OSError as error:
            raise storage_error(error, error.filename or archive.path) from error
    finally:
        await off_loop(making.close)


async def named_runs(session: Session, archive: Archive, specs: Sequence[str]) -> list[str]:
    """The ids of the runs of an archive that ``specs`` name, with the trials and steps of those.

    Raises:
        RunNotFound: one of them names none.
    """
    async with looked_into(archive, session.settings) as there:
        found = await select_runs(there, specs)
        return [run.id for run in await with_members(there, found)]


def require_movable(archive: Archive, how: Importing) -> None:
    """Refuse to take runs out of what they can't be taken out of.

    Raises:
        UserError: it is a file, or the runs of another home.
    """
    if how.move and archive.kind is not None:
        raise UserError(
            f"runs can't be moved out of '{archive.shown}': it is a file", "Import them without --move."
        )
    if how.move and archive.home is not None:
        raise UserError(
            f"runs can't be moved out of the home '{archive.home}'",
            "Import them without --move, and delete them there with 'orchestra -H HOME runs delete'.",
        )


class _Import:
    def __init__(self, session: Session, archive: Archive, how: Importing, making: Path) -> None:
        self.session = session
        self.archive = archive
        self.how = how
        self.incoming = Incoming(session, archive, how, making)
        self.here: dict[str, Run] = {}
        """Of those that are skipped, the runs that are here already."""
        self.away: set[str] = set()
        """Of those that are skipped, those whose directory here is away."""
        self.ready = self.incoming.ready

    async def all(self, ids: Sequence[str] | None) -> ImportedRuns:
        brought = await self.incoming.bring(ids)
        self._require_here(self.incoming.moved)
        new, skipped = await self._sort_out(brought)
        names = {one.run.id: new_run_id() for one in new if one.run.id in self.taken}
        runs = await self._settled(new, names)
        left = await off_loop(lambda: self._prepare(new, runs))
        for run_id, paths in left.items():
            warn(
                self.session,
                None,
                f"{run_id}: links to files that are not here are left out: {named(paths)}",
            )
        failpoint("import.checked")
        placed = await self._enter(new, runs)
        for one in brought:
            if one.run.id in self.here:
                await self._take_word(one)
        if self.how.move:
            await self._remove_moved([one for one in brought if one.run.id not in left.keys() | self.away])
        skipped += sorted({run.id for run in runs} - {run.id for run in placed})
        return ImportedRuns(runs=tuple(placed), skipped=(*skipped, *self.incoming.moved))

    async def _take_word(self, one: Copy) -> None:
        """Let what people say of a run that is here, too, hold here if it is later."""
        here, there = self.here[one.run.id], one.run if self.archive.is_own else without_secrets(one.run)
        if says_later(there, here) and here.schema <= versions.RUN:
            self.here[one.run.id] = here = await take_word(self.session, here, there)
            tell(self.session, here, f"{here.id} exists, annotations updated")
        else:
            warn(self.session, here, f"{here.id} exists, skipping")

    def _require_here(self, moved: Sequence[str]) -> None:
        """Runs that somebody has taken out of the archive while they were read: whoever moved them is here, too."""
        for run_id in moved:
            here = read_recorded(self.session, run_id)
            if here is None:
                raise UserError(
                    f"run {run_id} was removed from '{self.archive.shown}' while it was imported",
                    "Nothing was imported. Try again.",
                )
            warn(self.session, here, f"{run_id} exists, skipping")

    async def _remove_moved(self, brought: Sequence[Copy]) -> None:
        """Remove from the archive what is here now: all of it, and what people have said of it."""
        gone: list[Copy] = []
        for one in brought:
            here = self.here.get(one.run.id)
            if here is not None and says_other(here, one.run):
                warn(
                    self.session, here, f"{here.id} is kept in the archive: what is said of it there differs"
                )
                continue
            gone.append(one)
        if gone:
            await off_loop(lambda: self._remove([one.packing.run_dir.name for one in gone]))

    def _remove(self, names: Sequence[str]) -> None:
        making = Making(self.archive.path, MAKING)
        try:
            for name in names:
                # At once, so that who reads it meanwhile sees that it is gone.
                with suppress(FileNotFoundError):
                    os.rename(self.archive.path / name, making.path / name)
                remove_tree(str(making.path / name))
        finally:
            making.close()

    async def _sort_out(self, brought: Sequence[Copy]) -> tuple[list[Copy], list[str]]:
        """Those that are new, and the ids of those that are here already."""
        self.taken: set[str] = set()
        self.deleted: set[str] = set()
        trashed = {entry.run_id for entry in await off_loop(Trash(self.session.layout).entries)}
        page = await self.session.store.query(RunQuery(ids=tuple(one.run.id for one in brought)))
        known = {run.id: run for run in page.runs}
        new: list[Copy] = []
        skipped: list[str] = []
        for one in brought:
            # One that somebody imports just now is there before the store knows it.
            here = known.get(one.run.id) or read_recorded(self.session, one.run.id)
            if here is None and not os.path.lexists(self.session.layout.directory_of(one.run.id)):
                if one.run.id in trashed:
                    # Restoring that one would find its id taken.
                    self.deleted.add(one.run.id)
                new.append(one)
            elif here is not None and not is_reachable(here):
                # It is ours, and whether it is the same can't be seen now.
                warn(self.session, here, f"{unreached(here)}, skipping")
                skipped.append(one.run.id)
                self.away.add(one.run.id)
            elif here is not None and await self._is_same(one, here):
                skipped.append(one.run.id)
                self.here[one.run.id] = here
            else:
                self.taken.add(one.run.id)
                new.append(one)
        if not self.how.new_id:
            self._refuse_taken()
        self.taken |= self.deleted
        return new, skipped

    def _refuse_taken(self) -> None:
        if self.deleted:
            raise UserError(
                f"runs of '{self.archive.shown}' are in the trash of this home: {_listed(sorted(self.deleted))}",
                "Nothing was imported. Use 'orchestra runs restore' to bring them back, or --new-id to import them "
                "under other ids.",
            )
        if self.taken:
            raise UserError(
                f"other runs here have the ids of runs of '{self.archive.shown}': {_listed(sorted(self.taken))}",
                "Nothing was imported. Use --new-id to import them under other ids.",
            )

    async def _is_same(self, one: Copy, here: Run) -> bool:
        folder = self.session.directory(here)
        return is_same(one, await look_at(here, folder, self.session.layout.runs_dir))

    async def _settled(self, new: Sequence[Copy], names: dict[str, str]) -> list[Run]:
        """The runs as they are entered."""
        now = self.session.clock.now()
        along = {one.run.id: one.run for one in new}
        owners = {owner for one in new for owner in (one.run.batch, one.run.parent) if owner}
        page = await self.session.store.query(RunQuery(ids=tuple(owners)))
        strangers = {run.id for run in page.runs if run.imported is None} - along.keys()
        runs: list[Run] = []
        for one in new:
            if self.archive.is_own and one.run.id not in names:
                runs.append(returned(one.run))
                continue
            source = str(self.archive.path if self.archive.home is None else self.archive.home)
            before = one.run.id if one.run.id in names else None
            run = inert(one.run, Imported(source=source, time=now, id=before), names)
            if strangers & {one.run.batch, one.run.parent}:
                # A batch of this home would go on with what was made elsewhere.
                warn(self.session, run, f"{run.id} is no longer a trial or step of a run that was made here")
                run = _alone(run)
            runs.append(run)
        return runs

    def _prepare(self, new: Sequence[Copy], runs: Sequence[Run]) -> dict[str, list[str]]:
        """Make the directories what they will be, down to the disk; by run, the links that can't be made."""
        left: dict[str, list[str]] = {}
        names = {one.run.id: run.id for one, run in zip(new, runs, strict=True)}
        for one, run in zip(new, runs, strict=True):
            folder = self.ready / one.run.id
            self._neutralise(folder)
            records.write_run(folder, run, fsync=False)
            os.chmod(folder, 0o700)
            os.chmod(folder / CONTROL, 0o700)
        links = Links(self.ready, self.session.layout.runs_dir, names)
        for one in new:
            if missing := links.make(one):
                left[one.run.id] = missing
        for one, run in zip(new, runs, strict=True):
            if run.id != one.run.id:
                os.rename(self.ready / one.run.id, self.ready / run.id)
        if self.session.fsync and runs:
            sync_filesystem(self.ready)
        return left

    def _neutralise(self, folder: Path) -> None:
        for attempt in records.attempts(folder):
            for name in os.listdir(folder / CONTROL / ATTEMPTS / str(attempt)):
                path = f"{CONTROL}/{ATTEMPTS}/{attempt}/{name}"
                content = content_elsewhere(path, str(folder / path), environment=True)
                if content is not None:
                    write_atomic(folder / path, content, fsync=False)

    async def _enter(self, new: Sequence[Copy], runs: Sequence[Run]) -> list[Run]:
        """Put the runs in their places and enter them; those that were, for somebody else may be at the same ones."""
        placed: list[Run] = []
        if runs:
            # Killed from here on: the next who opens the home looks for runs that the store does not know.
            (self.session.layout.cache_dir / "reconciled").unlink(missing_ok=True)
        try:
            for one, run in zip(new, runs, strict=True):
                if self._place(run):
                    placed.append(run)
                    failpoint("import.placed")
                else:
                    await self._require_same(one, run)
            return placed
        finally:
            await shielded(lambda: self._keep(placed))

    def _place(self, run: Run) -> bool:
        """Put a run in its place; False if something is there."""
        try:
            os.rename(self.ready / run.id, self.session.layout.directory_of(run.id))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            return False
        word = "Moving" if self.how.move else "Copying"
        renamed = run.imported.id if run.imported is not None else None
        message = f"{word} {run.id}" if renamed is None else f"{word} {renamed} as {run.id}"
        where = str(self.archive.path)
        self.session.emit("run.imported", run, level="info", message=message, logger="", source=where)
        return True

    async def _require_same(self, one: Copy, run: Run) -> None:
        """Somebody else has brought a run meanwhile.

        Raises:
            IdTaken: it is another one.
        """
        here = read_recorded(self.session, run.id)
        if here is None or not await self._is_same(one, here):
            raise IdTaken(
                f"another run with the id {run.id} was made meanwhile",
                "Runs that were told of were imported. Import the others again.",
            )
        self.here[one.run.id] = here

    async def _keep(self, placed: list[Run]) -> None:
        if self.session.fsync and placed:
            sync_directories(self.session.layout.runs_dir)
        await enter(self.session, placed)


def _alone(run: Run) -> Run:
    return structs.replace(run, batch=None, trial=None, generation=None, parent=None)


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more
