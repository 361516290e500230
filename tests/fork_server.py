"""A Python that has loaded ``orchestra`` and its libraries already, and forks for each command.

``python -m orchestra`` spends most of its time with starting Python and importing modules, which is a third of
the time of all tests. What is forked here is a process like any other, with arguments, environment, directory and
files of its own; modules show up in ``sys.modules`` when they are imported, with all that they import, as they
would otherwise.

Run as a script, this serves the requests that come down its standard input, a socket, until that is closed.
"""

from __future__ import annotations

import atexit
import builtins
import gc
import importlib
import importlib.util
import json
import os
import runpy
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

LIBRARIES = (
    *("asyncio", "sqlite3", "json", "argparse", "inspect", "typing", "dataclasses", "subprocess", "tempfile"),
    *("msgspec", "msgspec.json", "anyio", "anyio._backends._asyncio", "anyio.to_thread", "anyio.abc"),
    *("cyclopts", "structlog", "yaml", "rich.console", "rich.table", "concurrent.futures.thread"),
)
APART = (
    *("orchestra.__main__", "orchestra.child.", "orchestra.testing."),
    *("orchestra.cli.compare_app", "orchestra.cli.compare_view", "orchestra.plugins.templates."),
)
LARGEST = 100_000
DECISIVE = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC_")
"""How the names of variables begin that are read when Python starts."""


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
        self, arguments: Sequence[str], cwd: str, environment: Mapping[str, str], fds: Sequence[int]
    ) -> tuple[int, int]:
        """Start ``orchestra`` with ``arguments`` and three standard files: its pid, and what tells of its end."""
        request = json.dumps([list(arguments), cwd, dict(environment)]).encode()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._socket, [request], [*fds, theirs.fileno()])
        return int(ours.recv(64)), ours.detach()

    def close(self) -> None:
        """End the server. What it has started goes on."""
        self._socket.close()
        self._process.wait(10)


class Forked(subprocess.Popen[str]):
    """A command that a fork server starts. It is no child of this process, and is waited for all the same."""

    def __init__(self, server: ForkServer, arguments: Sequence[str], **options: Any) -> None:
        self._server = server
        self._status = -1
        super().__init__(arguments, text=True, **options)

    def _execute_child(self, args: Any, *rest: Any) -> None:
        # What subprocess itself hands over here: the sixth and seventh are the directory and the environment.
        cwd, environment, pipes = rest[4], rest[5], rest[9:15]
        wanted = [
            given if given >= 0 else number for number, given in enumerate((pipes[0], pipes[3], pipes[5]))
        ]
        try:
            self.pid, self._status = self._server.start(args, os.fspath(cwd), environment, wanted)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # pyright: ignore[reportAttributeAccessIssue]

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(os.read(self._status, 64))
            os.close(self._status)
        return self.returncode

    def _internal_poll(self, **_: Any) -> int | None:
        try:
            return self._wait(0)
        except subprocess.TimeoutExpired:
            return None


_servers: list[ForkServer] = []


def fork_server(environment: Mapping[str, str]) -> ForkServer:
    """The one of this process; started in this environment if there is none yet."""
    if not _servers:
        _servers.append(ForkServer(environment))
    return _servers[0]


def _decisive(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(DECISIVE)}


class _Loaded:
    """Finds and "loads" modules that were loaded before, and were taken out of ``sys.modules``."""

    def __init__(self, modules: Mapping[str, ModuleType], imported: Mapping[str, set[str]]) -> None:
        """``imported``: the names that each module imports while it is loaded."""
        self._modules = dict(modules)
        self._specs = {name: module.__spec__ for name, module in modules.items()}
        self._imported = imported

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self._modules else None  # pyright: ignore[reportArgumentType]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._specs[module.__name__]
        due = [module.__name__]
        while due:
            for name in self._imported.get(due.pop(), ()):
                if name in self._modules and name not in sys.modules:
                    sys.modules[name] = self._modules[name]
                    due.append(name)

    def forget(self, package: str) -> None:
        """Let the modules of ``package`` be loaded anew."""
        for name in [name for name in self._modules if name.partition(".")[0] == package]:
            del self._modules[name]


def _serve(loaded: _Loaded) -> None:
    """Fork for each request, until there is none any more; return in the process that is to do what one says."""
    with socket.socket(fileno=os.dup(0)) as requests:
        while True:
            request, fds, _, _ = socket.recv_fds(requests, LARGEST, 4)
            if not request:
                os._exit(0)
            if os.fork() == 0:
                requests.close()
                if _watch(json.loads(request), fds, loaded):
                    return
            for fd in fds:
                os.close(fd)
            _reap()


def _watch(request: list[Any], fds: list[int], loaded: _Loaded) -> bool:
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
    if "ORCHESTRA_FAILPOINT" in environment:
        # The one thing that a module of ours looks at while it is loaded.
        loaded.forget("orchestra")
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


def _load() -> _Loaded:
    before = set(sys.modules)
    with _noting_imports() as imported:
        for library in LIBRARIES:
            importlib.import_module(library)
        for name in _modules_of_ours():
            importlib.import_module(name)
    modules = {name: sys.modules.pop(name) for name in set(sys.modules) - before}
    loaded = _Loaded(modules, imported)
    sys.meta_path.insert(0, loaded)  # pyright: ignore[reportArgumentType]
    # What is forked looks for garbage among its own only: looking at all that is here would copy its memory.
    gc.collect()
    gc.freeze()
    return loaded


def _modules_of_ours() -> list[str]:
    """All modules that a command may import but for those that bring in large libraries."""
    root = Path(__file__).parents[1]
    found = [
        ".".join(path.relative_to(root).with_suffix("").parts) for path in root.glob("orchestra/**/*.py")
    ]
    return [name for name in sorted(found) if not name.startswith(APART) and not name.endswith("__init__")]


@contextmanager
def _noting_imports() -> Iterator[dict[str, set[str]]]:
    """Which modules each module imports from now on."""
    imported: dict[str, set[str]] = {}
    original = builtins.__import__

    def noting(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        module = original(name, globals, locals, fromlist, level)
        # What a function imports is imported when it is called, and not with its module.
        if sys._getframe(1).f_code.co_name == "<module>":
            full = importlib.util.resolve_name("." * level + name, (globals or {}).get("__package__"))
            known = imported.setdefault((globals or {}).get("__name__", ""), set())
            parts = full.split(".")
            known.update(".".join(parts[:length]) for length in range(1, len(parts) + 1))
            known.update(f"{full}.{part}" for part in fromlist or ())
        return module

    builtins.__import__ = noting
    try:
        yield imported
    finally:
        builtins.__import__ = original


if __name__ == "__main__":
    _serve(_load())
    runpy.run_module("orchestra.__main__", run_name="__main__", alter_sys=True)
