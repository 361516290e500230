import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.engine.requested_flags import shadowed_flags
from orchestra.errors import FlagError
from orchestra.model.arguments import check_variable, shadowed
from orchestra.model.batch import Interval
from orchestra.model.destinations import flattened, nested, parse_destination
from orchestra.model.flags import (
    PathBase,
    Text,
    check,
    command_arguments,
    complete,
    environment,
    global_values,
    injection,
)
from orchestra.model.operation import Choice, FlagDef, Operation
from orchestra.model.references import resolve_references

PROPERTY = settings(derandomize=True, deadline=None, max_examples=80)


def operation(*flags: FlagDef, **changes: object) -> Operation:
    return Operation(name="train.py", kind="script", flags=flags, **{"flags_dest": "args", **changes})  # type: ignore[arg-type]


def settled(definition: FlagDef, value: object, **options: object) -> object:
    return check(operation(definition), {definition.name: value}, **options)[definition.name]  # type: ignore[arg-type]


MODEL = FlagDef(
    name="model",
    default="small",
    choices=(
        Choice(value="small", flags={"layers": 2}),
        Choice(value="large", alias="L", flags={"layers": 8, "width": 64}),
        Choice(value=3),
    ),
)
LAYERS = FlagDef(name="layers", default=1)
WIDTH = FlagDef(name="width", default=16)


def test_an_alias_of_a_choice_stands_for_its_value_also_in_a_list() -> None:
    assert settled(MODEL, Text("L")) == "large"
    assert settled(MODEL, Text("[L, small, 3]")) == ["large", "small", 3]
    assert settled(MODEL, "L") == "large"


def test_a_choice_sets_flags_that_are_not_given() -> None:
    flags = operation(MODEL, LAYERS, WIDTH)
    assert check(flags, {}) == {"model": "small", "layers": 2, "width": 16}
    assert check(flags, {"model": Text("L")}) == {"model": "large", "layers": 8, "width": 64}
    assert check(flags, {"model": Text("L"), "layers": Text("5")})["layers"] == 5


def test_choices_of_a_batch_set_the_flags_of_their_trials() -> None:
    flags = operation(MODEL, LAYERS, WIDTH)
    assert check(flags, {"model": Text("[small,large]"), "width": 7}) == {
        "model": ["small", "large"],
        "width": 7,
    }
    assert complete(flags, {"model": "large", "width": 7}) == {"layers": 8, "model": "large", "width": 7}
    assert complete(flags, {"model": 3}) == {"layers": 1, "model": 3, "width": 16}


def test_a_choice_given_at_a_restart_sets_flags_anew_and_others_stay() -> None:
    flags = operation(MODEL, LAYERS, WIDTH)
    stored = {"model": "small", "layers": 4, "width": 16}
    assert check(flags, {"width": 3}, stored=stored) == {"model": "small", "layers": 4, "width": 3}
    assert check(flags, {"model": "large"}, stored=stored)["layers"] == 8


def test_other_values_than_the_choices_pass_where_allowed() -> None:
    with pytest.raises(FlagError, match="supported values are:\n  small\n  large \\(or L\\)\n  3"):
        settled(MODEL, Text("huge"))
    open_choice = FlagDef(name="x", choices=(Choice(value=1),), allow_other=True)
    assert settled(open_choice, Text("2")) == 2


def test_a_choice_is_compared_as_its_flags_type() -> None:
    assert settled(FlagDef(name="x", type="string", choices=(Choice(value=1),)), Text("1")) == "1"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Text("0"), "invalid value 0 for x: out of range (less than min 1)"),
        (Text("9.5"), "invalid value 9.5 for x: out of range (greater than max 9)"),
        (Text("[1,2,10]"), "invalid value 10 for x: out of range (greater than max 9)"),
        (Text("[0:5]"), "invalid value 0 for x: out of range (less than min 1)"),
        (Text("nan"), "invalid value nan for x: out of range (less than min 1)"),
    ],
)
def test_a_value_out_of_range_is_refused(value: Text, message: str) -> None:
    definition = FlagDef(name="x", min=1, max=9)
    with pytest.raises(FlagError) as caught:
        settled(definition, value)
    assert caught.value.message == message
    settled(definition, value, force=True)


def test_values_within_a_range_and_values_that_are_no_numbers_pass() -> None:
    definition = FlagDef(name="x", min=1, max=9)
    assert settled(definition, Text("[1, 9, a, null, yes]")) == [1, 9, "a", None, True]
    assert settled(definition, Text("[1:9]")) == Interval(low=1, high=9, integer=True)


def test_a_path_is_that_of_the_callers_directory() -> None:
    here = PathBase("/project", lambda path: path == "/project/data.csv")
    assert settled(FlagDef(name="x", type="path"), Text("a/../b"), place=here) == "/project/b"
    assert settled(FlagDef(name="x", type="path"), Text("/c"), place=here) == "/c"
    existing = FlagDef(name="x", type="existing-path")
    assert settled(existing, Text("data.csv"), place=here) == "/project/data.csv"
    with pytest.raises(FlagError, match="invalid value no.csv for x: /project/no.csv does not exist"):
        settled(existing, Text("[data.csv, no.csv]"), place=here)


def test_a_flag_may_be_given_by_its_alias_but_not_by_both_names() -> None:
    flags = operation(FlagDef(name="learning-rate", alias="lr", default=1))
    assert check(flags, {"lr": Text("2")}) == {"learning-rate": 2}
    with pytest.raises(FlagError) as caught:
        check(flags, {"lr": Text("2"), "learning-rate": Text("3")})
    assert caught.value.message == "cannot specify both alias 'lr' and name for flag 'learning-rate'"
    assert check(flags, {"lr": 2, "learning-rate": 3}, force=True) == {"learning-rate": 3, "lr": 2}


def test_arguments_follow_the_attributes_of_their_flags() -> None:
    flags = operation(
        FlagDef(name="a", arg_skip=True),
        FlagDef(name="b", arg_encoding={"yes": "on", "no": "off", "3": "three"}),
        FlagDef(name="c", arg_split=","),
        FlagDef(name="d", arg_split="shlex"),
        FlagDef(name="e", arg_name="--other-name"),
        FlagDef(name="p", arg_name="", arg_skip=True),
    )
    values = {"a": 1, "b": False, "c": "1, 2,3", "d": "1 'x y'", "e": 5, "p": 1}
    assert command_arguments(flags, values) == (
        *("--b", "off"),
        *("--c", "1", " 2", "3"),
        *("--d", "1", "x y"),
        *("--other-name", "5"),
    )
    assert command_arguments(flags, {"b": 3}) == ("--b", "three")


def test_an_option_of_the_operations_own_command_shadows_its_flag() -> None:
    flags = operation(FlagDef(name="x"), FlagDef(name="y"), main_args=("--x=3", "sub"))
    assert command_arguments(flags, {"x": 1, "y": 2}) == ("--y", "2")
    assert shadowed(flags, {"x": 1, "y": 2}) == {"x": "--x"}


def test_variables_follow_the_attributes_of_their_flags() -> None:
    definitions = (
        FlagDef(name="a", env_name="LEVEL"),
        FlagDef(name="b", env_encoding={"yes": "TRUE", "null": "none"}),
    )
    assert environment({"a": 1, "b": True, "c": 2}, definitions) == {
        "LEVEL": "1",
        "FLAG_B": "TRUE",
        "FLAG_C": "2",
    }
    assert environment({"b": None}, definitions) == {"FLAG_B": "none"}


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "PYTHONPATH", "ORCHESTRA_HOME", "A=B", ""])
def test_a_variable_that_decides_what_is_run_is_refused_for_a_flag(name: str) -> None:
    with pytest.raises(FlagError, match="flag 'x' can't be given as variable"):
        check_variable(FlagDef(name="x", env_name=name))


def test_globals_leave_out_skipped_flags_and_split_at_the_separator() -> None:
    flags = operation(
        FlagDef(name="a", arg_skip=True), FlagDef(name="b", arg_split=";"), flags_dest="globals"
    )
    assert global_values(flags, {"a": 1, "b": "1;x"}) == {"b": [1, "x"]}


def test_flags_of_a_dict_are_injected_under_its_name() -> None:
    assert injection(operation(flags_dest="global:params"), {"m.depth": 3, "lr": 0.1}) == (
        '{"dict:params":{"lr":0.1,"m":{"depth":3}}}'
    )
    assert injection(operation(flags_dest="namespace:c"), {"a": 1}) == '{"namespace:c":{"a":1}}'


def test_an_unknown_destination_is_refused_with_those_that_there_are() -> None:
    assert parse_destination("args:click") == ("args", "")
    assert parse_destination("config:a:b.yml") == ("config", "a:b.yml")
    for text in ("arg", "global:", "config", "file:x"):
        with pytest.raises(FlagError, match="flags can't be passed to"):
            parse_destination(text)


TREES = st.recursive(
    st.integers() | st.text(max_size=3) | st.none(),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, min_size=1, max_size=3),
    max_leaves=8,
)


@PROPERTY
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), TREES, max_size=3))
def test_dotted_names_stand_for_the_tree_that_they_were_made_of(tree: dict[str, object]) -> None:
    assert nested(flattened(tree)) == tree


def test_a_flag_that_is_a_value_and_a_map_at_once_is_refused() -> None:
    with pytest.raises(FlagError, match="flag 'a.b' can't be set: 'a' has the value 1"):
        nested({"a": 1, "a.b": 2})


def test_references_are_filled_in_and_a_lone_one_keeps_its_type() -> None:
    values = {"n": 3, "same": "${n}", "text": "run-${n|%03d}-${ same }", "none": "${x|default:7}", "x": None}
    assert resolve_references(values) == {
        **values,
        "same": 3,
        "text": "run-003-3",
        "none": "7",
    }
    assert resolve_references({"p": "/a/b.csv", "q": "${p|basename}", "r": r"\${p}"}) == {
        "p": "/a/b.csv",
        "q": "b.csv",
        "r": "${p}",
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": "${b}"}, "flag 'a' refers to '${b}', which is no flag"),
        ({"a": "x${b}", "b": "${a}"}, "flag 'a' refers to itself: ${a} -> ${b} -> ${a}"),
        ({"a": "${b"}, "flag 'a' has an unclosed reference: '${b'"),
        ({"a": "${b|nope}", "b": 1}, "flag 'a' has a filter that can't be applied: '|nope'"),
    ],
)
def test_a_reference_that_cannot_be_filled_in_is_told_with_its_flag(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(FlagError) as caught:
        resolve_references(values)
    assert caught.value.message == message


def test_a_given_value_may_refer_to_flags_and_becomes_its_flags_type() -> None:
    flags = operation(FlagDef(name="a", default=4), FlagDef(name="b", type="int"))
    assert check(flags, {"b": Text("${a}")}) == {"a": 4, "b": 4}
    with pytest.raises(FlagError, match="invalid value x for b"):
        check(flags, {"a": Text("x"), "b": Text("${a}")})


def test_what_looks_like_a_reference_in_a_scripts_own_default_is_data() -> None:
    name, text = FlagDef(name="name", default="n"), FlagDef(name="text", default="${name} ${other")
    assert check(operation(name, text), {})["text"] == "${name} ${other"
    of_project = operation(
        name, FlagDef(name="text", default="${name} ${x}"), project_file="/p/orchestra.yml"
    )
    assert check(of_project, {})["text"] == "n ${x}"


def test_references_of_a_batch_are_those_of_each_trial() -> None:
    flags = operation(FlagDef(name="a", default=4), FlagDef(name="b"))
    assert check(flags, {"a": Text("[1,2]"), "b": Text("x${a}")}) == {"a": [1, 2], "b": "x${a}"}
    assert complete(flags, {"a": 1, "b": "x${a}"}) == {"a": 1, "b": "x1"}


def test_a_value_that_was_filled_in_at_an_earlier_start_is_not_filled_in_again() -> None:
    flags = operation(FlagDef(name="a"), FlagDef(name="b"))
    assert check(flags, {"a": 2}, stored={"a": 1, "b": "${a}"}) == {"a": 2, "b": "${a}"}


def test_a_flag_that_the_command_passes_itself_is_not_warned_of() -> None:
    command = operation(FlagDef(name="lr"), FlagDef(name="x"), main_args=("--lr", "${lr}", "--x", "3"))
    (warning,) = shadowed_flags(command, {"lr": 1, "x": 2})
    assert warning == "ignoring flag 'x=2' because it's shadowed in the operation cmd as --x"
