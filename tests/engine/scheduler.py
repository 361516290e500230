"""An executor that is a scheduler, for tests: what it says of its jobs is what a test tells it to say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import anyio

from orchestra.contracts import StopHow
from orchestra.errors import ExecutorError
from orchestra.model.execution import Handle, Hint, Job, JobStatus
from orchestra.testing.scripted import Script, ScriptedExecutor

WAITING = JobStatus(phase="waiting", reason="waiting in the cluster as job 7 (Priority)")
RUNNING = JobStatus(phase="running", reason="job 7 on n1")
ENDED = JobStatus(phase="ended", reason="job 7 has ended")
CANCELLED = JobStatus(phase="ended", reason="job 7 was cancelled", cause="stopped")
TIMED_OUT = JobStatus(phase="ended", reason="job 7 was ended at its time limit", cause="timeout")
GONE = JobStatus(phase="gone", reason="job 7 is not known any more")
AWAY = JobStatus(phase="unknown", reason="the cluster can't be reached since noon")
WAITS = Script(start=False, exit=None, after=math.inf)


class Scheduler(ScriptedExecutor):
    """A scheduler that says of all jobs what it is told to say."""

    def __init__(self) -> None:
        super().__init__(default=WAITS)
        self.says = WAITING
        self.taken: set[str] = set()
        self.reachable = True
        self.obstacles = ""
        self.answers = True
        self.looks = 0

    def obstacle(self, job: Job) -> str:
        return self.obstacles

    async def submit(self, job: Job) -> Handle:
        handle = await super().submit(job)
        self.taken.add(job.name)
        return handle

    async def wait(self, handle: Handle) -> Hint:
        return await super().wait(handle) if handle.job in self._scripted else "ended"

    async def stop(self, handle: Handle, how: StopHow) -> bool:
        if handle.job in self._scripted:
            return await super().stop(handle, how)
        self.stopped.append((handle.job, how))
        return True

    async def find(self, job: Job) -> Handle | None:
        if not self.answers:
            await anyio.sleep_forever()
        if not self.reachable:
            raise ExecutorError("the cluster can't be reached")
        return Handle(executor="scripted", job=job.name, token="script") if job.name in self.taken else None

    async def status(self, handles: Sequence[Handle]) -> Sequence[JobStatus]:
        self.looks += 1
        return [self.says for _ in handles]

    def begin(self, job: str) -> None:
        """Let a job that waits begin."""
        self._scripted[job].script = Script(after=math.inf)
        self._scripted[job].start()
