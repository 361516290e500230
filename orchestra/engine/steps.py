"""Run a pipeline: each step is a run of its own, one after the other, linked from the pipeline's directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
from msgspec import Struct, structs

from orchestra.console import Console
from orchestra.engine.begin import Begun, begin, prepare
from orchestra.engine.control import SIGNALS, Control, Wish
from orchestra.engine.execute import execute
from orchestra.engine.hosted import heed_orders
from orchestra.engine.ignored_options import ignored_options
from orchestra.engine.inprocess import InProcessAttempt, attempt_in_process
from orchestra.engine.judge import settle, watcher_is_gone
from orchestra.engine.launch import Launch
from orchestra.engine.limits import gpu_environment
from orchestra.engine.request import RunRequest
from orchestra.engine.session import Session
from orchestra.engine.step_checks import check_step
from orchestra.engine.step_request import request_of_step, step_arguments
from orchestra.engine.steps_ahead import MOST_LEVELS, check_ahead, comes_to_itself, too_deep
from orchestra.engine.supervise import keep_leases, watch_on
from orchestra.engine.watchdog import watch_loop
from orchestra.errors import OrchestraError, RunNotFound, UserError, text_of_os_error
from orchestra.model.filters import RunQuery
from orchestra.model.operation import Step
from orchestra.model.run import Run

CHECKS_FAILED = 3
"""The exit code of a pipeline that ended because of a check."""


async def run_steps(
    session: Session, run: Run, *, console: Console, control: Control, how: Launch | None = None
) -> Run:
    """Execute a claimed pipeline in this process and return it in its final state.

    It ends with the first step that fails, with that step's exit code; with code 3 where a check fails. One that is
    stopped is terminated, and so is its current step. A pipeline that is started again starts the runs again that it
    has.
    """
    given = {**(how.environment if how else {}), **gpu_environment(run.gpus)}
    async with (
        attempt_in_process(session, run, console=console, control=control) as attempt,
        anyio.create_task_group() as group,
    ):
        group.start_soon(keep_leases, session)
        group.start_soon(watch_loop, session)
        group.start_soon(heed_orders, attempt, control)
        try:
            await _Pipeline(session, attempt, control, Launch(environment=given)).work()
        except OrchestraError as error:
            attempt.code = error.exit_code if error.exit_code > 1 else 1
            attempt.reason = error.message + (f"\n{error.hint}" if error.hint else "")
        group.cancel_scope.cancel()
    return attempt.run


class _Linked(Struct, frozen=True, kw_only=True):
    """Where a step's run is linked, and the run that is there already."""

    path: Path
    run: Run | None


class _Pipeline:
    def __init__(self, session: Session, attempt: InProcessAttempt, control: Control, how: Launch) -> None:
        self.session = session
        self.attempt = attempt
        self.run = attempt.run
        self.control = control
        self.how = how
        self.console = attempt.console
        self.directory = session.directory(attempt.run)

    async def work(self) -> None:
        """Run every step, up to one that fails."""
        await self._refuse_cycle()
        # The first one is looked at when it starts, and one that has run before starts as it is.
        coming = [step for step in self.run.operation.steps[1:] if not (self.directory / step.name).exists()]
        await check_ahead(self.session, self.run, coming)
        checked = passed = 0
        for step in self.run.operation.steps:
            if self.control.wish >= Wish.DRAIN:
                return self._stopped()
            ended = await self._run_step(step)
            if self.control.wish >= Wish.LEAVE:
                return self._stopped()
            if ended is None:
                continue
            if ended.exit_code not in (0, None) or ended.state in ("error", "lost", "terminated", "broken"):
                self.attempt.code = ended.exit_code or 1
                self.attempt.reason = f"step '{step.name}' failed: run {ended.id} ended as {ended.state}"
                return None
            if step.expect and ended.state == "completed":
                done = await check_step(self.session, ended, step, self.run, self.console)
                checked, passed = checked + len(step.expect), passed + done
                self._say(f"{done} of {len(step.expect)} checks passed", ended, "steps.check")
                if done < len(step.expect):
                    self.attempt.code = CHECKS_FAILED
                    self.attempt.reason = "stopping because a check failed - see above for details"
                    return None
        return None

    async def _refuse_cycle(self) -> None:
        """A pipeline that comes to itself would never end."""
        above, way = self.run.parent, [self.run.operation.name]
        mine = (self.run.operation.name, self.run.operation.source, self.run.flags)
        while above is not None:
            page = await self.session.store.query(RunQuery(ids=(above,)))
            if not page.runs:
                return
            ancestor = page.runs[0]
            way.insert(0, ancestor.operation.name)
            same = (ancestor.operation.name, ancestor.operation.source, ancestor.flags) == mine
            if same and ancestor.kind == "steps":
                raise comes_to_itself(way)
            if len(way) > MOST_LEVELS:
                raise too_deep(way)
            above = ancestor.parent

    async def _run_step(self, step: Step) -> Run | None:
        """The step's run when it has ended; None if there is nothing to wait for."""
        linked = await self._linked(step)
        if linked.run is not None and linked.run.state == "running":
            return await self._watch_on(step, linked.run)
        request = request_of_step(self.run, step, self._note)
        if linked.run is not None:
            request = _again(request, linked.run, needed=self.run.needed)
        words = step_arguments(step, request)
        if linked.run is not None:
            self._say(
                " ".join([f"restarting {step.name}: {linked.run.id}", *words]), linked.run, "steps.step"
            )
        else:
            self._say(" ".join([f"running {step.name}: {request.operation}", *words]), self.run, "steps.step")
        begun = await self._begin(request)
        found = begun.run or next(iter(begun.matching), None)
        if found is not None and linked.run is None:
            self._link(linked.path, found)
        if begun.what != "claimed" or begun.run is None:
            return None
        ended = await execute(
            self.session, begun.run, console=self.console, control=self.control, how=self.how, keep=True
        )
        if ended.operation.delete_on_success and ended.state == "completed":
            self._note(f"run {ended.id} is kept: the pipeline '{self.run.operation.name}' refers to it")
        if ended.state == "error" and ended.reason:
            message = f"step '{step.name}' failed: {ended.reason}"
            self.session.emit("log.message", ended, level="error", message=message, console=self.console)
        return ended

    async def _begin(self, request: RunRequest) -> Begun:
        prepared = await prepare(self.session, request)
        for message in ignored_options(request, prepared):
            self._note(message)
        return await begin(self.session, request, prepared, console=self.console)

    async def _watch_on(self, step: Step, run: Run) -> Run:
        """Wait for a run that a pipeline before us has left running."""
        if run.kind != "run" or not watcher_is_gone(run, self.session.clock.now()):
            raise UserError(
                f"step '{step.name}' can't be started again: run {run.id} is running",
                f"Use 'orchestra stop {run.short_id}' to stop it first and try again.",
            )
        return await watch_on(
            self.session,
            run,
            console=self.console,
            control=self.control,
            how=self.how,
            announce=lambda found: self._say(f"going on with {step.name}: {found.id}", found, "steps.step"),
        )

    async def _linked(self, step: Step) -> _Linked:
        """The link of ``step``; one that leads to no run is removed.

        Raises:
            UserError: there is something else in its place.
        """
        path = self.directory / step.name
        if not os.path.lexists(path):
            return _Linked(path=path, run=None)
        if not path.is_symlink():
            raise UserError(f"unexpected step run link {path}: expected symlink")
        run_id = Path(os.readlink(path)).name
        page = await self.session.store.query(RunQuery(ids=(run_id,)))
        if page.runs and path.exists():
            try:
                return _Linked(path=path, run=await settle(self.session, page.runs[0]))
            except RunNotFound:
                pass
        path.unlink()
        return _Linked(path=path, run=None)

    def _link(self, path: Path, run: Run) -> None:
        target: Any = self.session.layout.runs_dir / run.id
        if run.directory is None and self.run.directory is None:
            # Both are in one folder, which may be moved as a whole.
            target = os.path.join(os.pardir, run.id)
        try:
            path.symlink_to(target)
        except OSError as error:
            raise UserError(
                f"the link to step run {run.id} can't be made: {text_of_os_error(error)}"
            ) from None

    def _stopped(self) -> None:
        self._say("Stopping steps", self.run, "run.stopping")
        self.attempt.stopped_by, self.attempt.code = SIGNALS.get(self.control.wish, ("TERM", -15))

    def _say(self, message: str, run: Run, event: str) -> None:
        self.session.emit(event, run, level="info", message=message, console=self.console)

    def _note(self, message: str) -> None:
        self.session.emit("log.message", self.run, level="warning", message=message, console=self.console)


def _again(request: RunRequest, run: Run, *, needed: bool) -> RunRequest:
    """The request that starts the step's run again. It is skipped only where it has completed."""
    return structs.replace(
        request,
        operation=None,
        restart=run.id,
        needed=needed and run.state == "completed",
        parent=None,
        sources=(),
        expander=None,
        expander_options={},
    )
