"""The manifest of a run: which files of its directory were copied there, and from where.

A line for each: its kind (``s`` for source), its path in the run's directory, the SHA-256 of its content, and where
it came from, with a space between them. Bytes that would disturb a line are written as ``%`` and two digits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from orchestra.errors import RunBroken
from orchestra.workspace.codec import read_bytes, unreadable
from orchestra.workspace.durable import make_dirs, write_atomic
from orchestra.workspace.layout import CONTROL

MANIFEST = "manifest"
SOURCE = "s"

_DISTURBING = re.compile(rb"[\x00-\x20%\x7f]")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")


class ManifestEntry(Struct, frozen=True, kw_only=True):
    """One copied file."""

    kind: str
    path: str
    """Relative to the run's directory."""
    digest: str
    """SHA-256; empty where it isn't known."""
    origin: str
    """An absolute path."""


def render(entries: Iterable[ManifestEntry]) -> bytes:
    """The lines of ``entries``."""
    return b"".join(
        b" ".join(map(_escape, (entry.kind, entry.path, entry.digest or "-", entry.origin))) + b"\n"
        for entry in entries
    )


def parse(data: bytes) -> tuple[ManifestEntry, ...]:
    """The entries of a manifest.

    Raises:
        ValueError: a line has other than four parts.
    """
    entries: list[ManifestEntry] = []
    for line in data.splitlines():
        kind, path, digest, origin = map(_unescape, line.split(b" "))
        entries.append(
            ManifestEntry(kind=kind, path=path, digest="" if digest == "-" else digest, origin=origin)
        )
    return tuple(entries)


def _escape(text: str) -> bytes:
    return _DISTURBING.sub(lambda found: b"%%%02X" % found[0][0], os.fsencode(text))


def _unescape(data: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), data))


def write_manifest(run_dir: Path, data: bytes) -> None:
    """Write the manifest of the run in ``run_dir``.

    Raises:
        HomeError, StoreUnavailable: it can't be written.
    """
    folder = os.path.join(run_dir, CONTROL)
    make_dirs(folder)
    write_atomic(os.path.join(folder, MANIFEST), data, fsync=False)


def read_raw_manifest(run_dir: str | Path) -> bytes:
    """The manifest's lines; nothing where the run has none.

    Raises:
        RunBroken, StoreUnavailable: it can't be read.
    """
    path = os.path.join(run_dir, CONTROL, MANIFEST)
    try:
        return read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise unreadable(error, path) from error


def read_manifest(run_dir: str | Path) -> tuple[ManifestEntry, ...]:
    """What was copied into the run's directory.

    Raises:
        RunBroken, StoreUnavailable: it can't be read.
    """
    data = read_raw_manifest(run_dir)
    try:
        return parse(data)
    except ValueError as error:
        path = os.path.join(run_dir, CONTROL, MANIFEST)
        raise RunBroken(f"'{path}' is damaged: a line has other than four parts") from error
