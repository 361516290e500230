"""Questions: asked on standard error, answered by a line of standard input, never by its end."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from orchestra.cli import prompts
from orchestra.errors import Aborted, UsageError
from tests.process import Shell

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


@pytest.mark.parametrize(
    ("key", "expected"), [(b"\x04", "the question above was not answered"), (b"\x03", "")]
)
def test_a_person_who_ends_the_question_is_left_on_a_line_of_its_own(
    tmp_path: Path, shell: Shell, key: bytes, expected: str
) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe(sys.executable, shell.command("run", "train.py"), shell.environment)
    shown = b""
    with suppress(OSError):  # the terminal's end, on Linux
        while data := os.read(terminal, 1000):
            shown += data
            if shown.endswith(b"(Y/n) "):
                os.write(terminal, key)
    os.close(terminal)

    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _, after = shown.decode().split("(Y/n) ")
    lines = after.replace("^C", "").replace("^D\b\b", "").split("\r\n")
    assert (code, lines[0]) == (2 if expected else 130, "")
    assert lines[1].removeprefix("orchestra: ") == expected


def test_what_follows_the_answer_is_left_to_others(answer: Answer) -> None:
    answer(b"y\nthe rest")
    prompts.confirm("Go on?")

    assert os.read(0, 100) == b"the rest"


def test_who_insists_ends_the_command_at_a_no(answer: Answer) -> None:
    answer(b"n\n")

    with pytest.raises(Aborted):
        prompts.insist("Go on?")
