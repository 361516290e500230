import argparse
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.errors import FlagError
from orchestra.model.flags import (
    command_arguments,
    env_name,
    environment,
    global_values,
    injection,
    to_argument,
)
from orchestra.model.operation import FlagDef, Operation

PROPERTY = settings(derandomize=True, deadline=None, max_examples=80)


def operation(*flags: FlagDef, dest: str = "args") -> Operation:
    return Operation(name="op", kind="script", flags=flags, flags_dest=dest)  # type: ignore[arg-type]


def test_arguments_are_sorted_by_name_and_nulls_left_out() -> None:
    flags = {"msg": "a b", "depth": 3, "lr": 0.1, "none": None, "on": True, "off": False}
    assert command_arguments(operation(), flags) == (
        *("--depth", "3"),
        *("--lr", "0.1"),
        *("--msg", "a b"),
        *("--off", ""),
        *("--on", "1"),
    )


def test_a_value_that_begins_with_a_dash_is_joined_to_its_option() -> None:
    assert command_arguments(operation(), {"x": -1, "y": "--help", "z": "-"}) == (
        "--x=-1",
        "--y=--help",
        "--z=-",
    )


def test_a_switch_is_passed_only_for_its_value() -> None:
    loud = operation(FlagDef(name="loud", arg_switch=True))
    quiet = operation(FlagDef(name="loud", arg_switch=False, arg_name="--no-loud"))
    assert command_arguments(loud, {"loud": True}) == ("--loud",)
    assert command_arguments(loud, {"loud": False}) == ()
    assert command_arguments(loud, {"loud": None}) == ()
    assert command_arguments(quiet, {"loud": False}) == ("--no-loud",)
    assert command_arguments(quiet, {"loud": True}) == ()


def test_a_split_value_is_several_arguments() -> None:
    split = operation(FlagDef(name="layers", arg_split=True))
    assert command_arguments(split, {"layers": "1 'a b'"}) == ("--layers", "1", "a b")
    assert command_arguments(split, {"layers": 5}) == ("--layers", "5")
    assert command_arguments(split, {"layers": ""}) == ("--layers",)
    assert command_arguments(split, {"layers": "-1"}) == ("--layers=-1",)
    with pytest.raises(FlagError, match="invalid value 'a for layers"):
        command_arguments(split, {"layers": "'a"})


def test_a_repeated_option_is_given_for_each_value() -> None:
    repeated = operation(FlagDef(name="tag", arg_repeat=True))
    assert command_arguments(repeated, {"tag": "a 'b c'"}) == ("--tag", "a", "--tag", "b c")
    assert command_arguments(repeated, {"tag": 5}) == ("--tag", "5")
    assert command_arguments(repeated, {"tag": "-1 x"}) == ("--tag=-1", "--tag", "x")
    assert command_arguments(repeated, {"tag": ""}) == command_arguments(repeated, {"tag": None}) == ()
    commas = operation(FlagDef(name="i", arg_name="-i", arg_repeat=True, arg_split=","))
    assert command_arguments(commas, {"i": "a b,-c"}) == ("-i", "a b", "-i-c")


def test_positionals_come_in_their_own_order() -> None:
    both = operation(FlagDef(name="src", arg_name=""), FlagDef(name="dst", arg_name=""), FlagDef(name="a"))
    assert command_arguments(both, {"dst": "d", "a": 1, "src": "s"}) == ("s", "d", "--a", "1")
    assert command_arguments(both, {"dst": "-d", "a": 1, "src": "s"}) == ("--a", "1", "--", "s", "-d")


def test_flags_that_are_no_arguments_make_no_arguments() -> None:
    assert command_arguments(operation(dest="globals"), {"a": 1}) == ()


def test_variables_carry_every_flag() -> None:
    assert environment({"max-depth": 3, "é": "x", "on": True, "off": False, "none": None, "PATH": "p"}) == {
        "FLAG_MAX_DEPTH": "3",
        "FLAG__": "x",
        "FLAG_ON": "1",
        "FLAG_OFF": "",
        "FLAG_NONE": "",
        "FLAG_PATH": "p",
    }
    assert env_name("a.b-c") == "FLAG_A_B_C"


def test_a_list_is_one_argument_quoted_as_for_a_shell() -> None:
    assert to_argument([1, "a b", True, None]) == "1 'a b' 1 ''"


def test_a_global_that_is_split_is_a_list_again() -> None:
    definitions = operation(FlagDef(name="layers", arg_split=True), FlagDef(name="x"), dest="globals")
    flags = {"x": "1 2", "layers": "1 0.5 a 'b c' yes"}
    assert global_values(definitions, flags) == {"x": "1 2", "layers": [1, 0.5, "a", "b c", True]}
    for alone in (5, False, "5", [5]):
        (value,) = global_values(definitions, {"layers": alone}).values()
        assert value == ([alone] if isinstance(alone, bool) else [5])
    assert global_values(definitions, {"layers": None}) == {"layers": None}


def test_an_injection_keeps_what_json_can_not_say() -> None:
    flags = {"a": math.nan, "b": [math.inf], "c": "\udcff", "d": "é"}
    back = json.loads(injection(operation(dest="globals"), flags))
    assert repr(back) == repr(flags)
    assert injection(operation(dest="globals"), {"d": "é", "n": None}) == '{"d":"é","n":null}'


def test_an_injection_too_long_for_an_argument_is_refused() -> None:
    with pytest.raises(FlagError, match="argument list too long"):
        injection(operation(dest="globals"), {name: name * 30_000 for name in "abcde"})


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
    st.sampled_from(["-1", "--", "-", "--x", "--x=1", "-h", "a b", "", "@f", "=", "-1e5", "--no-x"]),
)


@PROPERTY
@given(
    # argparse itself drops a value that is '--', in whatever way it is given.
    st.dictionaries(
        st.sampled_from(["alpha", "beta", "gamma-ray"]), VALUES.filter(lambda value: value != "--")
    ),
    st.tuples(VALUES, VALUES).filter(lambda pair: None not in pair and "--" not in pair),
)
def test_a_parser_gets_the_values_that_were_meant(
    flags: dict[str, object], positionals: tuple[object, object]
) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for name in ("alpha", "beta", "gamma-ray"):
        parser.add_argument(f"--{name}")
    parser.add_argument("first")
    parser.add_argument("second")
    given_ = {**flags, "first": positionals[0], "second": positionals[1]}
    definitions = operation(FlagDef(name="first", arg_name=""), FlagDef(name="second", arg_name=""))
    parsed = vars(parser.parse_args(command_arguments(definitions, given_)))
    for name, value in given_.items():
        expected = None if value is None else to_argument(value)
        assert parsed[name.replace("-", "_")] == expected


@PROPERTY
@given(VALUES)
def test_a_number_survives_the_way_through_an_argument(value: object) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert repr(type(value)(to_argument(value))) == repr(value)
