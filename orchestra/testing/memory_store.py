"""A store in memory: for tests of what uses a store, and a second one to keep the contract honest."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy

import anyio
from msgspec import Struct, structs

from orchestra.contracts import Mark, Page
from orchestra.errors import IdTaken, RevisionConflict, RunNotFound
from orchestra.model import lifecycle
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import Run, Worker


class MemoryData:
    """What the handles of one store share. It outlives them, and event loops, and is safe among threads."""

    def __init__(self, now: Callable[[], int] | None = None) -> None:
        self.now = now or _now
        """The clock that leases end by: microseconds since the epoch."""
        self.lock = threading.RLock()
        self.incarnation = os.urandom(6).hex()
        self.runs: dict[str, Run] = {}
        """In the order of creation."""
        self.waiting: set[anyio.Event] = set()

    def notify(self) -> None:
        """Wake all who wait for a change."""
        for event in self.waiting:
            event.set()


class MemoryOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a :class:`MemoryStore`: handles on the same ``data`` are handles on the same store."""

    data: MemoryData


@asynccontextmanager
async def open_memory_store(options: MemoryOptions) -> AsyncGenerator[MemoryStore]:
    """Open a handle on ``options.data``."""
    yield MemoryStore(options.data)


class MemoryStore:
    """A store that keeps runs in a dict. Its methods never suspend."""

    def __init__(self, data: MemoryData | None = None) -> None:
        self._data = data or MemoryData()

    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.create`."""
        with self._data.lock:
            now = self._data.now()
            new: dict[str, Run] = {}
            for run in runs:
                if run.id in self._data.runs or run.id in new:
                    raise IdTaken(f"there is a run '{run.id}' already")
                end = run.lease if lease is None else _end(now, lease)
                kept_lease = _lease(run, end, now)
                new[run.id] = structs.replace(deepcopy(run), revision=max(1, run.revision), lease=kept_lease)
            return self._keep(new)

    async def get(self, run_id: str) -> Run:
        """See :meth:`orchestra.contracts.Store.get`."""
        with self._data.lock:
            return deepcopy(self._find(run_id))

    async def query(self, query: RunQuery) -> Page:
        """See :meth:`orchestra.contracts.Store.query`."""
        with self._data.lock:
            return deepcopy(Page.of(query, self._data.runs.values()))

    async def marks(self, query: RunQuery) -> Sequence[Mark]:
        """See :meth:`orchestra.contracts.Marking.marks`."""
        return [(run.id, run.revision, run.time) for run in (await self.query(query)).runs]

    def incarnation(self) -> str:
        """See :meth:`orchestra.contracts.Enduring.incarnation`."""
        return self._data.incarnation

    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.update`."""
        with self._data.lock:
            now = self._data.now()
            changed: dict[str, Run] = {}
            for run in runs:
                kept = changed.get(run.id) or self._find(run.id)
                if kept.revision != run.revision:
                    raise RevisionConflict(f"run {run.id} was changed by somebody else")
                same = (
                    kept.worker is not None
                    and run.worker is not None
                    and kept.worker.nonce == run.worker.nonce
                )
                lease = _lease(run, kept.lease if same else run.lease, now)
                changed[run.id] = structs.replace(deepcopy(run), revision=run.revision + 1, lease=lease)
            return self._keep(changed)

    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.claim`."""
        with self._data.lock:
            now = self._data.now()
            move = lifecycle.watch if wanted.expired else lifecycle.claim
            found = [run for run in self._data.runs.values() if wanted.matches(run, now)]
            found.sort(key=lambda run: run.turn)
            claimed = [move(run, worker, _end(now, lease)) for run in found[: max(limit, 0)]]
            return self._keep({run.id: structs.replace(run, revision=run.revision + 1) for run in claimed})

    async def renew(self, worker: Worker, lease: float) -> frozenset[str]:
        """See :meth:`orchestra.contracts.Store.renew`."""
        with self._data.lock:
            runs = self._data.runs
            held = [
                run for run in runs.values() if run.worker is not None and run.worker.nonce == worker.nonce
            ]
            end = _end(self._data.now(), lease)
            runs.update({run.id: structs.replace(run, lease=end) for run in held})
            return frozenset(run.id for run in held)

    async def delete(self, run_ids: Sequence[str]) -> int:
        """See :meth:`orchestra.contracts.Store.delete`."""
        with self._data.lock:
            gone = [self._data.runs.pop(run_id) for run_id in set(run_ids) if run_id in self._data.runs]
            if gone:
                self._data.notify()
            return len(gone)

    @asynccontextmanager
    async def changes(self) -> AsyncGenerator[AsyncIterator[None]]:
        """See :meth:`orchestra.contracts.Watchable.changes`."""
        changes = _Changes(self._data)
        try:
            yield changes
        finally:
            changes.close()

    def _find(self, run_id: str) -> Run:
        run = self._data.runs.get(run_id)
        if run is None:
            raise RunNotFound(f"there is no run '{run_id}'")
        return run

    def _keep(self, runs: dict[str, Run]) -> tuple[Run, ...]:
        self._data.runs.update(runs)
        if runs:
            self._data.notify()
        return _copies(runs.values())


class _Changes:
    def __init__(self, data: MemoryData) -> None:
        self._data = data
        self._event = anyio.Event()
        data.waiting.add(self._event)

    def __aiter__(self) -> _Changes:
        return self

    async def __anext__(self) -> None:
        await self._event.wait()
        self.close()
        self._event = anyio.Event()
        self._data.waiting.add(self._event)

    def close(self) -> None:
        self._data.waiting.discard(self._event)


def _copies(runs: Iterable[Run]) -> tuple[Run, ...]:
    return tuple(map(deepcopy, runs))


def _lease(run: Run, end: int | None, now: int) -> int | None:
    if run.worker is None:
        return None
    return now if end is None else end


def _end(now: int, lease: float) -> int:
    return now + round(lease * 1e6)


def _now() -> int:
    return time.time_ns() // 1000
