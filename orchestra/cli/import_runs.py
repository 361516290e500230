"""``orchestra import``: take runs from a directory, a file, an archive of the home, or a Guild home."""

import os
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import prompts, terminal
from orchestra.cli.changing import preview, question
from orchestra.cli.context import complete, current, in_event_loop
from orchestra.cli.selection import FILTERS, Filters, Yes, chosen
from orchestra.engine.archived import Archive, find_archive, looked_into
from orchestra.engine.importing import ImportedRuns, import_runs, require_movable
from orchestra.engine.incoming import Importing
from orchestra.engine.runs import with_members
from orchestra.errors import UsageError
from orchestra.model.run import Run
from orchestra.workspace.layout import Layout


def import_(
    source: str,
    /,
    *runs: str,
    filters: Filters = FILTERS,
    move: Annotated[bool, Parameter(name=("--move", "-m"))] = False,
    copy_resources: Annotated[bool, Parameter(name=("--copy-resources", "-r", "--dereference"))] = False,
    new_id: bool = False,
    allow_damaged: bool = False,
    from_guild: Annotated[bool, Parameter(name="--from-guild")] = False,
    deleted: Annotated[bool, Parameter(name="--deleted")] = False,
    yes: Yes = False,
) -> int:
    """Import runs from what 'orchestra export' or 'orchestra archive' has made; all of them unless told otherwise.

    Everything is checked before anything is entered. A run that is here already is skipped, but its label, tags,
    comments and mark are replaced if they were changed there later. Imported runs are never started by a queue or a
    batch of this home; to restart one shows what it would execute.

    Parameters
    ----------
    source
        A directory, a zip or tar file, another home, or the name of an archive of this home.
    runs
        Which runs of it: indexes and slices of its listing (1, 2:4, :, last), ids, or beginnings of ids.
    move
        Remove the runs there once they are imported.
    copy_resources
        Copy the files that links to other runs of the source lead to.
    new_id
        Give a run another id if a different run has its id here.
    allow_damaged
        Import what differs from its checksums, too.
    from_guild
        SOURCE is a Guild home (~/.guild), or its folder of runs: take over what is not here yet. It stays as it is.
    deleted
        Of a Guild home: take over the runs in its trash instead.
    yes
        Do not ask.
    """
    if from_guild:
        from orchestra.cli.import_guild import import_guild

        if move or copy_resources or new_id or allow_damaged:
            raise UsageError("--from-guild goes with --deleted, filters and --yes alone")
        return import_guild(source, runs, filters, yes=yes, deleted=deleted)
    if deleted:
        raise UsageError("--deleted is for runs of a Guild home", "Use it with --from-guild.")
    context = current()
    archive = find_archive(Layout(context.home), source, context.cwd)
    how = Importing(move=move, copy_resources=copy_resources, new_id=new_id, allow_damaged=allow_damaged)
    require_movable(archive, how)
    found, rows = complete(lambda: _choose(archive, runs, filters))
    everything = not runs and filters is FILTERS
    if not found and not everything:
        os.write(2, b"Nothing to import.\n")
        return 0
    if found and not yes:
        verb = "move" if move else "import"
        prompts.insist(
            question(f"You are about to {verb} the following runs from '{source}':", rows, len(found))
        )
    # Whether all is there that should be is told by the import itself.
    ids = None if everything else [run.id for run in found]
    imported = in_event_loop(lambda: _import(archive, ids, how))
    terminal.write(f"Imported {len(imported.runs)} run(s) from {source}\n")
    return 0


async def _choose(
    archive: Archive, specs: tuple[str, ...], filters: Filters
) -> tuple[tuple[Run, ...], list[tuple[str, ...]]]:
    context = current()
    async with looked_into(archive, context.settings, whole=filters is not FILTERS) as session:
        found = await chosen(session, specs, filters, default="all")
        if specs:
            found = await with_members(session, found)
        return found, preview(session, found, str(context.cwd))


async def _import(archive: Archive, ids: list[str] | None, how: Importing) -> ImportedRuns:
    async with current().session(absent="make") as session:
        return await import_runs(session, archive, ids, how)
