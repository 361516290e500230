"""``orchestra compare`` on a terminal: the interactive table, over an open session."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import anyio
import anyio.abc

from orchestra.cli import run_text, tables
from orchestra.cli.compare import Asked
from orchestra.cli.compare_app import CompareApp
from orchestra.cli.context import current, in_event_loop
from orchestra.cli.runs_info import Extras, as_lines, describe, field_lines
from orchestra.console import SilentConsole
from orchestra.engine.annotating import mark_runs
from orchestra.engine.comparing import make_comparison
from orchestra.engine.judge import settle
from orchestra.engine.off_loop import off_loop
from orchestra.engine.results import results_of
from orchestra.engine.session import Session
from orchestra.errors import RunNotFound
from orchestra.model.comparison import Comparison
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

_FATAL = (signal.SIGTERM, signal.SIGHUP)


def show_view(asked: Asked) -> int:
    """Show the table until somebody leaves it."""
    killed_by: list[signal.Signals] = []

    async def show() -> None:
        # What is told meanwhile would be written across the table.
        async with current().session(looking=True, console=SilentConsole()) as session:
            source = SessionSource(session, asked)
            app = CompareApp(source, await source.load(""), hide_unchanged=asked.skip_unchanged)
            async with anyio.create_task_group() as group:
                await group.start(_heed_signals, app, killed_by)
                await app.run_async()
                group.cancel_scope.cancel()

    in_event_loop(show)
    for number in killed_by[:1]:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return 0


async def _heed_signals(
    app: CompareApp, killed_by: list[signal.Signals], *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    """Leave the terminal as it was, also when we are ended."""
    with anyio.open_signal_receiver(*_FATAL) as signals:
        task_status.started()
        async for number in signals:
            killed_by.append(number)
            app.exit()


class SessionSource:
    """The runs of a home, as a command has asked for them."""

    def __init__(self, session: Session, asked: Asked) -> None:
        self._session = session
        self._asked = asked

    async def load(self, expression: str) -> Comparison:
        """The table as of now, of the runs that ``expression`` holds of, too.

        Raises:
            UserError: it can't be read, or a column is not there.
            StoreUnavailable: the store can't be used now.
        """
        subjects = await self._asked.subjects(self._session, expression)
        return make_comparison(subjects, self._asked.request)

    async def details(self, runs: Sequence[Run]) -> str:
        """As ``runs info`` shows a run; of several a line each."""
        if len(runs) > 1:
            here = str(current().cwd)
            return tables.render([run_text.preview_row(self._session, run, here) for run in runs])
        run = await settle(self._session, runs[0])
        results = await off_loop(lambda: results_of(self._session, run))
        fields = as_lines(describe(self._session, run, results, Extras()), run)
        return "".join(map(field_lines, fields.items()))

    async def mark(self, run: Run, marked: bool) -> None:
        """Mark a run as it is by now, or remove its mark.

        Raises:
            RunNotFound: it is gone.
            RunBroken: it can't be read.
        """
        found = (await self._session.store.query(RunQuery(ids=(run.id,)))).runs
        if not found:
            raise RunNotFound(f"run {run.short_id} is gone", "Press r to look again.")
        await mark_runs(self._session, found, marked=marked)
