"""The store: what its contract promises, each call by one short piece of work on a connection."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from msgspec import structs
from orchestra.contracts import Mark, Page
from orchestra.errors import StoreError
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import Run, Worker

from orchestra_postgres import search, table
from orchestra_postgres.connection import Connection
from orchestra_postgres.listening import Changes
from orchestra_postgres.options import Options
from orchestra_postgres.schema import Prepared, prepare, see_to_home, see_to_version
from orchestra_postgres.server import Server, Unsettled, now
from orchestra_postgres.table import Sent, Unreadable

T = TypeVar("T")
_FORGET_EVERY = 500
"""One of so many writes clears away the marks of old ones."""


@asynccontextmanager
async def open_store(options: Options) -> AsyncGenerator[PostgresStore]:
    """Open the store of a home, and make its tables if there are none.

    Raises:
        StoreUnavailable: the server is away.
        StoreTooNew: a newer version has made the tables.
        UserError: an option means nothing, the server does not let us in, or the tables are another home's.
    """
    server = Server(options)
    try:
        prepared = await server.call(lambda: prepare(server, options))
        server.greet = see_to_version(server, options)
        yield PostgresStore(server, options, prepared)
    finally:
        server.close()


class PostgresStore:
    """See :class:`orchestra.contracts.Store`; it is ``Watchable``, ``Marking`` and ``Enduring``, too."""

    def __init__(self, server: Server, options: Options, prepared: Prepared) -> None:
        self._server = server
        self._options = options
        self._channel = f"orchestra_{options.schema}"
        self._is_ours = prepared.is_ours
        self._incarnation = prepared.incarnation

    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.create`."""
        if not runs:
            return ()
        try:
            given = self._given(runs)
            made = await self._write(lambda sent, connection: table.insert(given, lease, sent, connection))
            return self._found(made)
        except StoreError as error:
            if not table.is_taken(error.__cause__):
                raise
            refusal = await self._read(partial(table.taken, runs))
            raise (refusal or error) from None

    async def get(self, run_id: str) -> Run:
        """See :meth:`orchestra.contracts.Store.get`."""
        (run,) = self._found((await self._read(partial(table.get, run_id)),))
        return run

    async def query(self, query: RunQuery) -> Page:
        """See :meth:`orchestra.contracts.Store.query`."""
        at_once = not search.takes_one_statement(query)
        page = await self._read(partial(search.select, query), at_once=at_once)
        return structs.replace(page, runs=self._found(page.runs))

    async def marks(self, query: RunQuery) -> Sequence[Mark]:
        """See :meth:`orchestra.contracts.Marking.marks`."""
        return await self._read(partial(search.marks, query), at_once=not search.takes_one_statement(query))

    def incarnation(self) -> str:
        """See :meth:`orchestra.contracts.Enduring.incarnation`."""
        return self._incarnation

    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.update`."""
        if not runs:
            return ()
        return self._found(await self._write(partial(table.update, self._given(runs))))

    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.claim`."""
        if limit < 1:
            return ()
        await self._see_to_home(take=True)
        attempt = _Claim(self._server, self._sent(), worker, lease, limit, wanted)
        claimed: list[Run] = []
        for row in await self._server.call(attempt):
            try:
                claimed.append(table.load(*row))
            except Unreadable as unreadable:
                await self._spoil(unreadable)
        return self._found(claimed)

    async def renew(self, worker: Worker, lease: float) -> frozenset[str]:
        """See :meth:`orchestra.contracts.Store.renew`."""

        def work(connection: Connection) -> frozenset[str]:
            asked = now()
            ids, clock = table.renew(worker, lease, connection)
            self._server.see_clock(clock, asked)
            return ids

        return await self._server.call(lambda: self._server.read(work))

    async def delete(self, run_ids: Sequence[str]) -> int:
        """See :meth:`orchestra.contracts.Store.delete`."""
        if not run_ids:
            return 0
        return await self._write(partial(table.delete, run_ids))

    @asynccontextmanager
    async def changes(self) -> AsyncGenerator[AsyncIterator[None]]:
        """See :meth:`orchestra.contracts.Watchable.changes`."""
        changes = Changes(self._server, self._channel)
        try:
            await self._server.call(changes.listen)
            yield changes
        finally:
            changes.close()

    def _given(self, runs: Sequence[Run]) -> Sequence[Run]:
        """``runs`` with their leases by the server's clock."""
        return _moved(runs, self._server.ahead)

    def _found(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        """``runs`` with their leases by the clock of this computer, which is what they are compared with."""
        return tuple(_moved(runs, -self._server.ahead))

    async def _read(self, work: Callable[[Connection], T], *, at_once: bool = False) -> T:
        await self._see_to_home(take=False)
        while True:
            try:
                return await self._server.call(lambda: self._server.read(work, at_once=at_once))
            except Unreadable as unreadable:
                await self._spoil(unreadable)

    async def _write(self, work: Callable[[Sent, Connection], T]) -> T:
        await self._see_to_home(take=True)
        return await self._server.call(_Write(self._server, self._sent(), work))

    async def _see_to_home(self, *, take: bool) -> None:
        # Once they are this home's, they stay so.
        if not self._is_ours:
            self._is_ours = await self._server.call(
                lambda: see_to_home(self._server, self._options, take=take)
            )

    async def _spoil(self, unreadable: Unreadable) -> None:
        await self._write(partial(table.spoil, unreadable.run))

    def _sent(self) -> Sent:
        return Sent(os.urandom(12).hex(), self._channel)


def _moved(runs: Sequence[Run], by: int) -> Sequence[Run]:
    if by == 0:
        return runs
    return [run if run.lease is None else structs.replace(run, lease=run.lease + by) for run in runs]


class _Write:
    """A write, to be called until it is known to have been committed, which it is once."""

    def __init__(self, server: Server, sent: Sent, work: Callable[[Sent, Connection], Any]) -> None:
        self._server = server
        self._sent = sent
        self._work = work
        self._unsettled: Unsettled | None = None
        self._result: Any = None

    def __call__(self) -> Any:
        if self._unsettled is not None:
            self._server.end(self._unsettled.session)
            if self._server.read(partial(table.was_committed, self._sent)):
                return self._result
            self._unsettled = None
        try:
            self._server.write(self._keep_result)
        except Unsettled as unsettled:
            self._unsettled = unsettled
            raise
        return self._result

    def _keep_result(self, connection: Connection) -> None:
        if random.randrange(_FORGET_EVERY) == 0:
            table.forget_old_writes(connection)
        self._result = self._work(self._sent, connection)


class _Claim:
    """A claim, to be called until it is known what it has got."""

    def __init__(
        self, server: Server, sent: Sent, worker: Worker, lease: float, limit: int, wanted: Wanted
    ) -> None:
        self._server = server
        self._sent = sent
        self._worker = worker
        self._claim = partial(table.claim, worker, lease, limit, wanted, sent)
        self._unsettled: Unsettled | None = None

    def __call__(self) -> list[tuple[Any, ...]]:
        if self._unsettled is not None:
            self._server.end(self._unsettled.session)
            if rows := self._server.read(partial(table.claimed, self._worker, self._sent)):
                return rows
            self._unsettled = None
        try:
            return self._server.at_once(self._claim)
        except Unsettled as unsettled:
            self._unsettled = unsettled
            raise
