"""What happened as JSON lines: on standard error with ``--log-format json``, in a file with ``--log-file``.

Each event is one line, written by one write(2). Its form is :class:`LogLine`; the JSON Schema of it ships as
``orchestra/schemas/events.schema.json`` (see :func:`events_schema`). What other libraries log through the
standard library's ``logging`` at warning and above becomes ``log.message`` lines.

structlog renders the lines. It is imported here alone, and only once a line is due, for it takes longer to
import than most commands take to run.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from orchestra.errors import UserError
from orchestra.model.events import EVENT_NAMES, EVENT_SCHEMA, Event, Level
from orchestra.model.redaction import redact_data, redact_text

if TYPE_CHECKING:
    import logging

SCHEMA_ID = f"urn:orchestra:schema:events:{EVENT_SCHEMA}"
_NAMES = [{"const": name, "description": text} for name, text in EVENT_NAMES.items()]

EventName = Annotated[str, Meta(description="What happened.", extra_json_schema={"oneOf": _NAMES})]


class LogLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event of orchestra. Fields that say nothing are left out; further fields may be added."""

    schema: Annotated[int, Meta(ge=EVENT_SCHEMA, le=EVENT_SCHEMA, description="Version of this form.")]
    timestamp: Annotated[str, Meta(description="The time in UTC: ISO 8601 with microseconds and `Z`.")]
    time: Annotated[int, Meta(description="The same in microseconds since 1970-01-01 00:00 UTC.")]
    event: EventName
    level: Annotated[Level, Meta(description="How much it matters to a person.")]
    logger: Annotated[str, Meta(description="`orchestra`, `queue`, or the logger of another library.")]
    message: Annotated[str, Meta(description="The sentence that a person is shown.")] = ""
    run: Annotated[str, Meta(description="Id of the run.")] | None = None
    attempt: Annotated[int, Meta(ge=1, description="Which of the run's executions.")] | None = None
    operation: Annotated[str, Meta(description="The run's operation, as listings show it.")] | None = None
    batch: Annotated[str, Meta(description="Id of the batch that proposed the run.")] | None = None
    worker: Annotated[str, Meta(description="The process that tells it: HOST:PID:NONCE.")] | None = None
    data: Annotated[dict[str, Any], Meta(description="More of this event: `code`, `state`, `text`, ...")] = {}


def events_schema() -> dict[str, Any]:
    """The JSON Schema of a log line, generated from :class:`LogLine`."""
    reference = msgspec.json.schema(LogLine)
    line = reference["$defs"]["LogLine"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **line,
        "title": "A log line of orchestra",
    }


def schema_text() -> str:
    """The content of ``orchestra/schemas/events.schema.json``."""
    return json.dumps(events_schema(), indent=2) + "\n"


def render(event: Event) -> bytes:
    """``event`` as one line of JSON, with its line end."""
    global _rendering
    if _rendering is None:
        _rendering = _make_renderer()
    return _rendering(event)


_rendering: Callable[[Event], bytes] | None = None


def _make_renderer() -> Callable[[Event], bytes]:
    import structlog

    chain = [_shape, structlog.processors.JSONRenderer(serializer=_dump)]

    def render(event: Event) -> bytes:
        fields: Any = {"event": event}
        for processor in chain:
            fields = processor(None, event.level, fields)
        return fields + b"\n"

    return render


def _shape(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> dict[str, Any]:
    """structlog's processor that turns an event into the fields of :class:`LogLine`."""
    event: Event = fields["event"]
    # What an operation prints is its own, and kept as it is.
    is_ours = event.name != "run.output"
    seconds, micros = divmod(event.time, 1_000_000)
    timestamp = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros, tzinfo=None)
    line = LogLine(
        schema=EVENT_SCHEMA,
        timestamp=timestamp.isoformat(timespec="microseconds") + "Z",
        time=event.time,
        event=event.name,
        level=event.level,
        logger=event.logger,
        message=redact_text(event.message) if is_ours else event.message,
        run=event.run,
        attempt=event.attempt,
        operation=event.operation,
        batch=event.batch,
        worker=event.worker,
        data=redact_data(event.data) if is_ours else event.data,
    )
    return msgspec.to_builtins(line, builtin_types=(bytes,), enc_hook=str)


def _dump(fields: object, **_: object) -> bytes:
    try:
        return msgspec.json.encode(fields, enc_hook=str)
    except UnicodeEncodeError:
        # Bytes that are not UTF-8, as lone surrogates: JSON can escape them, UTF-8 can't hold them.
        return json.dumps(fields, default=str, separators=(",", ":")).encode()


class JsonConsole:
    """A console for programs: results on standard output, and every event as a JSON line on standard error.

    What operations print appears only as ``run.output`` events.
    """

    def __init__(self) -> None:
        self.broken_pipe = False

    def say(self, text: str) -> None:
        self._write(1, (text + "\n").encode(errors="backslashreplace"))

    def log(self, event: Event) -> None:
        self._write(2, render(event))

    async def output(self, stream: int, data: bytes) -> None:
        """Shows nothing."""

    def _write(self, fd: int, data: bytes) -> None:
        try:
            _write_all(fd, data)
        except OSError:
            # Who read us has gone: no reason to stop what we do.
            self.broken_pipe = True


class LogFile:
    """A sink for events that appends them to a file (mode 0600 if it is new) as JSON lines.

    Several processes may write to one file. When it can't be written any more, that is said once on standard
    error, and the work goes on.

    Raises:
        UserError: it can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._end_torn_line()
        except OSError as error:
            raise UserError(f"the log file can't be written: {error.strerror}: '{self._path}'") from error
        self._failed = False

    def __call__(self, event: Event) -> None:
        if self._failed:
            return
        try:
            _write_all(self._fd, render(event))
        except OSError as error:
            self._failed = True
            reason = f"WARNING: the log file can't be written: {error.strerror}: '{self._path}'\n"
            _write_all(2, reason.encode(errors="backslashreplace"))

    def _end_torn_line(self) -> None:
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            _write_all(self._fd, b"\n")


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        data = data[written:]
        written = os.write(fd, data)


def take_over_logging(sink: Callable[[Event], None]) -> None:
    """Let ``sink`` also have what is logged through the standard library, at warning and above."""
    import logging

    root = logging.getLogger()
    handler = next((one for one in root.handlers if getattr(one, "is_orchestra", False)), None)
    if handler is None:
        handler = _make_handler()
        root.addHandler(handler)
        logging.captureWarnings(True)
    handler.sinks.append(sink)  # type: ignore[attr-defined]


def _make_handler() -> Any:
    import logging
    import time

    class Handler(logging.Handler):
        is_orchestra = True

        def __init__(self) -> None:
            super().__init__(logging.WARNING)
            self.sinks: list[Callable[[Event], None]] = []
            self._busy = threading.local()

        def emit(self, record: logging.LogRecord) -> None:
            # A sink whose own libraries log would go round in circles.
            if getattr(self._busy, "now", False):
                return
            self._busy.now = True
            try:
                event = event_of(record, time.time_ns() // 1000)
                for sink in self.sinks:
                    sink(event)
            except Exception:
                self.handleError(record)
            finally:
                self._busy.now = False

    return Handler()


def event_of(record: logging.LogRecord, now: int) -> Event:
    """A record of the standard library's ``logging`` as an event. A traceback comes without local values."""
    import logging
    import traceback

    data: dict[str, Any] = {}
    if record.exc_info and record.exc_info[0] is not None:
        data["exception"] = "".join(traceback.format_exception(*record.exc_info))
    return Event(
        name="log.message",
        time=now,
        level="error" if record.levelno >= logging.ERROR else "warning",
        message=record.getMessage(),
        logger=record.name,
        data=data,
    )
