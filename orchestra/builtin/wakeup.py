"""Wake-ups between the processes of a home: a unix datagram socket for each that waits, in one folder.

A poke is a hint and may get lost. It never blocks and never fails: who waits also looks now and then.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_LONGEST_ADDRESS = 100
"""Bytes of a path that every system takes as the address of a socket (104 on macOS, 108 on Linux)."""


class Bell:
    """Pokes all who listen in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)
        self._socket: socket.socket | None = None

    def ring(self) -> None:
        """Poke everybody, and remove what dead listeners of this host left behind."""
        try:
            names = os.listdir(self._folder)
            if names:
                with _addresses(self._folder) as prefix:
                    for name in names:
                        self._poke(prefix, name)
        except OSError:
            pass

    def close(self) -> None:
        """Let go of the socket that pokes are sent from."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _poke(self, prefix: str, name: str) -> None:
        if self._socket is None:
            self._socket = _datagram_socket()
        try:
            self._socket.sendto(b"!", prefix + name)
        except ConnectionRefusedError:
            # A shared home: the socket of another host's process refuses us, however alive it is.
            if name.startswith(_own_prefix()):
                _remove_socket(prefix + name)
        except OSError:
            pass  # its queue is full: it is awake already; or it has just gone


class Listener:
    """A socket that is readable once somebody has rung."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where there can be no such socket: then the listener has to look by itself."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / f"{_own_prefix()}{os.getpid()}.{os.urandom(6).hex()}"
        self.socket = _datagram_socket()
        try:
            with _addresses(folder) as prefix:
                self.socket.bind(prefix + self._path.name)
        except BaseException:
            self.socket.close()
            raise

    def drain(self) -> bool:
        """Take all pokes that have come; True if there were any."""
        poked = False
        with suppress(BlockingIOError):
            while self.socket.recv(16):
                poked = True
        return poked

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()
        with suppress(OSError):
            self._path.unlink()


def _datagram_socket() -> socket.socket:
    import socket  # not for those commands whose pokes nobody waits for

    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def _own_prefix() -> str:
    return f"{os.uname().nodename.replace('/', '_')[:64]}."


@contextmanager
def _addresses(folder: Path | str) -> Generator[str]:
    """What goes before the names of sockets in ``folder``: addresses are short, and it may be deep."""
    prefix = f"{folder}{os.sep}"
    if len(os.fsencode(prefix)) + len(_own_prefix()) + 24 <= _LONGEST_ADDRESS:
        yield prefix
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Without /proc the address does not exist, and nobody is poked.
        yield f"/proc/self/fd/{fd}/"
    finally:
        os.close(fd)


def _remove_socket(path: str) -> None:
    with suppress(OSError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
