"""Questions: asked on standard error, answered by a line of standard input, never by its end."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from orchestra.cli import prompts
from orchestra.errors import Aborted, UsageError

Answer = Callable[[bytes], None]


@pytest.fixture
def answer() -> Answer:
    """Put bytes on standard input, and its end."""
    before = os.dup(0)

    def put(data: bytes) -> None:
        reader, writer = os.pipe()
        os.write(writer, data)
        os.close(writer)
        os.dup2(reader, 0)
        os.close(reader)

    yield put  # type: ignore[misc]
    os.dup2(before, 0)
    os.close(before)


@pytest.mark.parametrize(
    ("given", "default", "meant"),
    [
        (b"y\n", False, True),
        (b"YES\n", False, True),
        (b"n\n", True, False),
        (b"No\n", True, False),
        (b"\n", True, True),
        (b"\n", False, False),
        (b"what\ny\n", False, True),
        (b"y", False, True),
        (b"\xff\nn\n", True, False),
    ],
)
def test_an_answer_is_yes_no_or_the_default(answer: Answer, given: bytes, default: bool, meant: bool) -> None:
    answer(given)

    assert prompts.confirm("Go on?", default=default) is meant


def test_the_question_stays_on_its_line_on_standard_error(
    answer: Answer, capfd: pytest.CaptureFixture[str]
) -> None:
    answer(b"y\n")
    prompts.confirm("Go\non?")

    assert capfd.readouterr() == ("", "Go\non? (Y/n) ")


def test_the_end_of_input_is_no_answer(answer: Answer) -> None:
    answer(b"")

    with pytest.raises(UsageError) as error:
        prompts.confirm("Go on?")
    assert error.value.hint is not None and "--yes" in error.value.hint


def test_what_follows_the_answer_is_left_to_others(answer: Answer) -> None:
    answer(b"y\nthe rest")
    prompts.confirm("Go on?")

    assert os.read(0, 100) == b"the rest"


def test_who_insists_ends_the_command_at_a_no(answer: Answer) -> None:
    answer(b"n\n")

    with pytest.raises(Aborted):
        prompts.insist("Go on?")
