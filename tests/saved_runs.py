"""Runs that are there without having been run: records and rows, for tests of what is done with runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import structs

from orchestra.cli.context import drive
from orchestra.console import Console
from orchestra.engine.session import LEASE, Session, open_session
from orchestra.model.execution import Exit
from orchestra.model.run import Run
from orchestra.settings import Settings
from orchestra.testing.builders import a_run, an_exit
from orchestra.workspace import records
from orchestra.workspace.layout import attempt_directory


@asynccontextmanager
async def opened(home: Path, console: Console | None = None) -> AsyncGenerator[Session]:
    """A session that does not wait for the disk."""
    async with open_session(home, Settings(durability="fast"), console=console) as session:
        yield session


def write(session: Session, run: Run) -> Run:
    """Make the run's directory and record, as a stranger would."""
    records.write_run(session.directory(run), run, fsync=False)
    return run


async def save(session: Session, *runs: Run) -> tuple[Run, ...]:
    """Make runs with directory, record and row."""
    return await session.store.create([write(session, run) for run in runs], lease=LEASE)


def ended(**fields: Any) -> Run:
    """A run that completed."""
    run = a_run(state="completed", exit_code=0, attempt=1, executions=1)
    run = structs.replace(run, started=run.created, stopped=run.created + 5_000_000)
    return structs.replace(run, **fields)


def write_exit(session: Session, run: Run, **fields: Any) -> Exit:
    """Record the end of the run's newest attempt."""
    directory = attempt_directory(session.directory(run), run.attempt)
    directory.mkdir(parents=True, exist_ok=True)
    exit_record = an_exit(**fields)
    records.write_exit(directory, exit_record, fsync=False)
    return exit_record


def saved(home: Path, *runs: Run) -> None:
    """:func:`save` without an event loop, for tests of commands."""

    async def work() -> None:
        async with opened(home) as session:
            await save(session, *runs)

    drive(work())
