"""Rows of a batch file as a dimension."""

from __future__ import annotations

from orchestra.model.batch import Batch, Choices, Proposal, TrialResult
from orchestra.model.rows import ROW, RowDimension

BATCH = Batch(
    space={"lr": Choices(values=(1, 2))},
    fixed={"x": 0, "y": 0, "z": 0},
    rows=({"x": 1}, {"x": [2, 3], "y": [4, 5]}, {"x": 1, "lr": 9}),
    seed=1,
)


def test_a_row_with_lists_stands_for_each_combination_of_their_values() -> None:
    rows = RowDimension(BATCH)

    assert rows.batch.rows == ()
    assert rows.batch.space == {ROW: Choices(values=(0, 1, 2, 3, 4, 5)), "lr": Choices(values=(1, 2))}
    points = ({"lr": 1, "x": 0, "y": 0, "z": 0, ROW: number} for number in range(6))
    made = rows.proposal(Proposal(trials=tuple(points), exhausted=True))
    assert [(trial["x"], trial["y"], trial["lr"]) for trial in made.trials] == [
        (1, 0, 1),
        (2, 4, 1),
        (2, 5, 1),
        (3, 4, 1),
        (3, 5, 1),
        (1, 0, 9),
    ]
    assert [list(trial) for trial in made.trials] == [["lr", "x", "y", "z"]] * 6


def test_an_expander_is_told_which_row_a_trial_had() -> None:
    rows = RowDimension(BATCH)
    trials = ({"lr": 2, "x": 1, "y": 0}, {"lr": 2, "x": 3, "y": 4}, {"lr": 9, "x": 1, "y": 0})

    told = rows.history([TrialResult(flags=flags, objective=0.5) for flags in trials])

    assert [one.flags[ROW] for one in told] == [0, 3, 5]
    assert [one.objective for one in told] == [0.5, 0.5, 0.5]
