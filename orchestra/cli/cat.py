"""``orchestra cat``: files of a run, or what it printed."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Annotated, NamedTuple

from cyclopts import Parameter

from orchestra.cli import terminal
from orchestra.cli.context import complete, current
from orchestra.cli.one_run import one_run
from orchestra.cli.options import whole
from orchestra.cli.paging import pager
from orchestra.cli.selection import FILTERS, Filters
from orchestra.engine.run_files import open_run_file, source_path
from orchestra.engine.session import Session
from orchestra.errors import UsageError, UserError
from orchestra.model.run import Run
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.output import read_output
from orchestra.workspace.records import attempts

CHUNK = 1 << 20


def cat(
    run: str | None = None,
    /,
    *,
    filters: Filters = FILTERS,
    path: Annotated[tuple[str, ...], Parameter(name=("--path", "-p"), negative=())] = (),
    sourcecode: Annotated[bool, Parameter(name=("--sourcecode", "-s"))] = False,
    output: Annotated[bool, Parameter(name=("--output", "-O"))] = False,
    attempt: Annotated[int | None, Parameter(converter=whole, name="--attempt")] = None,
    page: Annotated[bool, Parameter(name=("--page", "-pa"))] = False,
) -> int:
    """Show files of a run, or what it printed; of the latest run unless told otherwise.

    Parameters
    ----------
    run
        Which run: its index in the listing, its id, or the beginning of its id.
    path
        The file, relative to the run's directory. May be repeated.
    sourcecode
        The paths are relative to where the source code was copied.
    output
        Show what the run printed.
    attempt
        In which attempt ('runs info' lists them); in the newest one unless told otherwise.
    page
        Show it in a pager: PAGER, or less.
    """
    if output and path:
        raise UsageError("--output and --path cannot both be used")
    if not output and not path:
        raise UsageError("say what to show: --path PATH or --output")
    if sourcecode and not path:
        raise UsageError("--sourcecode can only be used with --path")
    if attempt is not None and not output:
        raise UsageError("--attempt can only be used with --output")
    asked = _Asked(path, of_source=sourcecode, attempt=attempt, page=page)
    return _cat(run, filters, asked)


class _Asked(NamedTuple):
    paths: tuple[str, ...]
    of_source: bool
    attempt: int | None
    page: bool


def _cat(spec: str | None, filters: Filters, asked: _Asked) -> int:
    with ExitStack() as stack:
        # All of them are open before any is shown, and the home is no longer looked at by then.
        chunks = complete(lambda: _found(spec, filters, asked, stack))
        show = stack.enter_context(pager()) if asked.page else terminal.shower()
        for chunk in chunks:
            show(chunk)
    return 0


async def _found(spec: str | None, filters: Filters, asked: _Asked, stack: ExitStack) -> Iterable[bytes]:
    attempt = asked.attempt
    async with current().session(looking=True) as session:
        run = await one_run(session, spec, filters, verb="cat")
        if not asked.paths:
            directory = session.directory(run)
            number = run.attempt if attempt is None else checked_attempt(run, directory, attempt)
            return read_output(attempt_directory(directory, number))
        wanted = [source_path(run, path) if asked.of_source else path for path in asked.paths]
        return chain(*[_chunks(stack.enter_context(_opened(session, run, path))) for path in wanted])


@contextmanager
def _opened(session: Session, run: Run, path: str) -> Generator[int]:
    descriptor = open_run_file(session, run, path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _chunks(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, CHUNK):
        yield chunk


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
