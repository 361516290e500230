"""Giving jobs to Slurm: each once, and many at once as one job array.

Before sbatch is called a note in each attempt's directory says under which name that will be, so that whoever comes
later finds the job by that name, whatever became of the call or of us. The id is written down once it is known. Should
a job be submitted twice all the same, the attempt's fence lets one of them begin.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec
from orchestra.errors import ExecutorError, text_of_os_error
from orchestra.model.execution import Job

from orchestra_slurm.commands import CommandFailed, call
from orchestra_slurm.listing import Listing, key_of
from orchestra_slurm.notes import (
    JOB,
    LIST,
    NOTE,
    OUT,
    Note,
    Placed,
    element_of,
    known,
    note_id,
    read_note,
    this_process,
    write_whole,
)
from orchestra_slurm.options import Options, resource_arguments
from orchestra_slurm.script import place_script

T = TypeVar("T")

LONGEST_PAUSE = 30.0
LAST_PATIENCE = 1.0
"""Seconds that a call of sbatch has to end when the submission is cancelled."""
OTHERS_PATIENCE = 90.0
"""Seconds for which a job that another computer is submitting is left to it."""
KEPT = 90 * 86400.0
"""Seconds for which what is written down for an array is kept."""
_PERMANENT = (
    "invalid",
    "not permitted",
    "denied",
    "never be satisfied",
    "more processors",
    "unrecognized",
    "exceeds",
    "unable to open",
)
"""What sbatch says when trying again won't help."""


class _Ticket:
    """A job that is being submitted by one or several tasks of this process."""

    def __init__(self, job: Job, arguments: tuple[str, ...]) -> None:
        self.job = job
        self.arguments = arguments
        self.waiting = 0
        self.placed: Placed | None = None
        self.error: ExecutorError | None = None

    @property
    def settled(self) -> bool:
        return self.placed is not None or self.error is not None


class Submissions:
    """What is being submitted by this process."""

    def __init__(self, options: Options, listing: Listing) -> None:
        self._options = options
        self._listing = listing
        self._tickets: dict[str, _Ticket] = {}
        self._lock = anyio.Lock()
        self._may_array = options.array
        self._script: tuple[str, str] | None = None
        self._obstacle = ""

    def obstacle(self, job: Job) -> str:
        """What keeps a job from being taken that is being submitted: one thing keeps all of them."""
        return self._obstacle if job.name in self._tickets else ""

    async def submit(self, job: Job) -> Placed:
        """Give a job to Slurm unless it has it already.

        Raises:
            ExecutorError: Slurm does not take it, or can't be reached for too long.
        """
        await anyio.lowlevel.checkpoint()
        ticket = self._tickets.get(job.name)
        if ticket is None:
            ticket = _Ticket(job, resource_arguments(self._options, job.resources))
            self._tickets[job.name] = ticket
        ticket.waiting += 1
        try:
            if self._may_array and not job.attached:
                await anyio.sleep(self._options.window)
            async with self._lock:
                try:
                    while not ticket.settled:
                        await self._send(self._batch(ticket))
                finally:
                    self._obstacle = ""
        finally:
            ticket.waiting -= 1
            if not ticket.waiting:
                self._tickets.pop(job.name, None)
        if ticket.error is not None:
            raise ExecutorError(ticket.error.message, ticket.error.hint)
        assert ticket.placed is not None
        return ticket.placed

    async def find(self, job: Job) -> Placed | None:
        """The job as Slurm has it; None if it was never given to it, or was not taken.

        Raises:
            CommandFailed: Slurm can't be reached.
        """
        note = read_note(Path(job.directory))
        if note is None:
            return None
        placed = known(note)
        if placed is not None:
            return placed
        found = await self._listing.by_name(note.name)
        if found is None:
            return None
        note_id(Path(note.folder), found)
        return Placed(id=element_of(found, note), name=note.name)

    def _batch(self, first: _Ticket) -> list[_Ticket]:
        """The tickets that may share an array with ``first``."""
        if not self._may_array:
            return [first]
        others = [
            ticket
            for ticket in self._tickets.values()
            if ticket is not first and not ticket.settled and ticket.arguments == first.arguments
        ]
        return [first, *others][: self._options.array_size]

    async def _send(self, tickets: list[_Ticket]) -> None:
        fresh: list[_Ticket] = []
        for ticket in tickets:
            try:
                ticket.placed = await self._taken_before(ticket.job)
            except ExecutorError as error:
                ticket.error = error
            if not ticket.settled:
                fresh.append(ticket)
        if not fresh:
            return
        try:
            submitted = await self._give([ticket.job for ticket in fresh], fresh[0].arguments)
        except ExecutorError as error:
            if len(fresh) > 1 and "array" in error.message.lower():
                # The cluster takes none, or smaller ones: one by one, from now on.
                self._may_array = False
                return
            for ticket in fresh:
                ticket.error = error
            return
        for ticket, placed in zip(fresh, submitted, strict=True):
            self._listing.knows(key_of(placed.id, placed.name))
            ticket.placed = placed

    async def _taken_before(self, job: Job) -> Placed | None:
        """A job that was submitted by somebody else, or by us in an earlier life."""
        deadline = time.monotonic() + OTHERS_PATIENCE
        while True:
            note = read_note(Path(job.directory))
            if note is None:
                return None
            placed = await self._patiently(lambda: self.find(job))
            if placed is not None or not note.may_be_at_work() or time.monotonic() > deadline:
                return placed
            await anyio.sleep(0.2)

    async def _give(self, jobs: Sequence[Job], arguments: tuple[str, ...]) -> list[Placed]:
        try:
            notes = self._write_notes(jobs)
            python, script = jobs[0].argv[0], self._placed_script()
        except OSError as error:
            raise ExecutorError(f"a job for Slurm can't be written: {text_of_os_error(error)}") from error
        folder, name = Path(notes[0].folder), notes[0].name
        is_array = notes[0].index is not None
        command = [
            "--parsable",
            "--no-requeue",
            "--open-mode=append",
            "--export=ALL",
            "--chdir=/",
            f"--job-name={name}",
            f"--comment={name}",
            f"--output={_escaped(folder / ('%a.out' if is_array else OUT), is_array)}",
            *([f"--array=0-{len(jobs) - 1}"] if is_array else []),
            *arguments,
            script[0],
            self._options.python or python,
            script[1],
            str(folder / LIST),
        ]
        found = await self._call_sbatch(command, name, folder)
        return [Placed(id=element_of(found, note), name=name) for note in notes]

    async def _call_sbatch(self, command: Sequence[str], name: str, folder: Path) -> str:
        """The id of the job, which is written down in ``folder``.

        It is looked for before sbatch is called again, however it failed.
        """
        deadline = time.monotonic() + self._options.patience
        pause = 0.5
        while True:
            id_or_error = await self._called_to_its_end(command, folder)
            if isinstance(id_or_error, str):
                return id_or_error
            error = id_or_error
            if error.missing:
                hint = "Run this where Slurm's commands are, or name them: sbatch=PATH."
                raise ExecutorError(error.message, hint)
            self._note_obstacle(error, deadline)
            found = await self._patiently(lambda: self._listing.by_name(name), deadline)
            if found is not None:
                note_id(folder, found)
                return found
            is_permanent = not error.timed_out and any(word in error.message.lower() for word in _PERMANENT)
            if is_permanent or time.monotonic() > deadline:
                raise ExecutorError(f"Slurm did not take the job: {error.message}")
            await anyio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _called_to_its_end(self, command: Sequence[str], folder: Path) -> str | CommandFailed:
        """What a call of sbatch comes to. One that is being cancelled is given a moment to end: whether the job was
        taken is soonest known so. If it doesn't, the job is found by its name."""
        came_to: list[str | CommandFailed] = []
        over = anyio.Event()

        async def run() -> None:
            with scope:
                try:
                    found = await self._called(command)
                    note_id(folder, found)
                    came_to.append(found)
                except CommandFailed as error:
                    came_to.append(error)
            over.set()

        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope(shield=True)
            group.start_soon(run)
            try:
                await over.wait()
            except anyio.get_cancelled_exc_class():
                scope.deadline = anyio.current_time() + LAST_PATIENCE
                raise
        return came_to[0]

    async def _called(self, command: Sequence[str]) -> str:
        said = (await call(self._options.sbatch, command, self._options.timeout)).strip()
        job = said.rpartition("\n")[2].partition(";")[0]
        if not job.isdigit():
            raise CommandFailed("sbatch", f"it said '{said[:100]}' instead of a job's id")
        return job

    async def _patiently(self, look: Callable[[], Awaitable[T]], deadline: float | None = None) -> T:
        """What ``look`` says, once Slurm can be reached: until then nothing may be submitted again."""
        deadline = time.monotonic() + self._options.patience if deadline is None else deadline
        pause = 0.5
        while True:
            try:
                return await look()
            except CommandFailed as error:
                if error.missing or time.monotonic() > deadline:
                    raise ExecutorError(f"Slurm can't be asked about a job: {error.message}") from None
                self._note_obstacle(error, deadline)
            await anyio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _note_obstacle(self, error: CommandFailed, deadline: float) -> None:
        """Let it be told what is in the way, as it began: each further try may fail in its own words."""
        if not self._obstacle:
            end = time.strftime("%H:%M:%S", time.localtime(time.time() + deadline - time.monotonic()))
            self._obstacle = f"Slurm takes no job now, which is tried until {end}: {error.message}"

    def _write_notes(self, jobs: Sequence[Job]) -> list[Note]:
        """Write what the nodes read, then the notes. Raises OSError."""
        host, pid, start = this_process()
        single = len(jobs) == 1
        key = jobs[0].name.replace(".", "-") if single else os.urandom(8).hex()
        folder = Path(jobs[0].directory) if single else self._arrays() / key
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for job in jobs:
            write_whole(Path(job.directory) / JOB, _encoded(job, self._options.python))
        write_whole(folder / LIST, b"".join(os.fsencode(job.directory) + b"\0" for job in jobs))
        notes = [
            Note(
                name=f"orch-{key}",
                folder=str(folder),
                index=None if single else number,
                host=host,
                pid=pid,
                start=start,
            )
            for number in range(len(jobs))
        ]
        for job, note in zip(jobs, notes, strict=True):
            write_whole(Path(job.directory) / NOTE, msgspec.json.encode(note))
        return notes

    def _arrays(self) -> Path:
        folder = self._options.home / "slurm"
        folder.mkdir(mode=0o700, exist_ok=True)
        for old in folder.iterdir():
            with contextlib.suppress(OSError):
                if old.is_dir() and time.time() - old.stat().st_mtime > KEPT:
                    for file in old.iterdir():
                        file.unlink()
                    old.rmdir()
        return folder

    def _placed_script(self) -> tuple[str, str]:
        if self._script is None:
            self._script = place_script(self._options.home / "slurm-lib")
        return self._script


def _encoded(job: Job, python: str | None) -> bytes:
    arguments = [python or job.argv[0], *job.argv[1:]]
    items = [str(len(arguments)), *arguments, *(f"{name}={value}" for name, value in job.environment.items())]
    encoded = [os.fsencode(item) for item in items]
    if any(b"\0" in item for item in encoded):
        raise ExecutorError(
            f"job {job.name} can't be written: a NUL can't be part of an argument or variable"
        )
    return b"".join(item + b"\0" for item in encoded)


def _escaped(path: Path, is_array: bool) -> str:
    """As sbatch takes the name of a file: a ``%`` begins a field."""
    parent = str(path.parent).replace("%", "%%")
    return f"{parent}/{path.name if is_array else path.name.replace('%', '%%')}"
