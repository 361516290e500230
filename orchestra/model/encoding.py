"""Records as JSON and back: fast for nearly all, exact for the rest.

Values that JSON or UTF-8 have no form for must survive all the same, for flags are typed values of any script
and arguments are bytes: numbers that are not finite become ``NaN`` and ``Infinity``, bytes that are not UTF-8
become lone surrogates (``\\udcff``), both as Python's own ``json`` writes and reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import msgspec
from msgspec import structs

from orchestra.errors import StoreError
from orchestra.model.run import Run

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def encode(record: object) -> bytes:
    """``record`` as one line of JSON, without a newline.

    Raises:
        TypeError: it holds a value that no record can hold.
        ValueError: it is nested too deeply.
    """
    try:
        data = _encoder.encode(record)
        # The encoder writes NaN and the infinities as null, which defaults aside is rare.
        if b"null" in data and not _is_finite((msgspec.to_builtins(record),)):
            return _encode_odd(record)
    except UnicodeEncodeError:
        return _encode_odd(record)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
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


def encode_run(run: Run) -> bytes:
    """:func:`encode` for what a store keeps of a run."""
    return encode(run)


def encode_unleased(run: Run) -> bytes:
    """:func:`encode_run` for a store that keeps the lease beside the record.

    Raises:
        StoreError: it holds a value that no record can hold.
    """
    try:
        return encode_run(run if run.lease is None else structs.replace(run, lease=None))
    except (TypeError, ValueError) as error:
        raise StoreError(f"run {run.id} can't be recorded: {error}") from error


def decode_run(record: bytes) -> Run:
    """:func:`decode` for what a store has kept of a run."""
    return decode(record, Run)


def _encode_odd(record: object) -> bytes:
    import json

    return json.dumps(msgspec.to_builtins(record), separators=(",", ":")).encode("ascii")


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
