"""Questions to a person: asked on standard error, answered on standard input."""

from __future__ import annotations

import os
import sys

from orchestra.console import printable
from orchestra.errors import Aborted, UsageError

_ANSWERS = {"y": True, "yes": True, "n": False, "no": False}


def confirm(question: str, *, default: bool = True) -> bool:
    """Ask a yes-or-no question until it is answered; an empty line is the default answer.

    Raises:
        UsageError: the input ended before there was an answer.
    """
    choices = "(Y/n)" if default else "(y/N)"
    while True:
        try:
            _write(f"{printable(question)} {choices} ")
            answer = _read_line()
        except KeyboardInterrupt:
            # What comes next, the shell's prompt above all, is no part of the question.
            _write("\n")
            raise
        if answer is None:
            _write("\n")
            who = "the question above was not answered" if os.isatty(0) else "nobody is there to be asked"
            raise UsageError(who, "Answer 'y' or 'n', or use --yes to go on without being asked.")
        if not answer.strip():
            return default
        known = _ANSWERS.get(answer.strip().lower())
        if known is not None:
            return known
        _write("Please answer 'y' or 'n'.\n")


def insist(question: str, *, default: bool = True) -> None:
    """Ask, and end the command if the answer is no.

    Raises:
        Aborted: it was no.
        UsageError: the input ended before there was an answer.
    """
    if not confirm(question, default=default):
        raise Aborted("nothing was changed")


def _read_line() -> str | None:
    # Read byte by byte: what follows the answer belongs to whoever inherits our input.
    line = bytearray()
    while True:
        try:
            byte = os.read(0, 1)
        except OSError:
            return None
        if not byte:
            return line.decode(errors="replace") if line else None
        if byte == b"\n":
            return line.decode(errors="replace")
        line += byte


def _write(text: str) -> None:
    sys.stderr.flush()
    os.write(2, text.encode(errors="backslashreplace"))
