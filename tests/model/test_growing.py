"""What a batch may get beside what it has, and what it can't."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from orchestra.errors import FlagError, UserError
from orchestra.model.batch import Batch, Choices, Interval
from orchestra.model.growing import grown
from orchestra.model.operation import Choice, FlagDef, Operation

OPERATION = Operation(name="train.py", kind="script")
BATCH = Batch(
    space={"lr": Choices(values=(0.1, 1)), "x": Interval(low=0.0, high=1.0, initial=0.5)},
    fixed={"depth": 3},
    seed=1,
)


def more(given: dict[str, Any], max_trials: int | None = None, batch: Batch = BATCH) -> Batch:
    return grown(batch, OPERATION, given, max_trials)


def test_values_are_added_behind_those_that_are_there_once_each() -> None:
    batch = more({"lr": [1, 0.1, 5, 5, True, 1.0]})

    assert batch.space["lr"] == Choices(values=(0.1, 1, 5, True, 1.0))
    assert [type(value) for value in batch.space["lr"].values] == [float, int, int, bool, float]
    assert batch.extended


def test_a_fixed_flag_becomes_one_with_two_values() -> None:
    batch = more({"depth": 4})

    assert (batch.space["depth"], batch.fixed) == (Choices(values=(3, 4)), {})
    assert list(batch.space) == ["depth", "lr", "x"]


@pytest.mark.parametrize("given", [{"lr": 0.1}, {"depth": 3}, {"depth": [3, 3], "lr": [1]}, {}])
def test_a_batch_that_has_all_of_that_is_the_same(given: dict[str, Any]) -> None:
    assert more(given) is BATCH


def test_an_interval_may_be_widened() -> None:
    batch = more({"x": Interval(low=-1.0, high=1.0)})

    assert batch.space["x"] == Interval(low=-1.0, high=1.0, initial=0.5)


@pytest.mark.parametrize(
    "value", [0.5, [0.5], Interval(low=0.2, high=2.0), Interval(low=0.0, high=2.0, log=True)]
)
def test_an_interval_can_not_become_something_else(value: Any) -> None:
    with pytest.raises(FlagError, match=r"^flag 'x' is searched over .* wider interval$"):
        more({"x": value})


@pytest.mark.parametrize("name", ["lr", "depth"])
def test_listed_values_can_not_become_an_interval(name: str) -> None:
    with pytest.raises(FlagError, match=f"^flag '{name}' has listed values in this batch"):
        more({name: Interval(low=0.0, high=9.0)})


def test_a_flag_of_the_rows_of_a_file_can_not_be_extended() -> None:
    with pytest.raises(FlagError, match="^flag 'y' has its values from the rows of a batch file"):
        more({"y": 3}, batch=structs.replace(BATCH, rows=({"y": 1},)))


def test_a_flag_that_the_batch_does_not_have_can_not_be_extended() -> None:
    with pytest.raises(FlagError, match="^flag 'z' is none of the batch's"):
        more({"z": 3})


def test_a_value_that_refers_to_others_can_not_be_added() -> None:
    with pytest.raises(FlagError, match="^flag 'lr': a value that refers to other flags"):
        more({"lr": "${depth}"})


def test_a_batch_with_such_values_can_not_be_extended() -> None:
    batch = structs.replace(BATCH, space={"name": Choices(values=("a", "at ${depth}"))})

    with pytest.raises(FlagError, match="^a batch of values that refer to other flags can't be extended$"):
        more({"depth": 4}, batch=batch)


def test_the_number_of_trials_may_only_grow() -> None:
    batch = structs.replace(BATCH, max_trials=5)

    assert more({}, 9, batch).max_trials == 9
    assert more({}, 5, batch) is batch
    with pytest.raises(UserError, match=r"^--max-trials 4 is less than the batch may have already \(5\)"):
        more({}, 4, batch)


def test_a_grid_that_nobody_can_have_meant_is_refused() -> None:
    with pytest.raises(FlagError, match="^would create"):
        more({"lr": list(range(100_000)), "depth": 4})


def test_what_a_choice_has_set_is_set_anew_in_each_trial() -> None:
    big = Choice(value="big", flags={"layers": 9, "width": 5})
    operation = Operation(
        name="train.py",
        kind="script",
        flags=(FlagDef(name="model", choices=(Choice(value="small", flags={"layers": 2}), big)),),
    )
    batch = Batch(space={}, fixed={"model": "big", "layers": 9, "width": 6}, seed=1)

    extended = grown(batch, operation, {"model": "small"}, None)

    assert extended.space == {"model": Choices(values=("big", "small"))}
    assert extended.fixed == {"width": 6}
