"""Programs of the person's own that verbs start: editors, pagers, what opens or compares files."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Generator, Sequence
from pathlib import Path

from orchestra.errors import UsageError, UserError


def words_of(command: str) -> list[str]:
    """The words of a command, as a shell would take them.

    Raises:
        ValueError: there are none, or a quote is not closed.
    """
    words = shlex.split(command)
    if not words:
        raise ValueError("it names no command")
    return words


def words_of_option(option: str, command: str) -> list[str]:
    """The same of an option's value.

    Raises:
        UsageError: there are none, or a quote is not closed.
    """
    try:
        return words_of(command)
    except ValueError as error:
        raise UsageError(f"invalid value '{command}' for {option}: {error}") from None


@contextlib.contextmanager
def starting(program: str, hint: str | None = None) -> Generator[None]:
    """What is done to start a program, which is called ``program``.

    Raises:
        UserError: it can't be started.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UserError(f"{program} can't be started: {reason}", hint) from error


def run_program(words: Sequence[str], *paths: str | Path, cwd: str | None = None) -> int:
    """Run a program with paths at its end, and wait for it; return its exit code, 256-n if signal n ended it.

    Raises:
        UserError: it can't be started.
    """
    with starting(f"'{words[0]}'"):
        code = subprocess.run([*words, *paths], cwd=cwd, check=False).returncode
    return code if code >= 0 else 256 + code
