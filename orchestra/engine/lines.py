"""Whole lines only: what keeps the outputs of runs that run at once readable."""

from __future__ import annotations

from orchestra.console import Console
from orchestra.model.events import Event
from orchestra.workspace.output import WholeLines


class LineConsole:
    """A console that holds back the last line of each stream until it is complete."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines = WholeLines()

    def say(self, text: str) -> None:
        self._console.say(text)

    def log(self, event: Event) -> None:
        self._console.log(event)

    async def output(self, stream: int, data: bytes) -> None:
        if whole := self._lines.feed(stream, data):
            await self._console.output(stream, whole)

    async def flush(self) -> None:
        """Pass on what has no line end, with one."""
        for stream, data in self._lines.finish():
            await self._console.output(stream, data)
