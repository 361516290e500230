"""Records in files: read whole, and what is wrong with one that can't be read, in a sentence."""

from __future__ import annotations

import os
from typing import TypeVar

from msgspec import Struct

from orchestra.errors import OrchestraError, RunBroken, StoreUnavailable
from orchestra.model import versions
from orchestra.model.encoding import decode
from orchestra.workspace.durable import storage_error

T = TypeVar("T")

READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""How records are opened: a pipe in the place of one must not hold us up."""


class _Versioned(Struct, frozen=True):
    schema: int = versions.FIRST


def read_record(path: str | os.PathLike[str], kind: type[T], known: int = versions.FIRST) -> T | None:
    """The record in file ``path``; None when there is no such file. ``known``: its newest version that we can read.

    Raises:
        RunBroken: the file is torn, of another kind or a newer version, or can't be read.
        StoreUnavailable: it can't be read just now.
    """
    try:
        data = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(error, path) from error
    return decode_record(data, kind, path, known)


def decode_record(data: bytes, kind: type[T], path: str | os.PathLike[str], known: int = versions.FIRST) -> T:
    """The record that ``data``, the content of file ``path``, is.

    Raises:
        RunBroken: it is torn, of another kind or a newer version.
    """
    if (version := version_of(data)) > known:
        raise newer(path, version, known)
    try:
        return decode(data, kind)
    except ValueError as error:
        raise damaged(path, data, error) from error


def version_of(data: bytes) -> int:
    """The version that a record says it is of."""
    if b'"schema"' not in data:
        return versions.FIRST
    try:
        return decode(data, _Versioned).schema
    except ValueError:
        # What is wrong with it is told by whoever knows what it is to be.
        return versions.FIRST


def newer(path: str | os.PathLike[str], version: int, known: int) -> RunBroken:
    """The error for a record of a version that we don't know: it might mean another thing than we take it for."""
    return RunBroken(
        f"'{os.fspath(path)}' was written by a newer version of orchestra (schema {version}, we know {known})",
        "Upgrade orchestra to use it.",
    )


def unreadable(error: OSError, path: str | os.PathLike[str]) -> OrchestraError:
    """The error that says why the record in file ``path`` can't be read: never broken for what may pass."""
    passing = storage_error(error, path)
    return passing if isinstance(passing, StoreUnavailable) else RunBroken(passing.message)


def damaged(path: str | os.PathLike[str], data: bytes, error: ValueError) -> RunBroken:
    """The error that says what is wrong with the record in file ``path``."""
    if not data.strip(b"\0 \n"):
        return RunBroken(f"'{os.fspath(path)}' is damaged: it is empty")
    return RunBroken(f"'{os.fspath(path)}' is damaged: {error}")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a small file."""
    descriptor = os.open(path, READ)
    try:
        try:
            return read_open(descriptor)
        except OSError as error:
            error.filename = os.fspath(path)
            raise
    finally:
        os.close(descriptor)


def read_open(descriptor: int) -> bytes:
    """The content of a small file that is open."""
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, size + 1, 0)
    while more := os.pread(descriptor, 1 << 16, len(data)) if len(data) != size else b"":
        data += more
    return data
