"""``json``: all runs in one file of JSON lines, behind a lock. For small homes, and any text editor."""

import os
import time
from contextlib import asynccontextmanager, contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import anyio
from msgspec import Struct, structs
from orchestra.contracts import Page
from orchestra.errors import IdTaken, RevisionConflict, RunNotFound
from orchestra.model import lifecycle
from orchestra.model.encoding import decode_run, encode_run


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    home: Path
    name: str = "runs.jsonl"


def now():
    return time.time_ns() // 1000


class JsonStore:
    def __init__(self, path):
        self.path = path

    @contextmanager
    def locked(self):
        """The runs by id, in the order of creation; what was changed is kept unless the block fails."""
        with Path(f"{self.path}.lock").open("a") as lock:
            flock(lock, LOCK_EX)
            text = self.path.read_bytes() if self.path.exists() else b""
            runs = {run.id: run for run in map(decode_run, text.splitlines())}
            yield runs
            changed = b"".join(encode_run(run) + b"\n" for run in runs.values())
            if changed != text:
                partial = Path(f"{self.path}.tmp")
                partial.write_bytes(changed)
                os.replace(partial, self.path)

    async def create(self, runs, *, lease=None):
        with self.locked() as kept:
            made = []
            for run in runs:
                if run.id in kept:
                    raise IdTaken(f"there is a run '{run.id}' already")
                end = None
                if run.worker is not None:
                    end = (run.lease or now()) if lease is None else now() + round(lease * 1e6)
                kept[run.id] = structs.replace(run, revision=max(1, run.revision), lease=end)
                made.append(kept[run.id])
            return tuple(made)

    async def get(self, run_id):
        with self.locked() as kept:
            if run_id not in kept:
                raise RunNotFound(f"there is no run '{run_id}'")
            return kept[run_id]

    async def query(self, query):
        with self.locked() as kept:
            found = [run for run in kept.values() if query.matches(run)]
        found.sort(key=query.sort_key)
        end = None if query.limit is None else query.offset + query.limit
        return Page(runs=tuple(found[query.offset : end]), total=len(found))

    async def update(self, runs):
        with self.locked() as kept:
            changed = []
            for run in runs:
                old = kept.get(run.id)
                if old is None:
                    raise RunNotFound(f"there is no run '{run.id}'")
                if old.revision != run.revision:
                    raise RevisionConflict(f"run {run.id} was changed by somebody else")
                lease = None
                if run.worker is not None:
                    same = old.worker is not None and old.worker.nonce == run.worker.nonce
                    lease = (old.lease if same else run.lease) or now()
                kept[run.id] = structs.replace(run, revision=run.revision + 1, lease=lease)
                changed.append(kept[run.id])
            return tuple(changed)

    async def claim(self, worker, lease, limit, wanted):
        move = lifecycle.watch if wanted.expired else lifecycle.claim
        with self.locked() as kept:
            found = [run for run in kept.values() if wanted.matches(run, now())]
            found.sort(key=lambda run: run.turn)
            claimed = [move(run, worker, now() + round(lease * 1e6)) for run in found[: max(limit, 0)]]
            claimed = [structs.replace(run, revision=run.revision + 1) for run in claimed]
            kept.update({run.id: run for run in claimed})
            return tuple(claimed)

    async def renew(self, worker, lease):
        with self.locked() as kept:
            held = [r for r in kept.values() if r.worker is not None and r.worker.nonce == worker.nonce]
            end = now() + round(lease * 1e6)
            kept.update({run.id: structs.replace(run, lease=end) for run in held})
            return frozenset(run.id for run in held)

    async def delete(self, run_ids):
        with self.locked() as kept:
            return sum(kept.pop(run_id, None) is not None for run_id in set(run_ids))


@asynccontextmanager
async def open_store(options: Options):
    await anyio.Path(options.home).mkdir(parents=True, exist_ok=True)
    yield JsonStore(options.home / options.name)
