"""The programmatic API: stage, start, run, restart, queue, list, follow, stop, on asyncio and trio."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from msgspec import structs

from orchestra.console import Console
from orchestra.engine.begin import Begun, begin, prepare
from orchestra.engine.control import Control
from orchestra.engine.execute import execute
from orchestra.engine.ignored_options import ignored_options
from orchestra.engine.judge import settle
from orchestra.engine.launch import Launch, launch
from orchestra.engine.request import RunRequest
from orchestra.engine.run_keeper import RunKeeper
from orchestra.engine.runs import stop_runs
from orchestra.engine.started_run import StartedRun
from orchestra.engine.stopping import not_stopped
from orchestra.engine.supervise import supervise
from orchestra.engine.typed_options import typed_options
from orchestra.errors import OrchestraError, RunBusy
from orchestra.model.operation import FlagValue
from orchestra.model.run import FINAL, Run

STOP_TIMEOUT = 30.0
"""Seconds that a run is waited for that was told to stop."""


class Orchestra(RunKeeper):
    """One home, open for use::

    async with Orchestra(home="~/runs") as orch:
        run = await orch.run("train.py", {"lr": 0.1})
        print(run.state, run.exit_code)

    ``await orch.run(...)`` owns its run: cancelling stops it. ``await orch.start(...)`` doesn't.
    """

    def _request(
        self, operation: str | None, flags: Mapping[str, FlagValue] | None, options: Any
    ) -> RunRequest:
        from orchestra.model.flags import typed_from_api

        given = {name: typed_from_api(value) for name, value in (flags or {}).items()}
        cwd = Path(options.pop("cwd", None) or self._cwd)
        return RunRequest(operation=operation, flags=given, cwd=cwd, **typed_options(options))

    async def stage(
        self, operation: str | None = None, flags: Mapping[str, FlagValue] | None = None, **options: Any
    ) -> Run:
        """Stage a run, or a batch if a flag has a list of values. ``options``: fields of ``RunRequest``."""
        request = self._request(operation, flags, {**options, "stage": True})
        run = (await self._begin(request)).run
        assert run is not None
        return run

    async def run(
        self,
        operation: str | None = None,
        flags: Mapping[str, FlagValue] | None = None,
        *,
        console: Console | None = None,
        **options: Any,
    ) -> Run | None:
        """Run to the end and return the run; None if it was skipped (``needed=True``).

        A list of values makes a batch; ``restart=RUN`` starts a run that is there (with ``redo=["failed"]``,
        ``"missing"`` or ``"lost"`` a batch for such trials alone); ``operation="queue"`` works as a queue.
        Cancelling stops the operation.
        """
        return (await self.carry_out(operation, flags, console=console, **options)).run

    async def carry_out(
        self,
        operation: str | None = None,
        flags: Mapping[str, FlagValue] | None = None,
        *,
        console: Console | None = None,
        **options: Any,
    ) -> Begun:
        """As :meth:`run`, and tell what became of the request: of a skipped one, which runs match."""
        begun = await self._begin(self._request(operation, flags, options), console)
        if begun.run is None or begun.what != "claimed":
            return begun
        control = Control(owned=True)
        ended = await execute(self.session, begun.run, console=console or self._console, control=control)
        return structs.replace(begun, run=ended)

    async def start(
        self, operation: str | None = None, flags: Mapping[str, FlagValue] | None = None, **options: Any
    ) -> StartedRun:
        """Start a run and return. It goes on if the caller is cancelled then, or this object is closed.

        A batch or a queue executes in this object: closing it ends them, and leaves their runs running.
        """
        begun = await self._begin(self._request(operation, flags, options))
        run = begun.run
        if run is None or begun.what != "claimed":
            raise OrchestraError(f"the run was {begun.what}: there is nothing to start")
        if run.kind == "run":
            run = await launch(self.session, run, Launch())
        started = StartedRun(self, run)
        assert self._group is not None
        self._group.start_soon(self._watch, started)
        return started

    async def _watch(self, started: StartedRun) -> None:
        try:
            work = supervise if started.record.kind == "run" else execute
            started.record = await work(
                self.session, started.record, console=self._console, control=started.control
            )
        except Exception as error:
            # Raised by ``wait()``: what goes wrong with one run must not end the caller's whole block.
            started.error = error
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._leave(started)
            raise
        finally:
            started.ended.set()

    async def _leave(self, started: StartedRun) -> None:
        """Whoever waits for a run must not take one for ended that only our watch has left."""
        try:
            started.record = await settle(self.session, await self.session.store.get(started.id))
        except OrchestraError as error:
            started.error = error
            return
        if started.record.state not in FINAL:
            started.error = RunBusy(
                f"run {started.id} is {started.record.state}: it goes on, but is no longer watched",
                "It can be waited for only while the Orchestra that started it is open.",
            )

    async def restart(
        self, run: str, flags: Mapping[str, FlagValue] | None = None, **options: Any
    ) -> Run | None:
        """Start a run that is there (again), with the flags that are given replaced, and wait for its end."""
        return await self.run(None, flags, restart=run, **options)

    async def extend(
        self, batch: str, flags: Mapping[str, FlagValue] | None = None, **options: Any
    ) -> Run | None:
        """Give a batch more values, or more trials (``max_trials=N``), and return it.

        One that runs, here or elsewhere, goes on with them, and one that is staged stays so. One that has ended
        is started again for them, and waited for.
        """
        return await self.run(None, flags, extend=batch, **options)

    async def queue(self, *, run_once: bool = True, jobs: int = 1, **flags: FlagValue) -> Run:
        """Work through the staged runs as a queue; with ``run_once=False`` until cancelled."""
        given = {"run-once": run_once, **({"jobs": jobs} if jobs != 1 else {})}
        given |= {name.replace("_", "-"): value for name, value in flags.items()}
        run = await self.run("queue", given)
        assert run is not None
        return run

    async def _begin(self, request: RunRequest, console: Console | None = None) -> Begun:
        prepared = await prepare(self.session, request)
        for message in ignored_options(request, prepared):
            self.session.emit(
                "log.message", level="warning", message=message, console=console or self._console, logger=""
            )
        return await begin(self.session, request, prepared, console=console or self._console)

    async def stop(self, run: str) -> Run:
        """Stop a run, its whole tree of processes included, and return it when it has ended.

        Raises:
            RunBusy: it has not ended after ``STOP_TIMEOUT``, or runs on another host and can't be told.
        """
        return await self._stop(await self.get(run))

    async def _stop(self, run: Run) -> Run:
        report = await stop_runs(self.session, (run,), timeout=STOP_TIMEOUT)
        if not report.done:
            raise RunBusy(not_stopped(report))
        return await settle(self.session, await self.session.store.get(run.id))
