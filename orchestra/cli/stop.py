"""``orchestra stop``: stop runs, with all processes of theirs."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import prompts, run_text, tables
from orchestra.cli.context import complete, current, in_event_loop
from orchestra.cli.selection import FILTERS, Filters, Yes, chosen
from orchestra.console import printable
from orchestra.engine.runs import StopReport, stop_runs
from orchestra.engine.stopping import TIMEOUT, not_stopped
from orchestra.errors import UsageError
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

_RUNNING = RunQuery(states=frozenset(("running", "pending")))


def stop(
    *runs: str,
    filters: Filters = FILTERS,
    yes: Yes = False,
    no_wait: Annotated[bool, Parameter(name=("--no-wait", "-n"))] = False,
    timeout: float = TIMEOUT,
    force: bool = False,
) -> int:
    """Stop runs, with all processes of theirs; all that are running unless told otherwise.

    An operation is told to end, and killed if it does not within 10 seconds. A batch ends its current trial;
    a queue leaves its runs running. Runs that are named one by one are stopped without a question.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :, last), ids, or beginnings of ids.
    yes
        Do not ask.
    no_wait
        Do not wait for the end.
    timeout
        Wait this many seconds for the end.
    force
        Kill what did not end in time.
    """
    if not 0 <= timeout <= 86_400:
        raise UsageError(f"invalid value {timeout:g} for --timeout: give seconds, at most 86400")
    wanted, rows = complete(lambda: _choose(runs, filters))
    if not wanted:
        _tell("Nothing to stop.")
        return 0
    if not yes and len(wanted) > len(runs):
        # Not in an event loop: there Ctrl-C would have to wait for the answer.
        listed = tables.render(rows, indent="  ")
        question = f"Stop {len(wanted)} run(s)?"
        prompts.insist(f"You are about to stop the following runs:\n{listed}{question}", default=False)
    return _told(in_event_loop(lambda: _stop(wanted, None if no_wait else timeout, force)))


async def _choose(specs: tuple[str, ...], filters: Filters) -> tuple[tuple[Run, ...], list[tuple[str, ...]]]:
    context = current()
    async with context.session() as session:
        found = await chosen(session, specs, filters, default="all", base=RunQuery() if specs else _RUNNING)
        if not specs:
            found = tuple(run for run in found if run.worker is not None)
        here = str(context.cwd)
        return found, [run_text.preview_row(session, run, here) for run in found]


async def _stop(runs: tuple[Run, ...], timeout: float | None, force: bool) -> StopReport:
    async with current().session() as session:
        known = await session.store.query(RunQuery(ids=tuple(run.id for run in runs)))
        return await stop_runs(session, known.runs, timeout=timeout, force=force, tell=_tell)


def _told(report: StopReport) -> int:
    if report.left:
        _tell(not_stopped(report))
    return 0 if report.done else 1


def _tell(text: str) -> None:
    os.write(2, (printable(text) + "\n").encode(errors="backslashreplace"))
