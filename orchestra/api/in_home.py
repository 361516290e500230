"""Call the async engine, and wait for what it answers."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from orchestra.console import Console
from orchestra.engine.blocking import wait
from orchestra.engine.orchestra import Orchestra
from orchestra.model.run import Run

T = TypeVar("T")
Home = str | os.PathLike[str] | None


def in_home(
    home: Home,
    how: Callable[[Orchestra], Awaitable[T]],
    *,
    cwd: str | os.PathLike[str] | None = None,
    console: Console | None = None,
) -> T:
    """What ``how`` makes of a home, which is open for that long."""

    async def call() -> T:
        async with Orchestra(home, cwd=cwd, console=console) as orch:
            return await how(orch)

    return wait(call)


def ids_of(runs: Sequence[Run | str] | None) -> list[str] | None:
    return None if runs is None else [id_of(run) for run in runs]


def id_of(run: Run | str) -> str:
    return run if isinstance(run, str) else run.id
