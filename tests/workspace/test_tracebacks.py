"""The traceback at the end of an attempt's output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestra.workspace.output import BOTH, ERROR, OutputWriter
from orchestra.workspace.tracebacks import MOST_LINES, TAIL, find_traceback, last_traceback


def printed(program: str) -> str:
    """What Python prints of a program that fails."""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHON_COLORS": "0"}
    )
    return ended.stderr


def test_the_last_one_is_found_without_what_comes_before_and_after() -> None:
    text = printed(
        "import atexit\natexit.register(lambda: print('\\nbye', file=__import__('sys').stderr))\n"
        "try: 1 / 0\nexcept Exception as error: raise ValueError('two\\nlines') from error\n"
    )

    found = find_traceback(f"step 1\n{text}")

    assert found is not None
    assert found.splitlines()[0] == "Traceback (most recent call last):"
    assert found.endswith("\nValueError: two\nlines")
    assert "ZeroDivisionError" not in found and "bye" not in found


def test_a_group_of_exceptions_is_shown_with_its_members() -> None:
    found = find_traceback(printed("raise ExceptionGroup('all', [ValueError(1), KeyError(2)])") + "done\n")

    assert found is not None
    assert found.splitlines()[0] == "  + Exception Group Traceback (most recent call last):"
    assert "ValueError: 1" in found and "KeyError: 2" in found and "done" not in found


def test_the_middle_of_a_very_long_one_is_left_out() -> None:
    lines = [f"  frame {number}" for number in range(1000)]

    found = find_traceback("\n".join(["Traceback (most recent call last):", *lines, "E: end", ""]))

    assert found is not None
    assert len(found.splitlines()) == MOST_LINES + 3
    assert f"  ... {1000 - MOST_LINES} lines are left out ..." in found
    assert found.endswith("  frame 999\nE: end")


@pytest.mark.parametrize("text", ["", "all fine\n", "say: Traceback (most recent call last):\n"])
def test_other_output_has_none(text: str) -> None:
    assert find_traceback(text) is None


def test_it_is_read_from_the_end_of_the_output_of_either_stream(tmp_path: Path) -> None:
    assert last_traceback(tmp_path) is None
    with OutputWriter(tmp_path) as writer:
        writer.write(BOTH, b"Traceback (most recent call last):\n  far away\nE: old\n")
        writer.write(BOTH, b"x" * TAIL)
        writer.write(ERROR, b"\nTraceback (most recent call last):\n  File")
        writer.write(BOTH, b"printed meanwhile\n")
        writer.write(ERROR, b" 'a'\nE: new \xff\n")

    assert last_traceback(tmp_path) == "Traceback (most recent call last):\n  File 'a'\nE: new \\xff"


def test_one_that_is_far_from_the_end_is_not_looked_for(tmp_path: Path) -> None:
    with OutputWriter(tmp_path) as writer:
        writer.write(BOTH, b"Traceback (most recent call last):\n  far away\nE: old\n" + b"x" * TAIL)

    assert last_traceback(tmp_path) is None
