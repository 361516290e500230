"""What the results of a thousand runs cost: read for the first time, and again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from orchestra.workspace.layout import Layout, attempt_directory, control
from orchestra.workspace.results import SCALARS
from orchestra.workspace.results_index import FILE
from tests.benchmarks import homes
from tests.benchmarks.rows import PASS, Bench, Figure, Row
from tests.benchmarks.timing import Failed, interleave, timed

LINES = 100


class Printed(NamedTuple):
    """A home whose runs have printed something."""

    home: Path
    directories: list[Path]


def printed_runs(bench: Bench) -> Printed:
    """A home of 1,000 runs that printed 100 values each, the newest the least."""
    count = bench.few(1_000, 50)
    home = bench.new_home()
    runs = [homes.finished_run(number, bench.project) for number in range(count)]
    homes.fill_store(home, runs)
    homes.make_directories(home, runs, records=True)
    directories = [Layout(home).run_directory(run) for run in runs]
    for number, directory in enumerate(directories):
        _print(directory, count - number)
    return Printed(home, directories)


def compare_1_000(bench: Bench) -> list[Figure]:
    """1,000 runs as CSV, and as repeats of each other, once their results are kept."""
    home, directories = printed_runs(bench)
    commands = bench.commands(home)
    as_csv = bench.orchestra("compare", "--csv", "-")
    grouped = bench.orchestra("compare", "--group-by", "loud", "--csv", "-")
    file = bench.project / "runs.csv"
    commands.run(bench.orchestra("compare", "--csv", str(file)))
    lines = file.read_text().splitlines()
    if len(lines) != len(directories) + 1 or not lines[0].endswith("step,loss"):
        raise Failed(f"these are not the runs: {lines[:2]}")
    took = interleave(
        bench.few(7, 1),
        {"pass": commands.measure(PASS), "csv": commands.measure(as_csv), "group": commands.measure(grouped)},
    )
    homes.remove(home)
    return [
        Figure(
            f"compare {len(directories):,} runs as {what}",
            took[key] * 1000,
            "ms",
            450,
            225,
            floor=took["pass"] * 1000,
            floor_is="python -c pass",
            scale="scaled",
        )
        for key, what in (("csv", "CSV"), ("group", "one group"))
    ]


def best_of_1_000(bench: Bench) -> list[Figure]:
    """The run with the least loss of 1,000 that printed 100 values each."""
    home, directories = printed_runs(bench)
    count = len(directories)
    commands = bench.commands(home)
    command = bench.orchestra("select", "--min", "loss", "--attr", "id")

    def first() -> float:
        for directory in directories:
            (control(directory) / SCALARS).unlink(missing_ok=True)
        (Layout(home).cache_dir / FILE).unlink(missing_ok=True)
        return timed(lambda: commands.run(command))

    def again() -> float:
        return timed(lambda: commands.run(command))

    took = interleave(bench.few(5, 1), {"pass": commands.measure(PASS), "first": first, "again": again})
    if not all((control(directory) / SCALARS).exists() for directory in directories):
        raise Failed("the results were not kept")
    homes.remove(home)
    return [
        Figure(
            f"best of {count:,} runs, {what}",
            took[key] * 1000,
            "ms",
            target,
            floor=took["pass"] * 1000,
            floor_is="python -c pass",
            scale="scaled",
        )
        for key, what, target in (("first", "read first", 1500), ("again", "again", 450))
    ]


def _print(directory: Path, offset: int) -> None:
    lines = (f"loss: {offset + 1 / step:.6f} (step {step})\n" for step in range(1, LINES + 1))
    (attempt_directory(directory, 1) / "output").write_text("".join(lines))


ROWS = [Row("results-1k", best_of_1_000), Row("compare-1k", compare_1_000)]
