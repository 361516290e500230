"""The executor of this machine: supervisors are processes of their own, which outlive whoever asked for them.

An attached job (a foreground run) is started plainly: its supervisor inherits the standard input. All others
are forked by a launcher process, loaded once per executor, which is an order of magnitude cheaper.

Supervisors send hints down a pipe. Nobody depends on them: what is waited for is also looked at once a
second, and jobs of other processes are looked at every 20 to 250 ms, all at once.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from orchestra.child import supervisor
from orchestra.child.install import encode_request, install, launcher_command
from orchestra.contracts import StopHow
from orchestra.errors import ExecutorError, text_of_os_error
from orchestra.model.execution import Fence, Handle, Hint, Job

if TYPE_CHECKING:
    import anyio

NAME = "local"
START_PATIENCE = 30.0
"""Seconds until a start that nobody has heard of counts as failed. The fence keeps it from coming late."""
LOOK_EVERY = 1.0
POLL_FIRST, POLL_LAST = 0.02, 0.25
_SIGNALS: dict[StopHow, int] = {
    "interrupt": signal.SIGINT,
    "terminate": signal.SIGTERM,
    "kill": signal.SIGQUIT,
}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the local executor."""

    home: Path


@asynccontextmanager
async def open_executor(options: Options) -> AsyncGenerator[LocalExecutor]:
    """Open the local executor. When it is closed, its jobs go on."""
    executor = LocalExecutor(options.home)
    try:
        yield executor
    finally:
        executor.close()


class _Token(Struct, frozen=True):
    """What a handle's token says: a process that can be proven."""

    pid: int
    start: int
    boot: str
    host: str

    @classmethod
    def parse(cls, text: str) -> _Token:
        try:
            pid, start, boot, host = text.split(":", 3)
            return cls(int(pid), int(start), boot, host)
        except ValueError:
            raise ExecutorError(f"'{text}' is no handle of the local executor") from None

    def __str__(self) -> str:
        return f"{self.pid}:{self.start}:{self.boot}:{self.host}"

    @property
    def here(self) -> bool:
        return self.host == supervisor.host_id()

    def alive(self) -> bool:
        """Whether the process runs; only to be asked on its own host."""
        if self.pid <= 0 or self.boot != supervisor.boot_id():
            return False
        return supervisor.process_start(self.pid) == self.start


_NOBODY = _Token(0, 0, "", "")
"""The token of a job that will never run: somebody has revoked it."""


class _Watched:
    """Something that tasks wait for."""

    def __init__(self) -> None:
        self.wakers: list[Callable[[], object]] = []

    def wake(self) -> None:
        wakers, self.wakers = self.wakers, []
        for waker in wakers:
            waker()


class _Started(_Watched):
    """A job that was submitted here, as far as its hints tell."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.token: _Token | None = None
        self.size = 0
        self.lost = False
        self.ended = False
        self.failed: int | None = None
        self.launcher: _Launcher | None = None
        """Who was asked to start it."""

    @property
    def settled(self) -> bool:
        """Whether it is known what came of the submission."""
        return self.token is not None or self.lost or self.ended or self.failed is not None


class _Turns:
    """Lets one of those who wait do the looking for all of them: no task of our own must run."""

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._looking = False
        self._waiting: list[_Watched] = []

    async def until(self, watched: _Watched, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``ready()``, at most for so long; whether it is."""
        import anyio

        with anyio.move_on_after(seconds):
            while not ready():
                if self._looking:
                    await self._follow(watched, anyio.Event())
                else:
                    await self._lead(ready)
        return ready()

    async def _follow(self, watched: _Watched, event: anyio.Event) -> None:
        self._waiting.append(watched)
        watched.wakers.append(event.set)
        try:
            await event.wait()
        finally:
            self._waiting.remove(watched)
            if event.set in watched.wakers:
                watched.wakers.remove(event.set)

    async def _lead(self, ready: Callable[[], bool]) -> None:
        self._looking = True
        try:
            while not ready():
                await self._look()
        finally:
            self._looking = False
            if self._waiting:
                self._waiting[0].wake()


class _HintPipe:
    """The pipe that the supervisors of one executor write their hints to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        self.jobs: dict[str, _Started] = {}
        self.turns = _Turns(self._look)
        self._rest = b""

    def expect(self, name: str) -> _Started:
        """What is known of a job; a new note if that is nothing, or that it could not be started."""
        known = self.jobs.get(name)
        if known is None or known.lost or known.failed is not None:
            self._forget_old()
            known = self.jobs[name] = _Started(name)
        return known

    def _forget_old(self) -> None:
        if len(self.jobs) > 2000:
            for name in [name for name, job in self.jobs.items() if job.ended][:1000]:
                del self.jobs[name]

    async def _look(self) -> None:
        import anyio

        await anyio.wait_readable(self.reader)
        self.read()

    def read(self) -> None:
        """Take in what has arrived."""
        try:
            data = os.read(self.reader, 1 << 16)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(os.fsdecode(line).split(" "))

    def _take(self, words: list[str]) -> None:
        job = self.jobs.get(words[0]) if len(words) == 3 else None
        if job is None:
            return
        kind, value = words[1:]
        if kind == "pid":
            pid, start = value.split(":")
            job.token = _Token(int(pid), int(start), supervisor.boot_id(), supervisor.host_id())
        elif kind == "size":
            job.size = int(value)
        elif kind == "lost":
            job.lost = True
        elif kind == "failed":
            job.failed = int(value)
        elif kind == "exit":
            job.ended = True
        job.wake()

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class _Launcher:
    """The process that forks supervisors for us."""

    def __init__(self, home: Path, hints_fd: int) -> None:
        command = launcher_command(sys.executable, install(str(home / "lib")), 3)
        reader, self._writer = os.pipe()
        # Another cookie than any attempt's: a supervisor above us must leave ours alone.
        environment = {**os.environ, supervisor.COOKIE: f"launcher.{os.urandom(8).hex()}"}
        try:
            self.pid = _spawn(command, environment, hints_fd, reader)
        except OSError:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)
        os.set_blocking(self._writer, False)
        self._outgoing = b""

    def alive(self) -> bool:
        return supervisor.process_start(self.pid) is not None

    def send(self, request: bytes = b"") -> bool:
        """Send on what is to be sent; False while some of it could not be."""
        self._outgoing += request
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[os.write(self._writer, self._outgoing) :]
        except (BlockingIOError, BrokenPipeError):
            return False
        return True

    def close(self) -> None:
        """At the end of its input it ends."""
        os.close(self._writer)
        for _ in range(50):
            if _reap(self.pid):
                return
            time.sleep(0.001)
        _reap_later(self.pid)


class _Poll:
    """Looks at the jobs of other processes, all at once."""

    def __init__(self) -> None:
        self.turns = _Turns(self._look)
        self._watched: dict[_Token, list[_Watched]] = {}
        self._delay = POLL_FIRST

    async def ended(self, token: _Token, seconds: float) -> bool:
        """Wait until the process has ended, at most for so long; whether it has."""
        watched = _Watched()
        self._delay = POLL_FIRST
        self._watched.setdefault(token, []).append(watched)
        try:
            return await self.turns.until(watched, lambda: not token.alive(), seconds)
        finally:
            self._watched[token].remove(watched)
            if not self._watched[token]:
                del self._watched[token]

    async def _look(self) -> None:
        import anyio

        await anyio.sleep(self._delay)
        self._delay = min(self._delay * 1.5, POLL_LAST)
        for token, all_watched in list(self._watched.items()):
            if not token.alive():
                for watched in all_watched:
                    watched.wake()


class LocalExecutor:
    """Runs jobs on this machine. Of the capabilities it has ``Hinting``."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._hints: _HintPipe | None = None
        self._launcher: _Launcher | None = None
        self._poll = _Poll()
        self._children: dict[str, int] = {}
        self._asked: dict[str, tuple[int, float]] = {}

    async def submit(self, job: Job) -> Handle:
        """Start a job; its supervisor owns the attempt when this returns. Never suspends for an attached one.

        Raises:
            ExecutorError: no process could be started, or it could not begin.
        """
        self._reap_children()
        decided = _decided(job)
        if decided is not None:
            return _handle(job, decided)
        self._hints = self._hints or _HintPipe()
        started = self._hints.expect(job.name)
        try:
            if job.attached:
                self._start_plainly(job, started, self._hints)
            else:
                await self._start_by_launcher(job, started, self._hints)
        except OSError as error:
            self._hints.jobs.pop(job.name, None)
            raise ExecutorError(f"job {job.name} could not be started: {text_of_os_error(error)}") from error
        if started.failed is not None:
            raise ExecutorError(f"job {job.name} could not be started: {os.strerror(started.failed)}")
        token = started.token
        if started.lost or token is None:
            token = _decided(job) or _NOBODY
        return _handle(job, token)

    async def wait(self, handle: Handle) -> Hint:
        """Wait until a job's supervisor has ended. ``unknown`` for a job of another host."""
        import anyio

        token = _Token.parse(handle.token)
        if token.pid and not token.here:
            await anyio.sleep(LOOK_EVERY)
            return "unknown"
        started = self._own(handle, token)
        while True:
            if started is None or self._hints is None:
                if await self._poll.ended(token, float("inf")):
                    return "ended"
            elif (
                await self._hints.turns.until(started, lambda: started.ended, LOOK_EVERY) or not token.alive()
            ):
                started.ended = True
                return "ended"

    async def progress(self, handle: Handle, size: int) -> None:
        """Return when a job may have written more than ``size`` bytes, or has ended."""
        token = _Token.parse(handle.token)
        started = self._own(handle, token)
        if started is None or self._hints is None:
            last, delay = self._asked.get(handle.job, (-1, POLL_FIRST))
            delay = min(delay * 1.5, POLL_LAST) if size == last else POLL_FIRST
            self._asked[handle.job] = (size, delay)
            if await self._poll.ended(token, delay):
                self._asked.pop(handle.job, None)
            return
        while not await self._hints.turns.until(
            started, lambda: started.ended or started.size > size, LOOK_EVERY
        ):
            if not token.alive():
                started.ended = True

    async def stop(self, handle: Handle, how: StopHow) -> bool:
        """Tell a job's supervisor to stop it; False if there is none that could be told."""
        token = _Token.parse(handle.token)
        if not token.here or not token.alive():
            return False
        if not supervisor.send_signal(token.pid, token.start, _SIGNALS[how]):
            return False
        # A supervisor that was stopped (SIGSTOP) could not act on it.
        supervisor.send_signal(token.pid, token.start, signal.SIGCONT)
        return True

    def close(self) -> None:
        """Let go of everything. Jobs go on; no process of ours stays a zombie."""
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None
        if self._hints is not None:
            self._hints.close()
            self._hints = None
        self._reap_children()
        for pid in self._children.values():
            _reap_later(pid)
        self._children.clear()

    def _own(self, handle: Handle, token: _Token) -> _Started | None:
        started = self._hints.jobs.get(handle.job) if self._hints is not None else None
        return started if started is not None and started.token == token else None

    def _start_plainly(self, job: Job, started: _Started, hints: _HintPipe) -> None:
        """Start the supervised command as it is, and block until it says what became of it."""
        if job.name not in self._children:
            environment = {**os.environ, **job.environment}
            self._children[job.name] = _spawn((*job.argv, "3"), environment, hints.writer, None)
        poller = select.poll()
        poller.register(hints.reader, select.POLLIN)
        deadline = time.monotonic() + START_PATIENCE
        while not started.settled:
            poller.poll(50)
            hints.read()
            if not started.settled and _reap(self._children[job.name]):
                hints.read()
                del self._children[job.name]
                if not started.settled:
                    started.lost = _decided(job) is not None
                    started.failed = None if started.lost else errno.ECHILD
            elif time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    async def _start_by_launcher(self, job: Job, started: _Started, hints: _HintPipe) -> None:
        deadline = time.monotonic() + START_PATIENCE
        while not started.settled:
            launcher = self._living_launcher(hints)
            request = b""
            if started.launcher is not launcher:
                if started.launcher is not None and _decided(job) is not None:
                    # The launcher that was asked is dead, but it had come that far.
                    started.lost = True
                    return
                # If that one had come half way, the fence keeps a second start harmless.
                request = encode_request(job.name, job.directory, job.environment)
                started.launcher = launcher
            sent = launcher.send(request)
            await hints.turns.until(started, lambda: started.settled, 0.25 if sent else 0.01)
            if not started.settled and time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def _living_launcher(self, hints: _HintPipe) -> _Launcher:
        if self._launcher is not None and not self._launcher.alive():
            self._launcher.close()
            self._launcher = None
        if self._launcher is None:
            self._launcher = _Launcher(self._home, hints.writer)
        return self._launcher

    def _reap_children(self) -> None:
        self._children = {name: pid for name, pid in self._children.items() if not _reap(pid)}


def _handle(job: Job, token: _Token) -> Handle:
    return Handle(executor=NAME, job=job.name, token=str(token))


def _decided(job: Job) -> _Token | None:
    """Who owns a job's attempt already, if somebody does."""
    try:
        data = (Path(job.directory) / "fence").read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ExecutorError(text_of_os_error(error)) from error
    try:
        fence = msgspec.json.decode(data, type=Fence)
    except msgspec.DecodeError:
        return _NOBODY
    if fence.fence != "started":
        return _NOBODY
    owner = fence.identity
    return _Token(owner.pid, owner.start, owner.boot, owner.host)


def _spawn(command: tuple[str, ...], environment: dict[str, str], hints_fd: int, stdin: int | None) -> int:
    """Start a process in a session of its own, with hints at fd 3, and nothing of our output."""
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = []
    if stdin is not None:
        actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
    actions.append((os.POSIX_SPAWN_DUP2, hints_fd, 3))
    actions.extend((os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2))
    try:
        return os.posix_spawnp(command[0], command, environment, file_actions=actions, setsid=True)
    except NotImplementedError:
        # The supervisor makes its session itself; the group keeps a Ctrl-C away until then.
        return os.posix_spawnp(command[0], command, environment, file_actions=actions, setpgroup=0)


def _reap(pid: int) -> bool:
    """Whether a child has ended (and is no zombie any more)."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _reap_later(pid: int) -> None:
    def wait() -> None:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass

    threading.Thread(target=wait, name=f"reap-{pid}", daemon=True).start()
