"""The patch of a project: what a working tree has that its commit has not, for ``git apply``.

New files are in it, binary ones, too. Git is given an index and an object store of its own for that, so that nothing
changes in the repository.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import mkdtemp

from orchestra.child.cloning import clone
from orchestra.workspace.durable import write_all, write_atomic
from orchestra.workspace.file_kinds import is_secret_name
from orchestra.workspace.git import OURS, Git
from orchestra.workspace.layout import CONTROL

PATCH = "source.patch"
MOST = 20 << 20
"""Bytes of a patch that is kept."""
MOST_OF_A_FILE = 5 << 20
"""Bytes of a new file that is in it: more is data, not source."""
MOST_COPIED = 1 << 20
"""Bytes of a patch of which each trial of a batch has a copy where blocks can't be shared; a larger one is one file
with many names, read-only."""

_DIFF = (
    "diff",
    "--binary",
    "--full-index",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-renames",
    "--no-relative",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--submodule=short",
    "--ignore-submodules=dirty",
)


def patch_path(run_dir: str | Path) -> str:
    """Where the patch of a run is."""
    return os.path.join(run_dir, CONTROL, PATCH)


def write_patch(project: str, run_dir: Path, commit: str) -> str | None:
    """Write the patch of the working tree around ``project`` against ``commit``; return why it could not be made.

    Raises:
        HomeError, StoreUnavailable: the file can't be written.
    """
    scratch = mkdtemp(prefix="orchestra-patch-")
    try:
        made = _make(project, commit, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if made is None:
        return "Git could not tell what differs"
    write_atomic(patch_path(run_dir), made, fsync=False)
    return None


def _make(project: str, commit: str, scratch: str) -> bytes | None:
    told = Git(
        project, "rev-parse", "--show-toplevel", "--git-path", "index", "--git-path", "objects"
    ).answer()
    lines = [] if told is None else os.fsdecode(told).removesuffix("\n").split("\n")
    if len(lines) != 3:
        return None
    top, index, objects = lines
    environment = {
        "GIT_INDEX_FILE": os.path.join(scratch, "index"),
        "GIT_OBJECT_DIRECTORY": os.path.join(scratch, "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.path.join(project, objects),
    }
    os.mkdir(os.path.join(scratch, "objects"))
    shutil.copyfile(os.path.join(project, index), os.path.join(scratch, "index"))
    new = Git(top, "ls-files", "-z", "--others", "--exclude-standard", "--", *OURS).answer()
    if new is None:
        return None
    taken, left_out = _split(top, (os.fsdecode(path) for path in new.split(b"\0") if path))
    if taken and not _intend_to_add(top, taken, scratch, environment):
        return None
    diff = Git(top, *_DIFF, commit, "--", *OURS, environment=environment).answer(most=MOST)
    if diff is None:
        return None
    if len(diff) > MOST:
        left_out.append(f"all of it, which is more than {MOST >> 20} MiB")
        diff = b""
    return _head(commit, left_out) + diff


def _split(top: str, paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """The new files that belong into the patch, and the others, each with why it doesn't."""
    taken: list[str] = []
    left_out: list[str] = []
    for path in paths:
        try:
            size = os.lstat(os.path.join(top, path)).st_size
        except OSError:
            continue
        if path.endswith("/"):
            left_out.append(f"{path}: a repository of its own")
        elif is_secret_name(os.path.basename(path)):
            left_out.append(f"{path}: it may be a secret")
        elif size > MOST_OF_A_FILE:
            left_out.append(f"{path}: {size} bytes")
        else:
            taken.append(path)
    return taken, left_out


def _intend_to_add(top: str, paths: list[str], scratch: str, environment: dict[str, str]) -> bool:
    listing = os.path.join(scratch, "new")
    with open(listing, "wb") as file:
        file.write(b"".join(os.fsencode(path) + b"\0" for path in paths))
    with open(listing, "rb") as file:
        command = ("add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul")
        more = {**environment, "GIT_LITERAL_PATHSPECS": "1"}
        return Git(top, *command, environment=more, stdin=file.fileno()).answer() is not None


def _head(commit: str, left_out: list[str]) -> bytes:
    """What Git ignores before the first file of a patch."""

    def lines() -> Iterator[str]:
        yield f"# To have the source of this run: git checkout {commit} && git apply {PATCH}"
        for text in left_out:
            yield f"# Left out: {text.encode('unicode_escape', 'surrogateescape').decode('ascii')}"

    return "".join(f"{line}\n" for line in lines()).encode()


def share_patch(of_batch: Path, runs: Iterable[Path]) -> None:
    """Give each of the runs the patch of its batch, if that has one: the batch may be deleted, and they stay.

    Raises:
        OSError: it can't be read or written.
    """
    first = patch_path(of_batch)
    try:
        source = os.open(first, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        is_small = os.fstat(source).st_size <= MOST_COPIED
        for path in map(patch_path, runs):
            # What has this name may be one file with the patches of others.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            if not _cloned(source, path) and (is_small or not _linked(first, path)):
                _copy(source, path)
    finally:
        os.close(source)


def _cloned(source: int, path: str) -> bool:
    target = _create(path)
    try:
        done = clone(source, target)
    finally:
        os.close(target)
    if not done:
        os.unlink(path)
    return done


def _linked(first: str, path: str) -> bool:
    try:
        os.chmod(first, 0o400)
        os.link(first, path)
    except OSError:
        # They are on two file systems, or this one knows no such links.
        return False
    return True


def _copy(source: int, path: str) -> None:
    target = _create(path)
    try:
        write_all(target, os.pread(source, os.fstat(source).st_size, 0))
    finally:
        os.close(target)


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
