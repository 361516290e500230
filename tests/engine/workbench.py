"""An engine on a bench: a store in memory, an executor that goes by scripts, a clock that is moved by hand.

No process is started and nothing waits for real time, but for the milliseconds between two looks at a run.
"""

from __future__ import annotations

import io
import math
import re
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskStatus
from msgspec import structs

from orchestra.builtin.expander_grid import GridExpander
from orchestra.console import TextConsole
from orchestra.contracts import BatchExpander, Page
from orchestra.engine.begin import Begun, begin, prepare
from orchestra.engine.clock import Clock
from orchestra.engine.control import Control
from orchestra.engine.execute import execute
from orchestra.engine.queue import run_queue
from orchestra.engine.request import RunRequest
from orchestra.engine.session import LEASE, Session
from orchestra.engine.stage import make_runs
from orchestra.errors import PluginNotFound
from orchestra.model import lifecycle
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import Run, Starter, Worker
from orchestra.settings import Settings
from orchestra.testing.builders import a_run, a_worker
from orchestra.testing.memory_store import MemoryData, MemoryStore
from orchestra.testing.scripted import NAME, Script, ScriptedExecutor
from orchestra.workspace.layout import Layout
from orchestra.workspace.output import OutputWriter

HANGS = Script(after=math.inf)
"""Runs until it is told to end."""
PATIENCE = 10.0
"""Seconds of real time after which a test has failed."""


class FakeClock(Clock):
    """Stands still until :meth:`advance` is called; who sleeps meanwhile is woken when its time has come."""

    def __init__(self) -> None:
        super().__init__()
        self._start = time.time_ns() // 1000
        self._seconds = 0.0
        self._ticks = 0
        self._moved = anyio.Event()
        self.sleeping: list[float] = []
        """How long each of those that sleep wanted to."""
        self.waiting = 0
        """How many wait for an event or for their time."""

    def now(self) -> int:
        self._ticks += 1
        return self._start + round(self._seconds * 1e6) + self._ticks

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        end = self._seconds + seconds
        self.sleeping.append(seconds)
        try:
            while self._seconds < end:
                await self._moved.wait()
        finally:
            self.sleeping.remove(seconds)

    async def wait(self, event: anyio.Event, seconds: float) -> None:
        async with anyio.create_task_group() as group:

            async def sleep(*, task_status: TaskStatus[None]) -> None:
                task_status.started()
                await self.sleep(seconds)
                group.cancel_scope.cancel()

            await group.start(sleep)
            self.waiting += 1
            try:
                await event.wait()
            finally:
                self.waiting -= 1
            group.cancel_scope.cancel()

    def set_forward(self, seconds: float) -> None:
        """Set the wall's clock, as a person or a time server does; back if it is negative."""
        self._start += round(seconds * 1e6)

    def advance(self, seconds: float) -> None:
        self._seconds += seconds
        moved, self._moved = self._moved, anyio.Event()
        moved.set()


class SilentStore(MemoryStore):
    """Says nothing any more while it is silent."""

    is_silent = False

    async def _answer(self) -> None:
        if self.is_silent:
            await anyio.sleep_forever()

    async def query(self, query: RunQuery) -> Page:
        await self._answer()
        return await super().query(query)

    async def get(self, run_id: str) -> Run:
        await self._answer()
        return await super().get(run_id)

    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        await self._answer()
        return await super().update(runs)

    async def renew(self, worker: Worker, lease: float) -> frozenset[str]:
        await self._answer()
        return await super().renew(worker, lease)


class Bench:
    """A home with all that the engine needs, and short ways to what tests do most."""

    def __init__(self, home: Path, stack: AsyncExitStack) -> None:
        self.clock = FakeClock()
        self.data = MemoryData(now=self.clock.now)
        self.store = MemoryStore(self.data)
        self.executor = ScriptedExecutor(default=Script())
        self.expanders: dict[str, BatchExpander] = {"grid": GridExpander()}
        self.layout = Layout(home)
        self.layout.ensure_home()
        self.stream = io.StringIO()
        self.console = TextConsole(self.stream)
        self.events: list[str] = []
        self.settings = Settings(executor=NAME, durability="fast")
        self._stack = stack
        self.session = self.open()

    def open(self, **options: Any) -> Session:
        """A session on this home, as another process has one."""
        arguments = {
            "console": self.console,
            "clock": self.clock,
            "sinks": [lambda event: self.events.append(event.name)],
            "open_plugin": self._open_plugin,
            **options,
        }
        store = arguments.pop("store", self.store)
        settings = arguments.pop("settings", self.settings)
        return Session(self.layout, settings, store, self._stack, **arguments)

    def _open_plugin(self, kind: str, name: str, *_: object, **__: object) -> Any:
        expanders = {("expander", known): expander for known, expander in self.expanders.items()}
        stores = {("store", self.settings.store): MemoryStore(self.data)}
        plugins = {("executor", NAME): self.executor, **stores, **expanders}
        if (kind, name) not in plugins:
            raise PluginNotFound(f"there is no {kind} '{name}'")
        return nullcontext(plugins[kind, name])

    @property
    def lines(self) -> list[str]:
        """What was shown, without the times of a queue's lines."""
        text = re.sub(r"\[queue\] [-0-9]+ [:0-9]+ ", "[queue] ", self.stream.getvalue())
        return text.splitlines()

    @property
    def started(self) -> list[str]:
        """The ids of the runs whose jobs were submitted, in that order."""
        return [job.name.partition(".")[0] for job in self.executor.submitted]

    async def make(self, script: Script | None = None, **fields: Any) -> Run:
        """A run with directory and record, staged by default; ``script`` is for its next attempt."""
        run = a_run(**{"executor": NAME, "created": self.clock.now(), **fields})
        if run.state == "staged" and "staged" not in fields:
            run = structs.replace(run, staged=self.clock.now())
        (run,) = await make_runs(self.session, (run,), None)
        if script is not None:
            self.executor.scripts[f"{run.id}.{run.attempt + 1}"] = script
        return run

    async def claim(self, run: Run, session: Session | None = None, worker: Worker | None = None) -> Run:
        """The run, claimed by ``worker``, or by that of ``session``."""
        worker = worker or (session or self.session).worker
        wanted = Wanted(ids=(run.id,), states=frozenset((run.state,)))
        (claimed,) = await self.store.claim(worker, LEASE, 1, wanted)
        return claimed

    async def running(self, script: Script = HANGS, *, starter: Starter = "command", **fields: Any) -> Run:
        """A running run that a process on another host watches; its lease holds for 15 seconds."""
        run = await self.make(script, **fields)
        claimed = await self.claim(run)
        control = Control()
        async with anyio.create_task_group() as group:
            group.start_soon(self._execute, claimed, control)
            await self.until(lambda: self.state(run) == "running")
            group.cancel_scope.cancel()
        worker = a_worker(starter=starter)
        lease = self.clock.now() + round(LEASE * 1e6)
        kept = lifecycle.watch(await self.store.get(run.id), worker, lease)
        (kept,) = await self.store.update((structs.replace(kept, starter=starter),))
        return kept

    async def _execute(self, run: Run, control: Control) -> None:
        await execute(self.session, run, console=self.console, control=control)

    async def begin(self, session: Session | None = None, **request: Any) -> Begun:
        """What becomes of a request."""
        session = session or self.session
        asked = RunRequest(**{"cwd": self.layout.home.parent, **request})
        prepared = await prepare(session, asked)
        return await begin(session, asked, prepared, console=self.console)

    async def execute(self, run: Run, control: Control | None = None) -> Run:
        """Claim a run of any kind and execute it to its end."""
        run = run if run.worker is not None else await self.claim(run)
        with anyio.fail_after(PATIENCE):
            return await execute(self.session, run, console=self.console, control=control)

    async def queue(
        self,
        control: Control | None = None,
        *,
        stop_runs: bool = False,
        session: Session | None = None,
        **flags: Any,
    ) -> Run:
        """Work as a queue to its end; run-once unless told otherwise."""
        session = session or self.open()
        given = {name.replace("_", "-"): value for name, value in {"run_once": True, **flags}.items()}
        begun = await self.begin(session, operation="queue", flags=given)
        assert begun.run is not None
        with anyio.fail_after(PATIENCE):
            return await run_queue(
                session, begun.run, console=self.console, control=control or Control(), stop_runs=stop_runs
            )

    @asynccontextmanager
    async def a_queue(self, *, stop_runs: bool = False, **flags: Any) -> AsyncGenerator[Control]:
        """A queue that goes on until told to end, which it is when the block is left."""
        control = Control()
        async with anyio.create_task_group() as group:

            async def work() -> None:
                await self.queue(control, stop_runs=stop_runs, **{"run_once": False, **flags})

            group.start_soon(work)
            yield control
            from orchestra.engine.control import Wish

            control.raise_to(Wish.LEAVE)

    def state(self, run: Run) -> str:
        """The run's state in the store now."""
        kept = self.data.runs.get(run.id)
        return "gone" if kept is None else kept.state

    async def states(self, **query: Any) -> list[str]:
        """The states of the runs that match, oldest first."""
        page = await self.store.query(RunQuery(oldest_first=True, **query))
        return [run.state for run in page.runs]

    def trials(self, batch: Run, generation: int = 1) -> list[Run]:
        """The trials of a batch that it proposed in that generation, as they are now, in their order."""
        found = [run for run in self.data.runs.values() if run.batch == batch.id]
        return sorted((run for run in found if run.generation == generation), key=lambda run: run.trial or 0)

    def trial_states(self, batch: Run, generation: int = 1) -> list[str]:
        """The states of these."""
        return [run.state for run in self.trials(batch, generation)]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds``."""
        with anyio.fail_after(PATIENCE):
            while not holds():  # noqa: ASYNC110  anything may make it hold
                await anyio.sleep(0.002)

    async def pass_time(self, seconds: float) -> None:
        """Move the clock once the queue waits for it: a time that passes before would be waited for all the same."""
        await self.until(lambda: self.clock.waiting > 0)
        self.clock.advance(seconds)

    async def remove(self, run: Run) -> None:
        """Remove the run's directory behind everybody's back, once nothing is being written there."""
        await self.session.finish_afterwards()
        shutil.rmtree(self.session.directory(run))

    def end(self, run: Run) -> None:
        """Let the job of the run's newest attempt end."""
        self.executor.end(f"{run.id}.{self.data.runs[run.id].attempt}")

    def writer(self, run: Run) -> OutputWriter:
        """What writes the output of the run's newest attempt, in its operation's stead."""
        return OutputWriter(self.session.attempt_directory(self.data.runs[run.id]))


@asynccontextmanager
async def open_bench(home: Path) -> AsyncGenerator[Bench]:
    """A bench on a home of its own."""
    async with AsyncExitStack() as stack:
        bench = Bench(home, stack)
        try:
            yield bench
        finally:
            bench.executor.close()
