"""``orchestra cat``: a file of a run, or what it printed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import terminal
from orchestra.cli.context import complete, current
from orchestra.cli.selection import FILTERS, Filters, chosen
from orchestra.engine.session import Session
from orchestra.errors import RunNotFound, UsageError, UserError
from orchestra.model.run import Run
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.output import read_output
from orchestra.workspace.records import attempts

CHUNK = 1 << 20
MOST_NAMED = 20
"""Entries of a directory that a hint lists."""


def cat(
    run: str | None = None,
    /,
    *,
    filters: Filters = FILTERS,
    path: Annotated[str | None, Parameter(name=("--path", "-p"))] = None,
    sourcecode: Annotated[bool, Parameter(name=("--sourcecode", "-s"))] = False,
    output: Annotated[bool, Parameter(name=("--output", "-O"))] = False,
    attempt: Annotated[int | None, Parameter(name="--attempt")] = None,
) -> int:
    """Show a file of a run, or what it printed; of the latest run unless told otherwise.

    Parameters
    ----------
    run
        Which run: its index in the listing, its id, or the beginning of its id.
    path
        The file, relative to the run's directory.
    sourcecode
        The path is relative to where the source code was copied.
    output
        Show what the run printed.
    attempt
        In which attempt ('runs info' lists them); in the newest one unless told otherwise.
    """
    if output and path is not None:
        raise UsageError("--output and --path cannot both be used")
    if not output and path is None:
        raise UsageError("say what to show: --path PATH or --output")
    if sourcecode and path is None:
        raise UsageError("--sourcecode can only be used with --path")
    if attempt is not None and not output:
        raise UsageError("--attempt can only be used with --output")
    return complete(lambda: _cat(run, filters, path, of_source=sourcecode, attempt=attempt))


async def _cat(
    spec: str | None, filters: Filters, path: str | None, *, of_source: bool, attempt: int | None
) -> int:
    async with current().session(looking=True) as session:
        found = await chosen(session, () if spec is None else (spec,), filters, default="latest")
        if not found:
            raise RunNotFound("no matching runs")
        run = found[0]
        directory = session.directory(run)
        number = run.attempt if attempt is None else checked_attempt(run, directory, attempt)
        output_of = attempt_directory(directory, number)
    if path is None:
        show = terminal.shower()
        for chunk in read_output(output_of):
            show(chunk)
        return 0
    if of_source:
        rules = run.operation.sourcecode
        path = os.path.join((rules.dest if rules else None) or "", path)
    descriptor = open_inside(directory, path, linked_places(session, run, path))
    show = terminal.shower()
    try:
        while chunk := os.read(descriptor, CHUNK):
            show(chunk)
    finally:
        os.close(descriptor)
    return 0


def checked_attempt(run: Run, directory: Path, attempt: int) -> int:
    """``attempt``, if ``run`` has one of this number.

    Raises:
        UserError: it has not.
    """
    numbers = attempts(directory)
    if attempt not in numbers:
        there = ", ".join(map(str, numbers)) or "none yet"
        raise UserError(f"run {run.short_id} has no attempt {attempt}", f"There are: {there}.")
    return attempt


def linked_places(session: Session, run: Run, path: str) -> list[str]:
    """Where ``path`` of a run may lead to outside of its directory: to other runs, and whence we have linked it."""
    inner = os.path.normpath(path)
    if os.path.isabs(inner) or inner.split(os.sep, 1)[0] == os.pardir:
        return []
    runs = str(session.layout.runs_dir)
    # An origin is the id of a run, or the absolute path of a file or folder.
    origins = [
        os.path.join(runs, entry.origin)
        for entry in run.resolved
        if any(inner == place or inner.startswith(f"{place}/") for place in entry.paths)
    ]
    return [runs, str(session.layout.cache_dir), *origins]


def open_inside(directory: Path, path: str, elsewhere: Sequence[str] = ()) -> int:
    """Open a regular file below ``directory`` for reading; links may lead to places inside it or ``elsewhere``.

    Raises:
        UserError: it is outside, missing, or no regular file.
    """
    inside = os.path.realpath(directory)
    target = os.path.realpath(os.path.join(inside, path))
    allowed = (inside, *map(os.path.realpath, elsewhere))
    if not any(os.path.commonpath((place, target)) == place for place in allowed):
        raise UserError(f"'{path}' is outside of the run's directory")
    if os.path.isdir(target):
        raise UserError(f"'{path}' is a directory", _what_it_holds(target))
    try:
        # Not blocking: opening a FIFO would wait for its writer.
        descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ELOOP):
            raise UserError(f"'{path}' is not a regular file") from None
        raise UserError(f"'{path}' can't be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"'{path}' is not a regular file")
    return descriptor


def _what_it_holds(directory: str) -> str:
    names = sorted(os.listdir(directory))
    if not names:
        return "It is empty."
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"Name a file in it: {', '.join(names[:MOST_NAMED])}{more}."
