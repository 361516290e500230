"""The values of scalars over their steps, of a run's newest attempt.

Of scalars only summaries are kept, so these are read again, each time that somebody asks: from the same places, by the
same rules, and as much of each as was asked for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestra.errors import UserError
from orchestra.model.output_rules import OutputRules, Told
from orchestra.model.run import Run
from orchestra.model.series import MOST_POINTS, Series, Thinning
from orchestra.workspace import event_files
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.output import CHUNK, OutputFollower
from orchestra.workspace.results import own_event_files, whole_lines
from orchestra.workspace.samples import sampled_points

Point = tuple[str, int, float]
"""A scalar's name, the step and the value."""


def read_series(
    run_dir: Path, run: Run, wants: Callable[[str], bool], *, most: int = MOST_POINTS
) -> dict[str, Series]:
    """The series of all scalars whose names ``wants`` accepts, each of about ``most`` points at most.

    Raises:
        HomeError, StoreUnavailable: the output can't be read.
    """
    if not run.attempt:
        return {}
    directory = attempt_directory(run_dir, run.attempt)
    found: dict[str, Series] = {}
    # Of those that are there under one name the later win, as they do among the results.
    for points in (
        _printed(directory, run),
        _logged(run_dir, run),
        sampled_points(directory, run.gpus),
    ):
        found |= _thinned(points, wants, most)
    return found


def _thinned(points: Iterator[Point], wants: Callable[[str], bool], most: int) -> dict[str, Series]:
    kept: dict[str, Thinning | None] = {}
    for name, step, value in points:
        if name not in kept:
            kept[name] = Thinning(most) if wants(name) else None
        thinning = kept[name]
        if thinning is not None:
            thinning.add(step, value)
    return {name: thinning.series() for name, thinning in kept.items() if thinning is not None}


def _printed(directory: Path, run: Run) -> Iterator[Point]:
    # The output of a batch or a pipeline is that of its runs.
    if run.kind != "run" or run.operation.kind == "steps":
        return
    try:
        rules = OutputRules.of(run.operation, run.flags)
    except UserError:
        # The results tell of it.
        return
    told, rests = Told(), [b"", b""]
    with OutputFollower(directory) as follower:
        # A run may print faster than we read: what comes from now on is for the next time.
        size = follower.size
        while follower.offset < size and (chunks := follower.read_new(CHUNK)):
            for stream, data in chunks:
                yield from told.points(rules, whole_lines(rests, min(stream, 1), data), min(stream, 1))
    if run.stopped is not None:
        for stream in (0, 1):
            yield from told.points(rules, whole_lines(rests, stream, b"\n"), stream)


def _logged(run_dir: Path, run: Run) -> Iterator[Point]:
    if run.kind != "run":
        return
    for name, entry in own_event_files(run_dir, run, []):
        prefix = event_files.prefix_of(name)
        # One that can't be read is told of by the results.
        with contextlib.suppress(OSError):
            for tag, step, value in event_files.read_points(os.fspath(entry.path)):
                yield f"{prefix}{tag}", step, value
