"""How far a batch has come is counted; how long it will take is worked out from what has ended."""

from __future__ import annotations

from typing import Any

import pytest

from orchestra.model.progress import progress_of
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch, a_run

SECOND = 1_000_000
NOW = 1_000 * SECOND
BATCH = a_run(kind="batch", batch_spec=a_batch(), state="running")


def trial(state: str, started: int | None = None, stopped: int | None = None, **fields: Any) -> Run:
    times = {"started": started, "stopped": stopped}
    found = {name: NOW + value * SECOND for name, value in times.items() if value is not None}
    return a_run(state=state, generation=1, batch=BATCH.id, **found, **fields)


def test_trials_are_counted_by_what_has_become_of_them() -> None:
    states = [
        "completed",
        "error",
        "lost",
        "aborted",
        "terminated",
        "skipped",
        "running",
        "pending",
        "staged",
    ]

    trials = [*map(trial, states), trial("terminated", cause="stopped")]
    found = progress_of(BATCH, trials, NOW, planned=20)

    assert (found.planned, found.ended, found.failed, found.running) == (20, 7, 4, 1)


@pytest.mark.parametrize(
    ("state", "planned", "expected"),
    [("running", 1, 2), ("running", None, 2), ("completed", 9, 2), ("running", 9, 9)],
)
def test_there_are_as_many_trials_as_were_made_or_will_be(
    state: str, planned: int | None, expected: int
) -> None:
    batch = a_run(kind="batch", batch_spec=a_batch(), state=state)

    assert progress_of(batch, [trial("running"), trial("staged")], NOW, planned).planned == expected


def test_trials_of_an_earlier_generation_are_not_counted() -> None:
    old = trial("completed", -50, -40)
    old = a_run(state="completed", generation=0, batch=BATCH.id, started=old.started, stopped=old.stopped)

    found = progress_of(BATCH, [old, trial("running", -1)], NOW, planned=4)

    assert (found.ended, found.seconds_left) == (0, None)


@pytest.mark.parametrize(
    ("trials", "planned", "left"),
    [
        ([trial("completed", -30, -20), trial("running", -4)], 4, 26.0),
        ([trial("completed", -30, -20), trial("completed", -20, 0), trial("running", 0)], 3, 15.0),
        ([trial("completed", -30, -20), trial("running", -4), trial("running", -2)], 5, 17.0),
        ([trial("completed", -30, -20), trial("running", -99)], 2, 0.0),
        ([trial("terminated", -30, -29), trial("skipped"), trial("running", 0)], 9, None),
        ([trial("completed", -30, -20)], 4, None),
    ],
    ids=["one at once", "mean", "two at once", "longer than others", "nothing to go by", "nothing runs"],
)
def test_the_rest_takes_as_long_as_the_trials_that_have_ended(
    trials: list[Run], planned: int, left: float | None
) -> None:
    assert progress_of(BATCH, trials, NOW, planned).seconds_left == (
        left if left is None else pytest.approx(left)
    )
