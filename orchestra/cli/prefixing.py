"""What several runs print side by side: whole lines, each with its run before it, and harmless to a terminal."""

from __future__ import annotations

from collections.abc import Collection

from orchestra.cli import tables, terminal
from orchestra.cli.run_text import short_label
from orchestra.console import Console
from orchestra.engine.lines import LineConsole
from orchestra.engine.session import Session
from orchestra.model.batch import varying
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run
from orchestra.workspace.output import WholeLines
from orchestra.workspace.tail import rendered, without_sequences

LONGEST_LABEL = 40


LEAST_LABEL = 12
"""Columns that a label may take however narrow the terminal is; else a third of it."""


def prefix_of(run: Run, width: int | None = None, varying: Collection[str] = ()) -> str:
    """What stands before each line of ``run``: its short id, and its label as far as there is room, without the flags
    that it has in common with others.

    ``width``: of the terminal. ``varying``: the flags in which it differs from other trials of its batch.
    """
    room = LONGEST_LABEL if width is None else min(LONGEST_LABEL, max(LEAST_LABEL, width // 3))
    label = tables.cut(tables.cell(short_label(run, varying)), room)
    return f"[{run.short_id} {label}] " if label else f"[{run.short_id}] "


class PrefixedOutput:
    """Passes on what runs print to a console, line by line. Of progress bars the last state of each line is shown."""

    def __init__(self, session: Session, console: Console | None = None) -> None:
        self._console = console or session.console
        self._store = session.store
        self._varying: dict[str, frozenset[str]] = {}
        """Flags in which the trials of a batch differ, by its id."""
        self._coloured = terminal.in_colour()
        self._lines: dict[tuple[str, int], WholeLines] = {}

    async def show(self, run: Run, stream: int, data: bytes) -> None:
        """Show the lines that ``data`` completes."""
        lines = self._lines.setdefault((run.id, run.attempt), WholeLines())
        await self._pass_on(run, stream, lines.feed(stream, data))

    async def finish(self, run: Run) -> None:
        """Show what ``run`` has left without the end of a line."""
        lines = self._lines.pop((run.id, run.attempt), None)
        if lines is not None:
            for stream, rest in lines.finish():
                await self._pass_on(run, stream, rest)

    async def _pass_on(self, run: Run, stream: int, block: bytes) -> None:
        if not block:
            return
        prefix = prefix_of(run, terminal.width(), await self._varying_beside(run))
        lines = block.decode(errors="backslashreplace").removesuffix("\n").split("\n")
        text = "".join(f"{prefix}{self._shown(line)}\n" for line in lines)
        await self._console.output(stream, text.encode(errors="backslashreplace"))

    async def _varying_beside(self, run: Run) -> frozenset[str]:
        if run.batch is None:
            return frozenset()
        if run.batch not in self._varying:
            found = (await self._store.query(RunQuery(ids=(run.batch,)))).runs
            specs = [batch.batch_spec for batch in found if batch.batch_spec is not None]
            self._varying[run.batch] = varying(specs[0]) if specs else frozenset()
        return self._varying[run.batch]

    def _shown(self, line: str) -> str:
        line = rendered(line)
        if "\x1b" not in line:
            return terminal.defuse(line)
        if not self._coloured:
            return terminal.defuse(without_sequences(line))
        # A colour that is not ended must not reach the lines of others.
        return terminal.defuse(line) + "\x1b[0m"


class PrefixedConsole(LineConsole):
    """Shows what one run prints, with that run before each line."""

    def __init__(self, session: Session, console: Console, run: Run) -> None:
        super().__init__(console)
        self._run = run
        self._shown = PrefixedOutput(session, console)

    async def output(self, stream: int, data: bytes) -> None:
        await self._shown.show(self._run, stream, data)

    async def flush(self) -> None:
        await self._shown.finish(self._run)
