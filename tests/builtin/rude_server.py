"""A web server on loopback that misbehaves as it is told to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[["Asked"], None]


class Asked:
    """One request, and short ways to answer it."""

    def __init__(self, connection: socket.socket, path: str, headers: dict[str, str], number: int) -> None:
        self.connection = connection
        self.path = path
        self.headers = headers
        self.number = number
        """1 for the first request of this path."""

    @property
    def begin(self) -> int:
        """Where the part that is asked for begins."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def head(self, status: str, **headers: object) -> None:
        lines = [
            f"HTTP/1.1 {status}",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        self.connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def whole(self, data: bytes, status: str = "200 OK", **headers: object) -> None:
        self.head(status, **{"Content-Length": len(data), **headers})
        self.send(data)

    def ranged(self, data: bytes, etag: str = '"1"') -> None:
        """As a good server answers."""
        if "range" not in self.headers or self.headers.get("if-range") != etag:
            self.whole(data, ETag=etag)
            return
        rest = data[self.begin :]
        span = f"bytes {self.begin}-{len(data) - 1}/{len(data)}"
        self.whole(rest, "206 Partial Content", ETag=etag, Content_Range=span)

    def reset(self) -> None:
        """End the connection rudely."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class RudeServer:
    """Answers each path as ``answers`` says; notes what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()

    def count(self, path: str) -> int:
        with self._lock:
            return sum(one.path == path for one in self.asked)

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            data = b""
            while b"\r\n\r\n" not in data:
                received = connection.recv(65536)
                if not received:
                    return
                data += received
            first, *rest = data.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
            path = first.split(" ")[1]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
            with self._lock:
                number = sum(one.path == path for one in self.asked) + 1
                asked = Asked(connection, path, headers, number)
                self.asked.append(asked)
            answer = self.answers.get(path)
            if answer is None:
                asked.whole(b"not here", "404 Not Found")
            else:
                answer(asked)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def rude_server() -> Iterator[RudeServer]:
    server = RudeServer()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(5)


def slowly(data: bytes, pause: float) -> Answer:
    """Byte by byte."""

    def answer(asked: Asked) -> None:
        asked.head("200 OK", Content_Length=len(data))
        for byte in data:
            asked.send(bytes([byte]))
            time.sleep(pause)

    return answer
