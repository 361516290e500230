"""A home that is open for use: its session lives as long as the block that opened it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from orchestra.console import Console, SilentConsole
from orchestra.engine.hosting import plugin_host
from orchestra.engine.queue_control import Queues
from orchestra.engine.session import Session, open_session
from orchestra.engine.supervise import keep_leases
from orchestra.model.events import Event
from orchestra.project.project_settings import project_settings
from orchestra.settings import find_home, load_settings

EVENT_BUFFER = 10_000
"""Events that a slow reader may be behind; further ones are dropped."""


class OpenHome:
    """One home, open for use in an ``async with`` block."""

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        cwd: str | os.PathLike[str] | None = None,
        console: Console | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._cwd = Path(cwd or os.getcwd()).absolute()
        # A home that is named is the same wherever the project is.
        self._home = find_home(home, os.environ, self._cwd if home is None else Path.cwd())
        self._settings = dict(settings or {})
        self._console = console or SilentConsole()
        self._stack: AsyncExitStack | None = None
        self._session: Session | None = None
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        stack = AsyncExitStack()
        settings = load_settings(self._home, self._settings, project=project_settings(self._cwd))
        self._session = await stack.enter_async_context(
            open_session(self._home, settings, console=self._console)
        )
        await stack.enter_async_context(plugin_host(self._session))
        self._group = await anyio.create_task_group().__aenter__()
        stack.push_async_exit(self._end_watches)
        self._group.start_soon(keep_leases, self._session)
        self._stack = stack
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._stack is not None
        return await self._stack.__aexit__(kind, error, trace)

    async def _end_watches(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """What was started goes on; only our watch of it ends."""
        assert self._group is not None
        self._group.cancel_scope.cancel()
        if error is None or isinstance(error, anyio.get_cancelled_exc_class()):
            return await self._group.__aexit__(kind, error, trace)
        # A task group would wrap what the caller's own block has raised.
        await self._group.__aexit__(None, None, None)
        return None

    @property
    def home(self) -> Path:
        """Where the runs are."""
        return self._home

    @property
    def session(self) -> Session:
        """The open session, for what this class does not offer."""
        if self._session is None:
            raise RuntimeError("use 'async with Orchestra(...) as orch' to open it first")
        return self._session

    @property
    def queues(self) -> Queues:
        """The queues of this home: their status, order and limits."""
        return Queues(self.session)

    @asynccontextmanager
    async def events(self, *, output: bool = False) -> AsyncGenerator[AsyncIterator[Event]]:
        """While open, the events of this session; with ``output``, what operations print, too.

        A reader that falls more than ``EVENT_BUFFER`` events behind misses the newest.
        """
        send, receive = anyio.create_memory_object_stream[Event](EVENT_BUFFER)

        def sink(event: Event) -> None:
            try:
                send.send_nowait(event)
            except anyio.WouldBlock:
                pass

        session = self.session
        session.sinks.append(sink)
        session.sinks.output_readers += output
        try:
            async with send, receive:
                yield receive
        finally:
            session.sinks.remove(sink)
            session.sinks.output_readers -= output
