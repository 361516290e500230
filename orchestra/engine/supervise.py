"""Watch a started run to its end: follow its output, read its exit record, bring the store up to date."""

from __future__ import annotations

import base64
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from orchestra.console import Console
from orchestra.contracts import Executor, Foretelling, Hint, Hinting, Scheduling, StopHow
from orchestra.engine.changes import change, warn_of_store
from orchestra.engine.control import Control, Wish
from orchestra.engine.judge import GONE_GRACE, may_be_scheduled, settle
from orchestra.engine.launch import Launch, fail_to_start, with_handle
from orchestra.engine.lines import WholeCharacters
from orchestra.engine.session import LEASE, RENEWAL, Session
from orchestra.errors import (
    ExecutorError,
    OrchestraError,
    RunBusy,
    RunNotFound,
    Stopped,
    StoreError,
    StoreUnavailable,
)
from orchestra.model import lifecycle
from orchestra.model.execution import Exit
from orchestra.model.run import FINAL, Run
from orchestra.workspace import records
from orchestra.workspace.output import OutputFollower

SHORTEST_POLL, LONGEST_POLL = 0.02, 0.25
"""Seconds between looks at an attempt whose executor sends no hints."""
LONGEST_WAIT = 5.0
"""Seconds between looks at one whose executor sends hints: one may be lost."""
REMIND_AFTER, KILL_AFTER = 2.0, 30.0
"""Seconds after an interrupt that the operation has not heeded: until a person is told, and until it is killed."""
MOST_PASSES = 4
"""Passes over output and records after which other tasks get a turn, though there is more at once each time."""
ESCALATION: dict[Wish, StopHow] = {
    Wish.INTERRUPT: "interrupt",
    Wish.TERMINATE: "terminate",
    Wish.KILL: "kill",
}


async def supervise(
    session: Session,
    run: Run,
    *,
    console: Console,
    control: Control | None = None,
    quiet: bool = False,
    how: Launch | None = None,
    foretold: Callable[[], object] | None = None,
) -> Run:
    """Follow a submitted run until it has ended, and return it in its final state.

    ``control`` stops the operation as its wish grows; with ``Wish.LEAVE`` the watch ends and the run goes on.
    One that fails and is to be tried again is started ``how`` it was, and followed, too.
    ``quiet``: the output is not shown, and nothing is started again (the watch of a run that somebody else
    started). ``foretold`` is called, where the executor can tell, when the operation has ended well and its
    output was shown, while the record of that is still being written.
    """
    control = control or Control()
    if run.retry is None or quiet:
        return await supervise_attempt(
            session, run, console=console, control=control, quiet=quiet, foretold=foretold
        )
    from orchestra.engine.retrying import supervise_tries

    return await supervise_tries(
        session, run, console=console, control=control, how=how or Launch(), foretold=foretold
    )


async def supervise_attempt(
    session: Session,
    run: Run,
    *,
    console: Console,
    control: Control,
    quiet: bool = False,
    retrying: bool = False,
    foretold: Callable[[], object] | None = None,
) -> Run:
    """:func:`supervise` for one attempt; ``retrying``: see :func:`~orchestra.engine.judge.settle`."""
    if run.handle is None and run.state not in FINAL:
        return run
    watch = _Watch(session, run, console, control, quiet, retrying, foretold or _nothing)
    with watch.follower:
        try:
            return await watch.to_the_end()
        except anyio.get_cancelled_exc_class():
            if control.owned:
                control.raise_to(Wish.TERMINATE)
                with anyio.CancelScope(shield=True):
                    await watch.to_the_end()
            raise


async def watch_on(
    session: Session,
    run: Run,
    *,
    console: Console,
    control: Control,
    how: Launch | None,
    announce: Callable[[Run], object],
) -> Run:
    """Take over the watch of a running run whose watcher is gone, and :func:`supervise` it.

    ``announce`` is called with the run before that, unless it has ended by now.
    """
    lease = session.clock.now() + round(LEASE * 1e6)
    run = await change(
        session,
        run,
        lambda current: lifecycle.watch(current, session.worker, lease) if current.worker else current,
    )
    if run.state != "running" and not run.submitted:
        return run
    announce(run)
    run = await with_handle(session, run)
    return await supervise(session, run, console=console, control=control, how=how)


class _Watch:
    def __init__(
        self,
        session: Session,
        run: Run,
        console: Console,
        control: Control,
        quiet: bool,
        retrying: bool,
        foretold: Callable[[], object],
    ) -> None:
        self.session = session
        self.run = run
        self.console = console
        self.control = control
        self.quiet = quiet
        self.retrying = retrying
        self.foretold = foretold
        self.directory: Path = session.attempt_directory(run)
        self.follower = OutputFollower(self.directory)
        self.characters = WholeCharacters()
        self.told = Wish.NONE
        self.told_at = 0.0
        self.reminded = False
        self.hint: Hint | None = None
        """What the executor said last."""
        self.wake: Callable[[], object] = _nothing
        """What ends the present wait for news."""
        self.gone_since: float | None = None
        self.waited = False
        """Whether news were waited for already."""
        self.passes = 0
        """Passes over output and records."""
        self._stack = AsyncExitStack()
        self._group: TaskGroup | None = None
        """What goes on beside the watch; few need any."""
        self.hinting: Hinting | None = None
        self.foretelling: Foretelling | None = None

    async def to_the_end(self) -> Run:
        if self.run.state in FINAL:
            # It was short, and somebody else has seen its end before us: its output is still to be shown.
            await self._drain()
            await self._show_rest()
            return self.run
        executor = await self.session.executor(self.run.executor)
        self.hinting = executor if isinstance(executor, Hinting) else None
        self.foretelling = executor if isinstance(executor, Foretelling) else None
        failure: Exception | None = None
        self._group = None
        async with AsyncExitStack() as self._stack:
            if self.hinting is None:
                await self._beside(self._await_job, executor)
            if may_be_scheduled(self.run) and isinstance(executor, Scheduling):
                from orchestra.engine.waits import tell_waits

                await self._beside(tell_waits, self.session, executor, lambda: self.run, self.console)
            try:
                await self._follow(executor)
                await self._show_rest()
            except Exception as error:
                # Raised below, as it is: a task group would wrap it.
                failure = error
            if self._group is not None:
                self._group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return self.run

    async def _beside(self, work: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> None:
        """Do ``work`` beside the watch, for as long as that lasts."""
        if self._group is None:
            self._group = await self._stack.enter_async_context(anyio.create_task_group())
        self._group.start_soon(work, *arguments)

    async def _follow(self, executor: Executor) -> None:
        pause, asked, foretold = SHORTEST_POLL, self.hinting is None, False
        while True:
            moved = await self._pass_on_output()
            if self.run.state == "pending":
                await self._note_start()
            exit_record = records.read_exit(self.directory)
            if exit_record is not None:
                await self._drain()
                self.run = await self._settled(exit_record)
                return
            if not foretold and self._has_ended_well():
                foretold = True
                # That may have become known while output was shown: what came after that, nobody has seen yet.
                await self._drain()
                self.foretold()
            elif not moved and self.waited and not asked:
                # Hints alone don't explain it, or have not come for long: ask for the job itself.
                asked = True
                await self._beside(self._await_job, executor)
            await self._pass_on_wish(executor)
            if self.control.wish == Wish.LEAVE:
                return
            self.passes += 1
            await self._news(pause, is_idle=self.waited and not moved)
            for_long = self.hint in ("ended", "gone") and self._gone_for_long()
            if (self.hint == "ended" or for_long) and records.read_exit(self.directory) is None:
                await self._drain()
                self.run = await self._without_exit(for_long)
                if self.run.worker is None:
                    return
                await anyio.sleep(LONGEST_POLL)
            pause = SHORTEST_POLL if moved else min(pause * 1.5, LONGEST_POLL)

    def _has_ended_well(self) -> bool:
        handle = self.run.handle
        return self.foretelling is not None and handle is not None and self.foretelling.ended_well(handle)

    async def _await_job(self, executor: Executor) -> None:
        """Keep what the executor says of the job. It may take its time, so this is never cut short."""
        assert self.run.handle is not None
        handle = self.run.handle
        while self.hint != "ended":
            try:
                self.hint = await executor.wait(handle)
            except OrchestraError as error:
                self.hint = "unknown"
                self._say_once(error.message)
            if self.hint != "gone":
                self.gone_since = None
            self.wake()
            await anyio.sleep(LONGEST_POLL)

    def _say_once(self, message: str) -> None:
        """Tell what is wrong with an executor: once for all runs that it has."""
        if message not in self.session.warned:
            self.session.warned.add(message)
            self.session.emit("log.message", self.run, level="warning", message=message, console=self.console)

    async def _news(self, pause: float, *, is_idle: bool) -> None:
        """Wait for output, the end, or a wish; at most ``pause`` seconds if the executor sends no hints.

        ``is_idle``: the news before were none.
        """
        assert self.run.handle is not None
        self.waited = True
        if self.hint == "ended":
            return
        longest = REMIND_AFTER if self.told == Wish.INTERRUPT else LONGEST_WAIT
        pause = longest if self.hinting is not None else pause
        with anyio.move_on_after(pause) as scope, self.control.calling(scope.cancel):
            if self.control.wish > max(self.told, Wish.DRAIN):
                return
            self.wake = scope.cancel
            if self.hinting is not None:
                await self.hinting.progress(self.run.handle, self.follower.offset)
                # One that has ended, or never stops to print, answers at once each time: others must get a turn.
                if is_idle or not self.passes % MOST_PASSES:
                    await anyio.lowlevel.checkpoint()
            else:
                await anyio.sleep_forever()

    def _gone_for_long(self) -> bool:
        if self.gone_since is None:
            self.gone_since = self.session.clock.monotonic()
        return self.session.clock.monotonic() - self.gone_since > GONE_GRACE

    def _say_stopped_early(self, exit_record: Exit) -> None:
        minutes = self.run.stop_after
        if exit_record.stopped_early is None or minutes is None:
            return
        message = f"Stopping process early (pid {exit_record.stopped_early}) - {minutes:g} minute(s) elapsed"
        self.session.emit("log.message", self.run, level="info", message=message, console=self.console)

    def _say_leftovers(self, exit_record: Exit) -> None:
        """Say why it took as long to end, and what became of what may have been meant to stay."""
        if not exit_record.leftovers or exit_record.stopped_by is not None:
            return
        # Few leave any.
        from orchestra.model.ending import leftovers_text

        message = f"{self.run.id} left {leftovers_text(exit_record.leftovers)}"
        self.session.emit("log.message", self.run, level="warning", message=message, console=self.console)

    async def _settle(
        self, run: Run, *, given_up: bool = False, gone: bool = False, exit_record: Exit | None = None
    ) -> Run:
        return await settle(
            self.session,
            run,
            console=self.console,
            given_up=given_up,
            gone=gone,
            retrying=self.retrying and self.control.wish == Wish.NONE,
            exit_record=exit_record,
        )

    async def _settled(self, exit_record: Exit) -> Run:
        self._say_stopped_early(exit_record)
        self._say_leftovers(exit_record)
        try:
            settled = await self._settle(self.run, exit_record=exit_record)
        except StoreUnavailable as error:
            if self.retrying:
                raise
            # The record tells of the end, and whoever looks next enters it.
            warn_of_store(self.session, self.run, error, console=self.console)
            self.session.unsettled.add(self.run.id)
            ended = lifecycle.finish(self.run, exit_record)
            self._emit("run.exited", ended, code=ended.exit_code, reason=ended.reason)
            return ended
        if settled.attempt != self.run.attempt:
            # Somebody else has seen the end before us and has started the run again: ours ended all the same.
            return lifecycle.finish(self.run, exit_record)
        return settled

    async def _without_exit(self, for_long: bool) -> Run:
        """The job has ended. If no exit record comes, it is lost; or it never came to start the operation."""
        try:
            run = await self.session.store.get(self.run.id)
        except RunNotFound:
            return lifecycle.lose(self.run, self.session.clock.now(), "it was deleted")
        if run.attempt != self.run.attempt:
            return lifecycle.lose(self.run, self.session.clock.now(), "it was started again")
        settled = await self._settle(run, given_up=run.state == "running", gone=for_long)
        if settled.claimed and settled.attempt == self.run.attempt:
            try:
                error = await self._why_it_never_began()
                settled = await fail_to_start(self.session, settled, error, console=self.console)
            except RunBusy:
                pass
        return settled

    async def _why_it_never_began(self) -> ExecutorError | Stopped:
        if not may_be_scheduled(self.run):
            return ExecutorError("its job ended before it was started")
        from orchestra.engine.scheduled import how_it_ended, never_began

        if self.told != Wish.NONE:
            return Stopped("stopped before it was started", *self.control.signal)
        return never_began(await how_it_ended(self.session, self.run))

    async def _note_start(self) -> None:
        fence = records.read_fence(self.directory)
        if fence is None or fence.fence != "started":
            return
        try:
            self.run = await self._settle(self.run)
        except StoreUnavailable as error:
            # Its end will be entered: that it has begun goes without saying then.
            warn_of_store(self.session, self.run, error, console=self.console)
            self.run = lifecycle.start(self.run, fence)
            self._emit("run.started", self.run)

    def _emit(self, name: str, run: Run, **data: Any) -> None:
        self.session.emit(name, run, console=self.console, data=data)

    async def _drain(self) -> None:
        """Pass on all output that is there, also of a file that has come in the place of the one that is open."""
        while await self._pass_on_output():
            pass

    async def _pass_on_output(self) -> bool:
        """Pass on the output of which there was news; True if there was any."""
        moved = False
        while chunks := self.follower.read_new():
            moved = True
            for stream, data in chunks:
                if whole := self.characters.feed(stream, data):
                    await self._show(stream, whole)
            if not self.follower.is_behind:
                break
        return moved

    async def _show_rest(self) -> None:
        """Pass on what ended within a character."""
        for stream, data in self.characters.finish():
            await self._show(stream, data)

    async def _show(self, stream: int, data: bytes) -> None:
        if not self.quiet:
            await self.console.output(stream, data)
        emit_output(self.session, self.run, stream, data, console=self.console)

    def _press_an_interrupt(self) -> None:
        """An operation may ignore an interrupt: say what can be done, and do it when nobody does."""
        if self.told != Wish.INTERRUPT:
            return
        waited = self.session.clock.monotonic() - self.told_at
        if waited > REMIND_AFTER and not self.reminded:
            self.reminded = True
            message = "Waiting for the operation to end - interrupt again to terminate it"
            self.session.emit("run.stopping", self.run, level="info", message=message, console=self.console)
        if waited > KILL_AFTER:
            self.control.raise_to(Wish.KILL)

    async def _pass_on_wish(self, executor: Executor) -> None:
        self._press_an_interrupt()
        wish = self.control.wish
        if wish <= self.told or wish not in ESCALATION or self.run.handle is None:
            return
        self.told, self.told_at = wish, self.session.clock.monotonic()
        self.session.emit("run.stopping", self.run, console=self.console, how=ESCALATION[wish])
        try:
            await executor.stop(self.run.handle, ESCALATION[wish])
        except ExecutorError as error:
            message = f"run {self.run.id} can't be told to stop: {error.message}"
            self.session.emit("log.message", self.run, level="warning", message=message, console=self.console)


def _nothing() -> None: ...


def emit_output(session: Session, run: Run, stream: int, data: bytes, *, console: Console) -> None:
    """Tell of what ``run`` printed, where somebody wants to hear of it."""
    if not session.sinks.output:
        return
    try:
        key, text = "text", data.decode()
    except UnicodeDecodeError:
        key, text = "base64", base64.b64encode(data).decode()
    name = "stderr" if stream == 1 else "stdout"
    session.emit("run.output", run, console=console, data={"stream": name, key: text})


async def keep_leases(session: Session) -> None:
    """Renew the leases of all runs that this session watches, until cancelled.

    The fences that this process holds are touched, so that other hosts see that it lives.
    """
    while True:
        await session.clock.sleep(RENEWAL)
        try:
            await session.store.renew(session.worker, LEASE)
        except StoreError as error:
            # A lease that runs out only lets others watch, too: no reason to end.
            session.emit("log.message", level="warning", message=f"leases are not renewed: {error.message}")
        for fence in tuple(session.fences):
            try:
                fence.touch()
            except OrchestraError as error:
                session.emit(
                    "log.message", level="warning", message=f"a fence is not touched: {error.message}"
                )
