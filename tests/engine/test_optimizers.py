"""Which expander an optimizer stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.engine.optimizers import with_optimizer
from orchestra.engine.request import RunRequest
from orchestra.errors import UserError
from orchestra.model.operation import Operation, Optimizer
from orchestra.testing.builders import an_operation

FAST = Optimizer(name="fast", algorithm="random", flags={"a": 1, "b": 2})
SLOW = Optimizer(name="slow", algorithm="gp")


def chosen(*optimizers: Optimizer, **options: object) -> tuple[str | None, dict[str, object]]:
    operation: Operation = an_operation(optimizers=optimizers)
    request = with_optimizer(RunRequest(cwd=Path("/"), **options), operation)  # type: ignore[arg-type]
    return request.expander, request.expander_options


def test_an_optimizer_of_the_operation_is_known_by_its_name_and_has_its_flags() -> None:
    assert chosen(FAST, SLOW, expander="fast") == ("random", {"a": 1, "b": 2})
    assert chosen(FAST, SLOW, expander="fast", expander_options={"b": 3}) == ("random", {"a": 1, "b": 3})


def test_any_other_name_is_that_of_an_expander() -> None:
    assert chosen(FAST, expander="sobol scramble=no") == ("sobol scramble=no", {})
    assert [chosen(expander=name)[0] for name in ("+", "skopt:random")] == ["grid", "random"]


def test_the_default_is_the_one_that_is_said_to_be_or_the_only_one() -> None:
    assert chosen(SLOW, FAST, expander=None) == (None, {})
    assert chosen(FAST, optimize=True) == ("random", {"a": 1, "b": 2})
    default = Optimizer(name="slow", algorithm="gp", default=True)
    assert chosen(FAST, default, optimize=True) == ("gp", {})
    assert chosen(optimize=True) == ("gp", {})


def test_of_several_none_is_taken_by_chance() -> None:
    with pytest.raises(UserError, match="no default optimizer defined for") as caught:
        chosen(SLOW, FAST, optimize=True)
    assert caught.value.hint == "Specify one of the following with '--optimizer': fast, slow"
