"""Reads scalars from TensorBoard event files, as TensorFlow, PyTorch and tensorboardX write them.

Such a file is a row of records, each its length, a checksum of that, its content, and a checksum of that. The content
is a protobuf message, of which we know the few fields that a scalar is made of. The last record may be incomplete: it
is still being written, or its writer died.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from msgspec import Struct

from orchestra.model.scalars import Scalar, join, single

MARK = ".tfevents."
"""Part of the name of every event file."""
PREDECESSOR = ".guild"
"""The folder in which the predecessor kept a run's own event files. It is no part of a scalar's name."""
LARGEST = 64 << 20
"""Bytes; larger records are images and the like, and are passed over."""

_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_HPARAMS = "_hparams_/"
"""Tags that begin so carry what was set, not what was measured."""
_NUMBERS = {1: "<f", 2: "<d", 3: "<i", 9: "<q"}
"""Element types of a tensor, by the number that stands for each."""
_VALUE_FIELDS = {5: ("<f", 4), 6: ("<d", 8)}
_VARINT_FIELDS = (7, 10)
Field: TypeAlias = "int | bytes"


class EventFile(Struct, gc=False, omit_defaults=True):
    """What was read of one event file so far."""

    offset: int = 0
    """Up to here all is read."""
    size: int = -1
    """The file's size when it was read."""
    scalars: dict[str, Scalar] = {}
    """By their tags."""
    problem: str = ""


def refresh(path: str | os.PathLike[str], known: EventFile | None) -> EventFile:
    """``known`` brought up to date with the file at ``path``: only what was added since is read.

    Raises:
        OSError: it can't be read.
    """
    size = os.stat(path).st_size
    if known is not None and known.size == size:
        return known
    if known is None or size < known.offset:
        known = EventFile()
    known.size, known.problem = size, ""
    with open(path, "rb") as file:
        file.seek(known.offset)
        try:
            for end, points in _records(file, known.offset, size):
                for tag, step, value in points:
                    known.scalars[tag] = join(known.scalars.get(tag), single(value, step))
                known.offset = end
        except ValueError as error:
            known.problem = f"'{os.fspath(path)}' is damaged at byte {known.offset}: {error}"
    return known


def read_points(path: str | os.PathLike[str]) -> Iterator[tuple[str, int, float]]:
    """All scalars of the file at ``path`` as (tag, step, value), up to where it is damaged.

    Raises:
        OSError: it can't be read.
    """
    with open(path, "rb") as file, contextlib.suppress(ValueError):
        for _, points in _records(file, 0, os.fstat(file.fileno()).st_size):
            yield from points


def prefix_of(name: str) -> str:
    """What comes before the tags of an event file of this ``name`` (relative to the run): ``FOLDER#`` or nothing."""
    prefix = name.rpartition("/")[0]
    if prefix == PREDECESSOR or prefix.endswith(f"/{PREDECESSOR}"):
        prefix = prefix[: -len(PREDECESSOR)].rstrip("/")
    return f"{prefix}#" if prefix else ""


def find_event_files(directory: Path, *, passed_over: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The event files below ``directory``, each with the name of its folder relative to it, in order of their names.

    Folders called ``passed_over`` are not entered, and no links are followed: what they lead to was made elsewhere.
    """
    pending = [(str(directory), "")]
    while pending:
        folder, prefix = pending.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if MARK in entry.name and entry.is_file(follow_symlinks=False):
                yield prefix, entry
        inner = [entry for entry in entries if entry.name != passed_over and _is_folder(entry)]
        pending += [(entry.path, f"{prefix}/{entry.name}".lstrip("/")) for entry in reversed(inner)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _records(file: BinaryIO, offset: int, size: int) -> Iterator[tuple[int, list[tuple[str, int, float]]]]:
    """Of each whole record: the offset of its end, and the scalars in it."""
    while len(header := file.read(_HEADER.size)) == _HEADER.size:
        length, checksum = _HEADER.unpack(header)
        if checksum != masked_crc(header[:8]):
            raise ValueError("the checksum of a record's length is wrong")
        end = offset + _HEADER.size + length + _CRC.size
        if end > size:
            return
        if length > LARGEST:
            file.seek(end)
            yield end, []
        else:
            data = file.read(length)
            tail = file.read(_CRC.size)
            if len(data) < length or len(tail) < _CRC.size:
                return
            yield end, _checked(data, tail)
        offset = end


def _checked(data: bytes, tail: bytes) -> list[tuple[str, int, float]]:
    # What is no scalar may be large, and is of no interest, so only records that tell one are checked.
    points = read_event(data)
    if points and masked_crc(data) != _CRC.unpack(tail)[0]:
        raise ValueError("the checksum of a record is wrong")
    return points


def read_event(data: bytes) -> list[tuple[str, int, float]]:
    """The scalars of one event as (tag, step, value).

    Raises:
        ValueError: it is no such message.
    """
    step = 0
    summaries: list[bytes] = []
    for number, value in _fields(data):
        if number == 2 and isinstance(value, int):
            step = value - (1 << 64) if value >= 1 << 63 else value
        elif number == 5 and isinstance(value, bytes):
            summaries.append(value)
    points: list[tuple[str, int, float]] = []
    for summary in summaries:
        for number, value in _fields(summary):
            if number == 1 and isinstance(value, bytes):
                tag, scalar = _summary_value(value)
                if tag and scalar is not None and not tag.startswith(_HPARAMS):
                    points.append((tag, step, scalar))
    return points


def _summary_value(data: bytes) -> tuple[str, float | None]:
    tag, scalar = "", None
    for number, value in _fields(data):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            tag = value.decode(errors="replace")
        elif number == 2 and len(value) == 4:
            scalar = struct.unpack("<f", value)[0]
        elif number == 8:
            scalar = _tensor(value)
    return tag, scalar


def _tensor(data: bytes) -> float | None:
    """The one number of a tensor; None when it has several, or others than numbers."""
    kind, content, values = 0, b"", list[float]()
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 4 and isinstance(value, bytes):
            content = value
        elif number in _VALUE_FIELDS and isinstance(value, bytes):
            form, width = _VALUE_FIELDS[number]
            values += [one[0] for one in struct.iter_unpack(form, value[: len(value) - len(value) % width])]
        elif number in _VARINT_FIELDS:
            values += map(float, map(_signed, [value] if isinstance(value, int) else _varints(value)))
    form = _NUMBERS.get(kind)
    if form is None:
        return None
    if content and len(content) == struct.calcsize(form):
        return float(struct.unpack(form, content)[0])
    return values[0] if len(values) == 1 and not content else None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _fields(data: bytes) -> Iterator[tuple[int, Field]]:
    """The fields of a protobuf message: numbers as such, all else as bytes."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire = key & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if wire == 2:
            width, position = _varint(data, position)
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a message has a field of the unknown wire type {wire}")
        if position + width > len(data):
            raise ValueError("a message ends within a field")
        yield key >> 3, data[position : position + width]
        position += width


def _varints(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, position
        shift += 7
    raise ValueError("a message ends within a number")


def _crc_table() -> list[int]:
    table: list[int] = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ 0x82F63B78 if byte & 1 else byte >> 1
        table.append(byte)
    return table


_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """The checksum (CRC-32C, turned and shifted) that the records carry."""
    crc = 0xFFFFFFFF
    table = _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
