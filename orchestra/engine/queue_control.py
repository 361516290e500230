"""What a person tells all queues of a home: pause, order, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import structs

from orchestra.engine.changes import change
from orchestra.engine.choosing import STAGED, turn
from orchestra.engine.judge import settle_active
from orchestra.engine.off_loop import off_loop
from orchestra.engine.queue_settings import MOST_JOBS
from orchestra.engine.queue_state import EVERYTHING, QueueStatus, queue_status, queues_at_work
from orchestra.engine.runs import select_runs
from orchestra.engine.session import Session
from orchestra.engine.trials import trials_of
from orchestra.errors import UserError
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, FINAL, Run
from orchestra.model.scheduling import Group
from orchestra.model.term_words import check_group, check_priority
from orchestra.workspace import records
from orchestra.workspace.queue_groups import GroupsFile

WAIT_POLL = 0.25
"""Seconds between two looks at runs that are waited for."""


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
        if group == Group():
            # Nothing is said of it any more: a slip of the pen is not to be taken for a group.
            del groups[name]
        file.write(groups)
    await wake_queues(session)
    return group


def _is_limit(limit: object) -> bool:
    # Programs give what they like.
    return isinstance(limit, int) and not isinstance(limit, bool) and 0 <= limit <= MOST_JOBS


def groups_set(session: Session) -> Mapping[str, Group]:
    """What is set of groups, and of all queues."""
    return GroupsFile(session.layout.home).read()


async def groups_in_use(session: Session) -> frozenset[str]:
    """The groups of which something is set, or of which runs are staged, claimed or running."""
    page = await session.store.query(RunQuery(states=ACTIVE | STAGED))
    named = {run.group for run in page.runs if run.group is not None}
    return frozenset(named | groups_set(session).keys()) - {EVERYTHING}


async def wake_queues(session: Session) -> None:
    """Let all queues look at once: what is written anew in the store is a change that they hear of."""
    for queue in await queues_at_work(session):
        await change(session, queue, lambda run: structs.replace(run) if run.worker is not None else run)


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


async def wait_for(
    session: Session, ids: Sequence[str] | None = None, *, timeout: float | None = None
) -> tuple[Run, ...]:
    """Wait until runs have ended, a batch when its trials have; without ``ids`` until nothing is staged, claimed or
    running but queues.

    Returns the runs that were waited for, as they are then: after ``timeout`` seconds perhaps not ended. What was
    deleted meanwhile is not among them.
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
            if ids is not None:
                runs = await _with_trials(session, runs)
            # Some may have been started again since they were seen to end, and batches have got trials.
            left = _unfinished(runs)
            if is_over or not left:
                return runs
        await session.clock.sleep(WAIT_POLL)


async def _with_trials(session: Session, runs: Sequence[Run]) -> tuple[Run, ...]:
    """``runs``, each batch followed by its trials, but for those that nobody will start: they are left pending."""
    found: dict[str, Run] = {}
    for run in runs:
        found[run.id] = run
        if run.kind == "batch":
            trials = await trials_of(session, run)
            found |= {trial.id: trial for trial in trials if _is_due(trial) or run.state not in FINAL}
    return tuple(found.values())


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
        ids = None if runs is None else [run.id for run in await self._named(runs)]
        return await wait_for(self._session, ids, timeout=timeout)

    async def _named(self, runs: Sequence[str]) -> tuple[Run, ...]:
        return await select_runs(self._session, runs, default="none")
