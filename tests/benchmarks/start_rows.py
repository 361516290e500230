"""What a person waits for: start-up, one run, staging."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.benchmarks.rows import PASS, SAY_ALONE, Bench, Figure, Row
from tests.benchmarks.timing import interleave, timed


def version(bench: Bench) -> list[Figure]:
    """``orchestra --version`` against an interpreter that does nothing."""
    commands = bench.commands(bench.new_home())
    took = interleave(
        bench.few(21, 3),
        {"pass": commands.measure(PASS), "version": commands.measure(bench.orchestra("--version"))},
    )
    return [
        Figure(
            "orchestra --version",
            took["version"] / took["pass"],
            "x",
            3,
            2,
            floor=1,
            floor_is="python -c pass",
            scale="ratio",
        )
    ]


def help_text(bench: Bench) -> list[Figure]:
    """``orchestra --help``."""
    commands = bench.commands(bench.new_home())
    took = interleave(
        bench.few(15, 2),
        {"pass": commands.measure(PASS), "help": commands.measure(bench.orchestra("--help"))},
    )
    return [_milliseconds("orchestra --help", took["help"], 300, 180, took["pass"], "python -c pass")]


def run(bench: Bench) -> list[Figure]:
    """One foreground run, less the script."""
    commands = bench.commands(bench.new_home())
    line = bench.orchestra("run", "say.py", "msg=a", "-y")
    took = interleave(bench.few(15, 2), {"alone": commands.measure(SAY_ALONE), "run": commands.measure(line)})
    extra = took["run"] - took["alone"]
    return [_milliseconds("run say.py, less the script", extra, 200, 150, took["alone"], "python say.py")]


def stage(bench: Bench) -> list[Figure]:
    """Staging one run, and each further trial of a batch."""
    commands = bench.commands(bench.new_home())
    one = bench.orchestra("run", "--stage", "-y", "say.py")
    few, many = (_stage_trials(bench, count) for count in (2, bench.few(102, 12)))
    took = interleave(
        bench.few(11, 2),
        {
            "pass": commands.measure(PASS),
            "one": commands.measure(one),
            "few": commands.measure(few),
            "many": commands.measure(many),
            "by hand": lambda: timed(lambda: _stage_by_hand(bench.directory / "by-hand", 100)),
        },
    )
    further = (took["many"] - took["few"]) / (bench.few(102, 12) - 2)
    return [
        _milliseconds("run --stage say.py", took["one"], 220, 160, took["pass"], "python -c pass"),
        _milliseconds(
            "each further staged trial", further, 2, 1, took["by hand"] / 100, "mkdir, copy, 1 record"
        ),
    ]


def _stage_trials(bench: Bench, count: int) -> list[str]:
    values = ",".join(f"m{number}" for number in range(count))
    return bench.orchestra("run", "say.py", f"msg=[{values}]", "--stage-trials", "-y")


def _stage_by_hand(directory: Path, count: int) -> None:
    """The least that staging can be: a directory, a copy of the script, a record; one wait for the disk."""
    for number in range(count):
        run_directory = directory / str(number)
        (run_directory / ".orchestra").mkdir(parents=True)
        shutil.copyfile(Path(SAY_ALONE[1]), run_directory / "say.py")
        partial = run_directory / ".orchestra" / "run.tmp"
        partial.write_bytes(b"{}" * 500)
        partial.rename(run_directory / ".orchestra" / "run.json")
    os.sync()
    shutil.rmtree(directory)


def _milliseconds(
    what: str, seconds: float, target: float, stretch: float, floor: float, floor_is: str
) -> Figure:
    return Figure(
        what, seconds * 1000, "ms", target, stretch, floor=floor * 1000, floor_is=floor_is, scale="scaled"
    )


ROWS = [Row("version", version), Row("help", help_text), Row("run", run), Row("stage", stage)]
