"""The output of an attempt: written once, followed by anyone from any place.

Beside ``output`` (both streams, as written) lies ``output.index``: entries of 17 bytes that say when, and by
which stream, the output from an offset on was written. An entry is written *before* its output: whoever looks
at the size of the output first and at the index then knows the stream of every byte up to that size.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from orchestra.child.supervisor import Middle
from orchestra.errors import text_of_os_error
from orchestra.workspace.codec import read_bytes
from orchestra.workspace.durable import fail, write_all

OUTPUT = "output"
INDEX = "output.index"
GAP = "output.gap"
"""Which bytes were given up, for there were too many: ``BEGIN END``. It is written before they are gone."""

BOTH = 0
"""The stream of both, or of standard output."""
ERROR = 1
"""The stream of standard error."""

CHUNK = 1 << 20
"""Bytes that are read at once."""
LINE_LIMIT = 64 << 10
"""Longer lines are cut into pieces of so many bytes."""

_ENTRY = struct.Struct(">QQB")
"""Of the index: from an offset on, output was written at a time (microseconds since the epoch) by a stream."""
_INDEX_INTERVAL = 50_000
_READ = os.O_RDONLY | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


_LEAST_HEAD = 256 << 10
"""So much of the beginning is kept of any output."""


def read_gap(attempt_dir: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Which bytes of an attempt's output were given up: the first of them, and the first behind them."""
    try:
        begin, end = read_bytes(os.path.join(attempt_dir, GAP)).split()
        return int(begin), int(end)
    except (OSError, ValueError):
        return None


def _without_gap(attempt_dir: str | os.PathLike[str], start: int, data: bytes) -> tuple[bytes, int, bool]:
    """``data``, read at ``start``, up to what was given up, or what is said in its place; where to go on; and whether
    it is the latter."""
    end = start + len(data)
    gap = read_gap(attempt_dir) if end > _LEAST_HEAD else None
    if gap is None or end <= gap[0] or start >= gap[1]:
        return data, end, False
    if start < gap[0]:
        return data[: gap[0] - start], gap[0], False
    return b"\n... %d bytes of output were not kept ...\n" % (gap[1] - start), gap[1], True


class OutputFollower:
    """Reads an attempt's output from an offset, as it grows.

    Keeps the file open: it goes on reading a file that was moved away or deleted, and changes over to a new
    one of the same name when that is at its end. A file that was cut short is read from its beginning. After
    either, the streams are no longer known and all is of stream :data:`BOTH`.
    """

    def __init__(self, attempt_dir: Path, offset: int = 0) -> None:
        self.offset = offset
        """Where the next read begins. To go on later from the same place, keep this number."""
        self.is_behind = False
        """Whether the last read has left some of what was there."""
        self._path = os.path.join(attempt_dir, OUTPUT)
        self._index: _IndexReader | None = _IndexReader(os.path.join(attempt_dir, INDEX), offset)
        self._descriptor = -1

    def __enter__(self) -> OutputFollower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """The size of the output as it is now; 0 when there is none."""
        try:
            return os.fstat(self._descriptor).st_size if self._open() else 0
        except OSError as error:
            fail(error, self._path)

    def read_new(self, limit: int = CHUNK) -> list[tuple[int, bytes]]:
        """What was written since the last call, at most ``limit`` bytes, as (stream, bytes) in order.

        Empty when there is nothing new (yet).

        Raises:
            HomeError, StoreUnavailable: the output can't be read.
        """
        try:
            if not self._open():
                return []
            available = self._available()
            if available <= 0:
                return []
            data = os.pread(self._descriptor, min(limit, available), self.offset)
        except OSError as error:
            fail(error, self._path)
        if not data:
            return []
        start = self.offset
        data, self.offset, is_gap = _without_gap(os.path.dirname(self._path), start, data)
        self.is_behind = self.offset < start + available
        if is_gap:
            return [(BOTH, data)]
        return self._index.split(start, data) if self._index is not None else [(BOTH, data)]

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> bool:
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, _READ)
            except FileNotFoundError:
                return False
        return True

    def _available(self) -> int:
        here = os.fstat(self._descriptor)
        if here.st_size > self.offset:
            return here.st_size - self.offset
        if here.st_size < self.offset:
            self._start_anew()
            return here.st_size
        try:
            there = os.stat(self._path)
        except OSError:
            return 0
        if os.path.samestat(here, there):
            return 0
        self.close()
        self._start_anew()
        return os.fstat(self._descriptor).st_size if self._open() else 0

    def _start_anew(self) -> None:
        self.offset = 0
        # The writer counts its offsets from before, so that they mean nothing now.
        self._index = None


class _IndexReader:
    """Tells the streams of output that is read in order."""

    def __init__(self, path: str, offset: int) -> None:
        self._path = path
        self._offset = offset
        self._position = -1
        self._stream = BOTH
        self._ahead: list[tuple[int, int]] = []

    def split(self, start: int, data: bytes) -> list[tuple[int, bytes]]:
        """``data``, which begins at offset ``start``, in parts of one stream each."""
        end = start + len(data)
        self._read_up_to(end)
        parts: list[tuple[int, bytes]] = []
        position = start
        used = 0
        for offset, stream in self._ahead:
            if offset >= end:
                break
            used += 1
            if stream == self._stream:
                continue
            if offset > position:
                parts.append((self._stream, data[position - start : offset - start]))
                position = offset
            self._stream = stream
        del self._ahead[:used]
        parts.append((self._stream, data[position - start :] if position > start else data))
        return parts

    def _read_up_to(self, end: int) -> None:
        if self._ahead and self._ahead[-1][0] >= end:
            return
        try:
            descriptor = os.open(self._path, _READ)
        except OSError:
            return
        try:
            if self._position < 0:
                self._position = _ENTRY.size * _first_entry(descriptor, self._offset)
            while not self._ahead or self._ahead[-1][0] < end:
                block = os.pread(descriptor, _ENTRY.size * 4096, self._position)
                whole = len(block) - len(block) % _ENTRY.size
                if not whole:
                    return
                self._position += whole
                self._ahead += [(offset, stream) for offset, _, stream in _ENTRY.iter_unpack(block[:whole])]
        except OSError:
            return
        finally:
            os.close(descriptor)


def _first_entry(descriptor: int, offset: int) -> int:
    """The number of the last index entry that begins at or before ``offset`` (0 if none does)."""
    low, high = 0, os.fstat(descriptor).st_size // _ENTRY.size
    while low < high:
        middle = (low + high) // 2
        entry = os.pread(descriptor, _ENTRY.size, middle * _ENTRY.size)
        if len(entry) == _ENTRY.size and _ENTRY.unpack(entry)[0] <= offset:
            low = middle + 1
        else:
            high = middle
    return max(low - 1, 0)


def read_output(attempt_dir: Path) -> Iterator[bytes]:
    """An attempt's output so far, in chunks; nothing when there is none.

    Raises:
        HomeError, StoreUnavailable: the output can't be read.
    """
    path = os.path.join(attempt_dir, OUTPUT)
    try:
        with open(path, "rb", buffering=0) as file:
            offset = 0
            while chunk := os.pread(file.fileno(), CHUNK, offset):
                kept, offset, _ = _without_gap(attempt_dir, offset, chunk)
                yield kept
    except FileNotFoundError:
        return
    except OSError as error:
        fail(error, path)


class OutputWriter:
    """Writes the output of an attempt that executes in this process."""

    def __init__(self, attempt_dir: Path, limit: int | None = None) -> None:
        """``limit``: bytes that it may take on the disk, beyond which its middle is given up.

        Raises:
            HomeError, StoreUnavailable: the output can't be opened.
        """
        self._middle = Middle(os.fsencode(attempt_dir), limit or 0)
        self.truncated: str | None = None
        """Why, and where, the output ends before the attempt did; later writes are dropped."""
        path = os.path.join(attempt_dir, OUTPUT)
        try:
            self._output = os.open(path, _APPEND, 0o600)
            try:
                self._index = os.open(os.path.join(attempt_dir, INDEX), _APPEND, 0o600)
            except OSError:
                os.close(self._output)
                raise
        except OSError as error:
            fail(error, path)
        self.size = os.fstat(self._output).st_size
        """Bytes of output so far."""
        self._stream = -1
        self._indexed = 0

    def __enter__(self) -> OutputWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, stream: int, data: bytes) -> None:
        """Append ``data``. When that fails the output ends there: a full disk must not fail the attempt."""
        if not data or self.truncated is not None:
            return
        now = time.time_ns() // 1000
        try:
            if stream != self._stream or not 0 <= now - self._indexed < _INDEX_INTERVAL:
                write_all(self._index, _ENTRY.pack(self.size, now, stream))
                self._stream, self._indexed = stream, now
            self.size += write_all(self._output, data)
            if self.size >= self._middle.due_at:
                self._middle.give_up(self._output, self.size)
        except OSError as error:
            self.size = os.fstat(self._output).st_size
            self.truncated = f"output truncated at {self.size}: {text_of_os_error(error)}"

    @property
    def missing(self) -> str | None:
        """What of the output is not there, in a sentence."""
        return self.truncated or self._middle.reason() or None

    def sync(self) -> None:
        """Let the output reach the disk; a failure is noted in :attr:`truncated`."""
        try:
            os.fsync(self._output)
        except OSError as error:
            self.truncated = self.truncated or f"output may be incomplete: {text_of_os_error(error)}"

    def close(self) -> None:
        """Close the files; may be called again."""
        for descriptor in (self._output, self._index):
            if descriptor >= 0:
                os.close(descriptor)
        self._output = self._index = -1


class WholeLines:
    """Passes on whole lines only, each stream on its own, so that several outputs can share a console."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._rest: dict[int, bytes] = {}

    def feed(self, stream: int, data: bytes) -> bytes:
        """The lines that ``data`` completes, as one block that ends with a newline, or is empty.

        A line that grows beyond the limit before its end is there is cut, each piece ended by a newline.
        """
        rest = self._rest.get(stream, b"")
        end = data.rfind(b"\n") + 1
        block = rest + data[:end] if end else b""
        rest = data[end:] if end else rest + data
        if len(rest) > self._limit:
            cut = len(rest) - len(rest) % self._limit
            block += b"".join(rest[at : at + self._limit] + b"\n" for at in range(0, cut, self._limit))
            rest = rest[cut:]
        self._rest[stream] = rest
        return block

    def finish(self) -> list[tuple[int, bytes]]:
        """What is left of each stream, ended by a newline, once no more will come."""
        rests = [(stream, rest + b"\n") for stream, rest in sorted(self._rest.items()) if rest]
        self._rest.clear()
        return rests
