"""Plugins kept open by tasks of their own.

An opener may hold a task group or a cancel scope, and these must be left by the task that entered them, in order.
Whoever first needs a plugin may be any task: so none of them opens it itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

if TYPE_CHECKING:
    from orchestra.engine.session import Session


class PluginHost:
    """Opens plugins, each in a task that closes it again at the end."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._closing = anyio.Event()
        self.lock = anyio.Lock()
        """Held while a plugin is opened, so that two who need it at once open one."""

    async def open(self, context: AbstractAsyncContextManager[Any]) -> Any:
        """Enter ``context`` and return what it yields. What entering raises is raised here."""
        return await self._group.start(self._keep, context)

    async def _keep(self, context: AbstractAsyncContextManager[Any], *, task_status: TaskStatus[Any]) -> None:
        async with context as plugin:
            task_status.started(plugin)
            await self._closing.wait()

    def close(self) -> None:
        """Let all plugins be closed."""
        self._closing.set()


@asynccontextmanager
async def plugin_host(session: Session) -> AsyncGenerator[None]:
    """While inside, the plugins that ``session`` opens are kept by tasks; all are closed at the end."""
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        host = PluginHost(group)
        session.host = host
        try:
            yield
        except Exception as error:
            # Raised below, as it is: a task group would wrap it.
            failure = error
        finally:
            session.host = None
            host.close()
    if failure is not None:
        raise failure
