"""Runs to be kept: labelled and commented, deleted and restored, brought elsewhere and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from orchestra.engine import annotating
from orchestra.engine.off_loop import off_loop
from orchestra.engine.run_reader import RunReader
from orchestra.engine.runs import delete_runs, with_members
from orchestra.engine.trashing import (
    Deleted,
    DeletedRuns,
    deleted_runs,
    purge_runs,
    restore_runs,
    select_deleted,
)
from orchestra.errors import UserError
from orchestra.model.duration import parse_duration
from orchestra.model.filters import RunQuery
from orchestra.model.label_edits import LabelEdit
from orchestra.model.narrowing import Filters, narrowed, narrowing_of
from orchestra.model.run import Run


class RunKeeper(RunReader):
    """An open home whose runs are kept."""

    async def label(
        self,
        runs: Sequence[str],
        *,
        set: str | None = None,
        append: str | None = None,
        prepend: str | None = None,
        remove: Sequence[str] = (),
        clear: bool = False,
    ) -> tuple[Run, ...]:
        """Change the labels of runs, as ``orchestra label`` does, and return the runs."""
        edit = LabelEdit(
            set=set,
            append=() if append is None else (append,),
            prepend=() if prepend is None else (prepend,),
            remove=_several(remove),
            clear=clear,
        )
        return await annotating.label_runs(self.session, await self._named(runs), edit)

    async def tag(
        self,
        runs: Sequence[str],
        *,
        add: Sequence[str] = (),
        delete: Sequence[str] = (),
        clear: bool = False,
        sync_labels: bool = False,
    ) -> tuple[Run, ...]:
        """Take tags from runs, then add some, and return the runs."""
        return await annotating.tag_runs(
            self.session,
            await self._named(runs),
            add=_several(add),
            delete=_several(delete),
            clear=clear,
            sync_labels=sync_labels,
        )

    async def comment(
        self,
        runs: Sequence[str],
        text: str | None = None,
        *,
        by: str | None = None,
        delete: int | None = None,
        clear: bool = False,
    ) -> tuple[Run, ...]:
        """Add a comment to runs, by ``USER`` or ``USER@HOST``; or ``delete`` the one of that number, from 1, or all.

        Raises:
            UserError: it is empty, or there is no such comment.
        """
        found = await self._named(runs)
        if clear:
            return await annotating.clear_comments(self.session, found)
        if delete is not None:
            return await annotating.delete_comment(self.session, found, delete)
        return await annotating.add_comment(self.session, found, text or "", by=by)

    async def mark(self, runs: Sequence[str], *, clear: bool = False) -> tuple[Run, ...]:
        """Mark runs, or take their marks away, and return the runs."""
        return await annotating.mark_runs(self.session, await self._named(runs), marked=not clear)

    async def _named(self, runs: Sequence[str]) -> tuple[Run, ...]:
        return tuple([await self.get(run) for run in _several(runs)])

    async def delete(self, runs: Sequence[str], *, stop: bool = False, permanent: bool = False) -> int:
        """Move runs into the trash, or delete them for good, and return how many there were.

        Running ones only with ``stop``.
        """
        return await delete_runs(self.session, await self._named(runs), stop=stop, permanent=permanent)

    async def deleted(self, query: RunQuery | None = None, **filters: Unpack[Filters]) -> tuple[Run, ...]:
        """The runs in the trash that match, as of :meth:`list`. The directory of each is where it is now."""
        asked = narrowed(query or RunQuery(), narrowing_of(filters), self.session.clock.now())
        return (await (await deleted_runs(self.session)).query(asked)).runs

    async def restore(self, runs: Sequence[str] | None = None) -> tuple[Run, ...]:
        """Take runs (all of them, if none are named) out of the trash, and return them.

        Raises:
            IdTaken: there is a run with the same id.
            RunNotFound: one of them is not in the trash.
        """
        found = await deleted_runs(self.session)
        return await restore_runs(self.session, await _named_among(found, runs))

    async def purge(self, runs: Sequence[str] | None = None, *, older_than: float | str | None = None) -> int:
        """Delete runs that are in the trash (all of them, if none are named) for good; return how many there were.

        ``older_than``: only those that were deleted so many seconds ago, or so long (``"30d"``).

        Raises:
            RunNotFound: one of them is not in the trash.
        """
        age = parse_duration(older_than) if isinstance(older_than, str) else older_than
        found = await deleted_runs(self.session, older_than=age)
        return await purge_runs(self.session, await _named_among(found, runs))

    async def export_runs(
        self,
        location: str | os.PathLike[str],
        runs: Sequence[str] | None = None,
        *,
        move: bool = False,
        copy_resources: bool = False,
        environment: bool = False,
        force: bool = False,
    ) -> tuple[Run, ...]:
        """Export runs (None: all) to a directory, or to a file that ends with ``.zip``, ``.tar.gz`` or the like.

        A batch that is named brings its trials, a pipeline its steps. Returns those that were exported: others were
        there already, and get the label, tags, comments and mark that they were given here since.

        Raises:
            UserError: nothing can be exported there, or a run can't.
            RunBusy: a run that is running is to be moved.
        """
        from orchestra.engine.export_target import export_target
        from orchestra.engine.exporting import How, export_runs

        target = export_target(self.session, os.fspath(location), self._cwd, force=force)
        how = How(move=move, copy_resources=copy_resources, environment=environment, force=force)
        return (await export_runs(self.session, await self._with_members(runs), target, how)).runs

    async def import_runs(
        self,
        source: str | os.PathLike[str],
        runs: Sequence[str] | None = None,
        *,
        move: bool = False,
        copy_resources: bool = False,
        new_id: bool = False,
        allow_damaged: bool = False,
    ) -> tuple[Run, ...]:
        """Import runs (None: all) from a directory, a zip or tar file, another home, or an archive of this home.

        ``runs`` are ids, or beginnings of such, of the source. Returns those that were imported: others were here
        already, and get the label, tags, comments and mark that they were given there since.

        Raises:
            UserError: the source is damaged or hostile, or another run has the id of one of them.
        """
        from orchestra.engine.archived import find_archive
        from orchestra.engine.importing import import_runs, named_runs
        from orchestra.engine.incoming import Importing

        archive = find_archive(self.session.layout, os.fspath(source), self._cwd)
        ids = None if runs is None else await named_runs(self.session, archive, runs)
        how = Importing(move=move, copy_resources=copy_resources, new_id=new_id, allow_damaged=allow_damaged)
        return (await import_runs(self.session, archive, ids, how)).runs

    async def import_guild(
        self,
        path: str | os.PathLike[str],
        runs: Sequence[str] = (),
        *,
        deleted: bool = False,
        **filters: Unpack[Filters],
    ) -> tuple[Run, ...]:
        """Take over the runs of a Guild home (``~/.guild``) that are not here yet, and return them. It stays as it is.

        ``runs`` and ``filters`` are of its listing; of all runs, or of the ``deleted`` ones instead. A run that is
        named brings its trials and steps. What can't be had of one is warned of.

        Raises:
            RunNotFound: a run is named that it does not have.
            UserError: it is no Guild home, or a filter has no meaning.
        """
        from orchestra.engine.guild_home import choose, look_into, take_over, tell_left

        place = Path(os.path.abspath(self._cwd / os.path.expanduser(path)))
        found = await off_loop(lambda: look_into(self.session, place, deleted=deleted))
        tell_left(found, self._tell)
        asked = narrowed(RunQuery(), narrowing_of(filters), self.session.clock.now())
        wanted = await choose(self.session, found, _several(runs), asked)
        return await take_over(self.session, wanted, str(place), tell=self._tell)

    async def export_crate(
        self,
        location: str | os.PathLike[str],
        runs: Sequence[str] | None = None,
        *,
        license: str | None = None,
    ) -> tuple[Run, ...]:
        """Make an RO-Crate of runs (None: all), a new folder or a ``.zip`` file, and return the runs in it.

        A batch that is named brings its trials, a pipeline its steps. It can't be imported.

        Raises:
            UserError: something is there, or there are no runs.
        """
        from orchestra.engine.ro_crate import crate_place, export_crate

        place = crate_place(os.fspath(location), self._cwd)
        found = await self._with_members(runs)
        if not found:
            raise UserError("there are no runs to export")
        await export_crate(self.session, found, place, license=license, tell=self._tell)
        return tuple(found)

    async def _with_members(self, runs: Sequence[str] | None) -> Sequence[Run]:
        """The runs that are named (all of them for None), with the trials and steps of these."""
        found = await self.list() if runs is None else await self._named(runs)
        return await with_members(self.session, found)

    def _tell(self, text: str) -> None:
        message = text.removeprefix("WARNING: ")
        level = "info" if message == text else "warning"
        self.session.emit("log.message", level=level, message=message, logger="")


def _several(given: Sequence[str]) -> tuple[str, ...]:
    """A text alone is one of several."""
    return (given,) if isinstance(given, str) else tuple(given)


async def _named_among(found: DeletedRuns, runs: Sequence[str] | None) -> list[Deleted]:
    """Those of the trash that are named; all of them for None."""
    specs = () if runs is None else _several(runs)
    return await select_deleted(found, specs, default="all" if runs is None else "none")
