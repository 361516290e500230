"""What a person watches while queues work: batches and how far they are, runs and what they do, what waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from msgspec import Struct

from orchestra.engine.expansion import expand
from orchestra.engine.machine import ThisMachine
from orchestra.engine.off_loop import off_loop
from orchestra.engine.queue_state import QueueStatus, queue_status
from orchestra.engine.results import results_of
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model.batch import varying
from orchestra.model.filters import RunQuery
from orchestra.model.progress import Progress, progress_of
from orchestra.model.run import FINAL, Run
from orchestra.model.scalars import SYSTEM, natural
from orchestra.workspace.tail import last_line

MOST_BATCHES = 10
"""So many batches are counted."""
MOST_SCALARS = 4
RESULTS_REST = 1.0
"""Least seconds between two looks at the scalars of one run."""
PAGE = 50


class Activity(Struct, frozen=True, kw_only=True):
    """A run that is running, and what it did last."""

    run: Run
    last_line: str = ""
    scalars: tuple[tuple[str, float], ...] = ()
    """The newest values."""
    step: int = 0
    """The highest step of these."""


class Overview(Struct, frozen=True, kw_only=True):
    """All of it, as of one moment."""

    status: QueueStatus
    batches: tuple[Progress, ...]
    """Those that run, or have trials that run or wait; and before them those that did while it was looked. The earliest
    first."""
    activities: tuple[Activity, ...]
    """Running runs, without the batches."""
    ended: tuple[Run, ...]
    """Runs that have ended since the look before, in the order in which they did."""
    varying: Mapping[str, frozenset[str]] = {}
    """The flags in which the trials of a batch differ, by its id, of all batches that were counted so far."""

    @property
    def is_at_work(self) -> bool:
        """Whether anything happens."""
        return bool(self.status.queues or self.status.running)


class Overseer:
    """Looks again and again; what does not change is kept."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._machines: dict[str | None, ThisMachine] = {}
        self._planned: dict[str, int | None] = {}
        self._varying: dict[str, frozenset[str]] = {}
        self._results: dict[str, tuple[float, Activity]] = {}
        self._running: frozenset[str] = frozenset()
        self._shown: dict[str, None] = {}
        """The batches of the last look that were at work."""
        self._over: dict[str, Progress] = {}
        """How those came out that were at work before."""
        self._told: set[tuple[str, int]] = set()
        """Runs, with their attempts, whose ends the last look found."""
        self._since: int | None = None

    async def look(self, most: int) -> Overview:
        """What there is now. Only of the first ``most`` running runs it is looked up what they did.

        Raises:
            StoreUnavailable: the store can't be used now.
        """
        status = await queue_status(self._session, self._machines)
        running = [run for run in status.running if run.kind != "batch"]
        ended = await self._ended(status)
        self._results = {run.id: self._results[run.id] for run in running if run.id in self._results}
        batches = await self._batches(status)
        self._varying |= {
            one.batch.id: varying(one.batch.batch_spec) for one in batches if one.batch.batch_spec is not None
        }
        return Overview(
            status=status,
            batches=batches,
            varying=self._varying,
            activities=tuple(
                [await self._activity(run, number < most) for number, run in enumerate(running)]
            ),
            ended=ended,
        )

    async def _ended(self, status: QueueStatus) -> tuple[Run, ...]:
        running = frozenset(run.id for run in status.running)
        gone, self._running = self._running - running, running
        before, self._since = self._since, status.now
        store = self._session.store
        # Those that were quicker than we look are among the newest; those that took long were seen running.
        found = list((await store.query(RunQuery(states=FINAL, limit=PAGE))).runs)
        if gone:
            found += (await store.query(RunQuery(ids=tuple(gone), states=FINAL))).runs
        new = {
            run.id: run for run in found if run.kind != "queue" and (run.id, run.attempt) not in self._told
        }
        # Others aren't found again: they ended before the look before.
        self._told = {(run.id, run.attempt) for run in found}
        if before is None:
            return ()
        told = [run for run in new.values() if run.id in gone or (run.stopped or 0) >= before]
        return tuple(sorted(told, key=lambda run: run.stopped or 0))

    async def _batches(self, status: QueueStatus) -> tuple[Progress, ...]:
        ids = [run.id for run in status.running if run.kind == "batch"]
        ids += [run.batch for run in (*status.running, *status.staged) if run.batch is not None]
        # Those of the look before once more: their last trials may have ended.
        before, self._shown = self._shown, dict.fromkeys(ids)
        wanted = tuple(self._shown | before)[:MOST_BATCHES]
        self._planned = {batch: self._planned[batch] for batch in wanted if batch in self._planned}
        batches: Sequence[Run] = ()
        if wanted:
            batches = (await self._session.store.query(RunQuery(ids=wanted, oldest_first=True))).runs
        found = [await self._progress(batch, status.now) for batch in batches if batch.kind == "batch"]
        over = [one for one in self._over.values() if one.batch.id not in wanted]
        room = max(0, MOST_BATCHES - len(found))
        over = over[len(over) - room :] if room < len(over) else over
        self._over = {one.batch.id: one for one in (*over, *found)}
        return (*over, *found)

    async def _progress(self, batch: Run, now: int) -> Progress:
        if batch.id not in self._planned:
            self._planned[batch.id] = await self._count(batch)
        trials = (await self._session.store.query(RunQuery(batch=batch.id))).runs
        return progress_of(batch, trials, now, self._planned[batch.id])

    async def _count(self, batch: Run) -> int | None:
        if batch.batch_spec is None:
            return None
        try:
            return (await expand(self._session, batch.batch_spec)).count()
        except OrchestraError:
            # Without its plugin here, those that were made are all that is known.
            return None

    async def _activity(self, run: Run, shown: bool) -> Activity:
        if not shown or run.state != "running":
            return Activity(run=run)
        now = time.monotonic()
        looked_at, kept = self._results.get(run.id, (-RESULTS_REST, Activity(run=run)))
        directory = self._session.attempt_directory(run)
        line = last_line(directory)
        if now - looked_at >= RESULTS_REST:
            kept = await off_loop(lambda: self._with_scalars(run))
            self._results[run.id] = (now, kept)
        return Activity(run=run, last_line=line, scalars=kept.scalars, step=kept.step)

    def _with_scalars(self, run: Run) -> Activity:
        scalars = results_of(self._session, run).scalars
        names: Sequence[str] = [name for name in natural(scalars) if not name.startswith(SYSTEM)]
        points = [scalars[name].point("last") for name in names[:MOST_SCALARS]]
        return Activity(
            run=run,
            scalars=tuple((name, value) for name, (value, _) in zip(names, points, strict=False)),
            step=max((step for _, step in points), default=0),
        )
