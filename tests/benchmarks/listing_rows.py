"""What thousands of runs cost: listing them, claiming them, judging them, entering them anew."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from msgspec import structs

from orchestra.model.run import Run
from orchestra.model.scalars import single
from orchestra.workspace.layout import Layout
from orchestra.workspace.results import Results
from orchestra.workspace.results_index import FILE, ResultsIndex
from tests.benchmarks import homes
from tests.benchmarks.rows import PASS, Bench, Figure, Row
from tests.benchmarks.timing import Failed, interleave, percentile, timed

SELECT = (
    "import sqlite3; connection = sqlite3.connect({file!r});"
    "list(connection.execute('SELECT record FROM runs ORDER BY time DESC LIMIT 20'))"
)
DUMP = (
    "import json, sqlite3; rows = sqlite3.connect({file!r}).execute('SELECT record FROM runs');"
    "json.dump([json.loads(row) for row, in rows], open('/dev/null', 'w'))"
)
READ_ALL = (
    "import json, os\nfor name in os.listdir({runs!r}):\n"
    "    with open({runs!r} + '/' + name + '/.orchestra/run.json', 'rb') as file: json.loads(file.read())"
)
CLAIMERS = 4


def newest_of_10_000(bench: Bench) -> list[Figure]:
    """The first page of 10,000 runs."""
    return [_newest(bench, bench.few(10_000, 500), 190)]


def newest_of_100_000(bench: Bench) -> list[Figure]:
    """The first page of 100,000 runs."""
    return [_newest(bench, bench.few(100_000, 1_000), 220)]


def one_of_100_000(bench: Bench) -> list[Figure]:
    """One of 100,000 runs, by its id."""
    count = bench.few(100_000, 1_000)
    home = bench.new_home()
    runs = _fill(bench, home, count)
    commands = bench.commands(home)
    command = bench.orchestra("select", runs[count // 3].id)
    took = interleave(bench.few(11, 2), {"pass": commands.measure(PASS), "one": commands.measure(command)})
    homes.remove(home)
    return [
        Figure(
            f"one of {count:,} runs by its id",
            took["one"] * 1000,
            "ms",
            250,
            floor=took["pass"] * 1000,
            floor_is="python -c pass",
            scale="scaled",
        )
    ]


def _newest(bench: Bench, count: int, target: float) -> Figure:
    home = bench.new_home()
    _fill(bench, home, count)
    commands = bench.commands(home)
    floor = [sys.executable, "-c", SELECT.format(file=str(Layout(home).store_path))]
    took = interleave(
        bench.few(11, 2),
        {"floor": commands.measure(floor), "list": commands.measure(bench.orchestra("runs"))},
    )
    homes.remove(home)
    return Figure(
        f"newest 20 of {count:,} runs",
        took["list"] * 1000,
        "ms",
        target,
        160,
        floor=took["floor"] * 1000,
        floor_is="bare SQLite",
        scale="scaled",
    )


def filtered(bench: Bench) -> list[Figure]:
    """The runs of 10,000, and of 100,000, that have a flag's value, and that came to a result."""
    figures: list[Figure] = []
    for count, of_flag, of_scalar in (
        (bench.few(10_000, 500), 350, 350),
        (bench.few(100_000, 1_000), 500, 1000),
    ):
        home = bench.new_home()
        runs = [_varied(homes.finished_run(number, bench.project), number) for number in range(count)]
        homes.fill_store(home, runs)
        homes.make_directories(home, runs, records=False)
        _keep_results(home, runs)
        commands = bench.commands(home)
        measured = {
            "pass": commands.measure(PASS),
            "flag": commands.measure(bench.orchestra("runs", "-F", "lr = 0.05")),
            "scalar": commands.measure(bench.orchestra("runs", "-F", "loss < 0.05")),
        }
        took = interleave(bench.few(7, 2), measured)
        homes.remove(home)
        figures += [
            Figure(
                f"{count:,} runs filtered by a {what}",
                took[what] * 1000,
                "ms",
                target,
                target / 2,
                floor=took["pass"] * 1000,
                floor_is="python -c pass",
                scale="scaled",
            )
            for what, target in (("flag", of_flag), ("scalar", of_scalar))
        ]
    return figures


def _varied(run: Run, number: int) -> Run:
    return structs.replace(run, flags={**run.flags, "lr": number % 100 / 1000, "depth": number % 7})


def _keep_results(home: Path, runs: list[Run]) -> None:
    """What they came to, as it is kept once somebody has looked at it."""
    with ResultsIndex(Layout(home).cache_dir / FILE) as index:
        index.keep(
            (
                (run.id, 1, run.time),
                (run.attempt, run.started or 0, run.stopped or 0),
                Results(scalars={"loss": single(number % 997 / 997, 1), "acc": single(0.5, 1)}),
            )
            for number, run in enumerate(runs)
        )


def all_as_json(bench: Bench) -> list[Figure]:
    """All of 10,000 runs as JSON."""
    count = bench.few(10_000, 500)
    home = bench.new_home()
    _fill(bench, home, count)
    commands = bench.commands(home)
    floor = [sys.executable, "-c", DUMP.format(file=str(Layout(home).store_path))]
    took = interleave(
        bench.few(7, 2),
        {"floor": commands.measure(floor), "json": commands.measure(bench.orchestra("runs", "--json"))},
    )
    homes.remove(home)
    return [
        Figure(
            f"all of {count:,} runs as JSON",
            took["json"] * 1000,
            "ms",
            500,
            250,
            floor=took["floor"] * 1000,
            floor_is="SQLite, json",
            scale="scaled",
        )
    ]


def _fill(bench: Bench, home: Path, count: int) -> list[Run]:
    runs = [homes.finished_run(number, bench.project) for number in range(count)]
    homes.fill_store(home, runs)
    homes.make_directories(home, runs, records=False)
    return runs


def claims(bench: Bench) -> list[Figure]:
    """Four processes claim what is staged, one run a claim, as fast as they can."""
    count = bench.few(10_000, 200)
    home = bench.new_home()
    homes.fill_store(home, [homes.staged_run(number, bench.project) for number in range(count)])
    commands = bench.commands(home)
    environment = {**commands.environment, "PYTHONPATH": str(homes.ROOT)}
    claimers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.claimer", str(home)],
            cwd=commands.cwd,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(CLAIMERS)
    ]
    outputs = [claimer.communicate()[0] for claimer in claimers]
    if any(claimer.returncode for claimer in claimers):
        raise Failed("a claimer failed")
    taken = [json.loads(output) for output in outputs]
    ids = [run_id for one in taken for run_id in one["ids"]]
    if len(ids) != count or len(set(ids)) != count:
        raise Failed(f"{len(ids)} claims of {len(set(ids))} runs, but {count} were staged")
    times = [seconds for one in taken for seconds in one["seconds"]]
    homes.remove(home)
    floor = percentile(times, 50) * 1000
    what = f"a claim, {CLAIMERS} claimers, {count:,} staged"
    return [
        Figure(f"{what}: p99", percentile(times, 99) * 1000, "ms", 100, floor=floor, floor_is="its median"),
        Figure(f"{what}: longest", max(times) * 1000, "ms", 1000, floor=floor, floor_is="its median"),
    ]


def settle(bench: Bench) -> list[Figure]:
    """All queues were killed with 1,000 runs claimed or running: until every run is in its true state."""
    count = bench.few(1_000, 50)

    def once() -> float:
        home = bench.new_home()
        runs = [homes.active_run(number, bench.project) for number in range(count)]
        homes.fill_store(home, runs)
        homes.make_directories(home, runs, records=True)
        commands = bench.commands(home)
        took = timed(lambda: commands.run(bench.orchestra("runs")))
        states = homes.states(home)
        if states != {"staged": (count + 1) // 2, "completed": count // 2}:
            raise Failed(f"the runs were not settled: {states}")
        homes.remove(home)
        return took

    commands = bench.commands(bench.new_home())
    took = interleave(bench.few(3, 1), {"pass": commands.measure(PASS), "settle": once}, warm_up=False)
    return [
        Figure(
            f"settle {count:,} runs of dead queues",
            took["settle"],
            "s",
            5,
            floor=took["pass"],
            floor_is="python -c pass",
            scale="scaled",
        )
    ]


def rebuild(bench: Bench) -> list[Figure]:
    """The store is gone: until 100,000 runs are listed again, from their directories."""
    count = bench.few(100_000, 500)
    home = bench.new_home()
    runs = [homes.finished_run(number, bench.project) for number in range(count)]
    Layout(home).ensure_home()
    homes.make_directories(home, runs, records=True)
    commands = bench.commands(home)
    floor = [sys.executable, "-c", READ_ALL.format(runs=str(Layout(home).runs_dir))]

    def once() -> float:
        for file in home.glob("store.db*"):
            file.unlink()
        took = timed(lambda: commands.run(bench.orchestra("runs")))
        if homes.states(home) != {"completed": count}:
            raise Failed(f"the store was not rebuilt: {homes.states(home)}")
        return took

    took = interleave(bench.few(2, 1), {"read": commands.measure(floor), "rebuild": once}, warm_up=False)
    shutil.rmtree(home)
    return [
        Figure(
            f"rebuild the store of {count:,} runs",
            took["rebuild"],
            "s",
            10,
            floor=took["read"],
            floor_is="reading the records",
            scale="scaled",
        )
    ]


ROWS = [
    Row("newest-10k", newest_of_10_000),
    Row("newest-100k", newest_of_100_000),
    Row("one-100k", one_of_100_000),
    Row("json-10k", all_as_json),
    Row("filter", filtered),
    Row("claims", claims),
    Row("settle", settle),
    Row("rebuild", rebuild),
]
