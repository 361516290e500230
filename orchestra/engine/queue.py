"""The queue: an async scheduler that claims staged runs, oldest first, and watches them to their end.

Any number of queues may work on one home. The store gives each staged run to one of them; a queue that is
gone leaves its runs running, and the next one takes over their watch.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress

import anyio
from anyio.abc import TaskGroup
from msgspec import structs

from orchestra.child.supervisor import failpoint
from orchestra.console import Console
from orchestra.contracts import Watchable
from orchestra.engine.changes import change, write_record
from orchestra.engine.choosing import STAGED, Chooser
from orchestra.engine.control import TOLD_PATIENCE, Control, Wish
from orchestra.engine.execute import execute
from orchestra.engine.hosted import heed_orders
from orchestra.engine.inprocess import InProcessAttempt, attempt_in_process
from orchestra.engine.judge import is_alive, settle_active, settle_or_spoil
from orchestra.engine.launch import Launch, with_handle
from orchestra.engine.limits import gpu_environment
from orchestra.engine.lines import LineConsole
from orchestra.engine.machine import ThisMachine
from orchestra.engine.queue_hand_over import hand_over_guests
from orchestra.engine.queue_settings import MOST_JOBS, QueueSettings
from orchestra.engine.queue_state import holding_back, named, text_of_left
from orchestra.engine.retrying import failure_text
from orchestra.engine.session import LEASE, Session
from orchestra.engine.supervise import keep_leases, supervise
from orchestra.engine.watchdog import watch_loop
from orchestra.errors import OrchestraError, RunNotFound, StoreError, StoreUnavailable
from orchestra.model import lifecycle
from orchestra.model.events import Level
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import ACTIVE, Run
from orchestra.model.scheduling import Group
from orchestra.workspace.queue_orders import is_to_stop_runs, tell_stopping

HAND_OVER_PATIENCE = 1.0
"""Seconds that a queue takes at its end to let go of what is its own."""
GUESTS_PATIENCE = 0.5
"""Seconds that it takes, after that, to leave the batches to the next queue that it executed."""
CHANGES_REST = 0.005
"""Seconds from one change that a queue hears of to the next."""
FULL_REST = 0.25
"""The same of a queue that has no free slot."""
MOST_TOLD = 5
"""Staged runs that a queue names which it leaves behind."""
REAP_INTERVAL = 1.0
"""Least seconds between two looks for runs whose watcher is gone."""


async def run_queue(
    session: Session,
    run: Run,
    *,
    console: Console,
    control: Control,
    stop_runs: bool = False,
) -> Run:
    """Work as the queue that ``run`` records until there is nothing more to do or ``control`` ends it.

    ``stop_runs``: a queue that is told to end stops its runs instead of leaving them running.
    """
    settings = QueueSettings.from_flags(run.flags)
    session = session.working_as_queue(run.id)
    async with attempt_in_process(session, run, console=console, control=control) as attempt:
        queue = _Queue(session, attempt, settings, control, stop_runs)
        try:
            await queue.work()
        finally:
            await queue.let_go()
    return attempt.run


class _Queue:
    def __init__(
        self,
        session: Session,
        attempt: InProcessAttempt,
        settings: QueueSettings,
        control: Control,
        stop_runs: bool,
    ) -> None:
        self.session = session
        self.attempt = attempt
        self.run = attempt.run
        self.console = attempt.console
        self.settings = settings
        self.control = control
        self.stop_runs = stop_runs
        self.running: dict[str, Control] = {}
        """The runs that this queue has started and that have not ended, with what stops them."""
        self.left_guests: list[Run] = []
        """The batches and pipelines, which a queue executes itself, that it was executing when it was told to end."""
        self.ending: set[str] = set()
        """Those of them that ended well, whose records are being written: they hold no slot any more."""
        self.adopted: dict[str, Run] = {}
        """The runs whose watch this queue has taken over; those that a queue started take a slot here now."""
        self.watches: dict[str, Control] = {}
        """What stops them."""
        plain_cpus = 1 if settings.jobs is None else 0
        self.chooser = Chooser(
            session, ThisMachine(settings.gpus), settings.gpus, plain_cpus=plain_cpus, control=control
        )
        self.chooser.executor = settings.executor
        self.chooser.aborted = lambda run: self._tell(
            "log.message", "warning", f"{run.id} was {run.reason}", failed=run.id
        )
        self.chooser.passed_over = self._tell_of_other_gpus
        self.chooser.warn = lambda message: self._tell("log.message", "warning", message)
        self.ignored: set[str] = set()
        """Staged runs for other devices."""
        self.blocked: set[str] = set()
        """Staged runs of which was told that runs hold them back which no queue started."""
        self.holds_back = False
        """Whether any was held back at the last look."""
        self.watches_others = False
        self.hears_changes = False
        self.fails = 0
        """How many of the runs that this queue has started have failed for good."""
        self.told_waiting = ""
        """What this queue has said last that it waits for, since it has started a run."""
        self.left: tuple[str, ...] = ()
        """The runs that this queue no longer watched when it ended."""
        self.store_is_silent = False
        """Whether the store did not answer as this queue was ending: nothing more is waited for then."""
        self.processing = False
        self.last_reap = -math.inf
        self.news = anyio.Event()
        """Set when a run of ours ended, or the store changed, since it was last looked."""
        self.freed = anyio.Event()
        """Set when a slot became free."""

    async def work(self) -> None:
        """Claim, start and watch until told to end, or, with run-once, until nothing is left."""
        self.session.waits.tell = lambda text: self._tell("queue.waiting", "info", text)
        self._tell("queue.started", "debug", "Starting queue")
        async with AsyncExitStack() as stack, anyio.create_task_group() as group:
            group.start_soon(keep_leases, self.session)
            group.start_soon(watch_loop, self.session)
            group.start_soon(heed_orders, self.attempt, self.control)
            changes = await self._changes(stack)
            if changes is not None:
                self.hears_changes = True
                group.start_soon(self._listen, changes)
            while self.control.wish < Wish.DRAIN and not self._too_many_failed():
                self.news = anyio.Event()
                try:
                    claimed = await self._look(group)
                except StoreUnavailable as error:
                    self._tell("log.message", "warning", f"The store can't be used: {error.message}")
                    await self._pause()
                    continue
                if not claimed and not self.running and self.settings.run_once and not self._has_hope():
                    self._say_what_is_left()
                    break
                if not claimed:
                    self._say_waiting()
                    await self._pause()
            await self._end(group)
        if self.left:
            await self._say_what_became_of_left()

    async def _look(self, group: TaskGroup) -> bool:
        """Judge what others have left, and start what may be started; True if there was anything."""
        if self.running and not self._is_reap_due() and self._free_slots() <= 0:
            # Most of what wakes a busy queue is what its own runs come to.
            self._forget_look()
            return False
        with self.control.hurrying(TOLD_PATIENCE, lambda: self.control.wish >= Wish.DRAIN):
            await self._reap(group)
            return await self._claim(group)
        # What it has claimed, and not started, is let go of with all else.
        return False

    def _has_hope(self) -> bool:
        """Whether a staged run waits for nothing but its time, the end of runs that others have started, or the
        end of a pause that has come amid our work."""
        return self.chooser.look_at is not None or self.chooser.hopes or self._is_held_up()

    def _is_paused(self) -> bool:
        return self.chooser.groups().get("", Group()).paused

    def _is_held_up(self) -> bool:
        return self.processing and bool(self.chooser.waits) and self._is_paused()

    def _say_what_is_left(self) -> None:
        for run, reason in list(self.chooser.waits.items())[:MOST_TOLD]:
            self._tell(
                "queue.waiting", "info", f"Leaving staged run {run}: it waits for {reason}", staged=run
            )
        if (more := len(self.chooser.waits) - MOST_TOLD) > 0:
            self._tell("queue.waiting", "info", f"Leaving {more} more staged run(s)")

    async def _say_what_became_of_left(self) -> None:
        """Only now is known which of them have been given to their executor."""
        lines = [f"Leaving runs: {', '.join(self.left)}"]
        with anyio.move_on_after(TOLD_PATIENCE) as limit, suppress(StoreError):
            lines = await text_of_left(self.session, self.left)
        self.store_is_silent = limit.cancelled_caught
        for line in lines:
            self._tell("queue.stopping", "warning", line)

    async def let_go(self) -> None:
        """Let others go on at once with what is ours, as far as that can be done in time; else say so."""
        with anyio.move_on_after(0 if self.store_is_silent else HAND_OVER_PATIENCE, shield=True) as limit:
            await self._hand_over()
        if limit.cancelled_caught:
            self.store_is_silent = True
            text = f"It takes long to let go of what is claimed here: others can have it in {LEASE:g} seconds"
            self._tell("queue.stopping", "warning", text)
        patience = 0 if self.store_is_silent else GUESTS_PATIENCE
        await hand_over_guests(self.session, self.left_guests, self.console, patience)
        self._tell("queue.ended", "debug", "Queue ended")

    async def _hand_over(self) -> None:
        """Release what was not started, give up all watches."""
        try:
            page = await self.session.store.query(RunQuery(states=ACTIVE))
            for run in page.runs:
                # A scheduler that did not answer a moment ago is not asked again.
                was_asked = not {run.id, run.batch, run.parent}.isdisjoint(self.left)
                if self._is_mine(run) and run.claimed and not was_asked:
                    await settle_or_spoil(self.session, run, console=self.console, given_up=True)
            await self.session.store.renew(self.session.worker, 0)
        except StoreError as error:
            # Our leases run out all the same, a little later.
            self._tell("log.message", "warning", f"The store can't be used: {error.message}")

    def _is_mine(self, run: Run) -> bool:
        return run.worker is not None and run.worker.nonce == self.session.worker.nonce

    async def _changes(self, stack: AsyncExitStack) -> AsyncIterator[None] | None:
        store = self.session.store
        return await stack.enter_async_context(store.changes()) if isinstance(store, Watchable) else None

    async def _listen(self, changes: AsyncIterator[None]) -> None:
        async for _ in changes:
            if self._free_slots() <= 0:
                # Nothing that is staged now could be started: only what is set for all queues may be news.
                self.freed = anyio.Event()
                with anyio.move_on_after(FULL_REST):
                    await self.freed.wait()
                    # Then it is looked anyway.
                    continue
            self.news.set()
            # One look at the store for what comes in a burst: our own starts and ends ring, too.
            await anyio.sleep(CHANGES_REST)

    async def _claim(self, group: TaskGroup) -> bool:
        """Start what may be started now; True if there was anything."""
        self._forget_look()
        free = self._free_slots()
        if free <= 0:
            if not self.running:
                # Runs that a queue before this one has started hold all slots, and will free them.
                staged = await self.session.store.query(RunQuery(states=STAGED, limit=1, counted=False))
                self.chooser.hopes = bool(staged.runs)
            return False
        page = await self.session.store.query(RunQuery(states=ACTIVE, oldest_first=True))
        if await self._is_blocked(page.runs):
            return False
        runs = await self.chooser.claim(free, page.runs)
        self.session.emit("queue.polled", self.run, console=self.console, claimed=len(runs))
        for run in runs:
            failpoint("queue.claimed")
            self._say_processing()
            self._tell("queue.starting", "info", f"Starting staged run {run.id}", started=run.id)
            self.told_waiting = ""
            self.blocked.discard(run.id)
            self.running[run.id] = Control()
            group.start_soon(self._start, run)
        return bool(runs)

    def _forget_look(self) -> None:
        """What the last look has found: nothing may have been looked at since."""
        self.chooser.look_at, self.chooser.hopes = None, False
        self.chooser.waits, self.holds_back = {}, False

    def _free_slots(self) -> int:
        held = sum(run.starter == "queue" for run in self.adopted.values())
        return self._jobs() - len(self.running) + len(self.ending) - held

    def _jobs(self) -> int:
        """How many runs at once: as was set for all queues meanwhile, else as this one was told."""
        wanted = self.chooser.groups().get("", Group()).limit or self.settings.jobs
        return MOST_JOBS if wanted is None else wanted

    def _tell_of_other_gpus(self, run: Run) -> None:
        """Say once of a staged run that is meant for other devices that it is left to other queues."""
        if run.id in self.ignored:
            return
        self.ignored.add(run.id)
        self._say_processing()
        self._tell(
            "queue.ignored",
            "info",
            f"Ignorning staged run {run.id} "
            f"(GPU spec mismatch: run is {run.gpus}, queue is {self.settings.gpus})",
            staged=run.id,
        )

    async def _is_blocked(self, active: Sequence[Run]) -> bool:
        """Whether runs that no queue started hold the staged ones back; says so once for each staged run."""
        if self.settings.ignore_running:
            return False
        blocking = await holding_back(self.session, active)
        if not blocking:
            return False
        staged = await self.session.store.query(
            RunQuery(states=STAGED, claim_order=True, limit=1 + len(self.chooser.set_aside), counted=False)
        )
        first = next((run for run in staged.runs if run.id not in self.chooser.set_aside), None)
        self.holds_back = first is not None
        if first is not None and first.id not in self.blocked:
            self.blocked.add(first.id)
            names = ", ".join(run.short_id for run in blocking)
            self._say_processing()
            self._tell(
                "queue.blocked",
                "info",
                f"Found staged run {first.id} (waiting for runs to finish: {names})",
                staged=first.id,
                waiting_for=[run.id for run in blocking],
            )
        return True

    async def _start(self, run: Run) -> None:
        """Execute one claimed run; whatever goes wrong with it, the queue goes on."""
        console = self._console_of(run)
        control = self.running[run.id]
        try:
            how = Launch(environment=self._environment())
            if self.settings.executor not in (None, run.executor):
                run = structs.replace(run, executor=self.settings.executor)
                # As the store will have it: one that is made anew of the records must know it, too.
                # Whether it is there at all is seen by whoever starts it.
                with suppress(RunNotFound):
                    write_record(self.session, run, fsync=False)
            ended = await execute(
                self.session,
                run,
                console=console,
                control=control,
                how=how,
                foretold=lambda: self._free_slot(run.id),
            )
            if isinstance(console, LineConsole):
                await console.flush()
            self._tell_of_failure(ended)
        except Exception as error:
            self.chooser.set_aside[run.id] = run.staged
            self.fails += 1
            # Whatever it has come to is to be looked at now, not in a while.
            self.last_reap = -math.inf
            self._tell("log.message", "error", f"{run.id} could not be run: {text_of(error)}", failed=run.id)
        finally:
            if run.kind in ("batch", "steps") and control.wish == Wish.LEAVE:
                self.left_guests.append(run)
            self.running.pop(run.id, None)
            self.ending.discard(run.id)
            self._look_again()

    def _console_of(self, run: Run) -> Console:
        """What shows the output of ``run``: lines stay whole where those of others come between them."""
        if self.session.prefixed is not None:
            return self.session.prefixed(self.console, run)
        return LineConsole(self.console) if self._jobs() > 1 else self.console

    def _too_many_failed(self) -> bool:
        limit = self.settings.max_fails
        if limit is None or self.fails < limit:
            return False
        runs = f"{self.fails} run{'' if self.fails == 1 else 's'}"
        self._tell("queue.stopping", "error", f"Stopping queue because {runs} failed (max-fails is {limit})")
        self.attempt.code, self.attempt.reason = 1, f"{runs} failed"
        return True

    def _tell_of_failure(self, ended: Run) -> None:
        again = lifecycle.try_again(ended, 0) is not None
        if ended.cause == "stopped":
            self._tell("log.message", "info", f"{ended.id} was stopped", failed=ended.id)
        if ended.state not in ("error", "lost", "terminated") or ended.cause == "stopped":
            return
        if ended.state == "terminated" and not again and self.control.wish != Wish.NONE:
            # It was this queue that was told to stop it.
            return
        self.fails += not again
        level: Level = "warning" if again else "error"
        self._tell("log.message", level, failure_text(ended), failed=ended.id)

    def _free_slot(self, run_id: str) -> None:
        if run_id not in self.ending:
            self.ending.add(run_id)
            self._look_again()

    def _look_again(self) -> None:
        """A slot may have become free."""
        self.news.set()
        self.freed.set()

    def _environment(self) -> dict[str, str]:
        return gpu_environment(self.settings.gpus)

    def _is_looked_after(self, run: Run) -> bool:
        """Whether one of our tasks executes or watches ``run``, or the batch or pipeline that it is a part of."""
        mine = self.running.keys() | self.adopted.keys() | self.session.hosted
        return not mine.isdisjoint((run.id, run.batch, run.parent))

    def _is_reap_due(self) -> bool:
        return self.session.clock.monotonic() - self.last_reap >= REAP_INTERVAL

    async def _reap(self, group: TaskGroup) -> None:
        """Judge the runs whose watcher is gone, and watch those that live on."""
        if not self._is_reap_due():
            return
        self.last_reap = self.session.clock.monotonic()
        active = await settle_active(self.session)
        others = [
            run
            for run in active
            if run.worker is not None and not self._is_mine(run) and run.id != self.run.id
        ]
        self.watches_others = bool(others)
        for run in active:
            if self._is_mine(run) and not self._is_looked_after(run):
                # Its start failed half way.
                settled = await settle_or_spoil(self.session, run, console=self.console, given_up=True)
                if settled is not None:
                    self._adopt(group, settled)
        orphans = [run for run in others if run.kind == "run"]
        if orphans:
            wanted = Wanted(ids=tuple(run.id for run in orphans), expired=True)
            for run in await self.session.store.claim(self.session.worker, LEASE, len(orphans), wanted):
                self._adopt(group, run)
        for run in orphans:
            # A watcher that is seen to be dead need not be waited for until its lease is over.
            if run.worker is not None and is_alive(run.worker.identity) is False:
                self._adopt(group, await self._watch_instead(run))

    async def _watch_instead(self, run: Run) -> Run:
        """Take over the watch of a run from its worker, unless somebody else has done so."""
        dead, lease = run.worker, self.session.clock.now() + round(LEASE * 1e6)

        def watched(current: Run) -> Run:
            is_same = current.attempt == run.attempt and current.worker == dead
            return lifecycle.watch(current, self.session.worker, lease) if is_same else current

        try:
            return await change(self.session, run, watched)
        except RunNotFound:
            return run

    def _adopt(self, group: TaskGroup, run: Run) -> None:
        is_ours = self._is_mine(run) and run.kind == "run" and run.id not in self.adopted
        # One that has not begun may wait with its scheduler.
        if is_ours and (run.state == "running" or run.handle is not None):
            self.adopted[run.id], self.watches[run.id] = run, Control()
            self.session.emit("run.adopted", run, console=self.console)
            group.start_soon(self._watch_adopted, run)

    async def _watch_adopted(self, run: Run) -> None:
        try:
            run = await with_handle(self.session, run)
            control = self.watches[run.id]
            await supervise(self.session, run, console=self.console, control=control, quiet=True)
        except Exception as error:
            self._tell("log.message", "warning", f"{run.id} can't be watched: {text_of(error)}")
            # Not again at once: what is wrong now may well be wrong for a while.
            await self.session.clock.sleep(LEASE)
        finally:
            self.adopted.pop(run.id, None)
            self.watches.pop(run.id, None)
            self._look_again()

    async def _pause(self) -> None:
        """Wait for the first of: a run of ours ended, the store changed, a wish, the poll interval."""
        limit = (
            self.settings.poll_interval
            if self.hears_changes
            else min(self.settings.poll_interval, REAP_INTERVAL)
        )
        if self.watches_others or self.adopted or self.blocked:
            limit = min(limit, REAP_INTERVAL)
        if self.chooser.look_at is not None:
            limit = min(limit, max(0.0, (self.chooser.look_at - self.session.clock.now()) / 1e6))
        with self.control.calling(self.news.set):
            if self.control.wish < Wish.DRAIN and not self.news.is_set():
                await self.session.clock.wait(self.news, limit)

    async def _end(self, group: TaskGroup) -> None:
        """Leave as was wished: wait for what runs, stop it, or leave it running."""
        with suppress(OSError):
            tell_stopping(self.session.attempt_directory(self.run))
        if self.control.wish >= Wish.DRAIN:
            self._tell("queue.stopping", "info", "Stopping queue")
        told = False
        while self.running or (self.watches and self._stops_runs() and self.control.wish >= Wish.DRAIN):
            self.news = anyio.Event()
            if self._stops_runs() and self.control.wish >= Wish.DRAIN:
                for control in (*self.running.values(), *self.watches.values()):
                    control.raise_to(max(Wish.TERMINATE, self.control.wish))
            elif self.control.wish > Wish.DRAIN:
                for control in list(self.running.values()):
                    control.raise_to(Wish.LEAVE)
                self.left = tuple(self.running)
                break
            elif self.control.wish == Wish.DRAIN and not told:
                told = True
                what, them = (
                    ("a run", "it") if len(self.running) == 1 else (f"{len(self.running)} runs", "them")
                )
                text = f"Waiting for {what} to end (interrupt again to leave {them} running)"
                self._tell("queue.stopping", "info", text)
            with self.control.calling(self.news.set):
                await self.news.wait()
        group.cancel_scope.cancel()

    def _stops_runs(self) -> bool:
        """Whether runs are stopped when this queue is told to end: as it was started, or was told meanwhile."""
        return self.stop_runs or is_to_stop_runs(self.session.attempt_directory(self.run))

    def _say_processing(self) -> None:
        if self.settings.run_once and not self.processing:
            self.processing = True
            self._tell("queue.processing", "info", "Processing staged runs")

    def _say_waiting(self) -> None:
        if self.settings.run_once and not self._is_held_up():
            return
        if self._is_paused():
            what, text = "paused", "Paused: nothing is started until 'orchestra queue resume'"
        elif self.running or self.holds_back:
            # What they do is seen, and what is held back has been told.
            return
        elif self._free_slots() <= 0:
            adopted = [run for run in self.adopted.values() if run.starter == "queue"]
            what = text = f"Waiting for {named(adopted)} to end, started by an earlier queue"
        elif self.chooser.waits:
            what, reason = next(iter(self.chooser.waits.items()))
            more = f" (and {others} more wait)" if (others := len(self.chooser.waits) - 1) else ""
            text = f"Staged run {what} waits for {reason}{more}"
        else:
            what = text = "Waiting for staged runs"
        if what != self.told_waiting:
            self.told_waiting = what
            self._tell("queue.waiting", "info", text)

    def _tell(self, name: str, level: Level, message: str, **more: object) -> None:
        self.session.emit(
            name, self.run, level=level, message=message, console=self.console, logger="queue", data=more
        )


def text_of(error: Exception) -> str:
    """What is wrong, in a line."""
    return error.message if isinstance(error, OrchestraError) else f"{type(error).__name__}: {error}"
