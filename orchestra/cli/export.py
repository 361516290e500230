"""``orchestra export`` and ``orchestra archive``: copy or move runs to a directory, a file, or a named archive."""

import os
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import prompts, tables, terminal
from orchestra.cli.changing import Rows, chosen_with_members, question
from orchestra.cli.context import complete, current, in_event_loop
from orchestra.cli.selection import FILTERS, Filters, Yes
from orchestra.engine.archived import ARCHIVES, NamedArchive, archive_path, named_archives
from orchestra.engine.export_target import Target, export_target
from orchestra.engine.exporting import Exported, How, export_runs
from orchestra.errors import UsageError, UserError
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run
from orchestra.workspace.layout import Layout

Chosen = tuple[tuple[Run, ...], Rows]


def export(
    location: str,
    /,
    *runs: str,
    filters: Filters = FILTERS,
    move: Annotated[bool, Parameter(name=("--move", "-m"))] = False,
    copy_resources: Annotated[bool, Parameter(name=("--copy-resources", "-r", "--dereference"))] = False,
    environment: Annotated[bool, Parameter(name="--environment")] = False,
    force: Annotated[bool, Parameter(name="--force")] = False,
    ro_crate: Annotated[bool, Parameter(name="--ro-crate")] = False,
    license: Annotated[str | None, Parameter(name="--license")] = None,
    yes: Yes = False,
) -> int:
    """Export runs to a directory, or to an archive file; all of them unless told otherwise.

    LOCATION is a file if its name ends with .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz, else a directory, to which
    runs can be added later. A batch that is named brings its trials, a pipeline its steps. Checksums tell whoever
    imports the runs whether they are whole. Environment variables and secrets are left out. A run that is running
    is exported as it is now, but for files that it removes or shortens meanwhile. Links stay links. A run that is in
    the directory already is skipped, but its label, tags, comments and mark there are replaced if they were changed
    here later.

    Parameters
    ----------
    location
        A directory, or the name of a file that is to be made.
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :, last), ids, or beginnings of ids.
    move
        Delete the runs here once they are exported.
    copy_resources
        Copy the files that required resources, and links to other runs, lead to.
    environment
        Include the environment variables that were recorded.
    force
        Replace the file, or runs that are there already.
    ro_crate
        Make LOCATION, a new directory or zip file, an RO-Crate: for repositories and people who have no orchestra.
        It can't be imported.
    license
        Of an RO-Crate: the address or name of its license.
    yes
        Do not ask.
    """
    if ro_crate:
        from orchestra.cli.export_crate import export_ro_crate

        if move or copy_resources or environment or force:
            raise UsageError("--ro-crate goes with --license, filters and --yes alone")
        return export_ro_crate(location, runs, filters, yes=yes, license=license)
    if license is not None:
        raise UsageError("--license is for an RO-Crate", "Use it with --ro-crate.")
    how = How(move=move, copy_resources=copy_resources, environment=environment, force=force)
    target, (found, rows) = complete(lambda: _choose(location, runs, filters, how))
    if not found:
        os.write(2, b"Nothing to export.\n")
        return 0
    if not yes:
        verb = "move" if move else "export"
        prompts.insist(
            question(f"You are about to {verb} the following runs to '{location}':", rows, len(found))
        )
    exported = in_event_loop(lambda: _export(found, target, how))
    if exported.runs and not environment:
        terminal.tell("Environment variables were left out (use --environment to include them).")
    terminal.write(f"Exported {len(exported.runs)} run(s) to {location}\n")
    return 0


def archive(
    name: str | None = None,
    /,
    *runs: str,
    filters: Filters = FILTERS,
    create: bool = False,
    copy: bool = False,
    copy_resources: Annotated[bool, Parameter(name=("--copy-resources", "-r"))] = False,
    description: Annotated[str | None, Parameter(name=("--description", "-d"))] = None,
    list_: Annotated[bool, Parameter(name=("--list", "-l"))] = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
    yes: Yes = False,
) -> int:
    """Move runs to an archive of this home, out of the listing; all of them unless told otherwise.

    Of a run that is there already only label, tags, comments and mark are brought up to date.

    'orchestra runs list -A NAME' lists an archive, 'orchestra import NAME --move' brings its runs back. Without a
    NAME the archives are listed.

    Parameters
    ----------
    name
        The archive.
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :, last), ids, or beginnings of ids.
    create
        Make the archive if it is not there.
    copy
        Copy the runs: they stay here, too.
    copy_resources
        Copy the files that required resources, and links to other runs, lead to.
    description
        What the archive is for.
    list_
        List the archives.
    json
        List the archives as JSON.
    yes
        Do not ask.
    """
    if name is None or list_:
        others = (name, *runs, create, copy, copy_resources, description, filters is not FILTERS)
        if any(each not in (None, False) for each in others):
            raise UsageError("--list takes no archive, runs or other options" if list_ else "NAME is missing")
        return _list(json)
    if json:
        raise UsageError("--json is for the list of archives", "Use 'orchestra runs list -A NAME --json'.")
    layout = Layout(current().home)
    path = archive_path(layout, name)
    is_new = not path.exists()
    if is_new and not create:
        raise UserError(
            f"archive '{name}' does not exist",
            "Use --create to create it, or 'orchestra archive --list' for those that are there.",
        )
    how = How(move=not copy, copy_resources=copy_resources, environment=True, description=description or "")
    target = Target(path=path, shown=name, mode=None)
    found, rows = complete(lambda: chosen_with_members(runs, filters, looking=not how.move))
    if not found:
        os.write(2, b"Nothing to archive.\n")
        return 0
    if not yes:
        verb = "copy" if copy else "move"
        prompts.insist(
            question(f"You are about to {verb} the following runs to archive '{name}':", rows, len(found))
        )
    if is_new:
        terminal.tell(f"Creating '{name}'")
        os.makedirs(layout.home / ARCHIVES, mode=0o700, exist_ok=True)
    exported = in_event_loop(lambda: _export(found, target, how))
    terminal.write(f"Archived {len(exported.runs)} run(s) to '{name}'\n")
    return 0


async def _choose(location: str, specs: tuple[str, ...], filters: Filters, how: How) -> tuple[Target, Chosen]:
    context = current()
    async with context.session(looking=not how.move) as session:
        target = export_target(session, location, context.cwd, force=how.force)
    return target, await chosen_with_members(specs, filters, looking=not how.move)


async def _export(runs: tuple[Run, ...], target: Target, how: How) -> Exported:
    async with current().session(looking=not how.move) as session:
        known = await session.store.query(RunQuery(ids=tuple(run.id for run in runs)))
        return await export_runs(session, known.runs, target, how)


def _list(as_json: bool) -> int:
    current().require_home()
    found = named_archives(Layout(current().home))
    if as_json:
        terminal.write_json(found)
    elif not found:
        terminal.hint("There are no archives in this home.")
    else:
        terminal.write(tables.render([_row(one) for one in found], width=terminal.width()))
    return 0


def _row(one: NamedArchive) -> tuple[str, ...]:
    return one.name, f"{one.runs} run{'' if one.runs == 1 else 's'}", one.description
