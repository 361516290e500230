"""What a queue claims: the runs that are to be started now, looked for in the order of their turns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
from msgspec import structs

from orchestra.child.supervisor import failpoint, host_id
from orchestra.engine.changes import change, tell, write_record
from orchestra.engine.control import Control, Wish
from orchestra.engine.giving_up import put_back
from orchestra.engine.judge import may_be_scheduler, settle_or_spoil
from orchestra.engine.limits import fits_gpus
from orchestra.engine.machine import ThisMachine
from orchestra.engine.presence import is_reachable
from orchestra.engine.session import LEASE, Session
from orchestra.errors import OrchestraError, RunNotFound, StoreUnavailable
from orchestra.model import lifecycle
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.progress import present_trials
from orchestra.model.run import ACTIVE, FINAL, Run, State
from orchestra.model.scheduling import SUCCEEDED, Choice, Ended, Group, Machine, Situation, Start, choose
from orchestra.workspace.queue_groups import GroupsFile, try_turn

STAGED: frozenset[State] = frozenset(("staged",))
FEWEST_LOOKED_AT, SPARES = 2, 8
"""Runs looked at for each that is to be started: at first, and once others have taken all of them before us."""
MOST_LOOKED_AT = 4_000
"""Runs that wait at the head of the queue, beyond which no others are looked for."""
TURN_PATIENCE = 30.0
_TURN_PAUSE = 0.002


class Chooser:
    """Claims staged runs for one queue."""

    def __init__(
        self,
        session: Session,
        machine: ThisMachine,
        gpus: str | None,
        *,
        plain_cpus: float = 0,
        control: Control | None = None,
    ) -> None:
        self.control = control
        self.aborted: Callable[[Run], object] = lambda run: None
        """Told of runs that can never be started."""
        self.passed_over: Callable[[Run], object] = lambda run: None
        """Told of staged runs, as they are looked at, that are meant for other devices."""
        self.warn: Callable[[str], object] = lambda message: None
        """Told what keeps something from being known or done."""
        self.session = session
        self.machine = machine
        self.gpus = gpus
        self.plain_cpus = plain_cpus
        """The processors that a run counts for which says nothing of them."""
        self._groups_file = GroupsFile(session.layout.home)
        self._groups: Mapping[str, Group] = {}
        self._warned = ""
        self._spares = FEWEST_LOOKED_AT
        self.set_aside: dict[str, int | None] = {}
        """Staged runs that are not to be tried again until they are staged anew: when they were staged."""
        self.waits: dict[str, str] = {}
        """Why runs wait, as of the last look."""
        self.hopes = False
        """Whether runs wait for what other runs hold that are active now."""
        self.look_at: int | None = None
        """When a run becomes due, in microseconds since the epoch."""
        self.executor: str | None = None
        """What all runs are given to, whatever they say themselves."""

    def groups(self) -> Mapping[str, Group]:
        """What is set for all queues; as it was last, while that can't be read: no queue ends of it."""
        try:
            self._groups, self._warned = self._groups_file.read(), ""
        except OrchestraError as error:
            if error.message != self._warned:
                self._warned = error.message
                self.warn(f"What is set for all queues can't be read: {error.message}")
        return self._groups

    async def claim(self, slots: int, active: Sequence[Run]) -> tuple[Run, ...]:
        """Claim up to so many runs; ``active``: what is claimed or running in this home.

        Raises:
            StoreUnavailable: the store can't be used now.
        """
        outrun: list[Start] = []
        while True:
            choice = await self._choice(slots, active)
            await self._abort(choice)
            if not choice.starts or choice.starts == outrun:
                return ()
            outrun = choice.starts
            claimed = await self._claim_alone(slots) if choice.exclusive else await self._claim_any(choice)
            if claimed:
                return claimed
            # Others were faster with all of them: there may be more.
            self._spares = SPARES
            await anyio.lowlevel.checkpoint()

    async def _claim_any(self, choice: Choice) -> tuple[Run, ...]:
        ids = [start.run.id for start in choice.starts] + [run.id for run in choice.spares]
        return await self._claim(ids, len(choice.starts))

    async def _claim_alone(self, slots: int) -> tuple[Run, ...]:
        """Choose anew while nobody else does, and note who gets which devices before anybody may."""
        async with turn(self.session, self.control) as mine:
            if not mine:
                return ()
            page = await self.session.store.query(RunQuery(states=ACTIVE))
            choice = await self._choice(slots, page.runs)
            claimed = await self._claim([start.run.id for start in choice.starts], len(choice.starts))
            failpoint("queue.claimed")
            return await self._give(claimed, choice.starts)

    async def _claim(self, ids: Sequence[str], limit: int) -> tuple[Run, ...]:
        if not ids:
            return ()
        return await self.session.store.claim(self.session.worker, LEASE, limit, Wanted(ids=tuple(ids)))

    async def _give(self, claimed: Sequence[Run], starts: Sequence[Start]) -> tuple[Run, ...]:
        devices = {start.run.id: start.devices for start in starts}
        kept: list[Run] = []
        for run in claimed:
            if not is_reachable(run):
                # Its disk went away since it was chosen.
                await put_back(self.session, run)
                continue
            try:
                kept.append(await grant(self.session, run, devices[run.id]) if run.needs else run)
            except OrchestraError as error:
                # It was deleted, or its directory is gone: the others are started all the same.
                self.warn(f"{run.id} can't be started: {error.message}")
                self.set_aside[run.id] = run.staged
                await settle_or_spoil(self.session, run, given_up=True)
        return tuple(kept)

    async def _choice(self, slots: int, active: Sequence[Run]) -> Choice:
        situation = self._situation(slots, await holding(self.session, active))
        choice, looked_at, limit = Choice(), 0, self._spares * slots
        staged: list[Run] = []
        while not choice.starts and looked_at < MOST_LOOKED_AT:
            page = await self.session.store.query(
                RunQuery(states=STAGED, claim_order=True, limit=limit, offset=looked_at, counted=False)
            )
            staged += [self._as_started(run) for run in page.runs if self._is_ours(run)]
            situation = await self._seen(situation, staged)
            choice = choose(staged, situation)
            looked_at += len(page.runs)
            if len(page.runs) < limit:
                break
            limit *= 2
        self.waits, self.look_at = choice.waits, choice.look_at
        self.hopes = bool(choice.hopeful) and any(run.kind != "queue" for run in situation.active)
        return choice

    async def look(self, staged: Sequence[Run], active: Sequence[Run]) -> Choice:
        """Why ``staged`` wait, if no slot is free."""
        held = await holding(self.session, active)
        return choose(staged, await self._seen(self._situation(0, held), staged))

    def _situation(self, slots: int, active: Sequence[Run]) -> Situation:
        situation = situation_of(self.session, self.machine.machine, slots, active, self.groups())
        return structs.replace(situation, plain_cpus=self.plain_cpus) if self.plain_cpus else situation

    async def _seen(self, situation: Situation, staged: Sequence[Run]) -> Situation:
        """``situation`` with what has to be looked at for ``staged``."""
        situation = await self._with_schedulers(situation, staged)
        situation = await self._with_targets(situation, staged)
        away = frozenset(run.id for run in staged if not is_reachable(run))
        return structs.replace(self._without_busy(situation, staged), away=away)

    def _without_busy(self, situation: Situation, staged: Sequence[Run]) -> Situation:
        """Leave the devices alone that somebody else uses; they are asked only when somebody wants some."""
        if not any(run.needs.gpus for run in staged):
            return situation
        return structs.replace(situation, busy=self.machine.busy(situation.active))

    def _is_ours(self, run: Run) -> bool:
        """Whether it may be started by this queue at all. A queue in a queue would wait for itself."""
        if run.id in self.set_aside and self.set_aside[run.id] == run.staged:
            return False
        self.set_aside.pop(run.id, None)
        # One whose record is damaged is found here, too, and can't be started.
        if run.state != "staged" or run.kind == "queue":
            return False
        if fits_gpus(run, self.gpus):
            return True
        self.passed_over(run)
        return False

    def _as_started(self, run: Run) -> Run:
        return run if self.executor is None else structs.replace(run, executor=self.executor)

    async def _with_schedulers(self, situation: Situation, staged: Sequence[Run]) -> Situation:
        return structs.replace(
            situation, elsewhere=await elsewhere(self.session, (*staged, *situation.active))
        )

    async def _with_targets(self, situation: Situation, staged: Sequence[Run]) -> Situation:
        wanted = {condition.partition(":")[0] for run in staged for condition in run.after}
        wanted -= situation.targets.keys()
        if not wanted:
            return situation
        page = await self.session.store.query(RunQuery(ids=tuple(wanted)))
        targets = {run.id: await self._end_of(run) for run in page.runs}
        return structs.replace(situation, targets={**situation.targets, **targets})

    async def _end_of(self, run: Run) -> Ended | None:
        """How a run has ended; a batch, as its first trial that failed, if one did. None: not yet."""
        if run.state not in FINAL:
            return None
        if run.kind != "batch":
            return Ended(run.state)
        trials = present_trials(run, (await self.session.store.query(RunQuery(batch=run.id))).runs)
        if any(trial.state not in FINAL for trial in trials):
            return None
        failed = [one for one in trials if one.state not in SUCCEEDED]
        if run.state in SUCCEEDED and failed:
            return Ended(failed[0].state, failed[0].id)
        return Ended(run.state)

    async def _abort(self, choice: Choice) -> None:
        for run_id, reason in choice.aborts.items():
            found = (await self.session.store.query(RunQuery(ids=(run_id,)))).runs
            if not found:
                continue

            def aborted(now: Run, reason: str = reason) -> Run:
                if now.state != "staged":
                    return now
                return lifecycle.abort(now, self.session.clock.now(), f"aborted because {reason}")

            try:
                run = await change(self.session, found[0], aborted)
            except RunNotFound:
                continue
            if run.state == "aborted":
                tell(self.session, "run.aborted", run, reason=run.reason)
                self.aborted(run)


def situation_of(
    session: Session, machine: Machine, slots: int, active: Sequence[Run], groups: Mapping[str, Group]
) -> Situation:
    """What a choice depends on, with ``active`` the runs that are claimed or running in this home."""
    watched = [run for run in active if run.worker is not None]
    members: dict[str, int] = {}
    for run in watched:
        if run.group is not None:
            members[run.group] = members.get(run.group, 0) + 1
    here = [run for run in watched if run.worker is not None and run.worker.identity.host == host_id()]
    return Situation(
        now=session.clock.now(),
        slots=slots,
        machine=machine,
        active=here,
        groups=groups,
        members=members,
    )


async def holding(session: Session, active: Sequence[Run]) -> Sequence[Run]:
    """``active``, of which a trial that runs on without its batch has what that was given for all of its trials."""
    ids = {run.id for run in active}
    # Trials that were staged have resources of their own, if any: they are no part of what the batch was given.
    theirs = [run for run in active if run.rest != "staged" and not run.resources]
    left = {run.batch for run in theirs if run.batch is not None} - ids
    if not left:
        return active
    page = await session.store.query(RunQuery(ids=tuple(sorted(left))))
    batches = {batch.id: batch for batch in page.runs if batch.granted}

    def with_all(run: Run) -> Run:
        batch = None if run.resources else batches.get(run.batch or "")
        if batch is None or not batch.needs:
            return run
        return structs.replace(
            run, resources=batch.resources, devices=batch.devices, granted=True, retry=None
        )

    return [with_all(run) for run in active]


async def elsewhere(session: Session, runs: Sequence[Run]) -> frozenset[str]:
    """The executors of ``runs`` that are schedulers of their own."""
    specs = {run.executor for run in runs if may_be_scheduler(run.executor)}
    if not specs:
        return frozenset()
    from orchestra.engine.scheduled import schedulers_among

    return await schedulers_among(session, specs)


async def grant(session: Session, run: Run, devices: tuple[str, ...]) -> Run:
    """Note that a claimed run has all that it needs: in its record, too, for the store may be lost."""
    run = await change(session, run, lambda now: structs.replace(now, devices=devices, granted=True))
    write_record(session, run, fsync=False)
    return run


@asynccontextmanager
async def turn(session: Session, control: Control | None = None) -> AsyncGenerator[bool]:
    """Decide what is started while nobody else does: one device must not be given to two runs.

    Yields False if somebody wished for an end meanwhile.

    Raises:
        StoreUnavailable: somebody else has been deciding for very long.
    """
    end = session.clock.monotonic() + TURN_PATIENCE
    while True:
        with try_turn(session.layout.home) as mine:
            if mine:
                yield True
                return
        if control is not None and control.wish != Wish.NONE:
            yield False
            return
        if session.clock.monotonic() > end:
            raise StoreUnavailable("another queue has been deciding what to start for too long")
        await anyio.sleep(_TURN_PAUSE)
