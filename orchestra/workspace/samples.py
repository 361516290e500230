"""What an attempt's supervisor noted from time to time of its processes and of the GPUs: scalars over seconds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from orchestra.child.supervisor import GPU_SAMPLES, SAMPLES
from orchestra.model.scalars import SYSTEM
from orchestra.workspace.codec import read_bytes


def sampled_points(directory: Path, gpus: str | None) -> Iterator[tuple[str, int, float]]:
    """What was noted in an attempt's ``directory`` as (name, step, value); a step is a second since the start.

    Of the GPUs those that the run was given (``gpus``), if they are told by their numbers, else all.
    """
    yield from _of_processes(directory)
    yield from _of_gpus(directory, gpus)


def _of_processes(directory: Path) -> Iterator[tuple[str, int, float]]:
    before = cpu_before = 0.0
    for second, cpu, memory in _samples(directory):
        step = round(second)
        # A core that was busy all the time is 100 percent.
        busy = 100 * max(cpu - cpu_before, 0.0) / (second - before) if second > before else 0.0
        yield f"{SYSTEM}cpu_percent", step, busy
        yield f"{SYSTEM}rss", step, memory * 1024
        before, cpu_before = second, cpu


def _samples(directory: Path) -> Iterator[tuple[float, float, float]]:
    for words in _noted(directory, SAMPLES):
        if len(words) == 3:
            with contextlib.suppress(ValueError):
                yield float(words[0]), float(words[1]), float(words[2])


def _of_gpus(directory: Path, given: str | None) -> Iterator[tuple[str, int, float]]:
    wanted = (given or "").replace(" ", "").split(",")
    is_told = given is not None and all(number.isdigit() for number in wanted)
    for words in _noted(directory, GPU_SAMPLES):
        if len(words) != 4 or (words[1] not in wanted if is_told else given == ""):
            continue
        # A device that does not tell has a dash.
        for name, text, unit in (("utilization", words[2], 1), ("memory", words[3], 1024)):
            with contextlib.suppress(ValueError):
                yield f"{SYSTEM}gpu{int(words[1])}/{name}", round(float(words[0])), float(text) * unit


def _noted(directory: Path, name: bytes) -> Iterator[list[str]]:
    try:
        text = read_bytes(os.path.join(directory, os.fsdecode(name))).decode(errors="replace")
    except OSError:
        return
    # The last line may be in the making.
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield line.split()
