import pytest

from orchestra.errors import FlagError
from orchestra.model.batch import Batch, Choices, Interval, varying
from orchestra.model.flags import count_combinations, is_batch, make_batch


def test_lists_and_searches_make_a_batch() -> None:
    assert is_batch({"a": [1]})
    assert is_batch({"a": []})
    assert is_batch({"a": Interval(low=0, high=1)})
    assert not is_batch({"a": 1, "b": "[1]", "c": {"d": [1]}})


def test_what_does_not_vary_is_fixed_and_duplicates_are_kept() -> None:
    batch = make_batch({"loud": [False, False], "msg": "a"}, seed=7, stage_trials=True)
    assert batch == Batch(
        space={"loud": Choices(values=(False, False))},
        fixed={"msg": "a"},
        seed=7,
        expander="grid",
        stage_trials=True,
    )


def test_a_search_is_sampled_unless_an_expander_is_named() -> None:
    flags = {"x": Interval(low=0, high=1), "y": [1, 2]}
    assert make_batch(flags, seed=1).expander == "random"
    assert make_batch(flags, seed=1, expander="gp").expander == "gp"


def test_a_huge_product_is_refused_without_being_made() -> None:
    flags = {name: list(range(1000)) for name in "abcd"}
    with pytest.raises(FlagError) as caught:
        make_batch(flags, seed=1)
    assert caught.value.message == "would create 1 000 000 000 000 trials"
    assert make_batch(flags, seed=1, max_trials=5).max_trials == 5


def test_an_empty_list_makes_no_trials() -> None:
    assert count_combinations(make_batch({"a": [], "b": [1, 2]}, seed=1).space) == 0


def test_flags_vary_in_a_batch_that_are_searched_listed_with_several_values_or_not_the_same_in_all_rows() -> (
    None
):
    space = {
        "searched": Interval(low=1, high=9),
        "listed": Choices(values=(1, 2)),
        "twice": Choices(values=(1, 1)),
        "once": Choices(values=([1],)),
    }
    rows = ({"same": 1, "other": 1, "here": 1, "list": [1, 2]}, {"same": 1, "other": 2, "list": [1, 2]})

    batch = Batch(space={**space}, fixed={"fixed": 1}, rows=rows, seed=1)

    assert varying(batch) == {"searched", "listed", "other", "here", "list"}
