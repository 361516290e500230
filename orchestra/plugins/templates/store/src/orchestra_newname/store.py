"""All runs in one file of JSON lines, behind a lock. For small homes, and any text editor."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

from msgspec import MsgspecError, Struct, structs
from orchestra.contracts import Page, Store
from orchestra.errors import IdTaken, RevisionConflict, RunNotFound, StoreUnavailable
from orchestra.model import lifecycle
from orchestra.model.encoding import decode_run, encode_run
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import Run, Worker


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where runs are kept."""

    home: Path
    """Filled in by Orchestra."""
    file: str = "newname.jsonl"
    """The file's name in the home."""


class NewnameStore:
    """Reads the whole file for every call and replaces it: what is there is whole, whatever is killed.

    No call waits for anything but the lock, so each happens at once or not at all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.create`."""
        with self._locked() as kept:
            created: list[Run] = []
            for run in runs:
                if run.id in kept:
                    raise IdTaken(f"there is a run '{run.id}' already")
                end = run.lease if lease is None else _end(lease)
                kept[run.id] = structs.replace(
                    run, revision=max(1, run.revision), lease=_lease(run.worker, end)
                )
                created.append(kept[run.id])
            return tuple(created)

    async def get(self, run_id: str) -> Run:
        """See :meth:`orchestra.contracts.Store.get`."""
        with self._locked() as kept:
            return _found(kept, run_id)

    async def query(self, query: RunQuery) -> Page:
        """See :meth:`orchestra.contracts.Store.query`."""
        with self._locked() as kept:
            return Page.of(query, kept.values())

    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.update`."""
        with self._locked() as kept:
            changed: list[Run] = []
            for run in runs:
                old = _found(kept, run.id)
                if old.revision != run.revision:
                    raise RevisionConflict(f"run {run.id} was changed by somebody else")
                lease = old.lease if _same(old.worker, run.worker) else run.lease
                kept[run.id] = structs.replace(
                    run, revision=run.revision + 1, lease=_lease(run.worker, lease)
                )
                changed.append(kept[run.id])
            return tuple(changed)

    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        """See :meth:`orchestra.contracts.Store.claim`."""
        move = lifecycle.watch if wanted.expired else lifecycle.claim
        with self._locked() as kept:
            found = sorted(
                (run for run in kept.values() if wanted.matches(run, _now())), key=lambda run: run.turn
            )
            moved = [move(run, worker, _end(lease)) for run in found[: max(limit, 0)]]
            claimed = tuple(structs.replace(run, revision=run.revision + 1) for run in moved)
            kept.update({run.id: run for run in claimed})
            return claimed

    async def renew(self, worker: Worker, lease: float) -> frozenset[str]:
        """See :meth:`orchestra.contracts.Store.renew`."""
        with self._locked() as kept:
            held = [run for run in kept.values() if _same(run.worker, worker)]
            kept.update({run.id: structs.replace(run, lease=_end(lease)) for run in held})
            return frozenset(run.id for run in held)

    async def delete(self, run_ids: Sequence[str]) -> int:
        """See :meth:`orchestra.contracts.Store.delete`."""
        with self._locked() as kept:
            return sum(kept.pop(run_id, None) is not None for run_id in set(run_ids))

    @contextmanager
    def _locked(self) -> Generator[dict[str, Run]]:
        """The runs by id, in the order of creation. What the block makes of them is kept unless it fails."""
        try:
            with open(f"{self._path}.lock", "a") as lock:
                flock(lock, LOCK_EX)
                before = self._path.read_bytes() if self._path.exists() else b""
                kept = {run.id: run for run in map(decode_run, before.splitlines())}
                yield kept
                after = b"".join(encode_run(run) + b"\n" for run in kept.values())
                if after != before:
                    self._replace(after)
        except (OSError, MsgspecError) as error:
            raise StoreUnavailable(f"the runs in '{self._path}' can't be had: {error}") from error

    def _replace(self, content: bytes) -> None:
        partial = Path(f"{self._path}.part")
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self._path)


def _found(kept: dict[str, Run], run_id: str) -> Run:
    run = kept.get(run_id)
    if run is None:
        raise RunNotFound(f"there is no run '{run_id}'")
    return run


def _same(one: Worker | None, other: Worker | None) -> bool:
    return one is not None and other is not None and one.nonce == other.nonce


def _lease(worker: Worker | None, end: int | None) -> int | None:
    """What is watched has a lease, be it over; what is not has none."""
    if worker is None:
        return None
    return _now() if end is None else end


def _end(lease: float) -> int:
    return _now() + round(lease * 1e6)


def _now() -> int:
    return time.time_ns() // 1000


@asynccontextmanager
async def open_store(options: Options) -> AsyncGenerator[Store]:
    """Open the store: set up before ``yield``, close after it, in a ``finally``."""
    if not options.home.is_dir():
        raise StoreUnavailable(f"'{options.home}' is no folder")
    yield NewnameStore(options.home / options.file)
