"""What a person tells all queues of a home: pause, order, limits; and what they are doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from orchestra.child.supervisor import host_id
from orchestra.engine.changes import change
from orchestra.engine.choosing import STAGED, Chooser, turn
from orchestra.engine.judge import settle_active
from orchestra.engine.machine import ThisMachine
from orchestra.engine.off_loop import off_loop
from orchestra.engine.queue_settings import MOST_JOBS, QueueSettings
from orchestra.engine.runs import select_runs
from orchestra.engine.session import Session
from orchestra.errors import UserError
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, FINAL, Run
from orchestra.model.scheduling import Choice, Group, Machine
from orchestra.model.term_words import check_group, check_priority
from orchestra.workspace import records
from orchestra.workspace.queue_groups import GroupsFile
from orchestra.workspace.queue_orders import is_stopping

WAIT_POLL = 0.25
"""Seconds between two looks at runs that are waited for."""
MOST_NAMED = 5
"""Runs that a sentence names."""
EVERYTHING = ""
"""The group that all runs are of."""


class QueueStatus(Struct, frozen=True, kw_only=True):
    """What the queues of a home are doing."""

    queues: tuple[Run, ...]
    """Those that are at work."""
    running: tuple[Run, ...]
    """Claimed and running runs, batches and pipelines, oldest first."""
    staged: tuple[Run, ...]
    """In the order in which they will be started."""
    waits: dict[str, str]
    """Why staged runs wait."""
    doing: dict[str, str]
    """What each queue does, or waits for, by its id."""
    stopping: frozenset[str]
    """The queues that only wait for their runs to end."""
    groups: dict[str, Group]
    machine: Machine
    busy: tuple[str, ...]
    """Devices that processes use which are no runs of ours."""
    now: int

    @property
    def paused(self) -> bool:
        """Whether no queue starts anything."""
        return self.groups.get(EVERYTHING, Group()).paused


async def set_group(
    session: Session, name: str = EVERYTHING, *, paused: bool | None = None, limit: int | None = None
) -> Group:
    """Pause a group or let it go on, or limit its runs at once (0: no limit); for all queues, at once.

    Raises:
        UserError: the limit is none, or the name of the group.
    """
    if name != EVERYTHING:
        check_group(name)
    if limit is not None and not _is_limit(limit):
        raise UserError(
            f"invalid number of runs {limit}", f"Give a number from 1 to {MOST_JOBS}, or 0 for none."
        )
    file = GroupsFile(session.layout.home)
    async with turn(session):
        groups = dict(file.read())
        group = groups.get(name, Group())
        if paused is not None:
            group = structs.replace(group, paused=paused)
        if limit is not None:
            group = structs.replace(group, limit=limit or None)
        groups[name] = group
        file.write(groups)
    await wake_queues(session)
    return group


def _is_limit(limit: object) -> bool:
    # Programs give what they like.
    return isinstance(limit, int) and not isinstance(limit, bool) and 0 <= limit <= MOST_JOBS


async def groups_in_use(session: Session) -> frozenset[str]:
    """The groups of which something is set, or of which runs are staged, claimed or running."""
    page = await session.store.query(RunQuery(states=ACTIVE | STAGED))
    named = {run.group for run in page.runs if run.group is not None}
    return frozenset(named | GroupsFile(session.layout.home).read().keys()) - {EVERYTHING}


async def wake_queues(session: Session) -> None:
    """Let all queues look at once: what is written anew in the store is a change that they hear of."""
    for queue in await _queues(session):
        await change(session, queue, lambda run: structs.replace(run) if run.worker is not None else run)


async def _queues(session: Session) -> tuple[Run, ...]:
    page = await session.store.query(RunQuery(states=ACTIVE, kinds=frozenset(("queue",)), oldest_first=True))
    return tuple(run for run in page.runs if run.worker is not None)


async def set_priority(session: Session, runs: Sequence[Run], priority: int) -> tuple[Run, ...]:
    """Give runs that wait another priority; a batch stands for its staged trials.

    Raises:
        UserError: one of them does not wait, or there is no such priority.
    """
    check_priority(priority)
    runs = await _waiting(session, runs)
    kept = [await change(session, run, lambda now: structs.replace(now, priority=priority)) for run in runs]
    await _record(session, kept)
    return tuple(kept)


async def move(
    session: Session, runs: Sequence[Run], *, first: bool = False, before: Run | None = None
) -> tuple[Run, ...]:
    """Let staged runs be the next of all (``first``), come right before another one, or be the last of all.

    They take over the priority of those that they come before, or behind, and keep their order. A batch stands for its
    staged trials.

    Raises:
        UserError: one of them does not wait, or is to come before itself.
    """
    runs = await _waiting(session, runs)
    if before is not None:
        before = (await _waiting(session, (before,)))[0]
    moved = {run.id for run in runs}
    page = await session.store.query(RunQuery(states=STAGED, claim_order=True))
    others = [run for run in page.runs if run.id not in moved]
    place = len(others)
    if first:
        place = 0
    elif before is not None:
        place = _place_of(before, others)
    priority, times = _turns_at(others, place, len(runs), session.clock.now())
    kept: list[Run] = []
    behind: list[Run] = []
    if len(times) < len(runs):
        # No room between two neighbours: those behind make some.
        behind = [run for run in others[place:] if run.priority == priority]
        begin = max(session.clock.now(), behind[-1].turn[1] + 1)
        times = [begin + number for number in range(len(runs) + len(behind))]
    for run, time in zip((*runs, *behind), times, strict=True):

        def turned(now: Run, time: int = time) -> Run:
            return structs.replace(now, priority=priority, queued=time)

        kept.append(await change(session, run, turned))
    await _record(session, kept)
    return tuple(kept[: len(runs)])


def _place_of(before: Run, others: Sequence[Run]) -> int:
    for number, run in enumerate(others):
        if run.id == before.id:
            return number
    raise UserError(
        f"runs can't be moved before {before.short_id}: it is one of them, or waits no longer",
        "Name another run that is staged.",
    )


async def _record(session: Session, runs: Sequence[Run]) -> None:
    """Keep their new turns in their directories: the store may be lost, and is made anew of these."""
    places = [(session.directory(run), run) for run in runs]
    await off_loop(lambda: records.write_runs(places, fsync=session.fsync))


def _turns_at(others: Sequence[Run], place: int, count: int, now: int) -> tuple[int, list[int]]:
    """The priority and the turns of so many runs right before the ``place``-th of ``others``; no turns where there
    is no room for them."""
    if place == len(others):
        last = others[-1] if others else None
        start = now if last is None else max(now, last.turn[1] + 1)
        return (0 if last is None else last.priority), [start + number for number in range(count)]
    following, end = others[place], others[place].turn[1]
    previous = others[place - 1] if place else None
    alone = previous is None or previous.priority != following.priority
    begin = end - count - 1 if previous is None or alone else previous.turn[1]
    if end - begin <= count:
        return following.priority, []
    step = (end - begin) / (count + 1)
    return following.priority, [begin + round(step * (number + 1)) for number in range(count)]


async def _waiting(session: Session, runs: Sequence[Run]) -> tuple[Run, ...]:
    """``runs``, with each batch that does not wait itself replaced by its trials that do, in their turn.

    Raises:
        UserError: one of them does not wait.
    """
    waiting: dict[str, Run] = {}
    for run in runs:
        found: Sequence[Run] = (run,)
        if run.kind == "batch" and run.state != "staged":
            found = (await session.store.query(RunQuery(batch=run.id, states=STAGED, claim_order=True))).runs
            if not found:
                raise UserError(
                    f"no trial of batch {run.short_id} waits for a queue", "Choose one with staged trials."
                )
        elif run.state != "staged":
            raise UserError(
                f"run {run.short_id} is {run.state} and waits for no queue", "Choose runs that are staged."
            )
        waiting |= {one.id: one for one in found}
    return tuple(waiting.values())


async def with_trials(session: Session, runs: Sequence[Run]) -> tuple[Run, ...]:
    """``runs``, each batch followed by its trials: it has ended when they have."""
    found: dict[str, Run] = {}
    for run in runs:
        found[run.id] = run
        if run.kind == "batch":
            trials = (await session.store.query(RunQuery(batch=run.id, oldest_first=True))).runs
            found |= {trial.id: trial for trial in trials}
    return tuple(found.values())


async def queue_status(
    session: Session, machines: dict[str | None, ThisMachine] | None = None
) -> QueueStatus:
    """What the queues are doing, and why what is staged waits: as a queue on this computer sees it.

    ``machines``: what was found of this computer before, by the devices of its queue, for who looks again and again.
    """
    machines = {} if machines is None else machines
    await settle_active(session)
    queues = await _queues(session)
    active = (await session.store.query(RunQuery(states=ACTIVE, oldest_first=True))).runs
    staged = (await session.store.query(RunQuery(states=STAGED, claim_order=True))).runs
    settings = [QueueSettings.from_flags(queue.flags) for queue in queues]
    here = [one for queue, one in zip(queues, settings, strict=True) if _host(queue) == host_id()]
    gpus = here[0].gpus if here else None
    if gpus not in machines:
        machines[gpus] = ThisMachine(gpus)
    machine = machines[gpus]
    chooser = Chooser(session, machine, None)
    choice = await chooser.look(staged, active)
    running = tuple(run for run in active if run.kind != "queue" and run.worker is not None)
    stopping = frozenset(queue.id for queue in queues if is_stopping(session.attempt_directory(queue)))
    waits = _reasons(choice, len(queues) > len(stopping), _holding_back(settings, active))
    is_paused = chooser.groups().get(EVERYTHING, Group()).paused
    return QueueStatus(
        queues=queues,
        running=running,
        staged=staged,
        waits=waits,
        doing={queue.id: _doing(queue, running, waits, queue.id in stopping, is_paused) for queue in queues},
        stopping=stopping,
        groups=dict(chooser.groups()),
        machine=machine.machine,
        busy=machine.busy(active),
        now=session.clock.now(),
    )


def _doing(queue: Run, running: Sequence[Run], waits: Mapping[str, str], stopping: bool, paused: bool) -> str:
    """What a queue does, in a few words; ``waits``: of what is staged, in its turn."""
    own = [run for run in running if run.worker and queue.id in (run.queue, run.worker.queue)]
    ids = {run.id for run in own}
    own = [run for run in own if run.batch not in ids and run.parent not in ids]
    if stopping:
        return f"stopping: waits for {named(own)} to end" if own else "stopping"
    if paused:
        return f"paused, {len(own)} running" if own else "paused"
    if own:
        return f"{len(own)} running"
    reason = next(iter(waits.values()), "staged runs")
    return "starting" if reason == "a free slot" else f"waits for {reason}"


def named(runs: Sequence[Run]) -> str:
    """``runs`` as a sentence names them: the first few by their ids."""
    ids = [run.short_id for run in runs[:MOST_NAMED]]
    more = f" and {len(runs) - len(ids)} more" if len(runs) > len(ids) else ""
    return f"run{'' if len(runs) == 1 else 's'} {', '.join(ids)}{more}"


def _reasons(choice: Choice, any_queue: bool, blocking: Sequence[Run]) -> dict[str, str]:
    waits = {**choice.waits, **{run: f"never: {reason}" for run, reason in choice.aborts.items()}}
    slot = "a free slot" if any_queue else "a queue"
    if blocking:
        slot = f"run(s) to end that no queue started: {', '.join(run.short_id for run in blocking)}"
    return {run: slot if reason == "a free slot" else reason for run, reason in waits.items()}


def holding_back(active: Sequence[Run]) -> list[Run]:
    """Those of ``active`` that a queue waits for which does not ignore them: no queue has started them."""
    return [
        run for run in active if run.worker is not None and run.kind != "queue" and run.starter != "queue"
    ]


def _holding_back(queues: Sequence[QueueSettings], active: Sequence[Run]) -> list[Run]:
    is_heeded = bool(queues) and not any(settings.ignore_running for settings in queues)
    return holding_back(active) if is_heeded else []


def _host(run: Run) -> str | None:
    return None if run.worker is None else run.worker.identity.host


async def wait_for(
    session: Session, ids: Sequence[str] | None = None, *, timeout: float | None = None
) -> tuple[Run, ...]:
    """Wait until runs have ended; without ``ids`` until nothing is staged, claimed or running but queues.

    Returns the runs that were waited for, as they are then: after ``timeout`` seconds perhaps not ended.
    """
    seen = set(ids or ())
    left = set(seen)
    end = None if timeout is None else session.clock.monotonic() + timeout
    while True:
        await settle_active(session)
        if ids is None:
            page = await session.store.query(RunQuery(states=ACTIVE | STAGED))
            left = {run.id for run in page.runs if run.kind != "queue" and _is_due(run)}
            seen |= left
        else:
            left = _unfinished((await session.store.query(RunQuery(ids=tuple(left)))).runs)
        is_over = end is not None and session.clock.monotonic() >= end
        if is_over or not left:
            runs = (await session.store.query(RunQuery(ids=tuple(seen)))).runs
            # Some may have been started again since they were seen to end.
            left = _unfinished(runs)
            if is_over or not left:
                return runs
        await session.clock.sleep(WAIT_POLL)


def _unfinished(runs: Sequence[Run]) -> set[str]:
    return {run.id for run in runs if run.state not in FINAL}


def _is_due(run: Run) -> bool:
    """Whether somebody starts it, has started it, or a queue will: not the trials of a batch that was stopped."""
    return run.state != "pending" or run.claimed


class Queues:
    """All queues of a home, told together: ``await orch.queues.pause()``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def status(self) -> QueueStatus:
        """What they are doing, and why what is staged waits."""
        return await queue_status(self._session)

    async def pause(self, group: str = EVERYTHING) -> None:
        """Let them start nothing, or no run of ``group``, until :meth:`resume`."""
        await set_group(self._session, group, paused=True)

    async def resume(self, group: str = EVERYTHING) -> None:
        """End a pause."""
        await set_group(self._session, group, paused=False)

    async def parallel(self, runs: int, group: str = EVERYTHING) -> None:
        """Let each run so many runs at once, or all together so many of ``group``; 0: as each was told.

        Raises:
            UserError: there can't be so many.
        """
        await set_group(self._session, group, limit=runs)

    async def priority(self, runs: Sequence[str], priority: int) -> tuple[Run, ...]:
        """Give staged runs, and the staged trials of batches, another priority.

        Raises:
            UserError: one of them is not staged, or there is no such run.
        """
        return await set_priority(self._session, await self._named(runs), priority)

    async def move(
        self, runs: Sequence[str], *, first: bool = False, before: str | None = None
    ) -> tuple[Run, ...]:
        """Let staged runs, or the staged trials of batches, be the next, come before another one, or be the last.

        Raises:
            UserError: one of them is not staged, or there is no such run.
        """
        other = None if before is None else (await self._named((before,)))[0]
        return await move(self._session, await self._named(runs), first=first, before=other)

    async def wait(
        self, runs: Sequence[str] | None = None, *, timeout: float | None = None
    ) -> tuple[Run, ...]:
        """Wait until runs, and the trials of batches, have ended, or nothing is staged or running any more: at most
        ``timeout`` seconds."""
        named = None if runs is None else await with_trials(self._session, await self._named(runs))
        ids = None if named is None else [run.id for run in named]
        return await wait_for(self._session, ids, timeout=timeout)

    async def _named(self, runs: Sequence[str]) -> tuple[Run, ...]:
        return await select_runs(self._session, runs, default="none")
