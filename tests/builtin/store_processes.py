"""What the processes of ``test_store_sqlite.py`` do: ``python store_processes.py ROLE HOME NUMBER SECONDS``.

They drive the store without an event loop, as the command line does, and print what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import structs

from orchestra.builtin.store_sqlite import Options, open_store
from orchestra.errors import OrchestraError
from orchestra.model.filters import RunQuery, Wanted
from orchestra.testing.builders import a_run, a_worker


def drive(call: Any) -> Any:
    """The result of a coroutine that must not suspend."""
    try:
        call.send(None)
    except StopIteration as result:
        return result.value
    raise AssertionError("suspended without an event loop")


def create(store: Any, number: int, until: float) -> Any:
    """Create staged runs, a few at a time."""
    made: list[str] = []
    # Some at any rate: on a busy machine the time may be over before it begins.
    while not made or (time.monotonic() < until and len(made) < 150):
        ids = [f"{number}-{len(made) + index}" for index in range(3)]
        drive(store.create([a_run(id=run_id) for run_id in ids]))
        made += ids
    return made


def claim(store: Any, number: int, until: float) -> Any:
    """Claim one at a time until none comes any more; say what was claimed and how long each took (seconds)."""
    worker, taken, times = a_worker(), [], []
    while time.monotonic() < until:
        began = time.perf_counter()
        claimed = drive(store.claim(worker, 60.0, 1, Wanted()))
        times.append(time.perf_counter() - began)
        taken += [run.id for run in claimed]
    return {"taken": taken, "times": times}


def drain(store: Any, number: int, until: float) -> Any:
    """As :func:`claim`, until nothing is left."""
    worker, taken, times = a_worker(), [], []
    while time.monotonic() < until:
        began = time.perf_counter()
        claimed = drive(store.claim(worker, 60.0, 1, Wanted()))
        times.append(time.perf_counter() - began)
        if not claimed:
            break
        taken.append(claimed[0].id)
    return {"taken": taken, "times": times}


def list_runs(store: Any, number: int, until: float) -> Any:
    """List again and again: a page and its total are of one moment."""
    listings = 0
    while time.monotonic() < until:
        page = drive(store.query(RunQuery()))
        assert len({run.id for run in page.runs}) == len(page.runs) == page.total
        listings += 1
    return listings


def write_pairs(store: Any, number: int, until: float) -> Any:
    """Create and change runs in pairs; print the number of each pair as soon as the store has acknowledged it."""
    pair = 0
    while time.monotonic() < until:
        names = [f"{number}-{pair}-{side}" for side in "ab"]
        runs = drive(store.create([a_run(id=name, label="0") for name in names]))
        drive(store.update([structs.replace(run, label="1") for run in runs]))
        os.write(1, f"{pair}\n".encode())
        pair += 1
    return None


def open_and_close(home: Path, number: int, until: float) -> Any:
    """Open, commit and close: the last to close checkpoints, while others begin."""
    count = 0
    while time.monotonic() < until:
        context = open_store(Options(home=home))
        store = drive(context.__aenter__())
        drive(store.create([a_run(label="x" * 3000) for _ in range(5)]))
        drive(context.__aexit__(None, None, None))
        count += 5
    return count


ROLES: dict[str, Callable[[Any, int, float], Any]] = {
    "create": create,
    "claim": claim,
    "drain": drain,
    "list": list_runs,
    "pairs": write_pairs,
}


def main(role: str, home: str, number: str, seconds: str) -> int:
    until = time.monotonic() + float(seconds)
    try:
        if role == "open":
            result = open_and_close(Path(home), int(number), until)
        else:
            context = open_store(Options(home=Path(home)))
            store = drive(context.__aenter__())
            result = ROLES[role](store, int(number), until)
            drive(context.__aexit__(None, None, None))
    except OrchestraError as error:
        print(json.dumps({"error": f"{error.kind}: {error}"}))
        return error.exit_code
    assert "anyio" not in sys.modules and "asyncio" not in sys.modules
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
