"""Connections to the server: taken, given back, lost and made anew; and what becomes of a call meanwhile."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg
from orchestra.errors import OrchestraError, StoreError, StoreUnavailable, UserError
from psycopg import errors

from orchestra_postgres.options import Options, check, described, masked, parameters

T = TypeVar("T")
Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Work: TypeAlias = Callable[[Connection], T]

TELL_AFTER = 2.0
"""Seconds of waiting for the server after which that is told."""
_LONGEST_DELAY = 1.0
_REFUSALS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "authentication failed",
    'role "',
    'database "',
    "does not support SSL",
    "certificate verify failed",
    "invalid port number",
    "invalid sslmode",
)
"""What a server, or libpq, says that does not go away by waiting."""
_PASSING = (
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.ReadOnlySqlTransaction,
)
_OTHERS_TERMINATED = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE application_name = %s AND pid <> pg_backend_pid()
"""


class Lost(Exception):
    """The server is away, or took back what was begun: nothing was done. Never leaves the store."""


class Unsettled(Lost):
    """The connection was lost when the server had been told to commit: it may have, or not."""

    def __init__(self, reason: str, session: str) -> None:
        super().__init__(reason)
        self.session = session
        """The name of the connection."""


class Server:
    """The connections of one handle on the store."""

    def __init__(self, options: Options) -> None:
        check(options)
        self._parameters = parameters(options)
        self._patience = options.patience
        self._pool = options.pool
        self.place = described(self._parameters)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False
        # Of each event loop that the handle is used in: one at a time, usually.
        self._limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar(
            f"limit {id(self)}"
        )

    def close(self) -> None:
        """Close all connections that nobody uses; those in use are closed when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    async def call(self, attempt: Callable[[], T]) -> T:
        """Call ``attempt`` until the server is there: in a thread where an event loop runs, else here.

        An attempt that has begun is brought to its end; between two of them nothing is held and nothing half done.

        Raises:
            StoreUnavailable: the server is away for too long.
            UserError: it does not let us in.
        """
        reason = ""
        for delay in self._delays():
            await _pause(delay)
            try:
                return await self.off_loop(attempt)
            except Lost as lost:
                reason = str(lost)
                delay_told = reason
            self._reason = delay_told
        raise StoreUnavailable(f"{self.place} can't be used: {reason}", "Try again when it is back.")

    async def off_loop(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, which is brought to its end."""
        if not event_loop_runs():
            return work()
        try:
            limiter = self._limiter.get()
        except LookupError:
            limiter = anyio.CapacityLimiter(self._pool)
            self._limiter.set(limiter)
        results: list[T] = []
        with anyio.CancelScope(shield=True):
            results.append(await anyio.to_thread.run_sync(work, limiter=limiter))
        return results[0]

    def read(self, work: Work[T], *, at_once: bool = False) -> T:
        """What ``work`` reads; ``at_once``: with several statements, all of which see the same moment."""
        with self.connection() as connection:
            if not at_once:
                return work(connection)
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            try:
                with connection.transaction():
                    return work(connection)
            finally:
                if not connection.closed:
                    connection.isolation_level = None

    def write(self, work: Work[T]) -> T:
        """What ``work`` returns, after its changes were committed.

        Raises:
            Lost: nothing was changed.
            Unsettled: that is not known; its ``session`` is to be :meth:`end`-ed before it is looked for.
        """
        committing = False
        with self.connection() as connection:
            try:
                with connection.transaction():
                    result = work(connection)
                    committing = True
            except psycopg.OperationalError as error:
                if committing and _is_lost(connection, error):
                    raise Unsettled(self.text(error), connection.name) from error
                raise
        return result

    def at_once(self, work: Work[T]) -> T:
        """What ``work`` returns, a single statement that commits itself.

        Raises:
            Lost, Unsettled: as :meth:`write`.
        """
        with self.connection() as connection:
            try:
                return work(connection)
            except psycopg.OperationalError as error:
                if _is_lost(connection, error):
                    raise Unsettled(self.text(error), connection.name) from error
                raise

    def end(self, session: str) -> None:
        """Return when the connection of that name is gone on the server's side, too: it commits nothing any more."""
        with self.connection() as connection:
            connection.execute(_OTHERS_TERMINATED, (session,))
            still = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
            if connection.execute(still, (session,)).fetchone() != (0,):
                raise Lost("a connection that was cut is still at work there")

    @contextmanager
    def connection(self) -> Generator[Connection]:
        """A connection for one attempt. What goes wrong is told in our words."""
        connection = self._take()
        try:
            yield connection
        except psycopg.Error as error:
            if lost := _is_lost(connection, error):
                # Of the others none will be better.
                self._forget()
                connection.close()
            raise self.translated(error, lost=lost) from error
        finally:
            self._give_back(connection)

    def connect(self) -> Connection:
        """A new connection.

        Raises:
            Lost: the server is away.
            UserError: it does not let us in.
        """
        name = f"orchestra {os.getpid()} {os.urandom(8).hex()}"
        try:
            connection = Connection.connect("", autocommit=True, application_name=name, **self._parameters)
        except psycopg.Error as error:
            text = self.text(error)
            if any(refusal in text for refusal in _REFUSALS):
                raise UserError(
                    f"{self.place} refuses: {text}", "See to the store's url, or PGPASSFILE."
                ) from error
            raise Lost(text) from error
        connection.name = name
        return connection

    def translated(self, error: psycopg.Error, *, lost: bool) -> Exception:
        """What ``error`` is for those who call, or try again."""
        text = self.text(error)
        if lost or isinstance(error, (*_PASSING, psycopg.InterfaceError)):
            return Lost(text)
        if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName):
            return StoreUnavailable(f"the tables at {self.place} are gone: {text}", "Give the command again.")
        if isinstance(error, errors.InsufficientPrivilege):
            return UserError(f"{self.place} refuses: {text}")
        if isinstance(error, psycopg.OperationalError):
            return StoreUnavailable(f"{self.place} can't be used: {text}", "Try again later.")
        return StoreError(f"{self.place} refuses: {text}")

    def text(self, error: psycopg.Error) -> str:
        """The first line of what the server, or libpq, says."""
        lines = masked(str(error), self._parameters).strip().splitlines()
        return lines[0].strip() if lines else type(error).__name__

    def _take(self) -> Connection:
        with self._lock:
            if self._closed:
                raise StoreUnavailable(f"the store at {self.place} is closed")
            if self._idle:
                return self._idle.pop()
        return self.connect()

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if not (connection.closed or self._closed):
                self._idle.append(connection)
                return
        connection.close()

    def _forget(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(psycopg.Error):
                connection.close()

    def _delays(self) -> Iterator[float]:
        # Random, for many queues lose their server at the same moment.
        began = time.monotonic()
        told = False
        yield 0.0
        yield 0.0
        delay = 0.05
        while (waited := time.monotonic() - began) < self._patience:
            if waited > TELL_AFTER and not told:
                told = True
                logging.getLogger(__name__).warning("Waiting for %s", self.place)
            yield delay * random.uniform(0.5, 1.0)
            delay = min(2 * delay, _LONGEST_DELAY)


def _is_lost(connection: Connection, error: psycopg.Error) -> bool:
    # What the server says when it ends a connection comes before its end does.
    state = error.sqlstate or ""
    return connection.closed or state.startswith(("08", "57P")) or state == "25P03"


def event_loop_runs() -> bool:
    """Whether this thread runs an event loop."""
    try:
        anyio.get_cancelled_exc_class()
    except RuntimeError:
        return False
    return True


async def _pause(seconds: float) -> None:
    if seconds <= 0:
        return
    if event_loop_runs():
        await anyio.sleep(seconds)
    else:
        time.sleep(seconds)  # noqa: ASYNC251  no loop waits for it


__all__ = ["Connection", "Lost", "OrchestraError", "Server", "Unsettled", "Work", "event_loop_runs"]
