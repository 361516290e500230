import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.errors import FlagError, UsageError
from orchestra.project.arguments import parse_assignments


def test_names_and_values_are_split_at_the_first_equals_sign() -> None:
    assert parse_assignments(["a=1", "b=", "c=x=y", "d=a b", "e.f-g=[1,2]"]) == {
        "a": "1",
        "b": "",
        "c": "x=y",
        "d": "a b",
        "e.f-g": "[1,2]",
    }


def test_a_leading_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse_assignments(["a=~/x", "b=x~", "c=~"]) == {"a": "/home/ada/x", "b": "x~", "c": "~"}


def test_bytes_that_are_no_text_are_kept() -> None:
    name = os.fsdecode(b"a\xff")
    assert parse_assignments([f"x={name}"]) == {"x": name}


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("lr", "Write 'lr=' to give the flag 'lr' an empty text."),
        ("=1", "'=1' has no name before its '='."),
        (" =1", "' =1' has no name before its '='."),
        ("lr==1", "Write 'lr=1', or \"lr='=1'\" if the value begins with '='."),
        ("lr =1", "A name has no spaces around it."),
    ],
)
def test_a_word_of_another_form_is_refused_with_what_is_meant(word: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_assignments(["a=1", word])
    assert caught.value.message == f"invalid argument(s):\n{word}\nexpected NAME=VAL"
    assert caught.value.hint == hint


@pytest.mark.parametrize("words", [["lr=[0.1,", "0.2]"], ["lr=[0.1", ",", "0.2]"], ["lr={a:", "1}"]])
def test_a_list_that_the_shell_has_parted_at_its_blanks_is_to_be_quoted(words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_assignments(["a=1", *words, "b=2"])
    assert caught.value.hint == f"Quote what has blanks in it: '{' '.join(words)}'"


def test_a_flag_given_twice_is_refused_unless_it_is_the_same() -> None:
    assert parse_assignments(["a=1", "a=1"]) == {"a": "1"}
    with pytest.raises(FlagError) as caught:
        parse_assignments(["a=1", "a=x y"])
    assert caught.value.message == "flag 'a' is given twice, as 1 and 'x y'"


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z][\w.-]*", fullmatch=True),
        st.text(st.characters()).filter(lambda text: text[:1] not in ("~", "=")),
    )
)
def test_what_is_written_is_what_is_read(values: dict[str, str]) -> None:
    assert parse_assignments([f"{name}={value}" for name, value in values.items()]) == values
