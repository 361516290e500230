"""Replacing the source that a run has taken along: by all of another, or not at all.

The new source is copied beside the run's first (``.orchestra/incoming.*``), so what can fail, fails there. Then the
old files are moved away and the new ones into their places (``.orchestra/replacing``). The end of that is the rename
of the new manifest: whoever dies before it leaves enough for :func:`undo`, which those call who start the run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestra.child.supervisor import failpoint
from orchestra.errors import UserError
from orchestra.workspace.copies import copy_selection
from orchestra.workspace.durable import fail, make_dirs, write_atomic
from orchestra.workspace.layout import CONTROL, REPLACING
from orchestra.workspace.manifest import MANIFEST, SOURCE, parse, read_manifest
from orchestra.workspace.source import Selection
from orchestra.workspace.source_patch import patch_path

_INCOMING = "incoming."
_NEW, _OLD = "new", "old"


class Incoming:
    """The source that is to replace that of the run in ``run_dir``. ``name`` tells two who try so at once apart."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self._run_dir = run_dir
        self._folder = run_dir / CONTROL / f"{_INCOMING}{name}"

    def copy(self, selection: Selection | None) -> None:
        """Have all of it ready beside the run's source.

        Raises:
            UserError: something of the run is in its way.
            ScriptError: a file has changed since it was selected.
            HomeError, StoreUnavailable: it can't be written.
        """
        manifest = b"" if selection is None else selection.manifest
        self._check_places([entry.path for entry in parse(manifest) if entry.kind == SOURCE])
        make_dirs(self._folder / _OLD)
        if selection is not None:
            copy_selection(selection, self._folder / _NEW)
        else:
            make_dirs(self._folder / _NEW)
        write_atomic(self._folder / MANIFEST, manifest, fsync=False)

    def discard(self) -> None:
        """Remove what has not been used."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def swapped(self) -> Generator[None]:
        """Put it in the place of the run's source; when the block raises, the run has what it had.

        Only for who holds the run's claim.

        Raises:
            HomeError, StoreUnavailable: a file can't be moved.
        """
        undo(self._run_dir)
        replacing = self._run_dir / CONTROL / REPLACING
        try:
            try:
                self._folder.rename(replacing)
                self._swap(replacing)
            except OSError as error:
                fail(error, error.filename or replacing)
            yield
            (replacing / MANIFEST).rename(self._run_dir / CONTROL / MANIFEST)
        except BaseException:
            undo(self._run_dir)
            raise
        with suppress(FileNotFoundError):
            os.unlink(patch_path(self._run_dir))
        for left in (replacing, *(self._run_dir / CONTROL).glob(f"{_INCOMING}*")):
            shutil.rmtree(left, ignore_errors=True)

    def _swap(self, replacing: Path) -> None:
        new = [entry.path for entry in parse((replacing / MANIFEST).read_bytes()) if entry.kind == SOURCE]
        for path in dict.fromkeys((*_sources(self._run_dir), *new)):
            place = self._run_dir / path
            if _is_file(place) and not _leads_out(self._run_dir, path):
                _move(place, replacing / _OLD / path)
        failpoint("source.swapping")
        for path in new:
            place = self._run_dir / path
            if place.is_dir() and not place.is_symlink():
                _remove_empty(place)
            self._make_folders(path)
            os.rename(replacing / _NEW / path, place)

    def _make_folders(self, path: str) -> None:
        folder = self._run_dir
        for part in Path(path).parts[:-1]:
            folder /= part
            if folder.is_symlink():
                # It leads out of the run: what lies there is not ours to write to.
                folder.unlink()
            folder.mkdir(exist_ok=True)

    def _check_places(self, new: list[str]) -> None:
        mine = set(_sources(self._run_dir))
        for path in new:
            place = self._run_dir / path
            if place.is_dir() and not place.is_symlink() and not _holds_only(self._run_dir, path, mine):
                raise _in_the_way(place, "folder", "file")
            for folder in list(Path(path).parents)[:-1]:
                above = self._run_dir / folder
                if above.is_file() and not above.is_symlink() and str(folder) not in mine:
                    raise _in_the_way(above, "file", "folder")


def undo(run_dir: Path) -> None:
    """Give a run the source back that it had, where somebody died while replacing it. For who holds its claim.

    Raises:
        HomeError, StoreUnavailable: a file can't be moved.
    """
    replacing = run_dir / CONTROL / REPLACING
    if not replacing.exists():
        return
    try:
        if (replacing / MANIFEST).exists():
            _move_back(run_dir, replacing)
            # Before the rest: without the new files, all that is in its place now would seem to be new.
            (replacing / MANIFEST).unlink()
    except OSError as error:
        fail(error, error.filename or replacing)
    shutil.rmtree(replacing, ignore_errors=True)


def _move_back(run_dir: Path, replacing: Path) -> None:
    for entry in parse((replacing / MANIFEST).read_bytes()):
        incoming, place = replacing / _NEW / entry.path, run_dir / entry.path
        if entry.kind == SOURCE and _is_file(place) and not os.path.lexists(incoming):
            # Not unlinked: back here, it says that what is in its place later, should we be killed, is the run's own.
            _move(place, incoming)
    for parent, _, names in os.walk(replacing / _OLD):
        for name in names:
            old = Path(parent, name)
            place = run_dir / old.relative_to(replacing / _OLD)
            if place.is_dir() and not place.is_symlink():
                _remove_empty(place)
            _move(old, place)


def _is_file(place: Path) -> bool:
    """Whether there is anything but a folder."""
    return os.path.lexists(place) and (place.is_symlink() or not place.is_dir())


def _leads_out(run_dir: Path, path: str) -> bool:
    """Whether a folder above it is a link by now: what lies there is not the run's."""
    return any((run_dir / folder).is_symlink() for folder in list(Path(path).parents)[:-1])


def _sources(run_dir: Path) -> list[str]:
    return [entry.path for entry in read_manifest(run_dir) if entry.kind == SOURCE]


def _move(origin: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    os.rename(origin, place)


def _holds_only(run_dir: Path, folder: str, files: set[str]) -> bool:
    """Whether there is nothing in ``folder`` but some of ``files``."""
    return all(
        os.path.relpath(os.path.join(parent, name), run_dir) in files
        for parent, folders, names in os.walk(run_dir / folder)
        for name in (*names, *(one for one in folders if os.path.islink(os.path.join(parent, one))))
    )


def _remove_empty(folder: Path) -> None:
    for parent, _, _ in os.walk(folder, topdown=False):
        os.rmdir(parent)


def _in_the_way(place: Path, there: str, wanted: str) -> UserError:
    return UserError(
        f"the run's source can't be replaced: '{place}' is a {there}, and the project has a {wanted} of that name",
        "Move it away, or make a new run with --proto.",
    )
