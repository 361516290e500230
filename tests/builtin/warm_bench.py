"""Runs of scripts by the local and the warm executor, in directories of their own, to be compared."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from anyio.from_thread import start_blocking_portal

from orchestra.builtin import executor_local, executor_warm
from orchestra.builtin.executor_warm import INJECTOR, WarmExecutor
from orchestra.model.execution import Exit, Job
from orchestra.testing.executors import SupervisedJobs, exit_of, output_of, over


class Seen(NamedTuple):
    """What is to be seen of a run from outside."""

    code: int
    output: str


class Bench:
    """Both executors, open."""

    def __init__(self, root: Path, stack: ExitStack, imports: str | None = "") -> None:
        self.root = root
        self.jobs = SupervisedJobs(root, root / "lib")
        stack.callback(self.jobs.end)
        self.portal = stack.enter_context(start_blocking_portal())
        local = executor_local.open_executor(executor_local.Options(home=root))
        warm = executor_warm.open_executor(executor_warm.Options(home=root, imports=imports))
        self.local = stack.enter_context(self.portal.wrap_async_context_manager(local))
        self.warm: WarmExecutor = stack.enter_context(self.portal.wrap_async_context_manager(warm))
        self._count = 0

    def job(
        self,
        files: Mapping[str, str],
        words: Sequence[str] = ("script.py",),
        python: str = "",
        **orders: object,
    ) -> Job:
        """A job that runs the interpreter with ``words``, in a new directory with these files."""
        self._count += 1
        cwd = self.root / f"run-{self._count}"
        for name, text in files.items():
            (cwd / name).parent.mkdir(parents=True, exist_ok=True)
            (cwd / name).write_text(text)
        environment = [f"RUN_DIR={cwd}", *orders.pop("env", ())]
        return self.jobs(
            [python or sys.executable, *words], cwd=cwd, env=environment, unset=["PYTHONUNBUFFERED"], **orders
        )

    def run(self, executor: executor_local.LocalExecutor, job: Job) -> Exit:
        """Run a job to its end."""

        async def run() -> None:
            await over(executor, await executor.submit(job))

        self.portal.call(run)
        found = exit_of(job)
        assert found is not None
        return found

    def see(self, executor: executor_local.LocalExecutor, job: Job) -> Seen:
        """Run a job; what is to be seen, without what differs between any two runs."""
        code = self.run(executor, job).code
        text = output_of(job).decode("utf-8", "backslashreplace")
        return Seen(code, re.sub(r"run-\d+|0x[0-9a-f]+|\d+(?=-of-pid)", "...", text).replace(job.name, "..."))

    def both(
        self, files: Mapping[str, str], *arguments: str, expected: bool = True, **orders: object
    ) -> tuple[Seen, Seen]:
        """What the local and the warm executor make of a run; the warm one has had such a run before."""
        options = ("-u",) if orders.pop("unbuffered", True) else ()
        words = (*options, *(arguments or ("script.py",)))
        plain = self.see(self.local, self.job(files, words, **orders))
        self.see(self.warm, self.job(files, words, **orders))
        again = self.job(files, words, **orders)
        forked = self.see(self.warm, again)
        assert self.forked(again) == expected, "it was not started in the way that it should have been"
        return plain, forked

    def forked(self, job: Job) -> bool:
        """Whether a job was given to a warm interpreter."""
        started = self.warm._hints.jobs[job.name]
        return started.launcher in [each.launcher for each in self.warm._interpreters.values()]

    @property
    def cold(self) -> list[str]:
        """Why interpreters were given up."""
        return [each.told.cold for each in self.warm._interpreters.values() if each.told.cold]


@contextmanager
def open_bench(root: Path, imports: str | None = "") -> Iterator[Bench]:
    """A bench. ``imports``: as the warm executor's option."""
    os.makedirs(root, exist_ok=True)
    with ExitStack() as stack:
        yield Bench(root, stack, imports)


def injected(*words: str) -> tuple[str, ...]:
    """The words that run a script or module with other globals."""
    return (INJECTOR, *words)
