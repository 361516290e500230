"""A job is a process of its own in the background, started once however often it is submitted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from msgspec import Struct
from orchestra.child.supervisor import STOP_SIGNALS, process_start, send_signal
from orchestra.contracts import Executor, StopHow
from orchestra.errors import ExecutorError
from orchestra.model.execution import Handle, Hint, Job

NAME = "newname"
_START = 'nice -n "$0" "$@" </dev/null >/dev/null 2>&1 & echo $!'


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How jobs are run."""

    niceness: int = 0
    """How far a job steps back for other processes."""
    poll: float = 0.05
    """Seconds between two looks at a job that runs."""


class NewnameExecutor:
    """A job's token is the pid of its process and when that started: together they are never another's."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def submit(self, job: Job) -> Handle:
        """See :meth:`orchestra.contracts.Executor.submit`.

        Raises:
            ExecutorError: the process can't be started, or its note can't be kept.
        """
        try:
            token = await run_sync(self._start, job)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ExecutorError(f"job {job.name} can't be started: {error}") from error
        return Handle(executor=NAME, job=job.name, token=token)

    def _start(self, job: Job) -> str:
        # The note in the job's directory is what makes a second submission, by whomever, find the first.
        with open(Path(job.directory, f"{NAME}.token"), "a+", encoding="ascii") as note:
            flock(note, LOCK_EX)
            note.seek(0)
            token = note.read()
            if not token:
                command = ["sh", "-c", _START, str(self._options.niceness), *job.argv]
                environment = {**os.environ, **job.environment}
                shell = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
                pid = int(shell.stdout)
                token = f"{pid}:{process_start(pid) or 0}"
                note.write(token)
            return token

    async def wait(self, handle: Handle) -> Hint:
        """See :meth:`orchestra.contracts.Executor.wait`."""
        pid, start = _identity(handle)
        while process_start(pid) == start:  # noqa: ASYNC110  nobody tells of the end of a process that is no child
            await anyio.sleep(self._options.poll)
        return "ended"

    async def stop(self, handle: Handle, how: StopHow) -> bool:
        """See :meth:`orchestra.contracts.Executor.stop`."""
        pid, start = _identity(handle)
        return send_signal(pid, start, STOP_SIGNALS[how])


def _identity(handle: Handle) -> tuple[int, int]:
    pid, _, start = handle.token.partition(":")
    return int(pid), int(start)


@asynccontextmanager
async def open_executor(options: Options) -> AsyncGenerator[Executor]:
    """Open the executor: set up before ``yield``, close after it, in a ``finally``."""
    yield NewnameExecutor(options)
