"""Archives of runs: find one, look into it, and bring it to where its runs can be worked with.

An archive is a folder with a folder for each run, or a zip or tar file of such. Looked into, it is a session like that
of a home, so that runs are listed, chosen and deleted there as anywhere; its store is made for the purpose.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct, structs

from orchestra.engine.off_loop import off_loop, shielded
from orchestra.engine.session import Session, open_session
from orchestra.errors import RunBroken, UserError, text_of_os_error
from orchestra.model import versions
from orchestra.model.archived import INDEX, MANIFEST, ArchiveIndex, portable, require_format, run_of_link
from orchestra.model.filters import RunQuery
from orchestra.model.ids import check_run_id
from orchestra.placing.archives import ArchiveType, type_by_content, unpack
from orchestra.placing.members import Member
from orchestra.placing.steps import finish
from orchestra.settings import Settings
from orchestra.workspace.codec import read_record
from orchestra.workspace.layout import CONTROL, BorrowedLayout, Layout
from orchestra.workspace.records import RUN

ARCHIVES = "archives"
"""The folder of a home that holds the archives that have a name."""
_LONGEST_NAME = 255
"""Bytes that file systems allow for."""
_LIST_HINT = "Use 'orchestra archive --list' for the archives of this home."


class Archive(Struct, frozen=True, kw_only=True):
    """An archive that is there."""

    path: Path
    """The file, or the folder that holds the folders of the runs."""
    shown: str
    """How the person called it."""
    kind: ArchiveType | None
    """None: a folder."""
    home: Path | None = None
    """Of a folder that is not an archive but holds the runs of a home: that home."""
    is_own: bool = False
    """It is one of the home's own: its runs come back as they were."""


class NamedArchive(Struct, frozen=True, kw_only=True):
    """An archive of a home, as it is listed."""

    name: str
    path: str
    description: str
    created: int
    runs: int


def archive_path(layout: Layout, name: str) -> Path:
    """Where the archive ``name`` of a home is.

    Raises:
        UserError: it can't be the name of one.
    """
    if not _is_name(name):
        raise UserError(
            f"'{name}' can't be the name of an archive",
            "Use a short text without / and \\ that begins with neither . nor - (to export to a path, use "
            "'orchestra export').",
        )
    return layout.home / ARCHIVES / name


def _is_name(text: str) -> bool:
    """Whether it is safe as the name of a folder, and can be typed and shown everywhere."""
    return (
        text.isprintable()
        and text.strip() == text
        and not text.startswith((".", "-"))
        and not set("/\\").intersection(text)
        and 0 < len(text.encode()) <= _LONGEST_NAME
    )


def find_archive(layout: Layout, spec: str, cwd: Path) -> Archive:
    """The archive that ``spec`` names: a path, or the name of one of the home's.

    Raises:
        UserError: there is none.
    """
    path = Path(os.path.normpath(cwd / os.path.expanduser(spec)))
    own = layout.home / ARCHIVES / spec
    if not path.exists() and _is_name(spec) and own.is_dir():
        return structs.replace(_folder(own, spec), is_own=True)
    try:
        if path.is_dir():
            return _folder(path, spec)
        if path.is_file():
            kind = type_by_content(path)
            if kind is None:
                raise UserError(
                    f"'{spec}' is not an archive of runs: it is neither a directory, nor a zip or tar file"
                )
            return Archive(path=path, shown=spec, kind=kind)
    except OSError as error:
        raise UserError(f"'{spec}' can't be read: {text_of_os_error(error)}") from error
    if path.exists():
        raise UserError(f"'{spec}' is neither a directory nor a file")
    raise UserError(f"archive '{spec}' does not exist", f"Give a path. {_LIST_HINT}")


def _folder(path: Path, spec: str) -> Archive:
    for runs, home in ((path, path.parent), (path / "runs", path)):
        if runs.name == "runs" and is_home(home):
            return Archive(path=runs, shown=spec, kind=None, home=home)
    read_index(path, spec)
    return Archive(path=path, shown=spec, kind=None)


def is_home(path: Path) -> bool:
    """Whether a folder is a home, whatever its store is."""
    return all((path / name).is_dir() for name in ("runs", "cache", "trash"))


def read_index(folder: Path, shown: str) -> ArchiveIndex | None:
    """What a folder says that it is; None where it says nothing.

    Raises:
        UserError: that can't be read, or is newer than we are.
    """
    try:
        index = read_record(folder / INDEX, ArchiveIndex)
    except RunBroken as error:
        raise UserError(f"'{shown}' is damaged: {error.message}") from error
    if index is not None:
        require_format(index.format, f"'{shown}'")
    return index


def named_archives(layout: Layout) -> list[NamedArchive]:
    """The archives of a home, by name."""
    found: list[NamedArchive] = []
    try:
        folders = sorted(path for path in (layout.home / ARCHIVES).iterdir() if path.is_dir())
    except FileNotFoundError:
        return found
    for folder in folders:
        try:
            index = read_index(folder, folder.name) or ArchiveIndex(format=versions.ARCHIVE)
        except UserError as error:
            index = ArchiveIndex(format=versions.ARCHIVE, description=f"({error.message})")
        found.append(
            NamedArchive(
                name=folder.name,
                path=str(folder),
                description=index.description,
                created=index.created,
                runs=len(run_folders(folder)),
            )
        )
    return found


def run_folders(folder: Path, *, linked: bool = False) -> list[str]:
    """The ids of the runs that have a folder there; with ``linked`` also of those that have it elsewhere."""
    found: list[str] = []
    for name in sorted(os.listdir(folder)):
        try:
            check_run_id(name)
        except UserError:
            continue
        if (folder / name / CONTROL / RUN).is_file() and (linked or not (folder / name).is_symlink()):
            found.append(name)
    return found


@asynccontextmanager
async def looked_into(
    archive: Archive, settings: Settings, *, whole: bool = False, change: bool = False
) -> AsyncGenerator[Session]:
    """A session over the runs of an archive. Nothing in the archive is changed unless the caller is to ``change`` it.

    Args:
        archive: the archive.
        settings: the settings in force.
        whole: the runs' records are needed, too (for what is worked out of them).
        change: runs are to be deleted there.

    Raises:
        UserError: it can't be read, or can't be changed, or has no runs.
    """
    if change:
        _require_changeable(archive)
    making = Path(tempfile.mkdtemp(prefix="orchestra-"))
    try:
        runs = archive.path
        if archive.kind is not None:
            runs = making / "unpacked"
            runs.mkdir()
            await unpack_runs(archive, runs, records_only="all" if whole else "runs")
            read_index(runs, archive.shown)
        # What is settled for a home's store, its file above all, is not for this one.
        plugins = {kind: options for kind, options in settings.plugins.items() if kind != "store"}
        own = structs.replace(settings, store="sqlite", durability="fast", plugins=plugins)
        layout = BorrowedLayout(
            making / "home", runs, is_passing=archive.kind is not None, shown=archive.shown
        )
        async with open_session(layout.home, own, layout=layout) as session:
            # What the runs of another home do now is not ours to judge.
            session.read_only = archive.home is not None
            if archive.home is None:
                await _put_to_rest(session)
            yield session
    finally:
        await shielded(lambda: off_loop(lambda: shutil.rmtree(making, ignore_errors=True)))


def _require_changeable(archive: Archive) -> None:
    if archive.home is not None:
        raise UserError(
            f"'{archive.shown}' holds the runs of a home", f"Use 'orchestra -H {archive.home} runs delete'."
        )
    if archive.kind is not None:
        raise UserError(
            f"runs can't be deleted from '{archive.shown}': it is a file",
            "Import the runs that you want to keep, and export them anew.",
        )


async def _put_to_rest(session: Session) -> None:
    """Nobody watches what is in an archive, and its runs are where it is, whatever their records say."""
    runs = (await session.store.query(RunQuery())).runs
    others = [portable(run, environment=True) for run in runs if run.directory is not None or run.busy]
    if others:
        await session.store.update(others)


async def unpack_runs(
    archive: Archive,
    into: Path,
    *,
    ids: Collection[str] | None = None,
    records_only: str = "",
    resources: bool = False,
) -> None:
    """Unpack the runs of an archive that is a file; all that is in it is checked, whatever is unpacked.

    Args:
        archive: the archive.
        into: an empty folder that nobody else writes to.
        ids: of which runs; None: of all.
        records_only: ``runs``: nothing but their records; ``all``: those of their attempts, too.
        resources: with links from run to run.

    Raises:
        UserError: it is damaged, or something in it is refused.
    """
    assert archive.kind is not None

    def wanted(member: Member) -> bool:
        first, _, rest = member.name.partition("/")
        if not rest:
            return member.name == INDEX or member.kind == "folder"
        if ids is not None and first not in ids:
            return False
        if records_only:
            wants = f"{CONTROL}/" if records_only == "all" else f"{CONTROL}/{RUN}"
            return member.kind == "file" and rest.startswith(wants)
        return member.kind != "link" or resources or run_of_link(rest, member.target) is None

    await finish(unpack(archive.path, archive.kind, into, name=archive.shown, wanted=wanted))


def manifest_path(folder: Path, run_id: str) -> Path:
    """The file that tells what an archived run consists of."""
    return folder / run_id / CONTROL / MANIFEST


def require_runs(archive: Archive, folder: Path) -> list[str]:
    """The ids of the runs of an archive that was brought to ``folder``.

    Raises:
        UserError: there are none.
    """
    # The runs of a home may be in directories that a person chose.
    found = run_folders(folder, linked=archive.home is not None)
    if not found:
        from orchestra.workspace.guild_runs import is_guild_home

        if archive.kind is None and is_guild_home(archive.path):
            raise UserError(f"'{archive.shown}' is a Guild home", "Use --from-guild to take over its runs.")
        raise UserError(f"there are no runs in '{archive.shown}'")
    return found
