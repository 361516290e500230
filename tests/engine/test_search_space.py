"""What an optimizer searches beyond what is given."""

from pathlib import Path

import pytest

from orchestra.engine.request import RunRequest
from orchestra.engine.search_space import search_dimensions
from orchestra.model.batch import Interval
from orchestra.model.flags import decode, encode
from orchestra.model.operation import FlagDef, Operation, choices_of

FLAGS = (
    FlagDef(name="lr", default=0.1, min=0, max=1, type="float", alias="rate"),
    FlagDef(name="depth", default=3, min=1, max=9),
    FlagDef(name="decay", default=7, min=1e-5, max=1e-1, distribution="log-uniform"),
    FlagDef(name="steps", type="int", min=0.5, max=9.5),
    FlagDef(name="opt", default="sgd", choices=choices_of("sgd", "adam")),
    FlagDef(name="fast", type="boolean", default=False, choices=choices_of(True, False)),
    FlagDef(name="open", choices=choices_of(1, 2), allow_other=True),
    FlagDef(name="half", default=1, min=0),
    FlagDef(name="listed", default=[1, 2], min=0, max=5),
)


def searched(expander: str | None, **given: object) -> dict[str, object]:
    operation = Operation(name="op", kind="script", flags=FLAGS)
    return search_dimensions(operation, RunRequest(cwd=Path("/"), expander=expander, flags=given))


def test_a_named_optimizer_searches_choices_and_ranges() -> None:
    assert searched("random") == {
        "lr": Interval(low=0.0, high=1.0, initial=0.1),
        "depth": Interval(low=1, high=9, integer=True, initial=3),
        "decay": Interval(low=1e-5, high=1e-1, log=True),
        "steps": Interval(low=1, high=9, integer=True),
        "opt": ["sgd", "adam"],
    }


def test_flags_that_are_given_are_not_searched() -> None:
    assert list(searched("sobol scramble=no", rate=0.5, depth=2, decay=None, steps=[1, 2])) == ["opt"]


@pytest.mark.parametrize("expander", [None, "grid"])
def test_nothing_is_searched_that_nobody_asked_for(expander: str | None) -> None:
    assert searched(expander) == {}


def test_what_is_searched_is_read_back_as_it_is_shown() -> None:
    for dimension in searched("random").values():
        assert decode(encode(dimension)) == dimension
