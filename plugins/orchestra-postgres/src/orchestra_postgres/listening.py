"""Waiting for what others change: LISTEN on a connection of its own, made anew when it is lost."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import anyio
import psycopg

from orchestra_postgres.connection import Connection
from orchestra_postgres.server import Lost, Server

LOOK_EVERY = 60.0
"""Seconds of silence after which the connection is tried: a network that is gone says nothing."""
_LONGEST_DELAY = 5.0


class Changes(AsyncIterator[None]):
    """Yields when the server says so, and once after each time that the connection was lost."""

    def __init__(self, server: Server, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._connection: Connection | None = None
        self._told = False

    def listen(self) -> None:
        """Connect, and listen from now on.

        Raises:
            Lost: the server is away.
        """
        connection = self._server.connect()
        # Of what comes with the answer to a statement.
        connection.add_notify_handler(self._note)
        try:
            connection.execute(f"LISTEN {self._channel}".encode())
        except psycopg.Error as error:
            connection.close()
            raise self._server.translated(error, lost=True) from error
        self._connection = connection

    def close(self) -> None:
        """Stop listening."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> None:
        while self._connection is not None:
            try:
                if self._is_told(self._connection):
                    return
                silent = True
                with anyio.move_on_after(LOOK_EVERY):
                    await anyio.wait_readable(self._connection.fileno())
                    silent = False
                if silent:
                    await self._server.off_loop(self._try)
            except (psycopg.Error, Lost):
                self.close()
        await self._listen_again()

    def _is_told(self, connection: Connection) -> bool:
        connection.pgconn.consume_input()
        while connection.pgconn.notifies() is not None:
            self._told = True
        told, self._told = self._told, False
        return told

    def _note(self, _: object) -> None:
        self._told = True

    def _try(self) -> None:
        if self._connection is not None:
            self._connection.execute("SELECT 1")

    async def _listen_again(self) -> None:
        """Until it is done, however long that takes: what was changed meanwhile is to be looked for then."""
        delay = 0.0
        while True:
            try:
                await self._server.off_loop(self.listen)
                return
            except Lost:
                delay = min(2 * delay + 0.05, _LONGEST_DELAY)
                await anyio.sleep(delay * random.uniform(0.5, 1.0))
