"""What the queues of a home are doing, and why what is staged waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from orchestra.child.supervisor import host_id
from orchestra.engine.choosing import STAGED, Chooser, elsewhere
from orchestra.engine.judge import may_be_scheduled, settle_active
from orchestra.engine.machine import ThisMachine
from orchestra.engine.queue_settings import QueueSettings
from orchestra.engine.session import Session
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, Run
from orchestra.model.scheduling import Choice, Group, Machine
from orchestra.workspace.queue_orders import is_stopping

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
    jobs: dict[str, str] = {}
    """What their schedulers say of runs that wait there, or can't be asked about."""
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


async def queues_at_work(session: Session) -> tuple[Run, ...]:
    """The queues that are at work, the earliest first."""
    page = await session.store.query(RunQuery(states=ACTIVE, kinds=frozenset(("queue",)), oldest_first=True))
    return tuple(run for run in page.runs if run.worker is not None)


async def queue_status(
    session: Session, machines: dict[str | None, ThisMachine] | None = None
) -> QueueStatus:
    """What the queues are doing, and why what is staged waits: as a queue on this computer sees it.

    ``machines``: what was found of this computer before, by the devices of its queue, for who looks again and again.
    """
    machines = {} if machines is None else machines
    await settle_active(session)
    queues = await queues_at_work(session)
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
    waits = _reasons(choice, len(queues) > len(stopping), await _holding_back(session, settings, active))
    due = {run: waits[run] for run in choice.waits}
    is_paused = chooser.groups().get(EVERYTHING, Group()).paused
    return QueueStatus(
        queues=queues,
        running=running,
        staged=staged,
        waits=waits,
        jobs=await _jobs(session, running),
        doing={queue.id: _doing(queue, running, due, queue.id in stopping, is_paused) for queue in queues},
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


async def holding_back(session: Session, active: Sequence[Run]) -> list[Run]:
    """Those of ``active`` that a queue waits for which does not ignore them: no queue has started them, and they are
    executed here and not where a scheduler has placed them."""
    others = [
        run for run in active if run.worker is not None and run.kind != "queue" and run.starter != "queue"
    ]
    placed = await elsewhere(session, others)
    return [run for run in others if run.executor not in placed]


async def _holding_back(
    session: Session, queues: Sequence[QueueSettings], active: Sequence[Run]
) -> list[Run]:
    is_heeded = bool(queues) and not any(settings.ignore_running for settings in queues)
    return await holding_back(session, active) if is_heeded else []


async def _jobs(session: Session, running: Sequence[Run]) -> dict[str, str]:
    submitted = [run for run in running if run.submitted and may_be_scheduled(run)]
    if not submitted:
        return {}
    from orchestra.engine.scheduled import job_statuses

    statuses = await job_statuses(session, submitted)
    return {run: status.reason for run, status in statuses.items() if status.phase in ("waiting", "unknown")}


async def text_of_left(session: Session, ids: Sequence[str]) -> list[str]:
    """What has become of runs whose watch a queue has ended, and of the trials and steps that were under way of those
    that were executed in the queue's own process, a line for each fate.

    Raises:
        StoreError: that can't be known now.
    """
    left = list((await session.store.query(RunQuery(ids=tuple(ids), oldest_first=True))).runs)
    if any(run.kind != "run" for run in left):
        active = (await session.store.query(RunQuery(states=ACTIVE, oldest_first=True))).runs
        left += _parts(active, set(ids))
    fates = {
        "Leaving runs running": [run for run in left if run.state == "running"],
        "Leaving runs to their scheduler": [run for run in left if run.submitted],
        "Staging runs again that could not be submitted": [run for run in left if run.state == "staged"],
        "Leaving runs of which the next queue will see whether they were submitted": [
            run for run in left if run.claimed and run.handle is None
        ],
    }
    return [f"{text}: {', '.join(run.id for run in runs)}" for text, runs in fates.items() if runs]


def _parts(active: Sequence[Run], ids: set[str]) -> list[Run]:
    """The runs that are parts of those with these ids, or parts of such parts."""
    parts = [run for run in active if run.worker is not None and not ids.isdisjoint((run.batch, run.parent))]
    fresh = {run.id for run in parts} - ids
    return _parts(active, ids | fresh) if fresh else parts


def _host(run: Run) -> str | None:
    return None if run.worker is None else run.worker.identity.host
