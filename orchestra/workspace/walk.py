"""Which files of a project folder are its source, by the rules for a project that is not in Git."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestra.errors import ScriptError

NOCOPY = (".orchestra-nocopy", ".guild-nocopy")
"""A file of such a name keeps the folder that holds it out of every snapshot."""

MAX_FILES = 100
MAX_SIZE = 1 << 20
MAX_LOOKED_AT = 20_000
"""Files and folders: looking ends there, so that a data set beside the script can't hold up a run."""

_SKIPPED_FOLDERS = ("__pycache__", "build", "dist")
_ENVIRONMENTS = ("bin/activate", "Scripts/activate", "pyvenv.cfg", "conda-meta/history")
_RUN_DIRECTORIES = (".orchestra/run.json", ".guild/attrs")
_CONTROL = (".orchestra", ".guild")
_SECRET_NAMES = frozenset((".env", ".envrc", ".git-credentials", ".netrc", "_netrc", ".pgpass", ".pypirc"))
_SECRET_BEGINNINGS = (".env.", "id_dsa", "id_ecdsa", "id_ed25519", "id_rsa")
_SECRET_ENDINGS = (".key", ".p12", ".pem", ".pfx")
_NO_SECRETS = (".example", ".pub", ".sample", ".template")
_HOW_TO_CONTROL = (
    "To control which files are copied, define 'sourcecode' for the operation in a project file."
)
_HEAD = 8192
_CONTROL_CHARACTERS = bytes(set(range(32)) - set(b"\b\t\n\f\r\x1b")) + b"\x7f"
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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
    skipped: int
    warnings: tuple[str, ...]


class _Folder(NamedTuple):
    path: str
    relative: str
    identity: tuple[int, int]
    parent: _Folder | None


def walk(root: str, *, always: Sequence[str] = (), excluded: Sequence[Path] = ()) -> Walked:
    """The source files below ``root``, and those of ``always`` (relative), which no rule keeps out.

    ``excluded`` are folders that are kept out wherever they are met.

    Raises:
        ScriptError: one of ``always`` is not a file of the project.
    """
    required = {_check(root, path) for path in always}
    walker = _Walker(root, excluded)
    found = walker.run() | required
    files = tuple(Found(path, path in required) for path in sorted(found))
    return Walked(files, walker.looked_at - len(found & walker.seen), tuple(walker.warnings()))


def walk_all(root: str) -> Walked:
    """Every file below ``root``, a run's directory: what a snapshot left there, without our own records."""
    found: list[Found] = []
    folders = [""]
    while folders:
        relative = folders.pop()
        for entry in _entries(os.path.join(root, relative)):
            path = relative + entry.name
            if entry.is_dir(follow_symlinks=False):
                if path not in _CONTROL:
                    folders.append(f"{path}/")
            elif entry.is_file():
                found.append(Found(path, True))
    return Walked(tuple(sorted(found)), 0, ())


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
    def __init__(self, root: str, excluded: Sequence[Path]) -> None:
        self.root = root
        self.looked_at = 0
        self.seen: set[str] = set()
        self._max_files = _limit("MAX_DEFAULT_SOURCECODE_COUNT", MAX_FILES)
        self._max_size = _limit("MAX_DEFAULT_SOURCECODE_FILE_SIZE", MAX_SIZE)
        self._excluded = {identity for path in excluded if (identity := _identity(path)) is not None}
        self._too_big: list[str] = []
        self._too_many = False
        self._gave_up = False

    def run(self) -> set[str]:
        """The paths of the files that the rules take."""
        for path in self._source_files():
            if len(self.seen) >= self._max_files:
                self._too_many = True
                break
            self.seen.add(path)
        return set(self.seen)

    def warnings(self) -> Iterator[str]:
        """What the user should know, a sentence each."""
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
        if len(self._too_big) == 1:
            yield f"Skipping source code file {self._too_big[0]} because it's too big. {_HOW_TO_CONTROL}"
        elif self._too_big:
            yield (
                f"Skipping source code file {self._too_big[0]} and {len(self._too_big) - 1} more because "
                f"they're too big. {_HOW_TO_CONTROL}"
            )

    def _source_files(self) -> Iterator[str]:
        identity = _identity(self.root)
        if identity is None or _holds(self.root, NOCOPY):
            return
        folders = [_Folder(self.root, "", identity, None)]
        while folders:
            folder = folders.pop()
            inner: list[os.DirEntry[str]] = []
            for entry in _entries(folder.path):
                if self.looked_at >= MAX_LOOKED_AT:
                    self._gave_up = True
                    return
                if _is_folder(entry):
                    inner.append(entry)
                    continue
                self.looked_at += 1
                if self._is_source(entry, folder.relative + entry.name):
                    yield folder.relative + entry.name
            found = [self._enter(entry, folder) for entry in inner]
            folders += [each for each in reversed(found) if each is not None]

    def _enter(self, entry: os.DirEntry[str], parent: _Folder) -> _Folder | None:
        name = entry.name
        if name.startswith(".") or name in _SKIPPED_FOLDERS or name.endswith(".egg-info"):
            return None
        identity = _identity(entry.path)
        if identity is None or identity in self._excluded:
            return None
        if entry.is_symlink() and _is_inside(identity, parent):
            return None
        if _holds(entry.path, (*NOCOPY, *_ENVIRONMENTS, *_RUN_DIRECTORIES)):
            return None
        return _Folder(entry.path, f"{parent.relative}{name}/", identity, parent)

    def _is_source(self, entry: os.DirEntry[str], path: str) -> bool:
        try:
            status = entry.stat()
            if not stat.S_ISREG(status.st_mode) or is_secret_name(entry.name):
                return False
            if entry.is_symlink() and is_secret_name(os.path.basename(os.path.realpath(entry.path))):
                return False
            with open(entry.path, "rb", buffering=0) as file:
                head = file.read(_HEAD)
        except OSError:
            return False
        if not is_text(head) or _is_private_key(head):
            return False
        if status.st_size > self._max_size:
            self._too_big.append(path)
            return False
        return True


def is_secret_name(name: str) -> bool:
    """Whether a file of this name is likely to hold a secret."""
    if name.endswith(_NO_SECRETS):
        return False
    return name in _SECRET_NAMES or name.startswith(_SECRET_BEGINNINGS) or name.endswith(_SECRET_ENDINGS)


def is_text(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is text: UTF-8, UTF-16 with its mark, or one byte a letter."""
    if head.startswith(_MARKS):
        return True
    if b"\0" in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        # Latin-1 and its like: nearly all is printable, and ASCII prevails.
        odd = len(head) - len(head.translate(None, _CONTROL_CHARACTERS))
        high = len(head) - len(head.translate(None, bytes(range(128, 256))))
        return odd == 0 and high * 10 < len(head) * 3
    return len(head) - len(head.translate(None, _CONTROL_CHARACTERS)) <= len(head) // 10


def _is_private_key(head: bytes) -> bool:
    first = head.lstrip().split(b"\n", 1)[0]
    return first.startswith(b"-----BEGIN ") and b"PRIVATE KEY" in first


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


def _limit(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() else default
