"""Event files made by hand, as TensorBoard's writers make them."""

from __future__ import annotations

import struct

from orchestra.workspace.event_files import masked_crc


def record(data: bytes) -> bytes:
    """One record of an event file."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 127:
        out += bytes((value & 127 | 128,))
        value >>= 7
    return out + bytes((value,))


def varint_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def bytes_field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def simple_value(tag: str, value: float) -> bytes:
    return bytes_field(1, tag.encode()) + varint(2 << 3 | 5) + struct.pack("<f", value)


def tensor_value(tag: str, kind: int, content: bytes, *, values: bytes = b"") -> bytes:
    tensor = varint_field(1, kind)
    tensor += bytes_field(4, content) if content else b""
    tensor += bytes_field(5, values) if values else b""
    return bytes_field(1, tag.encode()) + bytes_field(8, tensor)


def event(step: int, *values: bytes) -> bytes:
    time = varint(1 << 3 | 1) + struct.pack("<d", 1.7e9)
    summary = b"".join(bytes_field(1, value) for value in values)
    return time + varint_field(2, step) + bytes_field(5, summary)


def scalar_event(tag: str, value: float, *, step: int) -> bytes:
    """The record of one scalar's value."""
    return record(event(step, simple_value(tag, value)))
