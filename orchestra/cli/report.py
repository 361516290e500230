"""How an error is shown: a sentence and a hint, a JSON object, a log line."""

from __future__ import annotations

import os
import time

from orchestra.cli.options import GlobalOptions
from orchestra.errors import OrchestraError


def show(error: OrchestraError, options: GlobalOptions) -> None:
    """Tell of ``error`` in every form that ``options`` ask for."""
    if options.json:
        _write_json(error)
    if options.log_file is not None or options.log_format == "json":
        _log(error, options)
    if options.log_format != "json":
        lines = [f"orchestra: {error.message}", *([error.hint] if error.hint else [])]
        _write_error("".join(f"{_printable(line)}\n" for line in lines))


def _write_json(error: OrchestraError) -> None:
    from orchestra.cli.terminal import write_json

    told = {
        "kind": error.kind,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    try:
        write_json({"error": told})
    except BrokenPipeError:
        raise
    except OSError:
        pass  # what is wrong may be that nothing can be written there: the sentence says so


def _log(error: OrchestraError, options: GlobalOptions) -> None:
    from orchestra import logs
    from orchestra.model.events import Event

    data = {"kind": error.kind, "hint": error.hint, "exit_code": error.exit_code}
    event = Event(
        name="log.message", time=time.time_ns() // 1000, level="error", message=error.message, data=data
    )
    if options.log_format == "json":
        logs.JsonConsole().log(event)
    if options.log_file is not None:
        try:
            logs.LogFile(options.log_file)(event)
        except OrchestraError:
            pass  # the log file itself may be what is wrong


def _printable(text: str) -> str:
    from orchestra.console import printable

    return printable(text)


def _write_error(text: str) -> None:
    data = text.encode(errors="backslashreplace")
    while data:
        data = data[os.write(2, data) :]
