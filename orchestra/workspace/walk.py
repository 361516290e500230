"""Which files of a project folder are its source.

In a Git repository those that Git tracks, or would add; elsewhere text files, few and small. The project's own
rules go over both.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestra.errors import ScriptError
from orchestra.workspace.file_kinds import (
    head_of,
    is_our_crate,
    is_our_page,
    is_private_key,
    is_secret_name,
    is_text,
)
from orchestra.workspace.git import GitFiles, refusal

if TYPE_CHECKING:
    from orchestra.model.ignore import IgnorePattern
    from orchestra.model.operation import SourceRule
    from orchestra.model.source_rules import SourceRules

NOCOPY = (".orchestra-nocopy", ".guild-nocopy")
"""A file of such a name keeps the folder that holds it out of every snapshot."""

IGNORE_FILES = (".orchestraignore", ".guildignore")
"""Files in the project's folder with patterns as in ``.gitignore``, for what Git tracks, too."""

MAX_FILES = 100
MAX_SIZE = 1 << 20
MAX_LOOKED_AT = 20_000
"""Files and folders: looking ends there, so that a data set beside the script can't hold up a run."""

_SKIPPED_FOLDERS = ("__pycache__", "build", "dist")
_ENVIRONMENTS = ("bin/activate", "Scripts/activate", "pyvenv.cfg", "conda-meta/history")
_RUN_DIRECTORIES = (".orchestra/run.json", ".guild/attrs")
_ARCHIVE = "orchestra-archive.json"
_CRATE = "ro-crate-metadata.json"
_CONTROL = (".orchestra", ".guild")
_NEVER = (*_CONTROL, ".git")
"""Folders that no rule can open."""
_HOW_TO_CONTROL = (
    "To control which files are copied, define 'sourcecode' for the operation in a project file."
)


class Found(NamedTuple):
    """A file that belongs to the source."""

    path: str
    """Relative, with ``/`` between its parts."""
    required: bool
    """It was asked for by name."""


class Walked(NamedTuple):
    """What a walk came to."""

    files: tuple[Found, ...]
    """Sorted by path."""
    skipped: tuple[str, ...]
    """What was looked at and left out, sorted."""
    warnings: tuple[str, ...]
    in_git: bool = False


class _Folder(NamedTuple):
    path: str
    relative: str
    real: str
    """Relative to the root, too, but without links: how Git knows it."""
    identity: tuple[int, int]
    parent: _Folder | None


def walk(
    root: str,
    *,
    always: Sequence[str] = (),
    excluded: Sequence[Path] = (),
    rules: Sequence[SourceRule] = (),
) -> Walked:
    """The source files below ``root``, and those of ``always`` (relative), which no rule keeps out.

    ``excluded`` are folders that are kept out wherever they are met; ``rules`` are the project's own.

    Raises:
        ScriptError: one of ``always`` is not a file of the project.
    """
    required = {_check(root, path) for path in always}
    walker = _Walker(root, excluded, _compiled(root, rules))
    found = walker.run() | required
    files = tuple(Found(path, path in required) for path in sorted(found))
    skipped = tuple(sorted(path for path in walker.skipped if path not in found))
    return Walked(files, skipped, tuple(walker.warnings()), walker.git is not None)


def _compiled(root: str, rules: Sequence[SourceRule]) -> SourceRules | None:
    if not rules:
        return None
    from orchestra.model.source_rules import SourceRules

    return SourceRules(rules, lambda path: os.path.isdir(os.path.join(root, path)))


def _check(root: str, path: str) -> str:
    relative = os.path.normpath(path)
    if os.path.isabs(relative) or relative.split(os.sep, 1)[0] == "..":
        raise ScriptError(f"'{path}' is not part of the project in '{root}'")
    target = os.path.join(root, relative)
    if not os.path.isfile(target):
        reason = "is not a file" if os.path.lexists(target) else "does not exist"
        raise ScriptError(f"'{target}' {reason}", "Check the name of the script.")
    return relative


class _Walker:
    def __init__(self, root: str, excluded: Sequence[Path], rules: SourceRules | None) -> None:
        self.root = root
        self.looked_at = 0
        self.skipped: list[str] = []
        self.git = GitFiles.of(root)
        self._refusal = refusal(root) if self.git is None else ""
        self._rules = rules
        self._ignored = _ignore_file(root)
        self._by_default = 0
        self._max_size, self._max_files = limits()
        self._excluded = {identity for path in excluded if (identity := _identity(path)) is not None}
        self._too_big: list[str] = []
        self._outside: list[str] = []
        self._too_many = False
        self._gave_up = False

    def run(self) -> set[str]:
        """The paths of the files that the rules take."""
        found: set[str] = set()
        for folder, entry in self._files():
            path = folder.relative + entry.name
            if self._takes(entry, path, folder):
                found.add(path)
            elif self._too_many and self._rules is None:
                break
            else:
                self.skipped.append(path)
        return found

    def warnings(self) -> Iterator[str]:
        """What the user should know, a sentence each."""
        if self._refusal:
            yield (
                f"Git refuses the repository of '{self.root}' ({self._refusal}): source code files are chosen as if "
                "there were none, and no commit is recorded. If you trust it, use "
                "'git config --global --add safe.directory PATH'."
            )
        if self._too_many:
            yield (
                f"Found more than {self._max_files} source code files but will only copy {self._max_files} "
                f"as a safety measure. {_HOW_TO_CONTROL}"
            )
        if self._gave_up:
            yield (
                f"Looked at {MAX_LOOKED_AT} files for source code and will copy what was found so far. "
                f"{_HOW_TO_CONTROL}"
            )
        if self._too_big:
            yield f"Skipping source code file {_named(self._too_big)}. {_HOW_TO_CONTROL}"
        if self._outside:
            names = ", ".join(self._outside[:3]) + (" ..." if len(self._outside) > 3 else "")
            leads = "it leads" if len(self._outside) == 1 else "they lead"
            links = "link" if len(self._outside) == 1 else "links"
            yield f"Skipping {links} {names} because {leads} to a folder outside of the project. {_HOW_TO_CONTROL}"

    def _files(self) -> Iterator[tuple[_Folder, os.DirEntry[str]]]:
        identity = _identity(self.root)
        if identity is None or _holds(self.root, NOCOPY):
            return
        folders = [_Folder(self.root, "", "", identity, None)]
        is_bounded = self.git is None and self._rules is None
        while folders:
            folder = folders.pop()
            inner: list[os.DirEntry[str]] = []
            for entry in _entries(folder.path):
                if is_bounded and self.looked_at >= MAX_LOOKED_AT:
                    self._gave_up = True
                    return
                if _is_folder(entry):
                    inner.append(entry)
                    continue
                self.looked_at += 1
                yield folder, entry
            found = [self._enter(entry, folder) for entry in inner]
            folders += [each for each in reversed(found) if each is not None]

    def _enter(self, entry: os.DirEntry[str], parent: _Folder) -> _Folder | None:
        path = parent.relative + entry.name
        identity = _identity(entry.path)
        if identity is None or identity in self._excluded or entry.name in _NEVER:
            return None
        real = parent.real + entry.name
        if entry.is_symlink():
            if _is_inside(identity, parent):
                return None
            real = os.path.relpath(os.path.realpath(entry.path), os.path.realpath(self.root))
        if _holds(entry.path, (*NOCOPY, *_RUN_DIRECTORIES)):
            return None

        def by_default() -> bool:
            return self._enters_by_default(entry, path, real)

        if not (by_default() if self._rules is None else self._rules.enters(path, by_default)):
            return None
        return _Folder(entry.path, f"{path}/", f"{real}/", identity, parent)

    def _enters_by_default(self, entry: os.DirEntry[str], path: str, real: str) -> bool:
        if _is_ignored(self._ignored, path, folder=True):
            return False
        if self.git is None:
            return not (
                entry.name.startswith(".")
                or entry.name in _SKIPPED_FOLDERS
                or entry.name.endswith(".egg-info")
                or _holds(entry.path, _ENVIRONMENTS)
                or _is_export(entry.path)
            )
        if real.split("/", 1)[0] == "..":
            if path in self.git.tracked:
                self._outside.append(path)
            return False
        if real in self.git.tracked_folders:
            return True
        return real in self.git.untracked_folders and not (
            entry.name == "__pycache__" or _holds(entry.path, _ENVIRONMENTS) or _is_export(entry.path)
        )

    def _takes(self, entry: os.DirEntry[str], path: str, folder: _Folder) -> bool:
        try:
            status = entry.stat()
            if not stat.S_ISREG(status.st_mode):
                return False

            def by_default() -> bool:
                if _is_ignored(self._ignored, path, folder=False):
                    return False
                if self.git is not None:
                    return self._takes_in_git(entry, folder.real + entry.name)
                return self._takes_outside_git(entry, path, status.st_size)

            if self._rules is None:
                return by_default()
            if not self._rules.takes(path, by_default, lambda: is_text(head_of(entry.path))):
                return False
            # A pattern that happens to match a secret is no reason to spread it.
            return not _is_secret(entry) or self._rules.names(path) or by_default()
        except OSError:
            return False

    def _takes_in_git(self, entry: os.DirEntry[str], real: str) -> bool:
        assert self.git is not None
        if entry.name.startswith(".git") or entry.name in IGNORE_FILES:
            return False
        if real in self.git.tracked:
            return True
        # What is in Git is no secret, but what just lies there may be.
        if real not in self.git.untracked or _is_secret(entry):
            return False
        head = head_of(entry.path)
        return not (is_private_key(head) or is_our_page(head))

    def _takes_outside_git(self, entry: os.DirEntry[str], path: str, size: int) -> bool:
        if _is_secret(entry):
            return False
        head = head_of(entry.path)
        if not is_text(head) or is_private_key(head) or is_our_page(head):
            return False
        if size > self._max_size:
            self._too_big.append(path)
            return False
        if self._by_default >= self._max_files:
            self._too_many = True
            return False
        self._by_default += 1
        return True


def _ignore_file(root: str) -> tuple[IgnorePattern, ...]:
    lines: list[str] = []
    for name in IGNORE_FILES:
        try:
            with open(os.path.join(root, name), encoding="utf-8", errors="surrogateescape") as file:
                lines += file
        except OSError:
            continue
    if not lines:
        return ()
    from orchestra.model.ignore import parse_ignore

    return parse_ignore(lines)


def _is_ignored(patterns: tuple[IgnorePattern, ...], path: str, *, folder: bool) -> bool:
    if not patterns:
        return False
    from orchestra.model.ignore import is_ignored

    return is_ignored(patterns, path, folder=folder)


def _named(paths: Sequence[str]) -> str:
    if len(paths) == 1:
        return f"{paths[0]} because it's too big"
    return f"{paths[0]} and {len(paths) - 1} more because they're too big"


def _is_secret(entry: os.DirEntry[str]) -> bool:
    if is_secret_name(entry.name):
        return True
    return entry.is_symlink() and is_secret_name(os.path.basename(os.path.realpath(entry.path)))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_inside(identity: tuple[int, int], folder: _Folder | None) -> bool:
    while folder is not None:
        if folder.identity == identity:
            return True
        folder = folder.parent
    return False


def _holds(folder: str, names: Sequence[str]) -> bool:
    return any(os.path.lexists(os.path.join(folder, name)) for name in names)


def _is_export(folder: str) -> bool:
    """Whether runs were exported to the folder: what they used and made is no source of the next ones."""
    if _holds(folder, (_ARCHIVE,)):
        return True
    crate = os.path.join(folder, _CRATE)
    try:
        # Crates of others may well be source. One that is a pipe would never end.
        return os.path.isfile(crate) and is_our_crate(head_of(crate))
    except OSError:
        return False


def limits() -> tuple[int, int]:
    """The biggest size, and the number, of the files that are taken of a project that is not in Git."""
    size = _limit("MAX_DEFAULT_SOURCECODE_FILE_SIZE", MAX_SIZE)
    return size, _limit("MAX_DEFAULT_SOURCECODE_COUNT", MAX_FILES)


def _limit(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() else default
