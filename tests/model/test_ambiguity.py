"""Regular expressions that could hang whoever reads a run's results."""

from __future__ import annotations

import re
import time

import pytest

from orchestra.errors import UserError
from orchestra.model.ambiguity import may_take_for_ever
from orchestra.model.operation import OutputPattern
from orchestra.model.output_rules import DEFAULT_ATTRIBUTES, DEFAULT_SCALARS, LONGEST_LINE, LinePattern


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*b",
        r"(?:(\w+)*x?)+$",
        "(a+|b)*c",
        "(a|b*c?)*$",
        "((a{2,}))+$",
        "x(?:y(?:[a-z]+)+)$",
        "(?=(a+)+b)c",
    ],
)
def test_a_repetition_of_a_repetition_is_found(pattern: str) -> None:
    re.compile(pattern)

    assert may_take_for_ever(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "a+b*c+",
        r"(\w+,)*",
        r"(?:\s+(\w+)=(\S+))*$",
        "(a+){2}",
        "(ab?)+",
        "(a|b)+",
        "",
        r"^loss: ([0-9.]+)(\s+.*)?$",
    ],
)
def test_what_ends_soon_is_not_suspected(pattern: str) -> None:
    assert not may_take_for_ever(pattern)


def test_the_default_patterns_end_soon() -> None:
    for pattern in (*DEFAULT_SCALARS, *DEFAULT_ATTRIBUTES):
        LinePattern(pattern)


def test_an_output_pattern_that_may_take_for_ever_is_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match=r"'\(a\+\)\+\$' may take for ever") as raised:
        LinePattern(OutputPattern(key="loss", pattern="(a+)+$"))

    assert raised.value.hint and "(a+)+" in raised.value.hint


def test_a_line_of_any_length_takes_little_time() -> None:
    pattern = LinePattern(OutputPattern(pattern=r"(\key): (\value)"))
    began = time.process_time()

    assert pattern.match("x" * 1_000_000).values == {}
    assert pattern.match("x" * (LONGEST_LINE - 8) + " loss: 1").values == {"loss": "1"}

    assert time.process_time() - began < 5
