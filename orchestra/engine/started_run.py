"""A run that somebody started and may wait for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import anyio

from orchestra.engine.control import Control, Wish
from orchestra.model.run import Run

if TYPE_CHECKING:
    from orchestra.engine.run_reader import RunReader


class StartedRun:
    """A run that :meth:`.Orchestra.start` began. It belongs to nobody: it goes on whatever becomes of us."""

    def __init__(self, reader: RunReader, run: Run) -> None:
        self._reader = reader
        self.record = run
        """The run as last seen."""
        self.control = Control()
        """What stops it."""
        self.ended = anyio.Event()
        self.error: Exception | None = None

    @property
    def id(self) -> str:
        """The run's id."""
        return self.record.id

    async def wait(self) -> Run:
        """Wait for the end and return the run in its final state. Cancelling only stops the waiting.

        Raises:
            RunBusy: the ``Orchestra`` was closed, and the run goes on.
        """
        await self.ended.wait()
        if self.error is not None:
            raise self.error
        return self.record

    def stop(self) -> None:
        """Tell the run to stop; :meth:`wait` tells when it has."""
        self.control.raise_to(Wish.TERMINATE)

    def output(self) -> AsyncIterator[bytes]:
        """The run's output as it is written, to its end."""
        return self._reader.output(self.id, follow=True)
