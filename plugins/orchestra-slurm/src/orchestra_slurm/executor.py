"""The executor: jobs are given to Slurm, asked about all at once, and told to stop by its own means."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from msgspec import Struct, structs
from orchestra.contracts import StopHow
from orchestra.errors import ExecutorError
from orchestra.model.execution import Handle, Hint, Job, JobStatus

from orchestra_slurm.commands import CommandFailed, call
from orchestra_slurm.listing import Listing, key_of
from orchestra_slurm.notes import OUT, Placed, read_note
from orchestra_slurm.options import Options
from orchestra_slurm.submission import Submissions

NAME = "slurm"
SIGNALS: dict[StopHow, str] = {"interrupt": "INT", "terminate": "TERM", "kill": "QUIT"}
"""What the supervisor is told, by Slurm: it is the process that the job script has become."""
KILL_PATIENCE = 5.0
"""Seconds that a supervisor has to kill its operation and record that, before Slurm kills both."""
SHORTEST_LOOK, LONGEST_LOOK = 0.05, 0.5
"""Seconds between two looks at the output of a job that runs."""
MOST_TOLD = 400
"""Characters of what a job, or Slurm in its place, has said that never began."""
MEMORY_USED_UP = ("exceeded memory limit", "exceeded job memory limit", "exceeded step memory limit")


@asynccontextmanager
async def open_executor(options: Options) -> AsyncGenerator[SlurmExecutor]:
    """Open the executor. Nothing is asked or started by that, and jobs go on when it is closed."""
    yield SlurmExecutor(options)


class Token(Struct, frozen=True, kw_only=True):
    """What a handle holds: ``ID:NAME:DIRECTORY``."""

    id: str
    name: str
    directory: str

    @property
    def key(self) -> str:
        """What listings know the job by."""
        return key_of(self.id, self.name)

    @classmethod
    def of(cls, handle: Handle) -> Token:
        """The token of a handle.

        Raises:
            ExecutorError: it is not one of ours.
        """
        job, _, rest = handle.token.partition(":")
        name, _, directory = rest.partition(":")
        if not (job and name and directory):
            raise ExecutorError(f"'{handle.token}' names no job of Slurm")
        return cls(id=job, name=name, directory=directory)


class SlurmExecutor:
    """Runs jobs on a Slurm cluster that shares the home's files. Of the capabilities it has ``Scheduling``,
    ``Persisting`` and ``Hinting``."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._listing = Listing(options)
        self._submissions = Submissions(options, self._listing)
        self._looks: dict[str, tuple[int, float]] = {}

    async def submit(self, job: Job) -> Handle:
        """Give a job to Slurm unless it has it already.

        Raises:
            ExecutorError: Slurm does not take it, or can't be reached for too long.
        """
        return _handle(job, await self._submissions.submit(job))

    async def find(self, job: Job) -> Handle | None:
        """The handle of a job that somebody may have submitted.

        Raises:
            ExecutorError: Slurm can't be reached.
        """
        placed = await self._submissions.find(job)
        return None if placed is None else _handle(job, placed)

    def obstacle(self, job: Job) -> str:
        """What keeps Slurm from taking a job that is being submitted, and until when that is tried; else empty."""
        return self._submissions.obstacle(job)

    async def wait(self, handle: Handle) -> Hint:
        """Wait until Slurm says that a job is over, or has forgotten it.

        Raises:
            ExecutorError: Slurm can't be reached, and since when.
        """
        while True:
            (status,) = await self.status((handle,))
            match status.phase:
                case "ended" | "gone":
                    return status.phase
                case "unknown":
                    await anyio.sleep(min(1.0, self._options.poll))
                    raise ExecutorError(status.reason)
                case _:
                    await anyio.sleep(self._options.poll)

    async def status(self, handles: Sequence[Handle]) -> Sequence[JobStatus]:
        """What Slurm says of each job; asked about all of them at once, at most once in ``poll`` seconds."""
        tokens = [Token.of(handle) for handle in handles]
        found = await self._listing.statuses([token.key for token in tokens])
        return [_with_output(token, found[token.key]) for token in tokens]

    async def stop(self, handle: Handle, how: StopHow) -> bool:
        """Cancel a job that waits; tell the supervisor of one that runs.

        Raises:
            ExecutorError: Slurm can't be reached.
        """
        token = Token.of(handle)
        status = await self._now(token)
        if status.phase == "waiting":
            with contextlib.suppress(CommandFailed):
                # Perhaps others cancel it, too: what has become of it is what counts.
                await self._cancel_waiting(token)
            status = await self._now(token)
            if status.phase == "waiting":
                await self._cancel_waiting(token)
                return True
            if status.phase in ("ended", "gone"):
                return True
        if status.phase == "unknown":
            raise ExecutorError(status.reason)
        if status.phase != "running":
            return False
        try:
            # To the job's own process alone: it is the one to end what is below it.
            await self._scancel("--batch", f"--signal={SIGNALS[how]}", token.id)
        except CommandFailed:
            if (await self._now(token)).phase in ("ended", "gone"):
                return False
            raise
        if how == "kill":
            await self._insist(token)
        return True

    async def progress(self, handle: Handle, size: int) -> None:
        """Return when a job may have written more than ``size`` bytes, or it is time to look whether it has ended."""
        token = Token.of(handle)
        seen, pause = self._looks.get(handle.job, (-1, SHORTEST_LOOK))
        pause = min(pause * 1.5, LONGEST_LOOK) if seen == size else SHORTEST_LOOK
        self._looks[handle.job] = (size, pause)
        await anyio.sleep(pause)
        if os.path.exists(os.path.join(token.directory, "exit")):
            self._looks.pop(handle.job, None)

    async def _cancel_waiting(self, token: Token) -> None:
        # With a filter for states scancel takes all that waits of an array for one job. Without it an element that
        # begins just now is ended, too, by Slurm instead of its supervisor.
        is_element = "_" in token.id
        await self._scancel(*(() if is_element else ("--state=PENDING",)), token.id)

    async def _insist(self, token: Token) -> None:
        """Let Slurm kill what is left of a job that does not end by itself."""
        deadline = time.monotonic() + KILL_PATIENCE
        while time.monotonic() < deadline:
            await anyio.sleep(0.2)
            if (await self._now(token)).phase != "running" or self._is_recorded(token):
                return
        await self._scancel(token.id)

    @staticmethod
    def _is_recorded(token: Token) -> bool:
        return os.path.exists(os.path.join(token.directory, "exit"))

    async def _now(self, token: Token) -> JobStatus:
        found = await self._listing.statuses([token.key], newer_than=time.monotonic())
        return found[token.key]

    async def _scancel(self, *arguments: str) -> None:
        await call(self._options.scancel, arguments, self._options.timeout)


def _handle(job: Job, placed: Placed) -> Handle:
    return Handle(executor=NAME, job=job.name, token=f"{placed.id}:{placed.name}:{job.directory}")


def _with_output(token: Token, status: JobStatus) -> JobStatus:
    """The status, and what Slurm or the node has said, if that tells why the job ended."""
    if status.phase != "ended" or status.cause is not None:
        return status
    said = _said(token)
    if any(words in said.lower() for words in MEMORY_USED_UP):
        # Where Slurm looks after memory itself, the state of such a job is that of any that failed.
        return structs.replace(status, cause="oom", reason=f"{status.reason}: {said}")
    has_begun = os.path.exists(os.path.join(token.directory, "fence"))
    return structs.replace(status, reason=f"{status.reason}: {said}") if said and not has_begun else status


def _said(token: Token) -> str:
    said = ""
    index = token.id.partition("_")[2]
    for path in (Path(token.directory, OUT), *([_array_out(token, index)] if index else [])):
        try:
            said = " ".join(path.read_text(errors="replace")[-MOST_TOLD:].split())
        except OSError:
            continue
        if said:
            break
    return said


def _array_out(token: Token, index: str) -> Path:
    # The name of an array is that of its folder.
    note = read_note(Path(token.directory))
    return Path(note.folder if note is not None else token.directory, f"{index}.out")
