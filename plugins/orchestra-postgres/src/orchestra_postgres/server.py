"""Connections to the server: taken, given back, lost and made anew; and what becomes of a call meanwhile."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeAlias, TypeVar

import psycopg
from orchestra.errors import StoreError, StoreUnavailable, UserError
from psycopg import errors

from orchestra_postgres.connection import Connection, is_in_haste
from orchestra_postgres.options import Options, check, described, masked, parameters, session_settings
from orchestra_postgres.threads import Threads, pause

T = TypeVar("T")
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
"""What a server, or libpq, says to who was never let in that does not go away by waiting."""
_FULL = "too many connections"
_NEGLIGIBLE = 1_000_000
"""Microseconds that clocks may differ."""
LEAST_SILENCE = 15.0
"""Seconds in which a server that lives says something: longer than it lets a statement wait for a lock."""
_PASSING = (
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.ReadOnlySqlTransaction,
)
NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
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
        self._settings = session_settings(options)
        self._patience = options.patience
        self._silence = max(options.patience, LEAST_SILENCE)
        self.place = described(self._parameters)
        self.greet: Callable[[Connection], None] | None = None
        """What each connection is asked when it is made: that may be long after the first."""
        self.ahead = 0
        """Microseconds that the server's clock is ahead of ours, if that matters."""
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False
        self._was_let_in = False
        self._threads = Threads(options.pool)

    def close(self) -> None:
        """Close all connections that nobody uses; those in use are closed when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    async def call(self, attempt: Callable[[], T]) -> T:
        """Call ``attempt`` until the server is there: in a thread where an event loop runs, else here.

        An attempt that has begun is brought to its end, unless the call is cancelled and the server says nothing;
        between two of them nothing is held and nothing half done.

        Raises:
            StoreUnavailable: the server is away for too long.
            UserError: it does not let us in.
        """
        reason = ""
        for delay in self._delays():
            await pause(delay)
            try:
                return await self.off_loop(attempt)
            except Lost as lost:
                reason = str(lost)
        raise StoreUnavailable(f"{self.place} can't be used: {reason}", "Try again when it is back.")

    async def off_loop(self, work: Callable[[], T]) -> T:
        """See :meth:`orchestra_postgres.threads.Threads.call`."""
        return await self._threads.call(work)

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
            StoreTooNew: others have brought the tables up to date since.
        """
        if is_in_haste():
            raise Lost("nobody waits for it any more")
        name = f"orchestra {os.getpid()} {os.urandom(8).hex()}"
        given = {**self._parameters, "application_name": name}
        try:
            connection = Connection.connect("", autocommit=True, **given)
        except psycopg.Error as error:
            text = self.text(error)
            if self._refuses(text):
                raise UserError(
                    f"{self.place} refuses: {text}", "See to the store's url, or PGPASSFILE."
                ) from error
            raise Lost(text) from error
        connection.name, connection.silence = name, self._silence
        try:
            self._set_up(connection)
            if self.greet is not None:
                self.greet(connection)
        except psycopg.Error as error:
            connection.close()
            raise self.translated(error, lost=_is_lost(connection, error)) from error
        except BaseException:
            connection.close()
            raise
        self._was_let_in = True
        return connection

    def _refuses(self, text: str) -> bool:
        # Who was let in before is kept out by what passes: a server that is being set up, or moved.
        if self._was_let_in or _FULL in text:
            return False
        return any(refusal in text for refusal in _REFUSALS)

    def _set_up(self, connection: Connection) -> None:
        settings = ", ".join("set_config(%s, %s, false)" for _ in self._settings)
        words = [word for setting in self._settings.items() for word in setting]
        before = now()
        row = connection.execute(f"SELECT {NOW}, {settings}".encode(), words).fetchone()
        assert row is not None
        self.see_clock(row[0], before)

    def see_clock(self, theirs: int, asked: int) -> None:
        """Note what the server's clock said when it was ``asked`` just now."""
        took = now() - asked
        ahead = theirs - asked - took // 2
        if abs(ahead - self.ahead) > _NEGLIGIBLE + took:
            self.ahead = ahead if abs(ahead) > _NEGLIGIBLE + took else 0

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


def now() -> int:
    """Microseconds since the epoch, by the clock of this computer."""
    return time.time_ns() // 1000
