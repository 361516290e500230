"""How far a batch has come, and how long the rest of it will take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from orchestra.model.lifecycle import has_failed
from orchestra.model.run import FINAL, Run, State

MEASURED: Final[frozenset[State]] = frozenset(("completed", "error", "pruned"))
"""States of trials that took as long as others may take."""


class Progress(Struct, frozen=True, kw_only=True):
    """The trials of a batch by what has become of them."""

    batch: Run
    planned: int
    """Trials in all, as far as is known."""
    ended: int
    failed: int
    """Of those that have ended."""
    running: int
    seconds_left: float | None
    """None where nothing can be said: no trial has ended yet, or none is running."""

    @property
    def is_over(self) -> bool:
        """Whether the batch has ended, and all of its trials have."""
        return self.batch.state in FINAL and self.ended == self.planned


def present_trials(batch: Run, trials: Iterable[Run]) -> list[Run]:
    """Of all trials that ``batch`` has ever had those of its present generation: the others count no more."""
    generation = None if batch.batch_spec is None else batch.batch_spec.generation
    return [run for run in trials if run.generation == generation]


def progress_of(batch: Run, trials: Iterable[Run], now: int, planned: int | None = None) -> Progress:
    """The progress at ``now`` (microseconds since the epoch) of the batch's present generation.

    ``planned``: the trials that its expander speaks of; a batch that has ended makes no more than there are.
    """
    mine = present_trials(batch, trials)
    ended = [run for run in mine if run.state in FINAL]
    running = [run for run in mine if run.state == "running"]
    total = len(mine) if batch.state in FINAL or planned is None else max(planned, len(mine))
    return Progress(
        batch=batch,
        planned=total,
        ended=len(ended),
        failed=sum(map(has_failed, ended)),
        running=len(running),
        seconds_left=_seconds_left(ended, running, total - len(ended), now),
    )


def _seconds_left(ended: Iterable[Run], running: list[Run], left: int, now: int) -> float | None:
    """As long as the others took on average, with as many at once as there are now."""
    took = [_seconds(run, run.stopped) for run in ended if run.state in MEASURED and run.stopped is not None]
    if not took or not running:
        return None
    mean = sum(took) / len(took)
    under_way = sum(max(0.0, mean - _seconds(run, now)) for run in running)
    return (under_way + mean * max(0, left - len(running))) / len(running)


def _seconds(run: Run, end: int) -> float:
    return 0.0 if run.started is None else max(0, end - run.started) / 1e6
