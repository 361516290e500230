"""Filter expressions: what they mean, how they are written, what is said of those that mean nothing."""

from __future__ import annotations

import math
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import UserError
from orchestra.model.attributes import ATTRIBUTES
from orchestra.model.condition_text import DEEPEST, condition_text, parse_condition
from orchestra.model.conditions import AllOf, AnyOf, Comparison, Condition, Name, Not, holds
from orchestra.model.run import Run
from orchestra.model.time_range import Span, parse_span
from orchestra.testing.builders import a_run, an_operation

A, B, C = (Comparison(Name(name), "=", 1) for name in "abc")


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("a = 1", A),
        ("a==1", A),
        ("a is 1", A),
        ("a != 1", Not(A)),
        ("a<>1", Not(A)),
        ("a is not 1", Not(A)),
        ("not a = 1", Not(A)),
        ("a=1 and b=1 or c=1", AnyOf((AllOf((A, B)), C))),
        ("a=1 or b=1 and c=1", AnyOf((A, AllOf((B, C))))),
        ("not a=1 and b=1", AllOf((Not(A), B))),
        ("a=1 and b=1 and c=1", AllOf((A, B, C))),
        ("a=1 AND (b=1 OR c=1)", AllOf((A, AnyOf((B, C))))),
        ("a in [1, x, 'y z']", Comparison(Name("a"), "in", [1, "x", "y z"])),
        ("a not in []", Not(Comparison(Name("a"), "in", []))),
        ("a contains x", Comparison(Name("a"), "contains", "x")),
        ("a not contains x", Not(Comparison(Name("a"), "contains", "x"))),
        ("a is undefined", Comparison(Name("a"), "=", None)),
        ("a is not undefined", Not(Comparison(Name("a"), "=", None))),
        ("a = [1,2]", Comparison(Name("a"), "=", [1, 2])),
        ("=a >= -1e-3", Comparison(Name("a", "flag"), ">=", -0.001)),
        ("flag:a < .5", Comparison(Name("a", "flag"), "<", 0.5)),
        (".status = lost", Comparison(Name("status", "attribute"), "=", "lost")),
        ("attr:x = true", Comparison(Name("x", "attribute"), "=", True)),
        ("#loss > 1", Comparison(Name("loss", "scalar"), ">", 1)),
        ("scalar:loss > 1", Comparison(Name("loss", "scalar"), ">", 1)),
        ("logs/a#loss > 1", Comparison(Name("logs/a#loss", "scalar"), ">", 1)),
        ("min loss <= 1", Comparison(Name("loss", "scalar", "min"), "<=", 1)),
        ("max #loss step > 9", Comparison(Name("loss", "scalar", "max", True), ">", 9)),
        ("loss step in [1]", Comparison(Name("loss", "scalar", "last", True), "in", [1])),
        ("min = 1", Comparison(Name("min"), "=", 1)),
        ("step = 1", Comparison(Name("step"), "=", 1)),
        ("'a flag' = 'it is'", Comparison(Name("a flag"), "=", "it is")),
        ("='.x' = \"it's\"", Comparison(Name(".x", "flag"), "=", "it's")),
        ("a = '1'", Comparison(Name("a"), "=", "1")),
        ("a = no", Comparison(Name("a"), "=", False)),
        ("a = 'no'", Comparison(Name("a"), "=", "no")),
        ("run = 12345678", Comparison(Name("run"), "=", "12345678")),
        ("id = 1e12", Comparison(Name("id"), "=", "1e12")),
        ("tags contains 5", Comparison(Name("tags"), "contains", "5")),
        ("label = yes", Comparison(Name("label"), "=", "yes")),
        ("exit_status = 1", Comparison(Name("exit_status"), "=", 1)),
        ("marked = yes", Comparison(Name("marked"), "=", True)),
    ],
)
def test_an_expression_says(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition


def test_not_binds_closest_then_and_then_or() -> None:
    run = a_run(flags={"a": 2, "b": 2, "c": 1})

    assert holds(parse_condition("a=1 and b=1 or c=1"), run)
    assert not holds(parse_condition("c=1 and (a=1 or b=1)"), run)
    assert holds(parse_condition("not a=1 and c=1"), run)


@pytest.mark.parametrize(
    ("text", "message", "caret"),
    [
        ("a = 1 b", "syntax error in filter at position 6: unexpected token 'b'", 6),
        ("a and b = 1", "syntax error in filter at position 2: unexpected token 'and'", 2),
        ("(a = 1", "syntax error in filter - unexpected end of expression", 6),
        ("a =", "syntax error in filter - unexpected end of expression", 3),
        ("a = 1)", "syntax error in filter at position 5: unexpected token ')'", 5),
        ("a in 3", "syntax error in filter at position 5: unexpected token '3'", 5),
        ("a = 'x", "syntax error in filter at position 4: a quote is not closed", 4),
        ("a ! 1", "syntax error in filter at position 2: unexpected token '!'", 2),
        ("min =lr > 1", "syntax error in filter at position 8: unexpected token '>'", 8),
        ("not", "syntax error in filter - unexpected end of expression", 3),
        ("a not = 1", "syntax error in filter at position 6: unexpected token '='", 6),
        ("漢字 = = 1", "syntax error in filter at position 5: unexpected token '='", 7),
        ("a = \x1b[2J b", "syntax error in filter at position 5: unexpected token '['", 5),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, message: str, caret: int) -> None:
    with pytest.raises(UserError) as told:
        parse_condition(text)

    assert told.value.message == message
    assert told.value.hint is not None
    line, under, *_ = told.value.hint.split("\n")
    assert under == " " * caret + "^"
    assert line.isprintable()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("not marked", "Say what it is: 'marked = yes' or 'marked = no'."),
        ("marked and a = 1", "Say what it is: 'marked = yes' or 'marked = no'."),
        ("not completed", "Say of what: 'status = completed'."),
        ("lr", "Say what 'lr' is compared with, as in: lr = VALUE."),
        ("lr <", "Here comes a value, as in: lr < 0.1"),
        ("lr in 3", "Here comes a list, as in: lr in [0.1, 0.01]."),
        ("a = 1 b = 2", "Tests are joined by 'and' or 'or', as in: lr < 0.1 and op = train."),
        ("a = 1 and", "Here comes a test, such as: lr < 0.1, op = train, marked = yes."),
        ("!a = 1", "Write 'not' before the whole test, as in: not lr < 0.1."),
        ("a not < 1", "Write 'not' before the whole test, as in: not lr < 0.1."),
    ],
)
def test_what_may_stand_there_is_told_with_what_cannot_be_read(text: str, wanted: str) -> None:
    with pytest.raises(UserError) as told:
        parse_condition(text)

    assert (told.value.hint or "").split("\n")[2].startswith(wanted)


@pytest.mark.parametrize(
    "example",
    [
        *("lr < 0.1 and op = train", "lr in [0.1, 0.01]", "marked = yes", "not marked = no", "not lr < 0.1"),
        *("label = 'two words'", "status = completed", "loss is undefined"),
    ],
)
def test_what_hints_give_as_examples_can_be_read(example: str) -> None:
    parse_condition(example)


def test_nothing_is_no_expression() -> None:
    with pytest.raises(UserError, match="unexpected end"):
        parse_condition("  ")


@pytest.mark.parametrize("opening", ["(", "not ", "a = ["])
def test_ten_thousand_levels_are_refused_in_a_sentence(opening: str) -> None:
    with pytest.raises(UserError, match=f"nested too deeply \\(limit {DEEPEST}\\)|unexpected token"):
        parse_condition(opening * 10_000 + "a = 1")


def test_as_many_levels_as_are_allowed_can_be_asked() -> None:
    text = "(" * DEEPEST + "a = 1" + ")" * DEEPEST

    assert parse_condition(text) == A
    assert not holds(parse_condition("not " * DEEPEST + "a = 1"), a_run())


def test_a_long_expression_is_shown_around_the_place() -> None:
    with pytest.raises(UserError) as told:
        parse_condition(" or ".join(["a = 1"] * 1000) + " x " + " or ".join(["a = 1"] * 1000))

    line, under, _ = (told.value.hint or "").split("\n")
    assert len(line) < 80
    assert line[under.index("^")] == "x"


def test_times_are_asked_of_who_knows_the_clock() -> None:
    asked: list[str] = []

    def clock(text: str) -> Span:
        asked.append(text)
        return Span(7, 9, 9)

    condition = parse_condition("started > 2025-01-01 and stopped < 'today' and label = today", clock)

    assert asked == ["2025-01-01", "today"]
    assert isinstance(condition, AllOf)
    assert condition.conditions[:2] == (
        Comparison(Name("started"), ">=", 9),
        Comparison(Name("stopped"), "<", 7),
    )
    with pytest.raises(UserError, match="'started' is a time, not 'today'"):
        parse_condition("started = today")


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("= 2025-06-15", "bcd"),
        ("= today", "bcd"),
        ("in [2025-06-14, '15:00']", "ad"),
        ("!= today", "ae"),
        ("< today", "a"),
        ("<= today", "abcd"),
        (">= today", "bcde"),
        ("> today", "e"),
        ("> 2025-06-15", "e"),
        ("<= 2025-06-15", "abcd"),
        ("> '2 hours ago'", "de"),
        ("<= '2 hours ago'", "abc"),
        ("= '2025-06-15 12:00'", "c"),
        ("= now", "d"),
        ("> 12:00", "de"),
        ("= 'this month'", "abcde"),
        ("not in [today, undefined]", "ae"),
        ("is undefined", ""),
    ],
)
def test_a_day_is_a_whole_day_to_all_that_compares_with_it(test: str, expected: str) -> None:
    times = {"a": (14, 23, 59), "b": (15, 0, 0), "c": (15, 12, 0), "d": (15, 15, 0), "e": (16, 0, 0)}
    runs = [
        a_run(id=name, started=round(datetime(2025, 6, day, hour, minute, tzinfo=UTC).timestamp() * 1e6))
        for name, (day, hour, minute) in times.items()
    ]
    now = runs[3].started

    condition = parse_condition(f"started {test}", lambda text: parse_span(text, now, UTC))

    assert "".join(run.id for run in runs if holds(condition, run)) == expected


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("lr = 1 and marked = 1", "'marked' is true or false, not '1'", "1"),
        ("marked != 'true'", "'marked' is true or false, not 'true'", "'true'"),
        ("marked in [true, maybe]", "'marked' is true or false, not 'maybe'", "maybe"),
        ("exit_status = abc", "'exit_status' is a number, not 'abc'", "abc"),
        (".exit_status = yes", "'exit_status' is a number, not 'yes'", "yes"),
        ("time < 5m", "'time' is a number, not '5m'", "5m"),
        ("attempt in [1, two]", "'attempt' is a number, not 'two'", "two"),
        ("status != complete", "there is no status 'complete' - did you mean 'completed'?", "complete"),
        ("status in [error, xyz]", "there is no status 'xyz': there are staged, pending, ", "xyz"),
        ("kind = batches", "there is no kind 'batches' - did you mean 'batch'?", "batches"),
        ("tags = best", "'tags' is a list: write 'tags contains best'", "best"),
        ("tags in [best]", "'tags' is a list: write 'tags contains best'", "best"),
        ("op = [train, prep]", "'op' is no list: write 'op in [...]'", "[train"),
    ],
)
def test_a_value_of_another_kind_than_the_attribute_is_refused_where_it_stands(
    text: str, message: str, place: str
) -> None:
    with pytest.raises(UserError) as refused:
        parse_condition(text)

    assert refused.value.message.startswith(message)
    line, caret = (refused.value.hint or "").splitlines()
    assert line == text
    assert caret.strip() == "^"
    assert text[caret.index("^") :].startswith(place)


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("exit_status contains 1", "'exit_status' is a number: nothing is in it", "contains"),
        ("marked not contains x", "'marked' is true or false: nothing is in it", "not"),
        ("started contains today", "'started' is a time: nothing is in it", "contains"),
        ("marked < 1", "'marked' is true or false: it is neither less nor more than another", "<"),
        ("tags >= a", "'tags' is a list: it is neither less nor more than another", ">="),
    ],
)
def test_an_operator_that_holds_for_no_attribute_of_the_kind_is_refused(
    text: str, message: str, place: str
) -> None:
    with pytest.raises(UserError) as refused:
        parse_condition(text)

    assert refused.value.message == message
    caret = (refused.value.hint or "").splitlines()[1]
    assert text[caret.index("^") :].startswith(place)


@pytest.mark.parametrize(
    "text",
    [
        "marked = yes",
        "marked is undefined",
        "exit_status != undefined",
        "exit_status > -1",
        "status contains err",
        "status is not undefined",
        "tags = [a, b]",
        "tags contains 5",
        "label = 5",
        "label < b",
        "=marked = 1",
        "#status = complete",
        "=status contains [1]",
    ],
)
def test_a_value_of_the_attribute_s_kind_is_taken(text: str) -> None:
    assert parse_condition(condition_text(parse_condition(text))) == parse_condition(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr = 0.1", True),
        ("n = 1", True),
        ("n = 1.0", True),
        ("n = yes", False),
        ("n = '1'", False),
        ("on = true", True),
        ("on = 1", False),
        ("on < 2", False),
        ("name > 1", False),
        ("name < b", True),
        ("name >= alpha", True),
        ("name contains LPH", True),
        ("name in [x, alpha]", True),
        ("name in [ALPHA]", False),
        ("list contains 2", True),
        ("list contains x", False),
        ("list = [1, 2]", True),
        ("list = [1]", False),
        ("n contains 1", False),
        ("odd = nan", True),
        ("odd < 1", False),
        ("odd != 1", True),
        ("missing = 1", False),
        ("missing != 1", True),
        ("missing < 1", False),
        ("missing is undefined", True),
        ("none is undefined", True),
        ("lr is undefined", False),
        ("op = train", True),
        ("operation = 'm:train'", True),
        ("op_model = m", True),
        ("status = completed", True),
        (".lr is undefined", True),
        ("=status is undefined", True),
        ("label is undefined", True),
        ("tags contains a", True),
        ("time = 5", True),
        ("#loss is undefined", True),
    ],
)
def test_a_test_compares_what_a_run_has(text: str, expected: bool) -> None:
    flags = {"lr": 0.1, "n": 1, "on": True, "name": "alpha", "list": [1, 2], "odd": math.nan, "none": None}
    run = a_run(
        flags=flags,
        state="completed",
        tags=("a",),
        started=1_000_000,
        stopped=6_000_000,
        operation=an_operation(name="m:train", model="m"),
    )

    assert holds(parse_condition(text), run) is expected


NAMES = [
    "lr",
    "n",
    "min",
    "step",
    "and",
    "a b",
    ".x",
    "it's",
    '"q"',
    "#h",
    "flag:z",
    "é",
    "true",
    "=eq",
    "in",
]
names = st.builds(Name, st.sampled_from(NAMES), st.sampled_from(["any", "flag"])) | st.builds(
    Name,
    st.sampled_from(NAMES),
    st.just("scalar"),
    st.sampled_from(["last", "min", "avg"]),
    st.booleans(),
)
texts = st.text(string.printable + "漢\u202e'\"", max_size=5)
values = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | texts
tests = st.builds(
    Comparison, names, st.sampled_from(["=", "<", "<=", ">", ">=", "contains"]), values
) | st.builds(Comparison, names, st.just("in"), st.lists(values, max_size=3))


def _grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, inner) | st.builds(AllOf, several) | st.builds(AnyOf, several)


conditions = st.recursive(tests, _grown, max_leaves=8)


@given(conditions)
def test_what_is_written_is_read_as_the_same(condition: Condition) -> None:
    assert parse_condition(condition_text(condition)) == condition


@given(st.text(string.printable + "漢é", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        condition = parse_condition(text)
    except UserError:
        return
    assert parse_condition(condition_text(condition)) == condition


def _plainly(condition: Condition, flags: dict[str, Any]) -> bool:
    """The same, once more, in the plainest way; of flags alone."""
    if isinstance(condition, Not):
        return not _plainly(condition.condition, flags)
    if isinstance(condition, AllOf):
        return all(_plainly(one, flags) for one in condition.conditions)
    if isinstance(condition, AnyOf):
        return any(_plainly(one, flags) for one in condition.conditions)
    assert isinstance(condition, Comparison)
    found = flags.get(condition.name.name) if condition.name.kind != "scalar" else None
    return _compared(found, condition.operator, condition.value)


def _kind(value: Any) -> str:
    return {bool: "truth", int: "number", float: "number"}.get(type(value), type(value).__name__)


def _compared(found: Any, operator: str, value: Any) -> bool:
    if operator == "in":
        return any(_compared(found, "=", item) for item in value)
    if operator == "contains":
        if isinstance(found, list):
            return any(_compared(item, "=", value) for item in found)
        return isinstance(found, str) and isinstance(value, str) and value.casefold() in found.casefold()
    if _kind(found) != _kind(value):
        return False
    if operator == "=":
        return bool(found == value)
    if _kind(found) not in ("number", "str"):
        return False
    order = (found > value) - (found < value)
    return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[operator]


flag_values = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | texts
flag_maps = st.dictionaries(st.sampled_from(NAMES), flag_values | st.lists(flag_values, max_size=2))


@given(conditions, flag_maps)
def test_a_condition_holds_as_a_plain_evaluation_says(condition: Condition, flags: dict[str, Any]) -> None:
    assert not set(NAMES) & set(ATTRIBUTES)
    run: Run = a_run(flags=flags)

    assert holds(condition, run) == _plainly(condition, flags)


def test_a_run_is_named_by_the_beginning_of_an_id_that_nobody_chose() -> None:
    made = "3f2a" + 28 * "0"
    run = a_run(id=made, batch=made, queue="queue-of-mine")

    for text, expected in {
        "id = 3f2a": True,
        "id = 3f2": False,
        f"id = {made}": True,
        "run = 3f2a0000": True,
        "short_id != 3f2a00000": False,
        "batch in [cafe, 3f2a]": True,
        "not batch = 3f2a": False,
        "batch = 3f2b": False,
        "queue = queue-of": False,
        "queue = queue-of-mine": True,
        "parent is undefined": True,
        "=id = 3f2a": False,
    }.items():
        assert holds(parse_condition(text), run) is expected, text
