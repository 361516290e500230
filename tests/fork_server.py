"""A Python that has loaded the libraries of ``orchestra`` already, and forks for each command.

``python -m orchestra`` spends most of its time with starting Python and importing libraries, which is a third of
the time of all tests. What is forked here is a process like any other, with arguments, environment, directory and
files of its own; all modules of ``orchestra`` are imported in it anew, and libraries show up in ``sys.modules``
when they are imported, as they would otherwise.

Run as a script, this serves the requests that come down its standard input, a socket, until that is closed.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

LIBRARIES = (
    *("asyncio", "sqlite3", "json", "argparse", "inspect", "typing", "dataclasses", "subprocess", "tempfile"),
    *("msgspec", "msgspec.json", "anyio", "anyio._backends._asyncio", "anyio.to_thread", "anyio.abc"),
    *("cyclopts", "structlog", "yaml", "rich.console", "rich.table", "concurrent.futures.thread"),
)
LARGEST = 100_000
DECISIVE = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC_")
"""How the names of variables begin that are read when Python starts."""


class Started:
    """A command that runs, with pipes to what it writes."""

    def __init__(self, pipes: Sequence[int], status: socket.socket) -> None:
        self._pipes = {fd: bytearray() for fd in pipes}
        self._status = status
        self._pid = int(status.recv(64))

    def communicate(self, timeout: float) -> tuple[int, list[bytes]]:
        """Read all that it writes, and wait for its end: its exit code (-N: signal N), and that.

        Raises:
            TimeoutError: it did not end in time, and was killed.
        """
        end = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector, self._status:
            for fd in (*self._pipes, self._status):
                selector.register(fd, selectors.EVENT_READ)
            code = 0
            while selector.get_map():
                ready = selector.select(max(0, end - time.monotonic()))
                if not ready:
                    os.kill(self._pid, 9)
                    raise TimeoutError(f"pid {self._pid} did not end in {timeout} s")
                for key, _ in ready:
                    if key.fileobj is self._status:
                        code = int(self._status.recv(64))
                        selector.unregister(self._status)
                    elif data := os.read(key.fd, 1 << 16):
                        self._pipes[key.fd] += data
                    else:
                        selector.unregister(key.fd)
                        os.close(key.fd)
        return code, [bytes(data) for data in self._pipes.values()]


class ForkServer:
    """Starts commands of ``orchestra`` in processes forked from a Python that has the libraries loaded."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = _decisive(environment)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                env=environment,
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def suits(self, arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether a Python that is started for this would have been the same."""
        size = sum(map(len, (*arguments, *environment, *environment.values())))
        return _decisive(environment) == self._environment and size * 4 < LARGEST

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: str,
        environment: Mapping[str, str],
        stdin: str | None = None,
        separate: bool = False,
    ) -> Started:
        """Start ``orchestra`` with ``arguments``; both streams in one pipe unless they are to be ``separate``."""
        request = json.dumps([list(arguments), cwd, dict(environment)]).encode()
        out, into_out = os.pipe()
        error, into_error = os.pipe() if separate else (None, into_out)
        given = _filled(stdin)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            socket.send_fds(self._socket, [request], [given, into_out, into_error, theirs.fileno()])
        finally:
            theirs.close()
            for fd in {given, into_out, into_error}:
                os.close(fd)
        return Started([out] if error is None else [out, error], ours)

    def close(self) -> None:
        """End the server. What it has started goes on."""
        self._socket.close()
        self._process.wait(10)


_servers: list[ForkServer] = []


def fork_server(environment: Mapping[str, str]) -> ForkServer:
    """The one of this process; started in this environment if there is none yet."""
    if not _servers:
        _servers.append(ForkServer(environment))
    return _servers[0]


def _filled(text: str | None) -> int:
    if text is None:
        return os.open(os.devnull, os.O_RDONLY)
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as pipe:
        pipe.write(text.encode(errors="surrogateescape"))
    return reading


def _decisive(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(DECISIVE)}


class _Loaded:
    """Finds and "loads" modules that were loaded before, and were taken out of ``sys.modules``."""

    def __init__(self, modules: Mapping[str, ModuleType]) -> None:
        self._modules = modules
        self._specs = {name: module.__spec__ for name, module in modules.items()}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self._modules else None  # pyright: ignore[reportArgumentType]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._specs[module.__name__]


def _serve() -> None:
    """Fork for each request, until there is none any more; return in the process that is to do what one says."""
    with socket.socket(fileno=os.dup(0)) as requests:
        while True:
            request, fds, _, _ = socket.recv_fds(requests, LARGEST, 4)
            if not request:
                os._exit(0)
            if os.fork() == 0:
                requests.close()
                if _watch(json.loads(request), fds):
                    return
            for fd in fds:
                os.close(fd)
            _reap()


def _watch(request: list[Any], fds: list[int]) -> bool:
    """Fork once more, and tell of that process until its end; True in it."""
    status = socket.socket(fileno=fds.pop())
    pid = os.fork()
    if pid:
        for fd in {0, *fds}:
            os.close(fd)
        status.send(b"%d" % pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        status.send(b"%d" % code)
        os._exit(0)
    status.close()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    for fd in set(fds):
        os.close(fd)
    arguments, cwd, environment = request
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv[1:] = arguments
    sys.path[0] = os.getcwd()
    return True


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _load() -> None:
    before = set(sys.modules)
    for library in LIBRARIES:
        importlib.import_module(library)
    loaded = {name: sys.modules.pop(name) for name in set(sys.modules) - before}
    sys.meta_path.insert(0, _Loaded(loaded))  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    _load()
    _serve()
    runpy.run_module("orchestra", run_name="__main__", alter_sys=True)
