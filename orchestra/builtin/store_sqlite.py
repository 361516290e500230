"""The default store: one SQLite file in the home, shared by all processes of a host.

Its methods do not suspend unless somebody else holds a lock: a program without an event loop can drive them::

    coroutine = store.get(run_id)
    try: coroutine.send(None)
    except StopIteration as result: run = result.value

The same holds for opening and closing. A listing of thousands of runs goes to a thread if an event loop runs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from msgspec import Struct

from orchestra.builtin import sqlite_queries, sqlite_runs
from orchestra.builtin.sqlite_file import Busy, SqliteFile, event_loop_runs, set_aside
from orchestra.builtin.wakeup import Bell, Listener
from orchestra.child import supervisor
from orchestra.contracts import Mark, Page
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import Run, Worker

T = TypeVar("T")

_LONG_LISTING = 2_000
_POLL = 1.0


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of the ``sqlite`` store."""

    home: Path
    path: Path | None = None
    """The database's file, relative to the home; None: ``store.db``. Must be on a disk of this host."""
    patience: float = 30.0
    """Seconds that a call waits for others' locks before it fails."""
    recover: bool = False
    """Move a damaged file aside first (:func:`discard`) and begin anew: the caller fills the store again."""

    @property
    def file(self) -> Path:
        """The database's file."""
        return self.home / (self.path or "store.db")


@asynccontextmanager
async def open_store(options: Options) -> AsyncGenerator[SqliteStore]:
    """Open the store of a home, and make it if there is none.

    Raises:
        StoreCorrupt: the file is damaged, or no store; open it with ``recover``, and fill it again.
        StoreTooNew: a newer version wrote it.
        StoreUnavailable: it can't be opened, or was locked for too long.
    """
    if options.recover:
        discard(options)
    file = SqliteFile(options.file, options.patience)
    await file.patiently(file.open)
    store = SqliteStore(file, options.home / "wake")
    try:
        yield store
    finally:
        store.close()


def discard(options: Options) -> Path | None:
    """Move a damaged file out of the way, to ``store.db.broken-TIME``; returns where it is now.

    The file is looked through first: None if it is not damaged, is not there, or somebody else was faster.
    """
    return set_aside(options.file, options.patience, sqlite_runs.check)


class SqliteStore:
    """See :class:`orchestra.contracts.Store`; it is ``Watchable``, ``Marking`` and ``Enduring``, too."""

    def __init__(self, file: SqliteFile, wake_folder: Path) -> None:
        self._file = file
        self._wake_folder = wake_folder
        self._bell = Bell(wake_folder)

    def close(self) -> None:
        """Close the file."""
        self._bell.close()
        self._file.close()

    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.create`."""
        if not runs:
            return ()
        return await self._write(partial(sqlite_runs.insert, runs, lease))

    async def get(self, run_id: str) -> Run:
        """See :meth:`orchestra.contracts.Store.get`."""
        return await self._read(partial(sqlite_runs.get, run_id))

    async def query(self, query: RunQuery) -> Page:
        """See :meth:`orchestra.contracts.Store.query`."""
        may_be_long = query.limit is None or query.limit > _LONG_LISTING or query.where is not None
        return await self._look(query, partial(sqlite_queries.select, query), may_be_long)

    async def marks(self, query: RunQuery) -> Sequence[Mark]:
        """See :meth:`orchestra.contracts.Marking.marks`."""
        return await self._look(query, partial(sqlite_queries.marks, query), may_be_long=True)

    def incarnation(self) -> str:
        """See :meth:`orchestra.contracts.Enduring.incarnation`."""
        # With the power of the host, what was not yet synced may be gone.
        return f"{supervisor.boot_id()}.{self._file.inode}"

    async def _look(self, query: RunQuery, work: Callable[[Connection], T], may_be_long: bool) -> T:
        """What ``work`` reads; in a thread of its own where that takes long and an event loop would wait."""
        if not may_be_long or not event_loop_runs():
            return await self._read(work)
        found = await self._read(partial(_unless_long, query, work))
        if found is not None:
            return found
        import anyio.to_thread

        select = partial(self._file.read_apart, work)
        return await self._mending(partial(anyio.to_thread.run_sync, select, abandon_on_cancel=True))

    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.update`."""
        if not runs:
            return ()
        return await self._write(partial(sqlite_runs.update, runs))

    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.claim`."""
        if limit < 1:
            return ()
        # A look without the lock first: queues that find nothing don't stand in each other's way. Who names what it
        # wants has just found it, but for when leases end.
        is_found = wanted.ids and not wanted.expired
        if not is_found and not await self._read(partial(sqlite_runs.candidates, wanted, 1)):
            return ()
        return await self._write(partial(sqlite_runs.claim, worker, lease, limit, wanted))

    async def renew(self, worker: Worker, lease: float) -> frozenset[str]:
        """See :meth:`orchestra.contracts.Store.renew`."""
        work = partial(sqlite_runs.renew, worker, lease)
        return await self._file.patiently(partial(self._file.write, work))

    async def delete(self, run_ids: Sequence[str]) -> int:
        """See :meth:`orchestra.contracts.Store.delete`."""
        if not run_ids:
            return 0
        return await self._write(partial(sqlite_runs.delete, run_ids))

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._mending(partial(self._file.patiently, partial(self._file.read, work)))

    async def _mending(self, call: Callable[[], Awaitable[T]]) -> T:
        """What ``call`` returns; records that can't be read make their runs ``broken``, and fail no call."""
        try:
            return await call()
        except sqlite_runs.RecordUnreadable:
            spoil = partial(sqlite_runs.spoil_unreadable, self._file.path)
            await self._file.patiently(partial(self._file.write, spoil))
            return await call()

    async def _write(self, work: Callable[[Connection], T]) -> T:
        result = await self._mending(partial(self._file.patiently, partial(self._file.write, work)))
        if result:
            self._bell.ring()
        return result

    @asynccontextmanager
    async def changes(self) -> AsyncGenerator[AsyncIterator[None]]:
        """See :meth:`orchestra.contracts.Watchable.changes`."""
        listener = _listen(self._wake_folder)
        try:
            yield _Changes(self._file, listener)
        finally:
            if listener is not None:
                listener.close()


class _Changes:
    """Yields when poked, and when a look at the file once a second shows a commit of which no poke told."""

    def __init__(self, file: SqliteFile, listener: Listener | None) -> None:
        self._file = file
        self._listener = listener
        self._seen = (0, 0)
        self._seen = self._versions()

    def __aiter__(self) -> _Changes:
        return self

    async def __anext__(self) -> None:
        import anyio

        while True:
            poked = self._listener is not None and self._listener.drain()
            versions = self._versions()
            if poked or versions != self._seen:
                self._seen = versions
                return
            with anyio.move_on_after(_POLL):
                if self._listener is None:
                    await anyio.sleep_forever()
                else:
                    await anyio.wait_readable(self._listener.socket)

    def _versions(self) -> tuple[int, int]:
        # SQLite's number leaves out the commits of the connection that asks.
        try:
            return self._file.data_version(), self._file.writes
        except Busy:
            return self._seen


def _unless_long(query: RunQuery, work: Callable[[Connection], T], connection: Connection) -> T | None:
    """What ``work`` reads; None where so many runs match that it would take long."""
    return work(connection) if sqlite_queries.count(query, connection) <= _LONG_LISTING else None


def _listen(folder: Path) -> Listener | None:
    try:
        return Listener(folder)
    except OSError:
        return None
