"""What an operation may do to us: a flood of output, and what many runs take in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.benchmarks import homes
from tests.benchmarks.rows import Bench, Figure, Row
from tests.benchmarks.timing import Commands, Failed, interleave

FLOOD = """import os
block = (b"x" * 99 + b"\\n") * 10000
for _ in range({megabytes}):
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(1, rest):]
"""
LINES = "for number in range({lines}): print(number)\n"
STEADY = """import os, time
number = 0
block = b"x" * 99999 + b"\\n"
began = time.monotonic()
for count in range({seconds} * 100):
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(1, rest):]
    time.sleep(max(0, began + (count + 1) / 100 - time.monotonic()))
"""
PATIENCE = 120.0


def output(bench: Bench) -> list[Figure]:
    """One run that prints 1 GB, and one that prints a million short lines."""
    megabytes, lines = bench.few(1000, 20), bench.few(1_000_000, 20_000)
    flood = _through(bench, bench.script("flood.py", FLOOD.format(megabytes=megabytes)))
    short = _through(bench, bench.script("lines.py", LINES.format(lines=lines)))
    unit = "MB/s"
    return [
        Figure(
            f"output of {megabytes:,} MB",
            megabytes / flood["run"],
            unit,
            150,
            400,
            floor=megabytes / flood["floor"],
            floor_is="python > file",
            at_least=True,
        ),
        Figure(
            f"{lines:,} short lines",
            short["run"],
            "s",
            4,
            floor=short["floor"],
            floor_is="python -u > file",
            scale="scaled",
        ),
        Figure("peak memory meanwhile", max(flood["memory"], short["memory"]), "MB", 100),
    ]


def _through(bench: Bench, script: str) -> dict[str, float]:
    """Seconds of a run of ``script``, of the script alone into a file, and our peak memory."""
    memory = 0.0

    def once() -> float:
        nonlocal memory
        home = bench.new_home()
        commands = bench.commands(home)
        seconds, peak = commands.peak_memory(bench.orchestra("run", script, "-y"))
        memory = max(memory, peak)
        homes.remove(home)
        return seconds

    into = bench.directory / "alone"
    alone = bench.commands(bench.directory).measure(
        ["sh", "-c", f"'{sys.executable}' -u {script} > '{into}'"]
    )
    took = interleave(bench.few(3, 1), {"floor": alone, "run": once}, warm_up=False)
    into.unlink()
    return {**took, "memory": memory}


def memory(bench: Bench) -> list[Figure]:
    """A queue that supervises 50 runs: its own memory, and that of each supervisor."""
    count = bench.few(50, 4)
    home = bench.new_home()
    commands = bench.commands(home)
    script = bench.script("wait.py", "import time\nnumber = 0\ntime.sleep(600)\n")
    commands.run(bench.orchestra("run", script, f"number=range[1:{count}]", "--stage-trials", "-y"))
    queue = commands.start(bench.orchestra("queue", "--jobs", str(count), "--stop-runs"))
    try:
        supervisors = _wait_for_supervisors(home, count)
        time.sleep(1)
        own = _memory(queue.pid, "Rss")
        each = sum(_memory(pid, "Rss") for pid in supervisors) / count
        shared = sum(_memory(pid, "Pss") for pid in supervisors) / count
        bare = _bare_memory(commands)
    finally:
        queue.terminate()
        queue.wait(PATIENCE)
    return [
        Figure(f"queue of {count} runs, resident", own, "MB", 80, floor=bare, floor_is="bare python"),
        Figure("each supervisor, resident", each, "MB", 10, floor=bare, floor_is="bare python"),
        Figure("each supervisor, its share", shared, "MB", 10, floor=bare, floor_is="bare python"),
    ]


def together(bench: Bench) -> list[Figure]:
    """Runs that all print 10 MB a second at once: how much longer it takes them, and what supervisors take."""
    count, seconds = bench.few(16, 2), bench.few(5, 1)
    home = bench.new_home()
    commands = bench.commands(home)
    script = bench.script("steady.py", STEADY.format(seconds=seconds))
    commands.run(bench.orchestra("run", script, f"number=range[1:{count}]", "--stage-trials", "-y"))
    queue = commands.start(bench.orchestra("run", "-y", "queue", "run-once=yes", f"jobs={count}"))
    try:
        supervisors = _wait_for_supervisors(home, count)
        each = 0.0
        while queue.poll() is None:
            for pid in supervisors:
                with suppress(Failed, OSError):
                    each = max(each, _memory(pid, "Rss"))
            time.sleep(0.1)
    finally:
        queue.terminate()
        queue.wait(PATIENCE)
    ended = [
        json.loads((path.parent / "exit").read_text())
        for path in (home / "runs").glob("*/.orchestra/attempts/1/fence")
        if json.loads(path.read_text())["kind"] == "supervisor"
    ]
    if [exit["size"] for exit in ended] != [seconds * 10_000_000] * count:
        raise Failed("output is missing")
    longest = max((exit["stopped"] - exit["started"]) / 1e6 for exit in ended)
    what = f"{count} runs of 10 MB/s for {seconds} s"
    return [
        Figure(f"{what}: the longest", longest, "s", seconds * 1.5, floor=seconds, floor_is="by the clock"),
        Figure(f"{what}: each supervisor", each, "MB", 10),
    ]


def _wait_for_supervisors(home: Path, count: int) -> list[int]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        fences = [
            json.loads(path.read_text()) for path in (home / "runs").glob("*/.orchestra/attempts/1/fence")
        ]
        pids = [int(fence["identity"]["pid"]) for fence in fences if fence["kind"] == "supervisor"]
        if len(pids) == count:
            return pids
        time.sleep(0.1)
    raise Failed(f"the queue has not started {count} runs")


def _bare_memory(commands: Commands) -> float:
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
        env=commands.environment,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    taken = _memory(process.pid, "Rss")
    process.kill()
    process.communicate()
    return taken


def _memory(pid: int, kind: str) -> float:
    """Megabytes; ``Pss`` counts a page that n processes share as 1/n. Linux only."""
    if not os.path.exists("/proc/self/smaps_rollup"):
        return float("nan")
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise Failed(f"no {kind} of process {pid}")


ROWS = [Row("output", output), Row("memory", memory), Row("together", together)]
