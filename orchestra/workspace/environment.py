"""What a run's environment was: the computer, the interpreter with what is installed for it, the variables.

Nothing is started or imported for that: names of folders tell what is installed.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from orchestra.model import versions
from orchestra.model.encoding import encode
from orchestra.model.redaction import allowed_environment, is_secret, redact_text
from orchestra.workspace.codec import read_bytes, read_record
from orchestra.workspace.durable import write_atomic

ENVIRONMENT = "environment.json"

_LOCK_FILES = (
    ".python-version",
    "Pipfile.lock",
    "conda-lock.yml",
    "environment.yaml",
    "environment.yml",
    "pdm.lock",
    "pixi.lock",
    "poetry.lock",
    "pylock.toml",
    "pyproject.toml",
    "uv.lock",
)
_REQUIREMENTS = re.compile(r"requirements[^/]*\.(?:txt|in)")
_MOST_OF_A_FILE = 10 << 20
_VERSION = re.compile(r"python(3\.[0-9]+)")
_EGG_PYTHON = re.compile(r"-py[23](?:\.[0-9]+)?$")


class PythonRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The interpreter of an operation."""

    executable: str
    version: str | None = None
    packages: dict[str, str] | None = None
    """The installed distributions with their versions; None: not looked for, or not found."""
    origins: dict[str, str] = {}
    """Where those came from that no index has: an address or a folder, with the commit."""


class LockFile(Struct, frozen=True, kw_only=True):
    """A file of the project that says what should be installed."""

    path: str
    """Relative to the project."""
    sha256: str


class EnvironmentRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was there when an attempt was started."""

    schema: int = versions.FIRST
    captured: int
    """Microseconds since the epoch."""
    platform: dict[str, str] = {}
    cpus: int | None = None
    usable_cpus: int | None = None
    memory: int | None = None
    """Bytes."""
    python: PythonRecord | None = None
    lock_files: tuple[LockFile, ...] = ()
    variables: dict[str, str] = {}
    withheld: tuple[str, ...] = ()
    """Names of the variables whose values are not recorded."""


def write_environment(attempt_dir: Path, record: EnvironmentRecord) -> None:
    """Write the record of an attempt.

    Raises:
        HomeError, StoreUnavailable: it can't be written.
    """
    write_atomic(os.path.join(attempt_dir, ENVIRONMENT), encode(record) + b"\n", fsync=False)


def read_environment(attempt_dir: Path) -> EnvironmentRecord | None:
    """The record of an attempt; None where there is none.

    Raises:
        RunBroken, StoreUnavailable: it can't be read.
    """
    return read_record(os.path.join(attempt_dir, ENVIRONMENT), EnvironmentRecord, versions.ENVIRONMENT)


def describe_variables(
    inherited: Mapping[str, str],
    added: Mapping[str, str],
    secret: Sequence[str] = (),
    *,
    allowed: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], tuple[str, ...]]:
    """What may be recorded of an operation's environment, and the names of the rest.

    Of ``inherited`` that is what is on the list (``allowed``, if that is known already), of ``added`` all but
    secrets; ``secret`` names what is never recorded, and flags are recorded as such.
    """
    if allowed is None:
        allowed = allowed_environment(inherited)
    added = {name: value for name, value in added.items() if not name.startswith("FLAG_")}
    recorded = {name: value for name, value in allowed.items() if name not in added}
    recorded |= {name: value for name, value in added.items() if not is_secret(name, value)}
    variables = {
        name: recorded[name]
        for name in sorted(recorded)
        if name not in secret and not name.startswith("FLAG_")
    }
    withheld = (inherited.keys() | added.keys()) - variables.keys()
    return variables, tuple(sorted(name for name in withheld if not name.startswith("FLAG_")))


def describe_computer() -> dict[str, str]:
    """The operating system and the kind of processor."""
    told = os.uname()
    return {
        "system": told.sysname,
        "release": told.release,
        "version": told.version,
        "machine": told.machine,
        "host": told.nodename,
    }


def usable_cpus() -> int | None:
    """The processors that this process may use, where that is known."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def memory() -> int | None:
    """The computer's memory in bytes, where that is known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


class LockFiles:
    """The files of projects that say what should be installed. One that has not changed is not read again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int], LockFile]] = {}

    def of(self, project: str) -> tuple[LockFile, ...]:
        """Those of ``project``, as they are now."""
        found = (
            self._describe(project, name)
            for name in _names(project)
            if name in _LOCK_FILES or (name.startswith("requirements") and _REQUIREMENTS.fullmatch(name))
        )
        return tuple(one for one in found if one is not None)

    def _describe(self, project: str, name: str) -> LockFile | None:
        from hashlib import sha256

        path = os.path.join(project, name)
        try:
            status = os.stat(path)
            signature = (status.st_size, status.st_mtime_ns)
            known = self._known.get(path)
            if known is not None and known[0] == signature:
                return known[1]
            if status.st_size > _MOST_OF_A_FILE or not stat.S_ISREG(status.st_mode):
                return None
            file = LockFile(path=name, sha256=sha256(read_bytes(path)).hexdigest())
        except OSError:
            return None
        self._known[path] = (signature, file)
        return file


class Interpreter:
    """A Python interpreter as its folders describe it."""

    def __init__(self, executable: str) -> None:
        self.executable = executable
        self._is_ours = executable == sys.executable
        self._prefix = os.path.dirname(os.path.dirname(os.path.abspath(executable)))
        self._settings = _venv_settings(self._prefix)
        self.version = self._version()
        self.folders = tuple(dict.fromkeys(self._folders()))
        """Where its distributions are, in the order in which it looks for them."""

    @property
    def signature(self) -> tuple[tuple[str, int], ...]:
        """Changes when something is installed or removed."""
        return tuple((folder, _changed(folder)) for folder in self.folders)

    def describe(self, *, with_packages: bool) -> PythonRecord:
        """Its record."""
        if not with_packages or not self.folders:
            return PythonRecord(executable=self.executable, version=self.version)
        packages, origins = installed(self.folders)
        return PythonRecord(
            executable=self.executable, version=self.version, packages=packages, origins=origins
        )

    def _version(self) -> str | None:
        if self._is_ours:
            return ".".join(map(str, sys.version_info[:3]))
        told = self._settings.get("version") or self._settings.get("version_info", "")
        if told:
            return ".".join(told.split(".")[:3])
        found = _VERSION.search(os.path.basename(os.path.realpath(self.executable)))
        if found:
            return found[1]
        folders = [name for name in _names(os.path.join(self._prefix, "lib")) if _VERSION.fullmatch(name)]
        return folders[0].removeprefix("python") if len(folders) == 1 else None

    def _folders(self) -> Iterator[str]:
        if self._is_ours:
            for path in sys.path:
                if os.path.basename(path) in ("site-packages", "dist-packages"):
                    yield path
            return
        yield from _folders_of(self._prefix, self.version)
        if self._settings.get("include-system-site-packages", "").lower() == "true":
            yield from _folders_of(os.path.dirname(self._settings.get("home", "/none/bin")), self.version)


def _folders_of(prefix: str, version: str | None) -> Iterator[str]:
    minor = ".".join((version or "").split(".")[:2])
    candidates = (
        f"{prefix}/lib/python{minor}/site-packages",
        f"{prefix}/lib64/python{minor}/site-packages",
        f"{prefix}/local/lib/python{minor}/dist-packages",
        f"{prefix}/lib/python3/dist-packages",
    )
    seen: set[str] = set()
    for folder in candidates:
        real = os.path.realpath(folder)
        if os.path.isdir(folder) and real not in seen:
            seen.add(real)
            yield folder


def _venv_settings(prefix: str) -> dict[str, str]:
    try:
        text = read_bytes(os.path.join(prefix, "pyvenv.cfg")).decode(errors="replace")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def installed(folders: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The distributions in ``folders`` with their versions, and where some came from; the first of a name counts."""
    packages: dict[str, str] = {}
    origins: dict[str, str] = {}
    for folder in folders:
        for entry in _names(folder):
            named = _distribution(entry)
            if named is None or named[0] in packages:
                continue
            name, version = named
            packages[name] = version
            if origin := _origin(os.path.join(folder, entry, "direct_url.json")):
                origins[name] = origin
    return dict(sorted(packages.items(), key=lambda item: item[0].lower())), dict(sorted(origins.items()))


def _distribution(entry: str) -> tuple[str, str] | None:
    if entry.endswith(".dist-info"):
        stem = entry.removesuffix(".dist-info")
    elif entry.endswith(".egg-info"):
        stem = _EGG_PYTHON.sub("", entry.removesuffix(".egg-info"))
    else:
        return None
    name, separator, version = stem.rpartition("-")
    if not separator:
        name, version = stem, ""
    return name.replace("_", "-"), version


def _origin(path: str) -> str | None:
    """What pip keeps of a distribution that came from no index."""
    import json

    try:
        told = json.loads(read_bytes(path))
        commit = told.get("vcs_info", {}).get("commit_id", "")
        return redact_text(str(told["url"])) + (f"@{commit}" if commit else "")
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _changed(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0
