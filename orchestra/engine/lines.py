"""Whole lines and whole characters: what keeps outputs readable that arrive in chunks."""

from __future__ import annotations

import codecs

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


class WholeCharacters:
    """Passes on whole UTF-8 characters only, each stream on its own: chunks end anywhere."""

    def __init__(self) -> None:
        self._rest: dict[int, bytes] = {}

    def feed(self, stream: int, data: bytes) -> bytes:
        """All but a character at the end that is not complete yet; perhaps nothing."""
        data = self._rest.pop(stream, b"") + data
        # A character has 4 bytes at most; what is not UTF-8 at all is never waited for.
        end = data[-4:]
        held = len(end) - codecs.utf_8_decode(end, "replace", False)[1]
        if held:
            self._rest[stream] = data[-held:]
        return data[:-held] if held else data

    def finish(self) -> list[tuple[int, bytes]]:
        """What is left of each stream once no more will come."""
        rests = sorted(self._rest.items())
        self._rest.clear()
        return rests
