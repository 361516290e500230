"""Lines of output become scalars and attributes."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.errors import UserError
from orchestra.model.encoding import decode, encode
from orchestra.model.operation import OutputPattern
from orchestra.model.output_rules import DEFAULT_SCALARS, LONGEST_LINE, OutputRules, Told

LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "loss: 0.5",
                "loss: 1 (step 7)",
                "acc: .25 (7)",
                "step: 3",
                "model: resnet",
                '{"loss": 1.5, "step": 9, "name": "x"}',
                "lr: 0.1",
                "",
            ]
        ),
        st.text(max_size=30),
    ),
    max_size=20,
)


def told(*lines: str, rules: OutputRules | None = None) -> Told:
    result = Told()
    result.add(rules or OutputRules(), lines)
    return result


def lasts(result: Told) -> dict[str, tuple[float, int]]:
    return {name: scalar.point("last") for name, scalar in result.scalars.items()}


@pytest.mark.parametrize(
    ("line", "scalars"),
    [
        ("loss: 0.5", {"loss": 0.5}),
        ("loss:   -1.5e-3", {"loss": -0.0015}),
        ("val/loss-1: +.5", {"val/loss-1": 0.5}),
        ("_x: 1.", {"_x": 1.0}),
        ("loss: 0.5  ", {"loss": 0.5}),
        ("loss: 0.5 (best so far)", {"loss": 0.5}),
        ("loss: inf", {"loss": math.inf}),
        ("\x1b[31mloss\x1b[0m: 2", {"loss": 2.0}),
        (" loss: 0.5", {}),
        ("loss : 0.5", {}),
        ("loss:0.5", {}),
        ("2loss: 0.5", {}),
        ("loss: 0.5s", {}),
        ("loss: 0.5 0.6", {}),
        ("the loss: 0.5", {}),
        ("lr: 0.5", {}),
    ],
)
def test_by_default_a_line_of_a_key_and_a_number_is_a_scalar_unless_it_is_called_like_a_flag(
    line: str, scalars: dict[str, float]
) -> None:
    assert OutputRules(flags=["lr"]).read(line)[0] == scalars


def test_nan_is_a_number() -> None:
    assert math.isnan(told("loss: nan").scalars["loss"].last)


def test_the_step_in_parentheses_is_the_step_of_the_value_and_sticks() -> None:
    result = told("loss: 3 (step 10)", "acc: 1", "loss: 2 (20)", "acc: 2", "acc: 3")

    assert lasts(result) == {"loss": (2.0, 20), "acc": (3.0, 20)}
    assert result.scalars["acc"].first_step == 10


def test_a_value_that_is_called_step_sets_the_step() -> None:
    assert lasts(told("step: 4", "loss: 1", "loss: 2")) == {"loss": (2.0, 4)}


def test_a_step_that_is_no_whole_number_is_a_scalar_of_its_own() -> None:
    assert lasts(told("step: 0.5")) == {"step": (0.5, 0)}


def test_steps_are_counted_where_none_is_told() -> None:
    result = told("loss: 3", "acc: 1", "loss: 2", "loss: 1", "acc: 2")

    assert lasts(result) == {"loss": (1.0, 2), "acc": (2.0, 2)}


def test_other_lines_of_a_name_and_a_word_are_attributes() -> None:
    rules = OutputRules(flags=["mode"])
    result = told("model: resnet", "mode: fast", "loss: 1", "note: two words", "model: vgg", rules=rules)

    assert result.attributes == {"model": "vgg"}


def test_json_lines_are_scalars_and_attributes() -> None:
    line = json.dumps(
        {
            "loss": 0.5,
            "step": 3,
            "on": True,
            "host": "a b",
            "none": None,
            "deep": {"x": 1},
            "big": 10**400,
            "": 1,
        }
    )
    result = told(line, '{"loss": NaN, "step": 4}', '{"a": ' * 5000, "{not json: 1}", '["loss", 1]')

    assert result.scalars["loss"].point("first") == (0.5, 3)
    assert result.scalars["loss"].last_step == 4 and math.isnan(result.scalars["loss"].last)
    assert list(result.scalars) == ["loss"]
    assert result.attributes == {"host": "a b"}


@pytest.mark.parametrize(
    ("pattern", "line", "found"),
    [
        (OutputPattern(pattern=r"(\key)=(\value)"), "loss=1, acc=2", {"loss": 1.0, "acc": 2.0}),
        (OutputPattern(pattern=r"final loss (\value)", key="loss"), "the final loss -2!", {"loss": -2.0}),
        (OutputPattern(pattern=r"(?P<a>\value)/(?P<b>\value)"), "1/2", {"a": 1.0, "b": 2.0}),
        (OutputPattern(pattern=r"(?P<x_key>\key) is (?P<x_val>\value)"), "loss is 3", {"loss": 3.0}),
        (OutputPattern(pattern=r"(?P<step>\step) loss (\value)", key="loss"), "5 loss 2", {"loss": 2.0}),
        (OutputPattern(pattern=r"(?P<step>\step) (?P<v>\value)", key="loss"), "5 2", {"loss": 2.0, "v": 2.0}),
        (OutputPattern(pattern=r"\\key (\value)", key="k"), r"\key 2", {"k": 2.0}),
        (OutputPattern(pattern="n (.*)", key="n"), "n 1_0x", {}),
        (OutputPattern(pattern="a(b)?", key="n"), "a", {}),
    ],
)
def test_a_pattern_of_the_project_finds_what_it_names(
    pattern: OutputPattern, line: str, found: dict[str, float]
) -> None:
    assert OutputRules((pattern,)).read(line)[0] == found


def test_a_line_that_is_too_long_is_not_looked_at_and_takes_no_time() -> None:
    rules = OutputRules((OutputPattern(pattern=r"(\key): (\value) .*.*y"),))
    longest = "loss: 1 ".ljust(LONGEST_LINE - 1, "x") + "y"

    assert rules.read(longest)[0] == {"loss": 1.0}
    assert rules.read(f"{longest}y")[0] == {}
    began = time.process_time()
    assert rules.read("loss: 1 ".ljust(10_000_000, "x"))[0] == {}
    assert time.process_time() - began < 5


def test_patterns_of_the_project_replace_the_defaults() -> None:
    rules = OutputRules((OutputPattern(pattern=r"epoch (\step)", key="step"),), (), flags=["lr"])

    assert rules.read("loss: 1") == ({}, {}, None)
    assert rules.read('{"loss": 1, "a": "b"}') == ({}, {}, None)
    assert rules.read("epoch 3") == ({}, {}, 3)


def test_patterns_of_the_project_look_at_json_lines_as_at_others() -> None:
    rules = OutputRules((OutputPattern(pattern=r'"l": (\value)', key="loss"),))
    assert rules.read('{"l": 1, "name": "x"}') == ({"loss": 1.0}, {"name": "x"}, None)

    rules = OutputRules(None, (OutputPattern(pattern='"n": "(.*)"', key="name"),))
    assert rules.read('{"l": 1, "n": "x"}') == ({"l": 1.0}, {"name": "x"}, None)


PIECES = st.sampled_from(
    [
        "loss",
        "a:b",
        "step",
        "lr",
        ":",
        ": ",
        " ",
        "1",
        "-2e3",
        "nan",
        "(",
        ")",
        " (step 4)",
        " (7)",
        " (x)",
        "\x1b[0m",
    ]
)


@settings(deadline=None, derandomize=True)
@given(st.lists(PIECES, max_size=8).map("".join))
def test_the_default_patterns_say_what_is_done_by_default(line: str) -> None:
    spelled = OutputRules(DEFAULT_SCALARS, ())
    assert encode(OutputRules(None, ()).read(line)) == encode(spelled.read(line))


def test_a_flag_that_is_called_step_does_not_hide_the_steps() -> None:
    assert OutputRules(flags=["step"]).read("loss: 1 (step 3)") == ({"loss": 1.0}, {}, 3)
    assert OutputRules(flags=["step"]).read("step: 3") == ({}, {}, None)


def test_an_empty_list_turns_them_off() -> None:
    assert OutputRules((), ()).read("loss: 1") == ({}, {}, None)
    assert OutputRules((), None).read("loss: x") == ({}, {"loss": "x"}, None)


def test_attributes_have_patterns_of_their_own() -> None:
    rules = OutputRules(None, (OutputPattern(pattern="using (.*)", key="device"),))

    assert rules.read("using cuda:0") == ({}, {"device": "cuda:0"}, None)


@pytest.mark.parametrize("pattern", ["(", r"(\key)", "(a)(b)(c)", "plain", "(?P<a>x)(y)"])
def test_a_pattern_that_can_not_tell_a_name_and_a_value_is_refused(pattern: str) -> None:
    with pytest.raises(UserError):
        OutputRules((OutputPattern(pattern=pattern),))


@settings(deadline=None, derandomize=True)
@given(LINES, st.integers(0, 20))
def test_what_was_told_can_be_kept_and_gone_on_with_at_any_line(lines: list[str], at: int) -> None:
    rules = OutputRules(flags=["lr"])
    before = told(*lines[:at], rules=rules)
    kept = decode(encode(before), Told)
    kept.add(rules, lines[at:])

    assert encode(plain(kept)) == encode(plain(told(*lines, rules=rules)))


def plain(result: Told) -> Any:
    return [result.scalars, result.attributes, result.step, result.explicit, sorted(result.seen)]


@settings(deadline=None, derandomize=True)
@given(st.text())
def test_no_line_breaks_the_rules(line: str) -> None:
    result = told(line)
    assert decode(encode(result), Told) is not None


@settings(deadline=None, derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_found_as_python_prints_it(value: float) -> None:
    assert told(f"loss: {value}").scalars["loss"].last == value
    assert told(json.dumps({"loss": value})).scalars["loss"].last == value


TRACEBACK = ["Traceback (most recent call last):", '  File "x.py", line 3, in <module>', "    f(3)"]


def test_what_was_raised_is_no_scalar_and_no_attribute() -> None:
    result = told(
        "loss: 1", *TRACEBACK, "ValueError: 3", "best: 2", *TRACEBACK, "", "my.Odd: text", "model: cnn"
    )

    assert lasts(result) == {"loss": (1.0, 0), "best": (2.0, 0)}
    assert result.attributes == {"model": "cnn"}


def test_a_name_that_ends_in_error_is_one_outside_of_a_traceback() -> None:
    assert lasts(told("ValidationError: 0.25")) == {"ValidationError": (0.25, 0)}


def test_a_traceback_on_one_stream_keeps_nothing_of_the_other_from_being_told() -> None:
    result = Told()
    for stream, line in ((1, TRACEBACK[0]), (0, "loss: 1"), (1, TRACEBACK[1]), (1, "ValueError: 3")):
        result.add(OutputRules(), [line], stream)

    assert lasts(result) == {"loss": (1.0, 0)}


def test_patterns_of_the_project_find_what_was_raised() -> None:
    pattern = OutputPattern(pattern=r"(ValueError): (\d+)")
    rules = OutputRules(scalars=[pattern], attributes=[pattern])

    result = told(*TRACEBACK, "ValueError: 3", rules=rules)

    assert (lasts(result), result.attributes) == ({"ValueError": (3.0, 0)}, {"ValueError": "3"})
