"""Run a batch: its expander proposes trials, each is a run of its own, one is executed after the other.

Where their executor is a scheduler, it is given them all, and decides which run at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import anyio
import anyio.lowlevel
from msgspec import structs

from orchestra.child.supervisor import failpoint
from orchestra.console import Console
from orchestra.engine.capture import share_with_trials
from orchestra.engine.changes import change, write_record
from orchestra.engine.control import Control, Wish
from orchestra.engine.execute import execute
from orchestra.engine.hosted import heed_orders
from orchestra.engine.inprocess import InProcessAttempt, attempt_in_process
from orchestra.engine.judge import may_be_scheduler, settle_active, settle_or_spoil, watcher_is_gone
from orchestra.engine.launch import Launch, Ready, discard_ready, make_ready_ahead
from orchestra.engine.off_loop import off_loop, shielded
from orchestra.engine.proposing import Making, Proposing
from orchestra.engine.rebuild import adopt_unknown
from orchestra.engine.redoing import is_to_be_redone, on_terms_of
from orchestra.engine.restart import require_startable
from orchestra.engine.session import LEASE, Session
from orchestra.engine.stage import announce_staged, make_runs, prepare_for_hand
from orchestra.engine.supervise import LONGEST_POLL, keep_leases, watch_on
from orchestra.engine.trials import new_trial, trials_of
from orchestra.engine.under_way import UnderWay
from orchestra.engine.verdicts import Verdicts
from orchestra.engine.watchdog import watch_loop
from orchestra.errors import OrchestraError, RunNotFound, UserError
from orchestra.model import flags as flag_rules
from orchestra.model import lifecycle
from orchestra.model.batch import Batch
from orchestra.model.filters import Wanted
from orchestra.model.operation import FlagValue
from orchestra.model.run import ACTIVE, Run
from orchestra.workspace import source

CHUNK = 100
"""Trials that are made, at most, between two looks at whether the batch is to stop."""
CHUNK_FILES = 1500
"""Files that are copied, about, in that time."""
SHORT = 1.0
"""Seconds: after a trial that took less, the next one is made ready while it runs. For others that saves nothing."""


def _nobody_yet() -> Run | None:
    return None


def _is_same(one: Batch | None, other: Batch) -> bool:
    # As text, too: a value may be NaN, which equals nothing.
    return one == other or repr(one) == repr(other)


async def run_batch(
    session: Session,
    run: Run,
    *,
    console: Console,
    control: Control,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Execute a claimed batch in this process and return it in its final state.

    A batch whose trials failed is completed, unless it was told to fail with them. One that was stopped is
    terminated, and its remaining trials stay pending. The trials are given to the batch's executor, with
    ``environment`` beyond what they asked for.
    """
    how = Launch(environment=environment or {})
    async with (
        attempt_in_process(session, run, console=console, control=control) as attempt,
        anyio.create_task_group() as group,
    ):
        group.start_soon(keep_leases, session)
        group.start_soon(watch_loop, session)
        group.start_soon(heed_orders, attempt, control)
        batch = _Batch(session, attempt, control, run.executor, how)
        try:
            await batch.work()
        except OrchestraError as error:
            attempt.code, attempt.reason = 1, error.message
            text = error.message + (f"\n{error.hint}" if error.hint else "")
            session.emit("batch.stopped", attempt.run, level="error", message=text, console=attempt.console)
        finally:
            discard_ready(session, batch.ready)
        group.cancel_scope.cancel()
    return attempt.run


class _Batch:
    def __init__(
        self, session: Session, attempt: InProcessAttempt, control: Control, executor: str, how: Launch
    ) -> None:
        assert attempt.run.batch_spec is not None
        self.session = session
        self.attempt = attempt
        self.run = attempt.run
        self.spec: Batch = attempt.run.batch_spec
        self.control = control
        self.executor = executor
        self.how = how
        self.console = attempt.console
        self.proposing = Proposing(session, self.console)
        self.redone: set[str] = set()
        """Trials that this attempt has run again."""
        self.verdicts = Verdicts(session, attempt, control, self.spec)
        self.upcoming: Callable[[], Run | None] = _nobody_yet
        """Which trial comes next, as far as that is known."""
        self.ready: Ready | None = None
        """What was made ready for it."""
        self.is_quick = False
        """Whether the trial before took little time."""

    async def work(self) -> None:
        """Propose, make and execute trials until the expander has no more."""
        failure: Exception | None = None
        async with anyio.create_task_group() as self.group:
            self.under_way = UnderWay(self.session, self.console, self.control, self.verdicts, self.group)
            try:
                with self.control.calling(self.under_way.heed):
                    await self._to_the_end()
            except Exception as error:
                # Raised below, as it is: a task group would wrap it.
                failure = error
        if failure is not None:
            raise failure

    async def _to_the_end(self) -> None:
        try:
            await self._work()
        except Exception as error:
            self.under_way.end_with(error)
        # What a scheduler was given goes on to its end all the same, but for what waits there.
        await self.under_way.settle()
        if self.under_way.error is not None:
            raise self.under_way.error
        # An expander that proposes all at once has not asked for what came of them.
        await self.proposing.look_at_objectives(self.run, self.spec)

    async def _work(self) -> None:
        if may_be_scheduler(self.executor):
            from orchestra.engine.scheduled import schedulers_among

            self.under_way.is_placed = bool(await schedulers_among(self.session, (self.executor,)))
        if self.run.attempt > 1:
            await self._adopt_orphans()
        await settle_active(self.session, batch=self.run.id)
        while await self._take_up_trials() and await self._propose_trials():
            # Whoever extends the batch from now on starts it again.
            if not await self._renew_spec(close=True):
                return

    async def _take_up_trials(self) -> bool:
        """Go on with the trials that there are; False if the batch is to end."""
        trials = deque(await trials_of(self.session, self.run))
        self.upcoming = lambda: trials[0] if trials else None
        while trials:
            if not await self._take_up(trials.popleft()):
                return False
        return True

    async def _propose_trials(self) -> bool:
        """Propose trials, make and execute them, until the expander has no more; False if the batch is to end."""
        exhausted = False
        while not exhausted:
            if self.control.wish >= Wish.DRAIN:
                return self.verdicts.stopped()
            if not await self.under_way.settle():
                return False
            if self._is_partial:
                return True
            await self._renew_spec()
            proposal, first = await self.proposing.propose(self.run, self.spec)
            count, goes_on = await self._carry_out(proposal.trials, first)
            if not goes_on:
                return False
            exhausted = count == len(proposal.trials) and (proposal.exhausted or not count)
        return await self.under_way.settle()

    @property
    def _is_partial(self) -> bool:
        """Whether it is for trials that have ended alone."""
        return bool(self.spec.redo) and "missing" not in self.spec.redo

    async def _renew_spec(self, *, close: bool = False) -> bool:
        """Take over what the batch has been extended by; False if that is nothing, in which case ``close`` it."""

        def closed(current: Run) -> Run:
            is_open = close and _is_same(current.batch_spec, self.spec)
            return structs.replace(current, closed=current.attempt) if is_open else current

        run = await change(self.session, await self.session.store.get(self.run.id), closed)
        if run.batch_spec is None or _is_same(run.batch_spec, self.spec):
            return False
        self.run, self.spec = run, run.batch_spec
        self.verdicts.spec = self.spec
        return True

    async def _adopt_orphans(self) -> None:
        """Take over trials that an attempt made and was killed before entering them: or they come twice."""
        adopted = await adopt_unknown(self.session, batch=self.run.id)
        for trial in sorted(adopted, key=lambda run: run.trial or 0):
            if trial.state == "staged" and trial.generation == self.spec.generation:
                self._say_staged(trial)

    async def _carry_out(self, proposed: Sequence[dict[str, FlagValue]], first: int) -> tuple[int, bool]:
        """Make trials, and go on with each while the next are made; how many were made, and whether to go on."""
        if self.spec.stage_trials:
            made: list[Run] = []
            await self._make(proposed, first, CHUNK, made.extend)
            for trial in made:
                self._say_staged(trial)
                await anyio.lowlevel.checkpoint()
            return len(made), True
        making = Making()
        self.group.start_soon(self._make_ahead, making, proposed, first)
        goes_on = True
        self.upcoming = making.upcoming
        async with making.receive:
            while (trial := await making.next()) is not None:
                # Those that were proposed are made all the same: each can be started as needed.
                goes_on = goes_on and await self._go_on_with(trial)
        if making.error is not None:
            raise making.error
        return making.count, goes_on

    async def _make_ahead(self, making: Making, proposed: Sequence[dict[str, FlagValue]], first: int) -> None:
        async with making.send:
            try:
                await self._make(proposed, first, 1, making.take)
            except Exception as error:
                making.error = error

    async def _make(
        self,
        proposed: Sequence[dict[str, FlagValue]],
        first: int,
        size: int,
        take: Callable[[Sequence[Run]], None],
    ) -> None:
        """Make the trials, ``size`` at first, as many as there is time for until the batch is to stop."""
        # The trials run the source that the batch took along, not today's project.
        directory = self.session.directory(self.run)
        has_source = self.run.operation.source and self.run.operation.kind != "steps" and proposed
        selection = await off_loop(lambda: source.select_copied(directory)) if has_source else None
        most = min(CHUNK, 1 + CHUNK_FILES // (len(selection.files) or 1)) if selection else CHUNK
        # However late one that only waits is made, it is listed before those that have begun by then.
        begin, now = 0, self.session.clock.now()
        while begin < len(proposed) and (self.control.wish < Wish.DRAIN or 0 < begin < most):
            chunk = proposed[begin : begin + min(size, most)]
            completed = [flag_rules.complete(self.run.operation, flags) for flags in chunk]
            trials = [
                new_trial(self.run, self.executor, flags, first + number, now + number)
                for number, flags in enumerate(completed, begin)
            ]
            new = await make_runs(self.session, trials, selection)
            await share_with_trials(self.session, self.run, new)
            take(new)
            # The second trial must not wait until all the others are made. They are, however soon the batch is stopped.
            begin, size = begin + len(chunk), min(2 * size, CHUNK)

    def _say_staged(self, trial: Run) -> None:
        self._announce(trial, "Staging")
        prepare_for_hand(self.session, trial)
        if self.session.tells_staged:
            announce_staged(self.session, self.console, trial)

    def _announce(self, trial: Run, verb: str) -> None:
        shown = flag_rules.trial_flags(trial.flags)
        self.session.emit(
            "batch.trial",
            trial,
            level="info",
            message=f"{verb} trial {trial.id}: {trial.operation_name} ({shown})",
            console=self.console,
            flags=trial.flags,
        )

    async def _take_up(self, trial: Run) -> bool:
        """Do with a trial of an earlier attempt what this one is for; False: end here."""
        if is_to_be_redone(trial, self.spec.redo):
            return trial.id in self.redone or await self._redo(trial)
        if trial.state == "pending":
            if self._is_partial:
                return True
            trial = await on_terms_of(self.session, self.run, trial)
        return await self._go_on_with(trial)

    async def _redo(self, trial: Run) -> bool:
        """Run, or stage, a trial once more that has ended; False: end here."""
        self.redone.add(trial.id)
        try:
            require_startable(self.session, trial)
        except UserError as error:
            self.verdicts.say_error(error.message + (f"\n{error.hint}" if error.hint else ""), trial)
            return True
        trial = await on_terms_of(self.session, self.run, trial)
        return await (self._stage(trial) if self.spec.stage_trials else self._execute(trial))

    async def _go_on_with(self, trial: Run) -> bool:
        """Execute or stage a pending trial, wait for one that an earlier process left running; False: end here."""
        if trial.state == "pending" and not trial.submitted:
            return await (self._stage(trial) if self.spec.stage_trials else self._execute(trial))
        if trial.state == "running" or trial.submitted:
            if self.spec.stage_trials:
                # It was staged: queues see to it, and what is staged now does not wait for it.
                return True
            is_left = watcher_is_gone(trial, self.session.clock.now())
            return await (self._watch_on(trial) if is_left else self._await_others(trial))
        return True

    async def _stage(self, trial: Run) -> bool:
        """Stage a trial that was proposed to be executed, or has been."""
        before = trial.state

        def staged(current: Run) -> Run:
            if current.state != before or current.worker is not None:
                return current
            return lifecycle.restage(current, self.session.clock.now())

        trial = await change(self.session, trial, staged)
        if trial.state == "staged":
            write_record(self.session, trial)
            self._say_staged(trial)
        return True

    async def _watch_on(self, trial: Run) -> bool:
        watch = self.under_way.new_watch(trial)
        work = watch_on(
            self.session,
            trial,
            console=watch.console,
            control=watch.control,
            how=self.how,
            announce=lambda found: self._announce(found, "Going on with"),
        )
        return await self.under_way.add(watch, work)

    async def _await_others(self, trial: Run) -> bool:
        """Wait for a trial that somebody else starts or runs, and execute it if they don't; False: end here."""
        told = False
        while self.control.wish < Wish.DRAIN:
            try:
                current = await self.session.store.get(trial.id)
            except RunNotFound:
                return True
            current = await settle_or_spoil(self.session, current, console=self.console)
            if current is None or current.state == "staged":
                # Whoever staged it wants a queue to run it.
                return True
            if current.state not in ACTIVE:
                return self.verdicts.judge(current)
            is_begun = current.state == "running" or current.submitted
            is_left = is_begun and watcher_is_gone(current, self.session.clock.now())
            if current.worker is None or is_left:
                return await self._go_on_with(current)
            if not told:
                self._announce(current, "Waiting for")
                told = True
            with anyio.move_on_after(LONGEST_POLL) as scope, self.control.calling(scope.cancel):
                await anyio.sleep_forever()
        return self.verdicts.stopped()

    async def _execute(self, trial: Run) -> bool:
        """Execute one trial that is pending or has ended; False if the batch is to end here."""
        if self.control.wish >= Wish.DRAIN:
            return self.verdicts.stopped()
        wanted = Wanted(ids=(trial.id,), states=frozenset((trial.state,)))
        store, worker = self.session.store, self.session.worker
        claimed = await shielded(lambda: store.claim(worker, LEASE, 1, wanted))
        if not claimed:
            return await self._await_others(trial)
        failpoint("batch.trial.claimed")
        # A queue may give an executor of its own to a batch whose trials were made long ago.
        trial = structs.replace(claimed[0], executor=self.executor)
        verb = "Submitting" if self.under_way.is_placed else "Running"
        self._announce(trial, verb if trial.id not in self.redone else "Restarting")
        watch = self.under_way.new_watch(trial)
        work = execute(
            self.session,
            trial,
            console=watch.console,
            control=watch.control,
            how=self.how,
            foretold=watch.over.set,
            ready=self.ready,
            meanwhile=None if self.under_way.is_placed else self._make_ready,
        )
        begun = self.session.clock.monotonic()
        goes_on = await self.under_way.add(watch, work)
        self.is_quick = self.session.clock.monotonic() - begun < SHORT
        return goes_on

    async def _make_ready(self) -> None:
        """Prepare, while a trial runs, what the start of the next one takes."""
        trial = self.upcoming() if self.is_quick and self.control.wish == Wish.NONE else None
        self.ready = None
        if trial is not None and trial.state == "pending":
            trial = structs.replace(trial, executor=self.executor)
            self.ready = await make_ready_ahead(self.session, trial, self.how)
