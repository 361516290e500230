"""Records as JSON: fast for nearly all, exact for the rest.

Values that JSON or UTF-8 have no form for must survive all the same, for flags are typed values of any script
and arguments are bytes: numbers that are not finite become ``NaN`` and ``Infinity``, bytes that are not UTF-8
become lone surrogates (``\\udcff``), both as Python's own ``json`` writes and reads them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import msgspec

from orchestra.errors import OrchestraError, RunBroken, StoreUnavailable
from orchestra.workspace.durable import storage_error

T = TypeVar("T")

READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""How records are opened: a pipe in the place of one must not hold us up."""

_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}
_encoder = msgspec.json.Encoder()


def encode(record: object) -> bytes:
    """``record`` as one line of JSON, without a newline."""
    try:
        data = _encoder.encode(record)
    except UnicodeEncodeError:
        return _encode_odd(record)
    if b"null" in data and not _is_finite((msgspec.to_builtins(record),)):
        return _encode_odd(record)
    return data


def decode(data: bytes, kind: type[T]) -> T:
    """The inverse of :func:`encode`; fields that ``kind`` doesn't know are ignored.

    Raises:
        ValueError: it is no such record, e.g. because it is torn.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return cast(T, decoder.decode(data))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except msgspec.DecodeError as error:
        return _decode_odd(data, kind, error)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_record(path: str | os.PathLike[str], kind: type[T]) -> T | None:
    """The record in file ``path``; None when there is no such file.

    Raises:
        RunBroken: the file is torn, of another kind, or can't be read.
        StoreUnavailable: it can't be read just now.
    """
    try:
        data = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(error, path) from error
    try:
        return decode(data, kind)
    except ValueError as error:
        raise damaged(path, data, error) from error


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


def _encode_odd(record: object) -> bytes:
    import json

    return json.dumps(msgspec.to_builtins(record), separators=(",", ":")).encode()


def _decode_odd(data: bytes, kind: type[T], reason: msgspec.DecodeError) -> T:
    import json

    try:
        plain = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError(str(reason)) from reason
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _is_finite(values: Iterable[Any]) -> bool:
    for value in values:
        if isinstance(value, float):
            if not math.isfinite(value):
                return False
        elif isinstance(value, dict):
            if not _is_finite(cast(dict[Any, Any], value).values()):
                return False
        elif isinstance(value, (list, tuple)) and not _is_finite(cast(list[Any], value)):
            return False
    return True
