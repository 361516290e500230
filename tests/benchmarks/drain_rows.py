"""What a scheduler costs: trials of a batch, runs of a queue, waking up."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from tests.benchmarks.rows import PASS, SAY_ALONE, Bench, Figure, Row
from tests.benchmarks.timing import Commands, Failed, interleave, timed

PATIENCE = 60.0
"""Seconds to wait for what another process is to do."""


def batch(bench: Bench) -> list[Figure]:
    """A trial of a foreground batch, one after the other."""
    count = bench.few(100, 10)
    commands = bench.commands(bench.new_home())
    values = ",".join(f"m{number}" for number in range(count))
    line = bench.orchestra("run", "say.py", f"msg=[{values}]", "-y")
    took = interleave(
        bench.few(5, 1),
        {
            "alone": lambda: timed(lambda: [commands.run(SAY_ALONE) for _ in range(count)]) / count,
            "trial": lambda: timed(lambda: commands.run(line)) / count,
        },
        warm_up=not bench.quick,
    )
    return [
        _ratio(f"a trial of a batch of {count}", took["trial"], took["alone"], 1.25, 1.15, "python say.py")
    ]


def queue(bench: Bench) -> list[Figure]:
    """A queue of two jobs over staged runs of a script, against ``xargs -P2``."""
    count = bench.few(100, 10)
    home = bench.new_home()
    commands = bench.commands(home)
    took = interleave(
        bench.few(5, 1),
        {
            "xargs": lambda: _xargs(commands, count, SAY_ALONE[:-1]) / count,
            "queue": lambda: _drain(bench, commands, "say.py", f"msg=range[1:{count}]") / count,
        },
        warm_up=not bench.quick,
    )
    what = f"queue, 2 jobs, {count} x say.py, per run"
    return [_ratio(what, took["queue"], took["xargs"], 1.3, 1.2, "xargs -P2")]


def warm(bench: Bench) -> list[Figure]:
    """The queue and a batch with the warm executor."""
    count = bench.few(100, 10)
    commands = bench.commands(bench.new_home())
    values = ",".join(f"m{number}" for number in range(count))
    line = bench.orchestra("run", "say.py", f"msg=[{values}]", "-y", "--executor", "warm")
    took = interleave(
        bench.few(5, 1),
        {
            "xargs": lambda: _xargs(commands, count, SAY_ALONE[:-1]) / count,
            "queue": lambda: _drain(bench, commands, "say.py", f"msg=range[1:{count}]", "warm") / count,
            "batch": lambda: timed(lambda: commands.run(line)) / count,
        },
        warm_up=not bench.quick,
    )
    return [
        _ratio(
            f"{what}, warm executor, {count} x say.py, per run",
            took[key],
            took["xargs"],
            0.4,
            0.25,
            "xargs -P2",
        )
        for key, what in (("queue", "queue, 2 jobs"), ("batch", "batch"))
    ]


def queue_true(bench: Bench) -> list[Figure]:
    """The same over a program that does nothing: what the queue itself costs."""
    count = bench.few(1000, 20)
    commands = bench.commands(bench.new_home())
    took = interleave(
        bench.few(3, 1),
        {
            "xargs": lambda: _xargs(commands, count, ["/bin/true"]) / count,
            "queue": lambda: _drain(bench, commands, "/bin/true", f"n=range[1:{count}]") / count,
        },
        warm_up=False,
    )
    return [
        Figure(
            f"queue, 2 jobs, {count} x /bin/true, per run",
            took["queue"] * 1000,
            "ms",
            6,
            4,
            floor=took["xargs"] * 1000,
            floor_is="xargs -P2",
            scale="scaled",
        )
    ]


def wake_up(bench: Bench) -> list[Figure]:
    """From staged to started on an idle queue in another process, and what that queue costs while idle."""
    home = bench.new_home()
    commands = bench.commands(home)
    commands.run(bench.orchestra("run", "--stage", "-y", "say.py"))
    commands.run(bench.orchestra("queue", "run-once=yes"))
    idle = commands.start(bench.orchestra("queue", "poll-interval=60"))
    try:
        time.sleep(3)
        share = _cpu_share(idle.pid, bench.few(20, 2))

        def once() -> float:
            before = _ids(home)
            commands.run(bench.orchestra("run", "--stage", "-y", "say.py"))
            (new,) = _ids(home) - before
            return _time_to_start(commands, bench, new)

        took = interleave(bench.few(9, 2), {"pass": commands.measure(PASS), "wake": once})
    finally:
        idle.terminate()
        idle.wait(PATIENCE)
    return [
        Figure(
            "wake-up: staged -> started",
            took["wake"] * 1000,
            "ms",
            100,
            20,
            floor=took["pass"] * 1000,
            floor_is="python -c pass",
            scale="scaled",
        ),
        Figure("idle queue, share of a core", share * 100, "%", 0.5),
    ]


def _drain(bench: Bench, commands: Commands, operation: str, flag: str, executor: str = "local") -> float:
    commands.run(bench.orchestra("run", operation, flag, "--stage-trials", "-y", "--executor", executor))
    return timed(lambda: commands.run(bench.orchestra("queue", "run-once=yes", "--jobs", "2")))


def _xargs(commands: Commands, count: int, command: list[str]) -> float:
    words = " ".join(f"'{word}'" for word in command)
    return timed(lambda: commands.run(["sh", "-c", f"seq {count} | xargs -n 1 -P 2 {words}"]))


def _ratio(what: str, took: float, floor: float, target: float, stretch: float, floor_is: str) -> Figure:
    return Figure(what, took / floor, "x", target, stretch, floor=1, floor_is=floor_is, scale="ratio")


def _ids(home: Path) -> set[str]:
    return set(os.listdir(home / "runs"))


def _time_to_start(commands: Commands, bench: Bench, run_id: str) -> float:
    """Seconds from the run's stage time to its fence."""
    directory = commands.environment["ORCHESTRA_HOME"] + f"/runs/{run_id}/.orchestra"
    fence = Path(directory, "attempts", "1", "fence")
    end = time.monotonic() + PATIENCE
    while not fence.exists():
        if time.monotonic() > end:
            raise Failed(f"the idle queue has not started run {run_id}")
        time.sleep(0.05)
    staged = json.loads(Path(directory, "run.json").read_text())["staged"]
    started = json.loads(fence.read_text())["time"]
    return (started - staged) / 1e6


def _cpu_share(pid: int, seconds: float) -> float:
    before = _cpu_seconds(pid)
    time.sleep(seconds)
    return (_cpu_seconds(pid) - before) / seconds


def _cpu_seconds(pid: int) -> float:
    if sys.platform != "linux":
        return float("nan")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


ROWS = [
    Row("batch", batch),
    Row("queue", queue),
    Row("warm", warm),
    Row("queue-true", queue_true),
    Row("wake-up", wake_up),
]
