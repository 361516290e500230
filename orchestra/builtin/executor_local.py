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
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestra.builtin.local_hints import NOBODY, POLL_FIRST, POLL_LAST, HintPipe, Poll, Started, Token
from orchestra.builtin.local_launcher import (
    HINTS_FD,
    Launcher,
    launcher_environment,
    reap,
    reap_later,
    spawn,
)
from orchestra.child import supervisor
from orchestra.child.install import encode_request, install, launcher_command
from orchestra.contracts import StopHow
from orchestra.errors import SHORTAGES, ExecutorError, text_of_os_error
from orchestra.model.execution import Fence, Handle, Hint, Job

NAME = "local"
START_PATIENCE = 30.0
"""Seconds until a start that nobody has heard of counts as failed. Revoking the fence then rules it out."""
LOOK_EVERY = 1.0
SHORTAGE_PAUSE = 0.25
MOST_GONE = 2
"""Supervisors of a job that may be killed before they have begun: one more, and it can't be started."""


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


class LocalExecutor:
    """Runs jobs on this machine. Of the capabilities it has all: ``Hinting``, ``Foretelling``, ``Warming`` and
    ``Preparing``."""

    name = NAME

    def __init__(self, home: Path) -> None:
        self._home = home
        self._hints: HintPipe | None = None
        self._launcher: Launcher | None = None
        self._poll = Poll()
        self._children: dict[str, int] = {}
        self._asked: dict[str, tuple[int, float]] = {}

    def warm_up(self) -> None:
        """Start the launcher, which takes a while to load."""
        try:
            self._hints = self._hints or HintPipe()
            self._living_launcher(self._hints)
        except OSError:
            pass

    def prepare(self, job: Job, orders: str) -> None:
        """Have a supervisor follow a job's orders up to its fence, and wait there for the job to be submitted."""
        if job.attached:
            return
        try:
            self._hints = self._hints or HintPipe()
            launcher = self._launcher_ahead(job, orders, self._hints)
            if launcher is not None:
                launcher.send(encode_request(job.name, job.directory, job.environment, ahead=orders))
        except (OSError, ValueError):
            pass  # What speaks against the job will be said when it is submitted.

    async def submit(self, job: Job) -> Handle:
        """Start a job; its supervisor owns the attempt when this returns. Never suspends for an attached one.

        Raises:
            ExecutorError: no process could be started, or it could not begin.
        """
        self._reap_children()
        decided = _decided(job)
        if decided is not None:
            return self._handle(job, decided)
        self._hints = self._hints or HintPipe()
        started = self._hints.expect(job.name, job.directory)
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
            token = _decided(job) or NOBODY
        return self._handle(job, token)

    async def wait(self, handle: Handle) -> Hint:
        """Wait until a job's supervisor has ended. ``unknown`` for a job of another host."""
        import anyio

        token = Token.of(handle)
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
        token = Token.of(handle)
        started = self._own(handle, token)
        if started is None or self._hints is None:
            last, delay = self._asked.get(handle.job, (-1, POLL_FIRST))
            delay = min(delay * 1.5, POLL_LAST) if size == last else POLL_FIRST
            self._asked[handle.job] = (size, delay)
            if await self._poll.ended(token, delay):
                self._asked.pop(handle.job, None)
            return
        while not await self._hints.turns.until(
            started, lambda: started.ended or started.size > size or started.foretells, LOOK_EVERY
        ):
            if not token.alive():
                started.ended = True
        started.ended_well_told = started.ended_well

    def ended_well(self, handle: Handle) -> bool:
        """Whether a job's operation has ended well, though the record of it may still be on its way."""
        started = self._own(handle, Token.of(handle))
        return started is not None and started.ended_well

    async def stop(self, handle: Handle, how: StopHow) -> bool:
        """Tell a job's supervisor to stop it; False if there is none that could be told."""
        token = Token.of(handle)
        return token.here and token.alive() and token.signal(supervisor.STOP_SIGNALS[how])

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
            reap_later(pid)
        self._children.clear()

    def _handle(self, job: Job, token: Token) -> Handle:
        return Handle(executor=self.name, job=job.name, token=str(token))

    def _own(self, handle: Handle, token: Token) -> Started | None:
        started = self._hints.jobs.get(handle.job) if self._hints is not None else None
        return started if started is not None and started.token == token else None

    def _start_plainly(self, job: Job, started: Started, hints: HintPipe) -> None:
        """Start the supervised command as it is, and block until it says what became of it."""
        if job.name not in self._children:
            environment = {**os.environ, **job.environment}
            self._children[job.name] = spawn((*job.argv, str(HINTS_FD)), environment, hints.writer, None)
        poller = select.poll()
        poller.register(hints.reader, select.POLLIN)
        deadline = time.monotonic() + START_PATIENCE
        while not started.settled:
            poller.poll(50)
            hints.read()
            if not started.settled and reap(self._children[job.name]):
                hints.read()
                del self._children[job.name]
                if not started.settled:
                    started.lost = _decided(job) is not None
                    started.failed = None if started.lost else errno.ECHILD
            elif time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    async def _start_by_launcher(self, job: Job, started: Started, hints: HintPipe) -> None:
        deadline = time.monotonic() + START_PATIENCE
        while not started.settled:
            launcher, request = started.launcher, b""
            if launcher is None or not launcher.alive():
                launcher = await self._launcher_for(job, hints)
            if started.launcher is not launcher:
                if (started.launcher is not None or started.gone) and _decided(job) is not None:
                    # Who was asked is dead, but it had come that far.
                    started.lost = True
                    return
                if started.gone > MOST_GONE:
                    started.failed = errno.ECHILD
                    return
                # If that one had come half way, the fence keeps another start harmless.
                request = encode_request(job.name, job.directory, job.environment)
                started.launcher = launcher
            sent = launcher.send(request)
            await hints.turns.until(started, lambda: _has_news(started), 0.25 if sent else 0.01)
            if started.failed in SHORTAGES and time.monotonic() < deadline and _decided(job) is None:
                # What others use now comes free when they end.
                await _sleep(SHORTAGE_PAUSE)
                hints.read()  # That it is gone is no news of the next one.
                started.failed = started.launcher = None
                started.gone = 0
            if not started.settled and time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    async def _launcher_for(self, job: Job, hints: HintPipe) -> Launcher:
        """Who is to start a job. Raises OSError, ExecutorError."""
        return self._living_launcher(hints)

    def _launcher_ahead(self, job: Job, orders: str, hints: HintPipe) -> Launcher | None:
        """Who will be to start a job, as far as that is known without waiting. Raises OSError."""
        return self._living_launcher(hints)

    def _living_launcher(self, hints: HintPipe) -> Launcher:
        if self._launcher is not None and not self._launcher.alive():
            self._launcher.close()
            self._launcher = None
        if self._launcher is None:
            command = launcher_command(sys.executable, install(str(self._home / "lib")), HINTS_FD)
            self._launcher = Launcher(command, launcher_environment(), hints.writer)
        return self._launcher

    def _reap_children(self) -> None:
        self._children = {name: pid for name, pid in self._children.items() if not reap(pid)}


async def _sleep(seconds: float) -> None:
    import anyio

    await anyio.sleep(seconds)


def _has_news(started: Started) -> bool:
    return started.settled or started.launcher is None


def _decided(job: Job) -> Token | None:
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
        return NOBODY
    if fence.fence != "started":
        return NOBODY
    owner = fence.identity
    return Token(owner.pid, owner.start, owner.boot, owner.host, job.name, job.directory)
