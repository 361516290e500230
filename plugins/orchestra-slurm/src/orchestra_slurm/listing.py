"""What Slurm says of all jobs of this user: one call of squeue for however many, whoever asks.

Who needs something newer than there is asks; all others wait for that answer. When Slurm can't be reached nothing that
was known is dropped, and it is asked less and less often.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection

import anyio
from orchestra.model.execution import JobStatus

from orchestra_slurm.commands import CommandFailed, call
from orchestra_slurm.options import Options
from orchestra_slurm.states import Entry, status_of

FORMAT = "%i|%T|%r|%N|%j"
LONGEST_PAUSE = 60.0
"""Seconds between two tries while Slurm can't be reached."""
HISTORY_REST = 15.0
"""Seconds between two questions to the accounting about one job."""
MOST_NAMED = 500
"""Jobs that one call of sacct is asked about."""
LEAST_PAUSE = 1.0
"""Seconds between two calls of squeue, however much somebody wants to know, unless ``poll`` is less."""


def key_of(job: str, name: str) -> str:
    """What a job is known by here: its id (``12``, or ``12_3`` of an array) and its name.

    A controller that has lost what it saved last gives ids again.
    """
    return f"{job}:{name}"


def parse_listing(text: str) -> dict[str, Entry]:
    """The entries of squeue's answer to :data:`FORMAT`, by :func:`key_of`."""
    found: dict[str, Entry] = {}
    for line in text.splitlines():
        fields = line.split("|", 4)
        if len(fields) == 5:
            job, state, reason, nodes, name = fields
            found[key_of(job, name)] = Entry(state=state, reason=reason, nodes=nodes, name=name)
    return found


class Listing:
    """The jobs that Slurm knows, as of the last answer."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._lock = anyio.Lock()
        self._jobs: dict[str, Entry] = {}
        self._over: dict[str, JobStatus] = {}
        """Jobs whose end was seen: nothing will change that."""
        self._seen_first: dict[str, float] = {}
        """When a job was first asked for: an older answer can't know it."""
        self._looked_up: dict[str, float] = {}
        """When the accounting was asked about a job that the controller has forgotten."""
        self._answered = -1e9
        self._asked = -1e9
        self._failures = 0
        self._away_since = 0.0
        self._error = ""
        self._accounting = True

    def knows(self, job: str) -> None:
        """The job with this key was taken by Slurm just now."""
        self._seen_first[job] = time.monotonic()

    async def statuses(
        self, jobs: Collection[str], *, newer_than: float | None = None
    ) -> dict[str, JobStatus]:
        """What there is to say of ``jobs``, from an answer of the last ``poll`` seconds, or ``newer_than``."""
        wanted = [job for job in jobs if job not in self._over]
        now = time.monotonic()
        for job in wanted:
            self._seen_first.setdefault(job, now)
        if wanted:
            await self._refresh(wanted, now - self._options.poll if newer_than is None else newer_than)
        return {job: self._over.get(job) or self._status(job) for job in jobs}

    async def by_name(self, name: str) -> str | None:
        """The id of the newest job that has this name; of an array that of the whole. Asks Slurm each time.

        Raises:
            CommandFailed: Slurm can't be reached.
        """
        arguments = [
            "--noheader",
            f"--user={os.getuid()}",
            "--states=all",
            f"--name={name}",
            f"--format={FORMAT}",
        ]
        found = parse_listing(await call(self._options.squeue, arguments, self._options.timeout))
        ids = {int(re.split("[_:]", key)[0]) for key, entry in found.items() if entry.name == name}
        return str(max(ids)) if ids else None

    async def _refresh(self, wanted: Collection[str], newer_than: float) -> None:
        async with self._lock:
            if self._is_enough(wanted, newer_than):
                return
            pause = min(LEAST_PAUSE, self._options.poll)
            if self._failures:
                pause = min(LONGEST_PAUSE, pause * 2.0**self._failures)
                if time.monotonic() < self._asked + pause:
                    # What is known is that it can't be reached: nobody need wait for more of that.
                    return
            await anyio.sleep(max(0.0, self._asked + pause - time.monotonic()))
            await self._ask(wanted)

    def _is_enough(self, wanted: Collection[str], newer_than: float) -> bool:
        if self._failures or self._answered < newer_than:
            return False
        return all(
            self._entry(job) is not None or self._seen_first[job] <= self._answered
            for job in wanted
            if job not in self._over
        )

    async def _ask(self, wanted: Collection[str]) -> None:
        self._asked = asked = time.monotonic()
        arguments = ["--noheader", "--array", f"--user={os.getuid()}", "--states=all", f"--format={FORMAT}"]
        try:
            text = await call(self._options.squeue, arguments, self._options.timeout)
        except CommandFailed as error:
            self._away_since = self._away_since or time.time()
            self._failures += 1
            self._error = error.message
            return
        self._failures, self._away_since = 0, 0.0
        self._answered, self._jobs = asked, parse_listing(text)
        missing = [job for job in self._seen_first if self._entry(job) is None and job not in self._over]
        missing = [
            job
            for job in missing
            if self._seen_first[job] <= asked and self._looked_up.get(job, -1e9) < asked - HISTORY_REST
        ]
        self._looked_up |= dict.fromkeys(missing, asked)
        for job, entry in (await self._history(missing)).items():
            self._note(job, entry)
        for job in tuple(self._seen_first):
            entry = self._entry(job)
            if entry is not None:
                self._note(job, entry)

    def _entry(self, job: str) -> Entry | None:
        """What the last answer says of a job. Of an array that was cancelled before any of it began, or what is left
        of one, it has a single line."""
        entry = self._jobs.get(job)
        if entry is None and "_" in _id(job):
            array, _, name = job.partition(":")
            entry = self._jobs.get(key_of(array.partition("_")[0], name))
        return entry

    def _note(self, job: str, entry: Entry) -> None:
        status = status_of(_id(job), entry)
        if status.phase == "ended":
            self._over[job] = status
            self._seen_first.pop(job, None)
            self._looked_up.pop(job, None)

    async def _history(self, jobs: list[str]) -> dict[str, Entry]:
        """What the accounting says of jobs that the controller has forgotten, where there is one."""
        found: dict[str, Entry] = {}
        for begin in range(0, len(jobs), MOST_NAMED):
            if not self._accounting:
                break
            some = ",".join(job.partition(":")[0] for job in jobs[begin : begin + MOST_NAMED])
            # The default begins at midnight.
            arguments = [
                "--noheader",
                "--parsable2",
                "--allocations",
                "--starttime=2010-01-01",
                "--format=JobID,JobName,State",
            ]
            try:
                text = await call(self._options.sacct, [*arguments, f"--jobs={some}"], self._options.timeout)
            except CommandFailed as error:
                self._accounting = not (error.missing or "disabled" in error.message)
                break
            for line in text.splitlines():
                job, name, state = [*line.split("|"), "", ""][:3]
                if state:
                    found[key_of(job, name)] = Entry(state=state.split()[0].rstrip("+"))
        return {job: entry for job, entry in found.items() if job in jobs}

    def _status(self, job: str) -> JobStatus:
        if self._failures:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._away_since))
            return JobStatus(phase="unknown", reason=f"Slurm can't be reached since {since}: {self._error}")
        entry = self._entry(job)
        if entry is not None:
            return status_of(_id(job), entry)
        if self._seen_first.get(job, 0.0) > self._answered:
            return JobStatus(phase="unknown", reason=f"Slurm was not asked yet about job {_id(job)}")
        return JobStatus(phase="gone", reason=f"Slurm no longer knows job {_id(job)}")


def _id(key: str) -> str:
    return key.partition(":")[0]
