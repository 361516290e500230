import math
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestra.errors import FlagError
from orchestra.model import decoding
from orchestra.model.batch import Interval
from orchestra.model.decoding import decode, encode
from orchestra.model.yaml_values import load

PROPERTY = settings(derandomize=True, deadline=None, max_examples=60)

MEANINGS = {
    "": "",
    "1": 1,
    "+1": 1,
    "-1": -1,
    "010": 10,
    "0x10": 16,
    "-0x10": -16,
    "0b11": 3,
    "0o17": "0o17",
    "1.0": 1.0,
    "1.": 1.0,
    ".5": 0.5,
    "1e3": 1000.0,
    "1E3": 1000.0,
    "1E-2": 0.01,
    "inf": math.inf,
    "-inf": -math.inf,
    "1_000": "1_000",
    "0x1_0": "0x1_0",
    "1:12": "1:12",
    "12:30:45": "12:30:45",
    "yes": True,
    "Yes": True,
    "on": True,
    "true": True,
    "no": False,
    "off": False,
    "False": False,
    "y": "y",
    "n": "n",
    "null": None,
    "~": None,
    "None": "None",
    "'1'": "1",
    '"1"': "1",
    "''": "",
    "'it''s'": "it's",
    r'"a\tb"': "a\tb",
    "{a: 1}": {"a": 1},
    "a: b": {"a": "b"},
    "!!set {a, b}": {"a": None, "b": None},
    "2020-01-01": "2020-01-01",
    "-": [None],
    "a,b": "a,b",
    "1.2.3": "1.2.3",
    "@x": "@x",
    "a b": "a b",
    "a#b": "a#b",
    "x=[1,2]": "x=[1,2]",
    "a[0]": "a[0]",
    "'; rm -rf ~'": "; rm -rf ~",
    "!!python/object/apply:os.system [x]": "!!python/object/apply:os.system [x]",
    "{a: &x 1, b: *x}": "{a: &x 1, b: *x}",
    "{1: 2}": "{1: 2}",
    "[1,2]": [1, 2],
    "[1, a, null, yes]": [1, "a", None, True],
    "[ a b , c ]": ["a b", "c"],
    "[a,]": ["a"],
    "[1e3, 1., -.5]": [1000.0, 1.0, -0.5],
    "[[1,2],[3]]": [[1, 2], [3]],
    "[{a: 1}]": [{"a": 1}],
    "['a:b']": ["a:b"],
    "[]": [],
    "[1]*3": [1, 1, 1],
    "[1,2]*2": [1, 2, 1, 2],
    "[1,2] * 2": [1, 2, 1, 2],
    "[1,2]*0": [],
    "[1:2,3]": [62, 3],
    "range[1:5]": [1, 2, 3, 4, 5],
    "range[1:5:2]": [1, 3, 5],
    "range[5:1:-2]": [5, 3, 1],
    "range[0:1:0.25]": [0.0, 0.25, 0.5, 0.75, 1.0],
    "range[0:1:0.1]": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "range[0:1:0.3]": [0.0, 0.3, 0.6, 0.9],
    "range[5]": [0, 1, 2, 3, 4],
    "range[1:a]": "range[1:a]",
    "linspace[0:1]": [0.0, 0.25, 0.5, 0.75, 1.0],
    "linspace[0:1:3]": [0.0, 0.5, 1.0],
    "linspace[0:1:4]": [0.0, 0.33333333, 0.66666667, 1.0],
    "linspace[3:9:1]": [3.0],
    "logspace[0:2:3]": [1.0, 10.0, 100.0],
    "logspace[0:4:3:2]": [1.0, 4.0, 16.0],
    "logspace[0:4]": [1.0, 10.0, 100.0, 1000.0, 10000.0],
    "logspace[-10:-8:3]": [1e-10, 1e-09, 1e-08],
    "geomspace[1:100:3]": [1.0, 10.0, 100.0],
    "geomspace[-1:-4:3]": [-1.0, -2.0, -4.0],
    "[1:5]": Interval(low=1, high=5, integer=True),
    "[0.0:1.0]": Interval(low=0.0, high=1.0),
    "[0:1.0]": Interval(low=0, high=1.0),
    "[1:5:2]": Interval(low=1, high=5, integer=True, initial=2),
    "[-1:1]": Interval(low=-1, high=1, integer=True),
    "[ 1 : 9 ]": Interval(low=1, high=9, integer=True),
    "uniform[0:1]": Interval(low=0, high=1, integer=True),
    "uniform[0.5:1]": Interval(low=0.5, high=1),
    "loguniform[1e-4:1e-1]": Interval(low=1e-4, high=1e-1, log=True),
    "loguniform[1e-4:1e-1:1e-2]": Interval(low=1e-4, high=1e-1, log=True, initial=1e-2),
}


@pytest.mark.parametrize("text", MEANINGS)
def test_a_text_means_what_the_table_says(text: str) -> None:
    value = decode(text)
    assert value == MEANINGS[text]
    assert repr(value) == repr(MEANINGS[text])


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "x #y",
        "a: b #c",
        "a: b\nc: d",
        "# x",
        "#x",
        "yes #x",
        "1 #x",
        "---",
        "- a",
        "a ",
        "| a",
        "[1] #x",
    ],
)
def test_a_text_that_nothing_encloses_loses_no_line_and_no_comment(text: str) -> None:
    assert decode(text) == text


@pytest.mark.parametrize("text", ["nan", ".nan", "NaN"])
def test_not_a_number_is_a_float(text: str) -> None:
    assert math.isnan(decode(text))


BAD_ARGUMENTS = {
    "[1:0]": "the lower bound 1 has to be less than the upper bound 0",
    "uniform[2:1]": "the lower bound 2 has to be less than the upper bound 1",
    "loguniform[3:1]": "the lower bound 3 has to be less than the upper bound 1",
    "loguniform[0:1]": "the lower bound 0 has to be greater than 0 for loguniform",
    "[0:inf]": "'inf' is not a finite number",
    "[a:b]": "'a' is not a finite number",
    "[1:5:9]": "the initial value 9 is not between 1 and 5",
    "[1:5:2.5]": "the initial value 2.5 has to be a whole number like the bounds",
    "range[0:1:0]": "the step must not be 0",
    "range[1:0]": "the step 1 does not lead from the start 1 to the end 0",
    "range[1:2:3:4]": "range takes at most 3 arguments, got 4",
    "range[1:nan]": "nan is not a finite number",
    "linspace[1:2:-3]": "the count -3 has to be a whole number above 0",
    "linspace[1]": "linspace needs a start and an end",
    "geomspace[-1:1]": "the start -1 and the end 1 have to be on the same side of 0",
    "logspace[0:999]": "10 to the power of 999 is too large",
}


@pytest.mark.parametrize("text", BAD_ARGUMENTS)
def test_a_function_that_makes_no_sense_is_refused_with_the_part_and_the_reason(text: str) -> None:
    with pytest.raises(FlagError) as caught:
        decode(text, "x")
    assert caught.value.message == f"invalid function args in 'x={text}': {BAD_ARGUMENTS[text]}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uniform[1]", "uniform requires 2 or 3 args, got (1) for flag x"),
        ("[1:2:3:4]", "uniform requires 2 or 3 args, got (1, 2, 3, 4) for flag x"),
        ("floop[1:2]", "unknown function 'floop' used for flag x"),
        ("range[1:1e9]", "'x=range[1:1e9]' would make 1 000 000 000 values"),
        ("linspace[0:1:1e9]", "'x=linspace[0:1:1e9]' would make 1 000 000 000 values"),
        ("range[100000000000]", "'x=range[100000000000]' would make 100 000 000 000 values"),
        ("[1,2]*999999999", "'x=[1,2]*999999999' would make 1 999 999 998 values"),
        ("[" * 65 + "]" * 65, f"the value '{'[' * 40}...' is nested too deeply (limit 64)"),
    ],
)
def test_what_can_not_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(FlagError) as caught:
        decode(text, "x")
    assert caught.value.message == message


def test_a_range_may_have_as_many_values_as_the_limit() -> None:
    assert len(decode("range[1:100000]")) == 100_000


def test_a_number_with_more_digits_than_python_converts_stays_a_text() -> None:
    digits = "9" * 5000
    assert decode(digits) == digits


def test_deep_nesting_without_brackets_stays_a_text() -> None:
    text = "- " * 5000 + "a"
    assert decode(text) == text


def test_everyday_values_are_decoded_without_yaml() -> None:
    texts = [
        "a",
        "0.1",
        "[a,b]",
        "[1,2.5,x y]",
        "yes",
        "null",
        "'a b'",
        "[1:9]",
        "range[1:3]",
        "",
        "./a/b.csv",
        "[]",
    ]
    program = (
        "import sys\nfrom orchestra.model.flags import decode, encode\n"
        f"for text in {texts!r}: encode(decode(text))\n"
        "assert 'yaml' not in sys.modules, 'imported'\n"
        "decode('{a: 1}')\nassert 'yaml' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


TOKENS = st.lists(
    st.sampled_from(
        [
            *"abyxn019.-+_/:,#'\" []{}*&!%@~|>?=\\",
            "yes",
            "null",
            "on",
            "1e3",
            "0x",
            "0b1",
            ".inf",
            ".nan",
            ": ",
            " #",
        ]
    )
    | st.characters(codec="utf-8"),
    max_size=8,
).map("".join)


@settings(PROPERTY, max_examples=600)
@given(TOKENS)
@example("a: ")
@example("0b")
@example("[a,b,~]")
@example("[010]")
@example("[a: b]")
@example("[a  b]")
@example("[0x1]")
@example("[-]")
@example("[1.e3]")
@example("a \tb")
@example("1#2")
@example("1:30.5")
def test_what_is_decoded_without_yaml_is_what_yaml_says(text: str) -> None:
    known, value = decoding._decode_plainly(text)
    if not known or not text or decoding.decode_number(text) is not None or text in decoding._WORDS:
        return
    try:
        expected = load(text)
    except ValueError:
        expected = text
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        # decode() keeps such texts: they hold a colon or an underscore.
        assert "_" in text or ":" in text
        expected = text
    assert (value, repr(value)) == (expected, repr(expected))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(st.characters())
    | TOKENS
    | st.sampled_from(
        ["1", "1.0", "yes", "null", "", " ", "[1:2]", "range[3]", "a b", "it's", "\x1b[0m", "\udc80", "\x85"]
    )
)


@settings(PROPERTY, max_examples=300)
@given(SCALARS)
def test_what_is_shown_reads_back_as_the_same_scalar(value: object) -> None:
    assert repr(decode(encode(value))) == repr(value)


@PROPERTY
@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=8))
def test_what_is_shown_reads_back_as_the_same_list(value: object) -> None:
    assert repr(decode(encode([value]))) == repr([value])


@PROPERTY
@given(st.dictionaries(st.text(max_size=4), SCALARS, max_size=3))
def test_what_is_shown_reads_back_as_the_same_map(value: dict[str, object]) -> None:
    assert repr(decode(encode(value))) == repr(value)


@PROPERTY
@given(st.text(st.characters()))
def test_what_is_shown_can_be_printed_on_one_line(text: str) -> None:
    shown = encode(text)
    assert shown.isprintable()
    assert shown.encode()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "yes"),
        (False, "no"),
        (10, "10"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (1e-05, "1e-05"),
        ("a", "a"),
        ("1", "'1'"),
        ("", "''"),
        ("a b", "'a b'"),
        ("it's", "it's"),
        ("it's it", '"it\'s it"'),
        ("a\nb", '"a\\nb"'),
        ("\x1b]0;", '"\\x1b]0;"'),
        ("no", "'no'"),
        ("None", "None"),
        ([1, "a", None], "[1, a, null]"),
        (["a,b", 0.5, "1"], "['a,b', 0.5, '1']"),
        ({"a": 1}, "{a: 1}"),
        (Interval(low=1, high=9, integer=True), "[1:9]"),
        (Interval(low=1e-4, high=1.0, log=True, initial=0.1), "loguniform[0.0001:1.0:0.1]"),
    ],
)
def test_values_are_shown_as_people_write_them(value: object, shown: str) -> None:
    assert encode(value) == shown
    assert repr(decode(shown)) == repr(value)
