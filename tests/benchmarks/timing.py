"""Interleaved measuring: what is compared is measured in turns, in one sitting, and told as medians."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Measure = Callable[[], float]
"""Does something once and returns what it took, in seconds (or whatever is compared)."""


def interleave(rounds: int, measures: Mapping[str, Measure], *, warm_up: bool = True) -> dict[str, float]:
    """The median of each measure, taken A B A B ...; the first round is thrown away with ``warm_up``."""
    if warm_up:
        for measure in measures.values():
            measure()
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
    return {name: statistics.median(values) for name, values in taken.items()}


def timed(action: Callable[[], object]) -> float:
    """How many seconds ``action`` took."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of ``values`` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


_WATCH = """import os, subprocess, sys, time
begin = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
took = time.perf_counter() - begin
print(os.waitstatus_to_exitcode(status), took, usage.ru_maxrss, file=sys.stderr)
"""
"""Run by a small process: the kernel counts what the one that forks has in memory as the child's peak."""


class Failed(RuntimeError):
    """A command that is measured did not do its work: its time says nothing."""


class Commands:
    """Runs commands in one directory and environment, to their end, with their output dropped."""

    def __init__(self, cwd: Path, environment: Mapping[str, str]) -> None:
        self.cwd = cwd
        self.environment = dict(environment)

    def run(self, command: Sequence[str], *, stdout: int = subprocess.DEVNULL) -> None:
        """Run to the end.

        Raises:
            Failed: its exit code is not 0.
        """
        ended = subprocess.run(
            command,
            cwd=self.cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            errors="replace",
        )
        if ended.returncode != 0:
            raise Failed(f"{' '.join(command)} exited with {ended.returncode}:\n{ended.stderr[-2000:]}")

    def measure(self, command: Sequence[str]) -> Measure:
        """A measure of one run of ``command``."""
        return lambda: timed(lambda: self.run(command))

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start in the background."""
        return subprocess.Popen(
            command,
            cwd=self.cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def peak_memory(self, command: Sequence[str]) -> tuple[float, float]:
        """Run to the end; the seconds it took and the peak resident memory of that process alone, in MB."""
        ended = subprocess.run(
            [sys.executable, "-c", _WATCH, *command],
            cwd=self.cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        code, seconds, kilobytes = ended.stderr.split()
        if code != "0":
            raise Failed(f"{' '.join(command)} exited with {code}")
        return float(seconds), int(kilobytes) / 1024
