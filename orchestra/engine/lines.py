"""Whole lines only: what keeps the outputs of runs that run at once readable."""

from __future__ import annotations

from orchestra.console import Console
from orchestra.model.events import Event

LONGEST_LINE = 65536
"""Bytes of a line without an end that are passed on nevertheless."""


class LineConsole:
    """A console that holds back the last line of each stream until it is complete."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._partial: dict[int, bytes] = {}

    def say(self, text: str) -> None:
        self._console.say(text)

    def log(self, event: Event) -> None:
        self._console.log(event)

    async def output(self, stream: int, data: bytes) -> None:
        data = self._partial.pop(stream, b"") + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > LONGEST_LINE:
            end = len(data)
        if end < len(data):
            self._partial[stream] = data[end:]
        if end:
            await self._console.output(stream, data[:end])

    async def flush(self) -> None:
        """Pass on what has no line end, with one."""
        for stream, data in sorted(self._partial.items()):
            await self._console.output(stream, data + b"\n")
        self._partial.clear()
