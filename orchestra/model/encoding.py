"""A run as JSON and back, losing nothing: neither NaN and infinities nor undecodable bytes of arguments."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from orchestra.model.run import Run

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Run)


def encode_run(run: Run) -> bytes:
    """The record of ``run``: UTF-8 JSON, in Python's dialect (``NaN``, lone surrogates) only where it must.

    Raises:
        TypeError: a flag has a value that is none of :data:`~orchestra.model.operation.FlagValue`.
    """
    try:
        encoded = _encoder.encode(run)
    except UnicodeEncodeError:
        return _encode_oddly(run)
    # The encoder writes NaN and the infinities as null, which defaults aside is rare.
    if b"null" in encoded and _holds_odd_number(msgspec.to_builtins(run)):
        return _encode_oddly(run)
    return encoded


def decode_run(record: bytes) -> Run:
    """The run of a record; fields that are not known are ignored.

    Raises:
        ValueError: it is not JSON, or not a run (as :class:`msgspec.ValidationError`).
    """
    try:
        return _decoder.decode(record)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        import json

        return msgspec.convert(json.loads(record), Run)


def _encode_oddly(run: Run) -> bytes:
    import json

    return json.dumps(msgspec.to_builtins(run), separators=(",", ":")).encode("ascii")


def _holds_odd_number(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_holds_odd_number, value.values()))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    if isinstance(value, list | tuple):
        return any(map(_holds_odd_number, value))  # pyright: ignore[reportUnknownArgumentType]
    return False
