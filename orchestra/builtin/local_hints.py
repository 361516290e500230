"""How the local executor learns of its jobs: by the hints of their supervisors, and by looking."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from orchestra.child import supervisor
from orchestra.errors import ExecutorError
from orchestra.model.execution import Handle

if TYPE_CHECKING:
    import anyio

    from orchestra.builtin.local_launcher import Launcher

POLL_FIRST, POLL_LAST = 0.02, 0.25
"""Seconds between two looks at jobs of other processes: soon at first, then rarely."""


class Token(Struct, frozen=True):
    """What a handle's token says: a process that can be proven, and what it owns as long as it is the job's."""

    pid: int
    start: int
    boot: str
    host: str
    job: str
    directory: str = ""
    """The attempt's; empty in handles of earlier versions, whose supervisors never had another one."""

    @classmethod
    def of(cls, handle: Handle) -> Token:
        """What a handle says. Raises ExecutorError."""
        try:
            pid, start, boot, host, *directory = handle.token.split(":", 4)
            return cls(int(pid), int(start), boot, host, handle.job, _unescaped("".join(directory)))
        except ValueError:
            raise ExecutorError(f"'{handle.token}' is no handle of the local executor") from None

    def __str__(self) -> str:
        return f"{self.pid}:{self.start}:{self.boot}:{self.host}:{_escaped(self.directory)}"

    @property
    def here(self) -> bool:
        return self.host == supervisor.host_id()

    def alive(self) -> bool:
        """Whether the process runs, and is the job's still; only to be asked on its own host."""
        if self.pid <= 0 or self.boot != supervisor.boot_id():
            return False
        if supervisor.process_start(self.pid) != self.start:
            return False
        return not self.directory or supervisor.owns(self.directory, self.job, self.pid)

    def signal(self, number: int) -> bool:
        """Signal the process if it is the job's still; True if it was signalled."""
        if not self.directory:
            return supervisor.signal_and_continue(self.pid, self.start, number)
        return supervisor.signal_owner(self.directory, self.job, self.pid, self.start, number)


def _escaped(path: str) -> str:
    """A path as text that can be kept, also one that is no UTF-8."""
    return path.encode("unicode_escape").decode("ascii")


def _unescaped(text: str) -> str:
    return text.encode("ascii").decode("unicode_escape")


NOBODY = Token(0, 0, "", "", "")
"""The token of a job that will never run: somebody has revoked it."""


class Watched:
    """Something that tasks wait for."""

    def __init__(self) -> None:
        self.wakers: list[Callable[[], object]] = []

    def wake(self) -> None:
        wakers, self.wakers = self.wakers, []
        for waker in wakers:
            waker()


class Started(Watched):
    """A job that was submitted here, as far as its hints tell."""

    def __init__(self, name: str, directory: str = "") -> None:
        super().__init__()
        self.name = name
        self.directory = directory
        """The attempt's, of a job that has one."""
        self.token: Token | None = None
        self.size = 0
        self.lost = False
        self.ended_well = False
        self.ended_well_told = False
        """Whether somebody who waits for progress was told."""
        self.ended = False
        self.failed: int | None = None
        self.launcher: Launcher | None = None
        """Who was asked to start it, and may do so yet."""
        self.gone = 0
        """How many of those that were to start it have ended without a word."""
        self.cold: str | None = None
        """Of a launcher with modules loaded: why it is none that runs can be forked from."""
        self.stale = False
        """Whether what it has loaded is no longer what is there."""

    @property
    def foretells(self) -> bool:
        """Whether it is news that the operation has ended well."""
        return self.ended_well and not self.ended_well_told

    @property
    def settled(self) -> bool:
        """Whether it is known what came of the submission."""
        known = self.token is not None or self.cold is not None
        return known or self.lost or self.ended or self.failed is not None


class Turns:
    """Lets one of those who wait do the looking for all of them: no task of our own must run."""

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._looking = False
        self._waiting: list[Watched] = []

    async def until(self, watched: Watched, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``ready()``, at most for so long; whether it is."""
        import anyio

        try:
            with anyio.move_on_after(seconds):
                while not ready():
                    if self._looking:
                        await self._follow(watched, anyio.Event())
                    else:
                        await self._lead(ready)
        finally:
            # Also by a follower that needs no more looks: it may have been woken to take the lead.
            if not self._looking and self._waiting:
                self._waiting[0].wake()
        return ready()

    async def _follow(self, watched: Watched, event: anyio.Event) -> None:
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


class HintPipe:
    """The pipe that the supervisors of one executor write their hints to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        self.jobs: dict[str, Started] = {}
        self.turns = Turns(self._look)
        self._rest = b""

    def expect(self, name: str, directory: str = "") -> Started:
        """What is known of a job, ``directory`` being its attempt's; a new note if that is nothing, or that it could
        not be started."""
        known = self.jobs.get(name)
        if known is None or known.lost or known.failed is not None:
            self._forget_old()
            known = self.jobs[name] = Started(name, directory)
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
            boot, host = supervisor.boot_id(), supervisor.host_id()
            job.token = Token(int(pid), int(start), boot, host, job.name, job.directory)
        elif kind == "size":
            job.size = int(value)
        elif kind == "over":
            job.ended_well = True
        elif kind == "lost":
            job.lost = True
        elif kind == "failed":
            job.failed = int(value)
        elif kind == "gone" and not job.settled:
            job.gone += 1
            job.launcher = None
        elif kind == "cold":
            job.cold = bytes.fromhex(value).decode("utf-8", "replace")
        elif kind == "stale":
            job.stale = True
        elif kind == "exit":
            job.ended = True
        job.wake()

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class Poll:
    """Looks at the jobs of other processes, all at once."""

    def __init__(self) -> None:
        self.turns = Turns(self._look)
        self._watched: dict[Token, list[Watched]] = {}
        self._delay = POLL_FIRST

    async def ended(self, token: Token, seconds: float) -> bool:
        """Wait until the process has ended, at most for so long; whether it has."""
        watched = Watched()
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
