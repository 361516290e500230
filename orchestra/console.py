"""What a person sees: events as lines, an operation's output as it is.

Results go to standard output, log lines to standard error, each written at once, so that one pipe for both
(``2>&1``) keeps their order.
"""

from __future__ import annotations

import os
import re
import select
import stat
import sys
import time
from typing import Protocol, TextIO

from msgspec import structs

from orchestra.model.events import Event, Level
from orchestra.model.ids import short_id

LEVELS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_UNPRINTABLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
_PIPE_CHUNK = select.PIPE_BUF


def printable(text: str) -> str:
    """``text`` with all escaped that could drive a terminal: control characters, direction overrides."""
    if text.isprintable():
        return text
    return re.sub(_UNPRINTABLE, lambda match: match[0].encode("unicode_escape").decode(), text)


def log_line(event: Event) -> str:
    """The console's line for an event, as ``INFO: [orchestra] MESSAGE``; a queue's lines carry the time."""
    # Most commands show none.
    from orchestra.model.redaction import redact_text

    message = printable(redact_text(event.message))
    if not event.logger and event.level == "info":
        return message
    prefix = f"{event.level.upper()}: "
    if event.logger:
        prefix += f"[{event.logger}] "
    if event.logger == "queue":
        prefix += time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(event.time / 1_000_000))
    return prefix + message


def _is_of_output(event: Event) -> bool:
    """Whether an event is the output of a batch, whose trials are all that it does: who wants no output skips it."""
    return event.name == "batch.trial" and event.level == "info"


def shown_line(event: Event, threshold: int) -> str | None:
    """What a console that shows ``threshold`` (of :data:`LEVELS`) and above prints for an event; None: nothing.

    An event without a message is for those who watch what happens inside: it is shown by its name and fields.
    """
    if LEVELS[event.level] < threshold:
        return None
    if event.message:
        return log_line(event)
    if threshold > LEVELS["debug"] or event.name == "run.output":
        return None
    fields = {"run": event.run and short_id(event.run), "attempt": event.attempt, **event.data}
    told = (f"{name}={value}" for name, value in fields.items() if value is not None)
    text = " ".join((event.name, *told)).replace("\n", "\\n")
    return log_line(structs.replace(event, level="debug", message=text))


class Console(Protocol):
    """Where the lines and the output of a command go."""

    def say(self, text: str) -> None:
        """A line of the command's result."""
        ...

    def log(self, event: Event) -> None:
        """An event: shown if its level is wanted, and if it has a message or all is wanted."""
        ...

    async def output(self, stream: int, data: bytes) -> None:
        """Bytes that an operation wrote to stream 0 (standard output, or both) or 1 (standard error)."""
        ...


class ProcessConsole:
    """The console of a command: file descriptors 1 and 2 of this process.

    A reader that went away (``| head -1``) is no reason to stop: what it would have read is dropped, and
    ``broken_pipe`` tells it at the end.
    """

    def __init__(self, *, level: Level = "info", quiet: bool = False) -> None:
        self._threshold = LEVELS[level]
        self._quiet = quiet
        self._closed: set[int] = set()
        self.broken_pipe = False

    def say(self, text: str) -> None:
        self._write(1, (printable(text) + "\n").encode(errors="backslashreplace"))

    def log(self, event: Event) -> None:
        if self._quiet and _is_of_output(event):
            return
        line = shown_line(event, self._threshold)
        if line is not None and (event.name != "results.reading" or os.isatty(2)):
            self._write(2, (line + "\n").encode(errors="backslashreplace"))

    async def output(self, stream: int, data: bytes) -> None:
        fd = 2 if stream == 1 else 1
        if self._quiet or fd in self._closed:
            return
        if not _may_block(fd):
            self._write(fd, data)
            return
        # A slow reader must stall neither the loop nor the operation: only this follower waits.
        view = memoryview(data)
        while view and fd not in self._closed:
            if not _writable(fd):
                import anyio

                await anyio.wait_writable(fd)
            view = view[self._write(fd, view[:_PIPE_CHUNK]) :]

    def _write(self, fd: int, data: bytes | memoryview) -> int:
        if fd in self._closed:
            return len(data)
        written = 0
        view = memoryview(data)
        try:
            while written < len(view):
                written += os.write(fd, view[written:])
        except BlockingIOError:
            select.select((), (fd,), ())
            return written + self._write(fd, view[written:])
        except OSError:
            self._closed.add(fd)
            self.broken_pipe = True
        return len(data)


def _may_block(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _writable(fd: int) -> bool:
    return bool(select.select((), (fd,), (), 0)[1])


class TextConsole:
    """A console that writes everything to one text stream, for notebooks, scripts and tests."""

    def __init__(self, stream: TextIO | None = None, *, level: Level = "info", quiet: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._threshold = LEVELS[level]
        self._quiet = quiet

    def say(self, text: str) -> None:
        self._print(printable(text) + "\n")

    def log(self, event: Event) -> None:
        if self._quiet and _is_of_output(event):
            return
        line = shown_line(event, self._threshold)
        if line is not None:
            self._print(line + "\n")

    async def output(self, stream: int, data: bytes) -> None:
        if not self._quiet:
            self._print(data.decode(errors="replace"))

    def _print(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class SilentConsole:
    """A console that shows nothing."""

    def say(self, text: str) -> None: ...

    def log(self, event: Event) -> None: ...

    async def output(self, stream: int, data: bytes) -> None: ...


class OutputSink(Protocol):
    """Where the copy of a console's lines is kept: the output of a queue's or batch's own attempt."""

    def write(self, stream: int, data: bytes) -> None: ...


class RecordingConsole:
    """A console whose lines are also the output of the run that prints them."""

    def __init__(self, console: Console, record: OutputSink, *, level: Level = "info") -> None:
        self._console = console
        self._record = record
        self._threshold = LEVELS[level]

    def say(self, text: str) -> None:
        self._record.write(0, (printable(text) + "\n").encode(errors="backslashreplace"))
        self._console.say(text)

    def log(self, event: Event) -> None:
        line = shown_line(event, self._threshold)
        if line is not None:
            self._record.write(1, (line + "\n").encode(errors="backslashreplace"))
        self._console.log(event)

    async def output(self, stream: int, data: bytes) -> None:
        self._record.write(stream, data)
        await self._console.output(stream, data)
