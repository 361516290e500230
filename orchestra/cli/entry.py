"""The first and the last of every command: what is imported when, how errors are shown, what is returned.

Errors are one sentence and a hint, on standard error; with ``--json`` they are one JSON object on standard
output, too. A traceback is shown with ``--debug`` only.
"""

from __future__ import annotations

import gc
import os
import sys

from orchestra import __version__
from orchestra.cli import options
from orchestra.errors import INTERRUPTED, SHORTAGES, Aborted, OrchestraError, UsageError, text_of_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

BUG = 70
TEMPORARY = 75


def main() -> NoReturn:
    """What the ``orchestra`` command is: run what ``sys.argv`` says, and end the process with its code."""
    _open_standard_files()
    # A command keeps nearly all that it makes while it starts: looking for garbage there costs a sixth of that.
    gc.set_threshold(50_000, 20, 20)
    code = execute(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    # Everything is closed and flushed by now; unloading a hundred modules would only cost time.
    os._exit(code)


def _open_standard_files() -> None:
    # A closed standard file (`>&-`) leaves its number to the next file opened: we would print into a record.
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def execute(arguments: list[str]) -> int:
    """Run one command and return its exit code. Never raises."""
    verb: list[str] = []
    try:
        rest = options.take(arguments, options.current)
        if options.current.version:
            return _say(f"orchestra {__version__}\n")
        from orchestra.cli import app

        verb = app.verb_of(rest)
        return app.run(rest)
    except BaseException as error:
        return _ended_by(error, verb)


def _say(text: str) -> int:
    os.write(1, text.encode())
    return 0


def _ended_by(error: BaseException, verb: list[str]) -> int:
    error = _innermost(error)
    if options.current.debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has seen enough.
        return 0
    told = _as_ours(error, verb)
    if not isinstance(told, Aborted) or options.current.json:
        _report(told)
    return told.exit_code


def _innermost(error: BaseException) -> BaseException:
    """The one error of a group; of several, the one that matters most."""
    from typing import cast

    while isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        interrupts = (one for one in group.exceptions if isinstance(one, KeyboardInterrupt))
        error = next(interrupts, group.exceptions[0])
    return error


def _as_ours(error: BaseException, verb: list[str]) -> OrchestraError:
    if isinstance(error, UsageError):
        return UsageError(
            error.message,
            error.hint or f"Try '{' '.join(['orchestra', *verb])} --help' for more information.",
        )
    if isinstance(error, OrchestraError):
        return error
    if isinstance(error, OSError):
        failure = OrchestraError(text_of_os_error(error))
        if error.errno in SHORTAGES:
            failure.exit_code = TEMPORARY
        return failure
    bug = OrchestraError(
        f"internal error: {type(error).__name__}: {error}",
        "This is a bug of orchestra; please report it with what --debug shows.",
    )
    bug.exit_code = BUG
    return bug


def _report(error: OrchestraError) -> None:
    from orchestra.cli import report

    try:
        report.show(error, options.current)
    except BrokenPipeError:
        pass
