"""A way to the server that is cut where it hurts most, while a change is being committed, or says nothing any more."""

from __future__ import annotations

import socket
import threading
from typing import Literal

Cut = Literal["before", "after"]


class CuttingProxy:
    """Passes everything on, until it is armed: then it cuts one connection, ahead of a statement or after it."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._trigger: tuple[bytes, Cut] | None = None
        self.cuts = 0
        self._freed = threading.Event()
        self._freed.set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def arm(self, statement: bytes, when: Cut) -> None:
        """Cut the connection that sends ``statement`` next: the server never gets it, or nobody its answer."""
        self._trigger = statement, when

    def freeze(self) -> None:
        """Pass on nothing that clients send from now on, and cut nothing."""
        self._freed.clear()

    def thaw(self) -> None:
        """Go on where it was."""
        self._freed.set()

    def close(self) -> None:
        self.thaw()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            back = threading.Thread(target=self._pass_back, args=(server, client), daemon=True)
            back.start()
            while data := _received(client):
                self._freed.wait(20)
                if self._trigger is not None and self._trigger[0] in data:
                    _, when = self._trigger
                    self._trigger = None
                    self.cuts += 1
                    if when == "after":
                        client.shutdown(socket.SHUT_RDWR)
                        server.sendall(data)
                        # Until it has answered: all is done by then.
                        server.settimeout(0.3)
                    break
                server.sendall(data)
            if back.is_alive() and server.gettimeout():
                back.join(timeout=0.3)
            for end in (client, server):
                _shut(end)
            back.join(timeout=5)

    @staticmethod
    def _pass_back(server: socket.socket, client: socket.socket) -> None:
        while data := _received(server):
            try:
                client.sendall(data)
            except OSError:
                continue
        _shut(client)


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
