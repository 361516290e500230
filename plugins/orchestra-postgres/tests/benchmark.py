"""Claims per second of 1, 4 and 8 queue processes: python plugins/orchestra-postgres/tests/benchmark.py [RUNS]

Each process does nothing but claim one run after the other. Beside it, what a bare loop of SELECT ... FOR UPDATE SKIP
LOCKED and UPDATE reaches in a table of numbers: the floor of all queues of this kind.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import psycopg
from orchestra.model.filters import Wanted
from orchestra.testing.builders import a_worker, some_runs
from postgres_server import PostgresServer, binaries

from orchestra_postgres import Options, open_store

QUEUES = (1, 4, 8)


def claim_runs(options: Options, start: multiprocessing.Barrier, counts: multiprocessing.Queue) -> None:
    async def work() -> None:
        async with open_store(options) as store:
            start.wait()
            count = 0
            worker = a_worker()
            while await store.claim(worker, 60.0, 1, Wanted()):
                count += 1
            counts.put(count)

    anyio.run(work)


def claim_numbers(options: Options, start: multiprocessing.Barrier, counts: multiprocessing.Queue) -> None:
    with psycopg.connect(options.url) as connection:
        start.wait()
        count = 0
        while True:
            with connection.transaction():
                row = connection.execute(
                    "SELECT n FROM numbers WHERE NOT taken ORDER BY n LIMIT 1 FOR UPDATE SKIP LOCKED"
                ).fetchone()
                if row is None:
                    break
                connection.execute("UPDATE numbers SET taken = true WHERE n = %s", row)
            count += 1
        counts.put(count)


def timed(target: Callable[..., None], options: Options, queues: int) -> float:
    """Claims per second."""
    context = multiprocessing.get_context("spawn")
    start, counts = context.Barrier(queues + 1), context.Queue()
    processes = [context.Process(target=target, args=(options, start, counts)) for _ in range(queues)]
    for process in processes:
        process.start()
    start.wait()
    began = time.perf_counter()
    total = sum(counts.get(timeout=300) for _ in processes)
    took = time.perf_counter() - began
    for process in processes:
        process.join()
    return total / took


def fill(options: Options, runs: int) -> None:
    async def work() -> None:
        async with open_store(options) as store:
            await store.create(some_runs(runs))

    anyio.run(work)
    with psycopg.connect(options.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS numbers")
        connection.execute(
            "CREATE TABLE numbers (n integer PRIMARY KEY, taken boolean NOT NULL DEFAULT false)"
        )
        connection.execute("CREATE INDEX ON numbers (n) WHERE NOT taken")
        connection.execute("INSERT INTO numbers SELECT generate_series(1, %s)", (runs,))
        connection.execute("ANALYZE")


def main(runs: int) -> None:
    programs = binaries()
    if programs is None:
        sys.exit("there is no PostgreSQL here: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="orchestra-postgres-") as folder:
        Path(folder).chmod(0o755)
        for server in PostgresServer(Path(folder) / "server", programs).running():
            print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {runs} runs, fsync off")  # noqa: T201
            for queues in QUEUES:
                schema = f"of_{queues}"
                options = Options(home=Path(folder) / schema, url=server.url, schema=schema)
                fill(options, runs)
                ours, floor = (timed(target, options, queues) for target in (claim_runs, claim_numbers))
                print(f"{queues} queues: {ours:6.0f} claims/s, bare loop {floor:6.0f}/s")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
