from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest

from orchestra.errors import FlagError
from orchestra.model.batch import Interval
from orchestra.model.flags import PathBase, Text, check, typed_from_api
from orchestra.model.operation import Choice, FlagDef, Operation, choices_of


def operation(*flags: FlagDef, **changes: object) -> Operation:
    return Operation(name="train.py", kind="script", flags=flags, flags_dest="args", **changes)  # type: ignore[arg-type]


def settled(definition: FlagDef, value: object, force: bool = False) -> object:
    return check(operation(definition), {definition.name: value}, force=force)[definition.name]


def test_flags_that_are_not_given_have_their_defaults() -> None:
    flags = (FlagDef(name="b", default=2), FlagDef(name="a"))
    assert check(operation(*flags), {}) == {"b": 2, "a": None}


DEFINED = {"origin": "orchestra.yml:3"}


def test_defaults_of_a_project_file_become_what_their_flags_are(tmp_path: Path) -> None:
    flags = (
        FlagDef(name="rate", default=1, type="float", **DEFINED),
        FlagDef(name="data", default="~/data", type="path", **DEFINED),
        FlagDef(name="here", default="a", type="existing-path", **DEFINED),
        FlagDef(name="net", default="big", choices=(Choice(value="large", alias="big"),), **DEFINED),
        FlagDef(name="named", default="${rate}", type="int", **DEFINED),
        FlagDef(name="none", type="int", min=3, **DEFINED),
        FlagDef(name="script", default=1, type="float", origin="a.py:3"),
    )
    place = PathBase(str(tmp_path), lambda path: True)
    project = operation(*flags, project_file="/p/orchestra.yml")
    checked = check(project, {"rate": 2, "named": 7}, place=place)
    assert repr(checked["rate"]) == "2.0" and repr(checked["script"]) == "1"
    assert repr(check(project, {"named": 7}, place=place)["rate"]) == "1.0"
    assert checked["data"] == str(Path("~/data").expanduser())
    assert (checked["here"], checked["net"], checked["none"]) == (str(tmp_path / "a"), "large", None)


@pytest.mark.parametrize(
    "flag",
    [
        FlagDef(name="x", default=11, max=10, **DEFINED),
        FlagDef(name="x", default="c", choices=choices_of("a", "b"), **DEFINED),
        FlagDef(name="x", default="abc", type="int", **DEFINED),
        FlagDef(name="x", default="missing", type="existing-path", **DEFINED),
    ],
)
def test_a_default_of_a_project_file_that_its_flag_can_not_have_is_refused_where_it_is_used(
    flag: FlagDef,
) -> None:
    project = operation(flag, project_file="/p/orchestra.yml")
    place = PathBase("/p", lambda path: path != "/p/missing")
    with pytest.raises(FlagError, match=r"its default, orchestra\.yml:3"):
        check(project, {}, place=place)
    assert check(project, {}, place=place, force=True)
    assert check(project, {}, place=place, stored={"x": "kept"}) == {"x": "kept"}


def test_a_whole_number_for_a_float_global_stays_whole() -> None:
    value = settled(FlagDef(name="x", default=1.0, type="number"), Text("10"))
    assert repr(value) == "10"


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (None, "1", 1),
        (None, "yes", True),
        (None, "null", None),
        (None, "[1:9]", Interval(low=1, high=9, integer=True)),
        ("string", "1", "1"),
        ("string", "010", "010"),
        ("string", "no", "no"),
        ("string", "null", "null"),
        ("string", "'1'", "1"),
        ("string", "{a: 1}", "{a: 1}"),
        ("string", "[1, a]", ["1", "a"]),
        ("string", "[a]*2", ["a", "a"]),
        ("string", "range[1:2]", ["1", "2"]),
        ("string", "a[0]", "a[0]"),
        ("string", "", ""),
        ("int", "1", 1),
        ("int", "0x10", 16),
        ("int", "null", None),
        ("int", "[1,2]", [1, 2]),
        ("int", "[1.0:4.0]", Interval(low=1, high=4, integer=True)),
        ("float", "1", 1.0),
        ("float", "[1,0.5]", [1.0, 0.5]),
        ("float", "[0:1]", Interval(low=0, high=1)),
        ("number", "1", 1),
        ("number", "1.0", 1.0),
        ("number", "yes", 1),
        ("boolean", "yes", True),
        ("boolean", "0", False),
        ("boolean", "1", True),
        ("boolean", "[yes,no]", [True, False]),
        ("path", "a/b", "a/b"),
        ("path", "1", "1"),
    ],
)
def test_a_text_is_decoded_as_its_flags_type_says(type_: str, text: str, value: object) -> None:
    result = settled(FlagDef(name="x", type=type_), Text(text))  # type: ignore[arg-type]
    assert repr(result) == repr(value)


@pytest.mark.parametrize(
    ("type_", "value", "message"),
    [
        ("int", Text("1.5"), "invalid value 1.5 for x: invalid value for type 'int'"),
        ("int", Text("a"), "invalid value a for x: invalid value for type 'int'"),
        ("int", Text("[1,b]"), "invalid value b for x: invalid value for type 'int'"),
        ("int", Text("[0.5:3]"), "invalid value 0.5 for x: invalid value for type 'int'"),
        ("float", Text("a"), "invalid value a for x: invalid value for type 'float'"),
        ("number", Text("a b"), "invalid value 'a b' for x: invalid value for type 'number'"),
        ("boolean", Text("maybe"), "invalid value maybe for x: invalid value for type 'boolean'"),
        ("boolean", "1:2", "invalid value 1:2 for x: invalid value for type 'boolean'"),
    ],
)
def test_a_value_of_another_type_is_refused(type_: str, value: object, message: str) -> None:
    definition = FlagDef(name="x", type=type_)  # type: ignore[arg-type]
    with pytest.raises(FlagError) as caught:
        settled(definition, value)
    assert caught.value.message == message
    assert caught.value.hint == ("Give yes or no." if type_ == "boolean" else None)


def test_force_keeps_a_value_of_another_type() -> None:
    assert settled(FlagDef(name="x", type="int"), Text("a"), force=True) == "a"


def test_an_unknown_flag_is_refused_with_a_name_that_is_close() -> None:
    with pytest.raises(FlagError) as caught:
        check(operation(FlagDef(name="lr"), FlagDef(name="depth")), {"lrr": 1})
    assert caught.value.message == "unsupported flag 'lrr'"
    assert caught.value.hint == (
        "Try 'orchestra run train.py --help-op' for a list of flags or use --force-flags "
        "to skip this check.\n"
        "Did you mean 'lr'?"
    )


def test_an_unknown_flag_passes_with_force_or_where_any_flag_is_taken() -> None:
    assert check(operation(), {"q": Text("1")}, force=True) == {"q": 1}
    assert check(operation(accepts_any_flag=True), {"q": Text("1")}) == {"q": 1}


def test_values_of_an_earlier_start_are_kept_and_not_checked_again() -> None:
    train = operation(FlagDef(name="x", default=1), FlagDef(name="y", default=2, type="int"))
    stored = {"x": 5, "y": "forced", "q": 7}
    assert check(train, {"x": Text("6")}, stored=stored) == {"x": 6, "y": "forced", "q": 7}
    assert check(train, {"q": Text("8")}, stored=stored)["q"] == 8
    with pytest.raises(FlagError, match="unsupported flag 'p'"):
        check(train, {"p": 1}, stored=stored)


def test_all_missing_flags_are_named_at_once() -> None:
    flags = (
        FlagDef(name="data", required=True, description="where it is"),
        FlagDef(name="n", required=True),
        FlagDef(name="given", required=True),
    )
    with pytest.raises(FlagError) as caught:
        check(operation(*flags), {"given": 0, "n": Text("")})
    assert caught.value.message == (
        "Operation requires the following missing flags:\n\n  data  where it is\n  n\n"
    )
    assert caught.value.hint is not None and len(caught.value.hint.splitlines()) == 2
    assert check(operation(*flags), {}, force=True)["data"] is None


def test_a_value_that_is_no_choice_is_refused_with_all_choices() -> None:
    definition = FlagDef(name="opt", choices=choices_of("adam", "sgd", "1"))
    assert settled(definition, Text("sgd")) == "sgd"
    for value in (Text("sdg"), ["adam", "sdg"]):
        with pytest.raises(FlagError) as caught:
            settled(definition, value)
        assert caught.value.message == (
            "Unsupported value for 'opt' - supported values are:\n  adam\n  sgd\n  '1'"
        )
        assert caught.value.hint is not None and caught.value.hint.startswith("sdg is not one of them")
    assert settled(definition, "sdg", force=True) == "sdg"


def test_a_number_is_no_choice_between_yes_and_no() -> None:
    with pytest.raises(FlagError):
        settled(FlagDef(name="x", choices=choices_of(True, False)), 1)


def test_a_nul_character_is_refused() -> None:
    with pytest.raises(FlagError, match="'x' holds a NUL"):
        settled(FlagDef(name="x"), "a\0b")
    with pytest.raises(FlagError, match="'x' holds a NUL"):
        settled(FlagDef(name="x"), ["a", "\0"])


def test_a_value_too_long_for_an_argument_is_refused_by_its_flags_name() -> None:
    with pytest.raises(FlagError) as caught:
        settled(FlagDef(name="text", type="string"), Text("a" * 131_072))
    assert caught.value.message.startswith(
        "argument list too long: the value of flag 'text' has 131 072 bytes"
    )
    long = "a" * 131_000
    assert settled(FlagDef(name="text", type="string"), Text(long)) == long


def test_odd_characters_are_kept() -> None:
    odd = "a\n\x1b[0m\udcff\u202e"
    assert settled(FlagDef(name="x"), Text(odd)) == odd


def test_settings_of_the_queue_beyond_its_four_flags_show_only_if_given() -> None:
    from orchestra.project.find import queue_operation

    queue = queue_operation()
    assert list(check(queue, {})) == ["gpus", "ignore-running", "poll-interval", "run-once"]
    assert check(queue, {"jobs": Text("2")})["jobs"] == 2


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("1", "1"),
        ("[1:9]", "[1:9]"),
        (1.0, 1.0),
        ((1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        ([(1, 2), [3]], [[1, 2], [3]]),
        ({"a": (1,)}, {"a": [1]}),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1.0, 2.0]), [1.0, 2.0]),
        (Path("a") / "b", "a/b"),
        (Colour.RED, 1),
        (Interval(low=0, high=1), Interval(low=0, high=1)),
    ],
)
def test_values_of_python_callers_keep_their_type(given: object, value: object) -> None:
    result = typed_from_api(given)
    assert repr(result) == repr(value)
    assert type(result) is type(value)


def test_a_value_that_no_record_can_keep_is_refused() -> None:
    with pytest.raises(FlagError, match="type object can't be"):
        typed_from_api(object())
    with pytest.raises(FlagError, match="type bytes can't be"):
        typed_from_api([b"a"])


def test_a_text_of_a_python_caller_is_not_decoded() -> None:
    assert settled(FlagDef(name="x"), typed_from_api("[1,2]")) == "[1,2]"
    assert settled(FlagDef(name="x"), typed_from_api("1")) == "1"


def test_a_text_of_a_python_caller_becomes_the_number_that_its_flag_wants() -> None:
    assert repr(settled(FlagDef(name="x", type="float"), "1")) == "1.0"


def test_a_flag_that_holds_a_text_is_given_no_map_unless_braces_ask_for_one() -> None:
    holds_text = FlagDef(name="msg", default="hello")
    assert settled(holds_text, Text("a: b")) == "a: b"
    assert settled(holds_text, Text("{a: b}")) == {"a": "b"}
    assert settled(FlagDef(name="msg"), Text("a: b")) == {"a": "b"}


@pytest.mark.parametrize("definition", [FlagDef(name="x"), FlagDef(name="x", type="string")])
def test_a_list_may_be_longer_than_one_argument_since_a_run_is_given_one_item(definition: FlagDef) -> None:
    values = settled(definition, Text("range[1:100000]"))
    assert isinstance(values, list) and len(values) == 100_000


@pytest.mark.parametrize(("item", "why"), [("a" * 131_072, "argument list too long"), ("a\0b", "NUL")])
def test_an_item_that_no_process_can_be_given_is_refused(item: str, why: str) -> None:
    for value in (["a", item], ["a", [item]]):
        with pytest.raises(FlagError, match=why):
            settled(FlagDef(name="x"), value)
