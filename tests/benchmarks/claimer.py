"""One process that claims staged runs, one at a time, until there are none; prints what it got, how fast."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import anyio

from orchestra.builtin.store_sqlite import Options, open_store
from orchestra.child import supervisor
from orchestra.model.execution import Identity
from orchestra.model.filters import Wanted
from orchestra.model.run import Worker


async def claim_all(home: Path) -> dict[str, list[object]]:
    """The ids that were claimed, and how many seconds each claim took."""
    worker = Worker(
        identity=Identity(**supervisor.own_identity()), nonce=os.urandom(8).hex(), starter="queue"
    )
    ids: list[object] = []
    seconds: list[object] = []
    async with open_store(Options(home=home)) as store:
        while True:
            begin = time.perf_counter()
            claimed = await store.claim(worker, 60.0, 1, Wanted())
            seconds.append(time.perf_counter() - begin)
            if not claimed:
                return {"ids": ids, "seconds": seconds}
            ids += [run.id for run in claimed]


if __name__ == "__main__":
    print(json.dumps(anyio.run(claim_all, Path(sys.argv[1]))))
