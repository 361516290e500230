"""Copy files and folders into a run's directory: safely, step by step, all or nothing.

Copying functions are :data:`~orchestra.placing.steps.Steps`; their result is a SHA-256.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from orchestra.child.cloning import clone
from orchestra.child.supervisor import failpoint
from orchestra.errors import ResolveError
from orchestra.placing.steps import CHUNK, Steps, sha256

_MAX_DEPTH = 200
_TRIES = 2


def partial_name(target: Path, folder: Path | None = None) -> Path:
    """A name beside ``target``, or in ``folder``, for what is not complete yet."""
    return (folder or target.parent) / f".{target.name[:100]}.{os.urandom(4).hex()}.part"


def copy_into(path: Path, target: Path, *, by: Path | None = None) -> Steps:
    """Copy the file or folder ``path`` to ``target``.

    A file is replaced at once when it is complete. A new folder appears when it is complete; into one that is
    there its files are copied one by one, and whatever else it holds stays.

    Args:
        path: what is copied; links are followed.
        target: the copy.
        by: a folder of the same file system for what is not complete yet; None: it is beside its target.

    Raises:
        OSError: something can't be read or written.
        ResolveError: something is neither a file nor a folder, or a folder is where a file must be.
    """
    real = Path(os.path.realpath(path))
    if real.is_dir():
        if Path(os.path.realpath(target.parent)).is_relative_to(real):
            raise ResolveError(f"'{path}' can't be copied to '{target}', which is a part of it")
        return _copy_folder(real, target, by)
    return _copy_file(real, target, by)


def _copy_file(path: Path, target: Path, by: Path | None) -> Steps:
    if not path.is_file():
        raise ResolveError(f"'{path}' is neither a file nor a folder")
    if target.is_dir() and not target.is_symlink():
        raise ResolveError(f"'{target}' is a folder, and '{path}' a file")
    for _ in range(_TRIES):
        digest = ""
        for step in _copy_once(path, target, by):
            digest = step
            yield ""
        if digest != _CHANGED:
            yield digest
            return
    raise ResolveError(f"'{path}' is changing while it is copied", "Try again when nothing writes to it.")


_CHANGED = "changed"


def _copy_once(path: Path, target: Path, by: Path | None) -> Steps:
    """Copy a file; the result is its digest, or :data:`_CHANGED` if it was written to meanwhile."""
    partial = partial_name(target, by)
    digest = sha256()
    try:
        # Not blocking: what was a file a moment ago must not be a pipe that nobody writes to.
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(source, "rb", buffering=0) as reader, open(partial, "x+b", buffering=0) as writer:
            before = os.fstat(source)
            shared = clone(source, writer.fileno())
            status = os.fstat(source)
            done = 0
            # A file may grow faster than it is copied: that it has grown is told below.
            while (done <= before.st_size or not before.st_size) and (
                chunk := (writer if shared else reader).read(CHUNK)
            ):
                digest.update(chunk)
                done += len(chunk) if shared else writer.write(chunk)
                failpoint("copy.begun")
                yield ""
            if not shared:
                status = os.fstat(source)
            os.fchmod(writer.fileno(), stat.S_IMODE(status.st_mode) & 0o777 | stat.S_IRUSR | stat.S_IWUSR)
            os.utime(writer.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        if (before.st_size, before.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            yield _CHANGED
            return
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    yield digest.hexdigest()


def _copy_folder(folder: Path, target: Path, by: Path | None) -> Steps:
    if target.is_symlink() or not target.is_dir():
        if os.path.lexists(target) and not target.is_symlink():
            raise ResolveError(f"'{target}' is a file, and '{folder}' a folder")
        yield from _copy_new_folder(folder, target, by)
        return
    yield from _merge(folder, target, by)


def _copy_new_folder(folder: Path, target: Path, by: Path | None) -> Steps:
    partial = partial_name(target, by)
    partial.mkdir()
    digest = ""
    try:
        for step in _merge(folder, partial, None):
            digest = step
            yield ""
        if target.is_symlink():
            target.unlink()
        os.rename(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    yield digest


def _merge(folder: Path, target: Path, by: Path | None) -> Steps:
    digest = sha256()
    for relative, kind in _walk(folder, folder, ()):
        place = target / relative
        content = ""
        if kind == "folder":
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                place.unlink()
            place.mkdir(exist_ok=True)
        elif kind == "link":
            content = os.readlink(folder / relative)
            _make_link(content, place, by)
        else:
            for step in _copy_file(Path(os.path.realpath(folder / relative)), place, by):
                content = step
                yield ""
        digest.update(f"{kind}\0{relative}\0{content}\n".encode(errors="surrogateescape"))
        yield ""
    yield digest.hexdigest()


def _walk(root: Path, folder: Path, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What is in ``root``, by name, folders before what they hold: (path relative to it, kind).

    A link to something in ``root`` is kept as a link; any other is followed.
    """
    real = os.path.realpath(folder)
    if real in above:
        raise ResolveError(f"'{folder}' is a link to a folder that holds it")
    if len(above) > _MAX_DEPTH:
        raise ResolveError(f"'{root}' is nested too deeply (limit {_MAX_DEPTH})")
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        relative = os.path.relpath(path, root)
        if entry.is_symlink() and _stays_inside(root, path):
            yield relative, "link"
        elif entry.is_dir():
            yield relative, "folder"
            yield from _walk(root, path, (*above, real))
        else:
            yield relative, "file"


def _stays_inside(root: Path, link: Path) -> bool:
    text = os.readlink(link)
    return not os.path.isabs(text) and Path(os.path.realpath(link)).is_relative_to(root)


def link_into(path: Path, target: Path, *, by: Path | None = None) -> None:
    """Make ``target`` a relative symbolic link to ``path``, replacing another link; ``by`` as of :func:`copy_into`.

    Raises:
        ResolveError: something that is no link has this name, or ``path`` is neither a file nor a folder.
    """
    if not (path.is_file() or path.is_dir()):
        raise ResolveError(f"'{path}' is neither a file nor a folder")
    if os.path.lexists(target) and not target.is_symlink():
        raise ResolveError(f"'{target}' is there already, and is no link")
    _make_link(os.path.relpath(os.path.realpath(path), os.path.realpath(target.parent)), target, by)


def _make_link(text: str, target: Path, by: Path | None) -> None:
    if target.is_dir() and not target.is_symlink():
        raise ResolveError(f"'{target}' is a folder, and a link must be there")
    partial = partial_name(target, by)
    os.symlink(text, partial)
    os.replace(partial, target)
