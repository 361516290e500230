"""What a resolver provided, on its way into the run's directory: unpacked, selected, renamed, copied or linked."""

from __future__ import annotations

import filecmp
import os
import posixpath
import shutil
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Literal

from msgspec import Struct

from orchestra.contracts import Resolved
from orchestra.engine.off_loop import off_loop, shielded
from orchestra.errors import ResolveError, text_of_os_error
from orchestra.model.dependencies import CONFIG, masked_url
from orchestra.model.operation import SourceDef
from orchestra.placing import selection
from orchestra.placing.archives import archive_type, unpack
from orchestra.placing.copying import copy_into, link_into
from orchestra.placing.steps import finish, hash_file, sha256

_UNPACKED = "unpacked"
_WORKED = "worked"


class Placement(Struct, frozen=True, kw_only=True):
    """What is to be placed, and where."""

    source: SourceDef
    provided: Resolved
    scratch: Path
    """Where the resolver provided it; on the file system of the run's directory."""
    run_dir: Path
    project: Path
    mine: frozenset[str] = frozenset()
    """Paths of the run's directory that an earlier resolution of this source made: they are replaced."""
    others: Mapping[str, str] = {}
    """The paths that other sources have been given, and these sources."""
    warn: Callable[[str], None]


class Placed(Struct, frozen=True, kw_only=True):
    """What is in the run's directory now."""

    paths: tuple[str, ...]
    digest: str | None


class _Found(Struct, frozen=True, kw_only=True):
    """Where the paths that may be wanted are."""

    root: Path
    whole: tuple[str, ...]
    """Relative to ``root``: what is wanted if nothing is selected."""
    inner: bool
    """What is selected lies below ``root``, not below what is in ``whole``."""
    movable: bool
    digest: str | None


async def place(wanted: Placement) -> Placed:
    """Put what was provided where it belongs. What is there already is left unless it may be replaced.

    Raises:
        ResolveError: it can't be unpacked, has another digest, or has no place that it could take.
    """
    try:
        found = await _find(wanted)
        if wanted.source.post_process is not None:
            found = await _post_process(wanted, found)
        paths: list[str] = []
        digests: list[tuple[str, str]] = []
        for path in await off_loop(lambda: _selected(wanted.source, found)):
            target = _target(wanted.source, found, path)
            digest = await _put(wanted, found, path, target)
            if digest is not None:
                paths.append(target)
                digests.append((target, digest))
    except OSError as error:
        raise ResolveError(f"it can't be copied: {text_of_os_error(error)}") from error
    return Placed(paths=tuple(paths), digest=found.digest or _digest(digests))


async def _find(wanted: Placement) -> _Found:
    source, provided, scratch = wanted.source, wanted.provided, wanted.scratch
    whole = provided.paths
    path = scratch / whole[0] if len(whole) == 1 else None
    digest = provided.digest
    if source.sha256 is not None:
        digest = await _check_sha256(source, path)
    if path is None or provided.root is not None or not path.is_file():
        folder = path if provided.root is None and path is not None and path.is_dir() else None
        if folder is not None and _selects(source):
            return _Found(root=folder, whole=whole, inner=True, movable=False, digest=digest)
        root = scratch / (provided.root or "")
        return _Found(root=root, whole=whole, inner=False, movable=False, digest=digest)
    kind = archive_type(path.name, source.archive_type) if source.unpack is not False else None
    if kind is None:
        return _Found(root=scratch, whole=whole, inner=False, movable=False, digest=digest)
    if digest is None:
        digest = f"sha256:{await finish(hash_file(path))}"
    into = scratch / f".{_UNPACKED}"
    into.mkdir()
    await finish(unpack(path, kind, into, name=path.name))
    return _Found(root=into, whole=tuple(sorted(os.listdir(into))), inner=False, movable=True, digest=digest)


async def _check_sha256(source: SourceDef, path: Path | None) -> str:
    if path is None or not path.is_file():
        raise ResolveError(f"bad sha256 for '{masked_url(source.value)}': it is not a file")
    expected = (source.sha256 or "").strip().lower().removeprefix("sha256:")
    actual = await finish(hash_file(path))
    if actual != expected:
        raise ResolveError(
            f"'{masked_url(source.value)}' has an unexpected sha256 (expected {expected} but got {actual})"
        )
    return f"sha256:{actual}"


def _selects(source: SourceDef) -> bool:
    return bool(source.select or source.select_min is not None or source.select_max is not None)


def _selected(source: SourceDef, found: _Found) -> tuple[str, ...]:
    if not _selects(source):
        return found.whole
    paths = tuple(selection.walk(found.root))
    chosen = list(selection.select(paths, source.select)) if source.select else []
    for pattern, largest in ((source.select_min, False), (source.select_max, True)):
        if pattern is not None:
            chosen += selection.select_extreme(paths, pattern, largest=largest)
    return tuple(dict.fromkeys(chosen))


def _target(source: SourceDef, found: _Found, path: str) -> str:
    folder, name = posixpath.split(path)
    name = selection.rename(name, source.rename)
    if not source.preserve_path:
        folder = ""
    elif source.scheme == "file" and not found.movable:
        # What is kept is the path as it is in the project.
        origin = source.value.rstrip("/")
        folder = posixpath.join(origin if found.inner else posixpath.dirname(origin), folder)
        if posixpath.isabs(folder) or ".." in folder.split("/"):
            raise ResolveError(
                f"'{masked_url(source.value)}' lies outside of the project: its path can't be preserved",
                "Give the folder that it should have as 'target-path'.",
            )
    target = selection.check_place(posixpath.join(source.target_path or "", folder, name))
    if not target or not name or ("/" in name.strip("/") and ".." in name.split("/")):
        raise ResolveError(f"'{path}' has no name that it could have in the run's directory")
    return target


async def _put(wanted: Placement, found: _Found, path: str, target: str) -> str | None:
    """Copy, link or move one path; its digest (``""`` if that is not known), or None if it is left out."""
    origin, place = found.root / path, wanted.run_dir / target
    how = _how(wanted, found, origin)
    if os.path.lexists(place) and not _may_replace(wanted, origin, target):
        if await off_loop(lambda: _is_same(origin, place, how)):
            return ""
        if wanted.provided.root is None or _selects(wanted.source):
            # Of all that a run has, its source for instance, much is here already: no surprise.
            owner = f" (it is of {wanted.others[target]})" if target in wanted.others else ""
            wanted.warn(f"{target} already exists, skipping {how}{owner}")
        return None
    _make_parents(wanted.run_dir, place)
    if how == "link":
        if place.is_file() and not place.is_symlink():
            place.unlink()
        link_into(origin, place, by=wanted.scratch)
        return ""
    if found.movable and not os.path.lexists(place) and not await off_loop(lambda: _has_links(origin)):
        os.rename(origin, place)
        return ""
    return await finish(copy_into(origin, place, by=wanted.scratch))


def _may_replace(wanted: Placement, origin: Path, target: str) -> bool:
    if wanted.source.replace_existing or wanted.source.scheme == CONFIG or target in wanted.mine:
        return True
    # The source snapshot has put it there, or a part of it.
    return os.path.realpath(origin) == os.path.realpath(wanted.project / target)


def _how(wanted: Placement, found: _Found, origin: Path) -> Literal["copy", "link"]:
    """A link to what is in the scratch folder alone would lead nowhere soon."""
    lasting = not Path(os.path.realpath(origin)).is_relative_to(os.path.realpath(wanted.scratch))
    if found.movable or not lasting:
        return "copy"
    return wanted.source.target_type or wanted.provided.target or ("link" if origin.is_symlink() else "copy")


def _is_same(origin: Path, place: Path, how: str) -> bool:
    if how == "link":
        return place.is_symlink() and os.path.realpath(place) == os.path.realpath(origin)
    return not place.is_symlink() and _holds_the_same(origin, place)


def _holds_the_same(origin: Path, place: Path) -> bool:
    """Whether ``place`` is what a copy of ``origin`` would be: somebody who was killed may have made it."""
    if place.is_symlink():
        return origin.is_symlink() and os.readlink(origin) == os.readlink(place)
    if place.is_dir() and origin.is_dir():
        names = sorted(os.listdir(place))
        return names == sorted(os.listdir(origin)) and all(
            _holds_the_same(origin / name, place / name) for name in names
        )
    return origin.is_file() and place.is_file() and filecmp.cmp(origin, place, shallow=False)


def _has_links(path: Path) -> bool:
    if path.is_symlink():
        return True
    return any(
        os.path.islink(os.path.join(parent, name))
        for parent, folders, files in os.walk(path)
        for name in (*folders, *files)
    )


def _make_parents(run_dir: Path, place: Path) -> None:
    """Make the folders above ``place``, unless a link leads one of them out of the run's directory."""
    root = os.path.realpath(run_dir)
    parent = os.path.realpath(place.parent)
    if parent != root and not parent.startswith(root + os.sep):
        raise ResolveError(f"'{place.parent}' leads out of the run's directory by a link")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ResolveError(f"'{place.parent}' is a file, and a folder must be there") from None


async def _run_shell(command: str, folder: Path) -> int:
    """The exit code of ``command``. Whoever is cancelled leaves no process of it behind."""
    import anyio

    words = ["/bin/sh", "-c", command]
    process = await shielded(
        lambda: anyio.open_process(
            words, cwd=folder, stdin=DEVNULL, stdout=2, stderr=2, start_new_session=True
        )
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await shielded(process.wait)


async def _post_process(wanted: Placement, found: _Found) -> _Found:
    """Run the project's command where the files are: never in the project itself, but in a copy of its folder."""
    if not found.movable:
        copied = wanted.scratch / f".{_WORKED}"
        copied.mkdir()
        paths = tuple(sorted(os.listdir(found.root))) if found.inner else found.whole
        for path in paths:
            await finish(copy_into(found.root / path, copied / path))
        found = _Found(root=copied, whole=paths, inner=found.inner, movable=True, digest=found.digest)
    command = wanted.source.post_process
    assert command is not None
    code = await _run_shell(command, found.root)
    if code:
        raise ResolveError(f"its post-process command '{command}' failed with exit code {code}")
    if found.inner:
        return found
    return _Found(
        root=found.root,
        whole=tuple(sorted(os.listdir(found.root))),
        inner=False,
        movable=True,
        digest=found.digest,
    )


def _digest(digests: Iterable[tuple[str, str]]) -> str | None:
    """Of what was copied: a single file's or folder's own, or one over all of them."""
    known = [(path, digest) for path, digest in digests if digest]
    if len(known) <= 1:
        return f"sha256:{known[0][1]}" if known else None
    digest = sha256()
    for path, one in known:
        digest.update(f"{path}\0{one}\n".encode(errors="surrogateescape"))
    return f"sha256:{digest.hexdigest()}"


def clean(scratch: Path) -> None:
    """Make an empty folder of ``scratch``."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
