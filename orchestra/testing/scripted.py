"""An executor that does what a script says: for tests of what an engine makes of executors that misbehave.

    executor = ScriptedExecutor()
    executor.scripts["RUN.1"] = Script(hints=("unknown", "unknown", "gone"))
    executor.scripts["RUN.2"] = Script(refuse="no more licences")

A job without a script goes by ``default``; where that is None, too, it is really run, as a child process: so
it passes the kit of :mod:`orchestra.testing.executors`.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from msgspec import Struct, to_builtins

from orchestra.child import supervisor
from orchestra.contracts import StopHow
from orchestra.errors import ExecutorError
from orchestra.model.execution import Exit, Handle, Hint, Job

NAME = "scripted"


class Script(Struct, frozen=True, kw_only=True):
    """What becomes of one job. Nothing is run: records are written as if it had been."""

    refuse: str | None = None
    """``submit`` raises ExecutorError with this text."""
    submit_delay: float = 0.0
    """Seconds until ``submit`` returns (or raises)."""
    start: bool = True
    """Whether the fence is won, and its lock held until the end."""
    exit: Exit | None = Exit(code=0, started=0, stopped=0)
    """The exit record, written when the job ends; None: it ends without one (lost)."""
    output: bytes = b""
    after: float = 0.0
    """Seconds from the submission to the end; ``inf``: it hangs until it is stopped."""
    hints: tuple[Hint, ...] = ("ended",)
    """What ``wait`` says, one after the other, once the job has ended; the last one again and again."""
    stoppable: bool = True
    """Whether ``stop`` ends it."""


class _Scripted:
    """A job that goes by a script."""

    def __init__(self, job: Job, script: Script) -> None:
        self.job = job
        self.script = script
        self.ends = time.monotonic() + script.after
        self.waited = 0
        self.over = False
        self.fence: int | None = None

    def start(self) -> None:
        """Leave the records of a start behind."""
        if not self.script.start:
            return
        nonce = self.job.environment.get(supervisor.COOKIE, "scripted").rpartition(".")[2]
        fields = {
            "fence": "started",
            "nonce": nonce,
            "identity": supervisor.own_identity(),
            "time": time.time_ns() // 1000,
            "kind": "supervisor",
        }
        self.fence = supervisor.win_fence(self.job.directory, fields, fsync=False)

    def end(self) -> None:
        """Leave the records of an end behind, once."""
        if self.over:
            return
        self.over = True
        if self.script.output:
            (Path(self.job.directory) / "output").write_bytes(self.script.output)
        if self.script.exit is not None:
            text = supervisor.to_json(to_builtins(self.script.exit))
            supervisor.write_record(f"{self.job.directory}/exit", text, fsync=False)
        self.release()

    def release(self) -> None:
        """Give up the fence's lock, as a process does that dies."""
        if self.fence is not None:
            os.close(self.fence)
            self.fence = None

    def hint(self) -> Hint:
        """What is said now that it has ended."""
        hints = self.script.hints
        self.waited += 1
        return hints[min(self.waited, len(hints)) - 1]


class ScriptedExecutor:
    """Runs jobs as child processes, but for those that have a script."""

    def __init__(self, default: Script | None = None) -> None:
        self.default = default
        self.scripts: dict[str, Script] = {}
        self.submitted: list[Job] = []
        self.stopped: list[tuple[str, StopHow]] = []
        self._scripted: dict[str, _Scripted] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    async def submit(self, job: Job) -> Handle:
        """Start a job, or do as its script says.

        Raises:
            ExecutorError: the script says so, or the command could not be started.
        """
        self.submitted.append(job)
        script = self.scripts.get(job.name, self.default)
        if script is None:
            return Handle(executor=NAME, job=job.name, token=await self._run(job))
        await anyio.sleep(script.submit_delay)
        if script.refuse is not None:
            raise ExecutorError(script.refuse)
        if job.name not in self._scripted:
            self._scripted[job.name] = _Scripted(job, script)
            self._scripted[job.name].start()
        return Handle(executor=NAME, job=job.name, token="script")

    async def wait(self, handle: Handle) -> Hint:
        """Wait for the end of a job, and say what the script says."""
        scripted = self._scripted.get(handle.job)
        if scripted is None:
            while self._runs(handle):  # noqa: ASYNC110  it is another process that ends
                await anyio.sleep(0.01)
            return "ended"
        while time.monotonic() < scripted.ends:  # noqa: ASYNC110  stop() may move the end
            await anyio.sleep(min(0.01, scripted.ends - time.monotonic()))
        scripted.end()
        return scripted.hint()

    async def stop(self, handle: Handle, how: StopHow) -> bool:
        """Signal a job's process; end a scripted job if it can be stopped."""
        self.stopped.append((handle.job, how))
        scripted = self._scripted.get(handle.job)
        if scripted is None:
            pid, start = _token(handle)
            return self._runs(handle) and supervisor.send_signal(pid, start, supervisor.STOP_SIGNALS[how])
        if scripted.over or not scripted.script.stoppable:
            return False
        scripted.ends = time.monotonic()
        return True

    def end(self, job: str) -> None:
        """Let the scripted job of this name, which hangs, end now."""
        self._scripted[job].ends = time.monotonic()

    async def _run(self, job: Job) -> str:
        # One at a time per job: whoever asks again gets the same process, also from another instance.
        path = Path(job.directory) / "scripted"
        try:
            file = path.open("x")
        except FileExistsError:
            return await self._other(path)
        with file:
            try:
                child = subprocess.Popen(  # noqa: ASYNC220  it takes a millisecond
                    job.argv,
                    env={**os.environ, **job.environment},
                    stdin=None if job.attached else subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                path.unlink()
                raise ExecutorError(f"job {job.name} could not be started: {error}") from error
            token = f"{child.pid}:{supervisor.process_start(child.pid) or 0}"
            self._children[token] = child
            file.write(token)
        return token

    async def _other(self, path: Path) -> str:
        with anyio.fail_after(10):
            while not (token := path.read_text()):  # noqa: ASYNC110  somebody else writes it
                await anyio.sleep(0.01)
        return token

    def _runs(self, handle: Handle) -> bool:
        child = self._children.get(handle.token)
        if child is not None:
            return child.poll() is None
        pid, start = _token(handle)
        return supervisor.process_start(pid) == start

    def close(self) -> None:
        """Reap what has ended; what runs goes on. Scripted jobs die."""
        for scripted in self._scripted.values():
            scripted.release()
        for child in self._children.values():
            if child.poll() is None:
                threading.Thread(target=child.wait, daemon=True).start()


def _token(handle: Handle) -> tuple[int, int]:
    pid, start = handle.token.split(":")
    return int(pid), int(start)


@asynccontextmanager
async def open_executor() -> AsyncGenerator[ScriptedExecutor]:
    """Open an executor without any script."""
    executor = ScriptedExecutor()
    try:
        yield executor
    finally:
        executor.close()
