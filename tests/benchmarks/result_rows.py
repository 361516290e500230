"""What the results of a thousand runs cost: read for the first time, and again."""

from __future__ import annotations

from pathlib import Path

from orchestra.workspace.layout import Layout, attempt_directory, control
from orchestra.workspace.results import SCALARS
from orchestra.workspace.results_index import FILE
from tests.benchmarks import homes
from tests.benchmarks.rows import PASS, Bench, Figure, Row
from tests.benchmarks.timing import Failed, interleave, timed

LINES = 100


def best_of_1_000(bench: Bench) -> list[Figure]:
    """The run with the least loss of 1,000 that printed 100 values each."""
    count = bench.few(1_000, 50)
    home = bench.new_home()
    runs = [homes.finished_run(number, bench.project) for number in range(count)]
    homes.fill_store(home, runs)
    homes.make_directories(home, runs, records=True)
    directories = [Layout(home).run_directory(run) for run in runs]
    for number, directory in enumerate(directories):
        _print(directory, count - number)
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


ROWS = [Row("results-1k", best_of_1_000)]
