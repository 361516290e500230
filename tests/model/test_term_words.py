"""The terms of runs in words: what options and project files say, and how it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import OrchestraError
from orchestra.model.resources import Resources
from orchestra.model.retry import Retry
from orchestra.model.term_words import pairs, terms_of_words, words_of
from orchestra.model.terms import Terms

SPANS = st.integers(1, 10**6).map(float) | st.sampled_from([0.1, 1.5, 90.25])
RETRIES = st.builds(
    Retry,
    limit=st.integers(0, 1000),
    on=st.sampled_from([("any",), ("oom", "exit:75"), ("lost",)]),
    delay=st.sampled_from([0.0, 0.5, 10.0, 3600.0]),
    scale=st.dictionaries(
        st.sampled_from(["gpus", "cpus", "memory"]), st.sampled_from([1.0, 1.5, 2.0]), max_size=2
    ),
)
TERMS = st.builds(
    Terms,
    resources=st.none()
    | st.builds(
        Resources,
        gpus=st.sampled_from([0, 0.25, 1, 2]),
        cpus=st.integers(0, 64),
        memory=st.integers(0, 2**40),
    ),
    priority=st.none() | st.integers(-5, 5),
    group=st.none() | st.sampled_from(["db", "a b"]),
    time_limit=st.none() | SPANS,
    warning=st.none() | st.sampled_from(["USR1@0", "TERM@0"]),
    retry=st.none() | RETRIES,
)


@given(terms=TERMS)
def test_terms_are_what_their_words_say(terms: Terms) -> None:
    assert terms_of_words(words_of(terms)) == terms


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"priority": "high"}, "invalid value 'high' of priority"),
        ({"priority": "1000001"}, "invalid priority 1000001"),
        ({"group": " "}, "invalid name ' ' of a group"),
        ({"time-limit": "0s"}, "invalid time limit 0"),
        ({"time-limit": "-5s"}, "invalid time '-5s'"),
        ({"resources": "memory=8"}, "invalid size of memory '8'"),
        (
            {"retries": "1", "retry-on": "exit:999"},
            "invalid cause 'exit:999' to try again: no run that fails ends so",
        ),
        ({"retries": "1", "retry-on": "oom,exit:0"}, "invalid cause 'exit:0'"),
        ({"retries": "1", "retry-on": "signal:65"}, "invalid cause 'signal:65'"),
        ({"warn": "NONE@1"}, "invalid warning 'NONE@1'"),
        ({"warn": "USR1@-1"}, "invalid warning 'USR1@-1'"),
        ({"retries": "x"}, "invalid value 'x' of retries"),
        ({"retry-scale": "memory=2"}, "--retry-scale needs --retries"),
    ],
)
def test_words_without_a_meaning_are_refused(words: dict[str, str], says: str) -> None:
    with pytest.raises(OrchestraError, match=says):
        terms_of_words(words)


def test_numbers_are_written_as_they_are_read() -> None:
    assert pairs({"gpus": 0.5, "cpus": 4, "memory": "8G"}) == "gpus=0.5 cpus=4 memory=8G"
