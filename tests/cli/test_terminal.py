"""What a run printed can't drive the terminal of who looks at it."""

from __future__ import annotations

import json
import os
import pty
import sys
from pathlib import Path

import pytest

from orchestra.cli import terminal
from tests.cli.conftest import Call
from tests.saved_runs import ended, saved


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\r\n", "plain\ttext\r\n"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b]0;EVIL\x07", "\\x1b]0;EVIL\\x07"),
        ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb", "a\\u202eb"),
    ],
)
def test_colours_stay_and_all_else_that_drives_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert terminal.defuse(text) == shown


def test_what_is_written_for_people_drives_no_terminal(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    terminal.write("\x1b[1mbold\x1b[0m \x1b[2J\n")

    assert capfdbinary.readouterr().out == b"\x1b[1mbold\x1b[0m \\x1b[2J\n"


def test_a_sequence_that_is_split_between_two_chunks_is_judged_as_a_whole() -> None:
    child, fd = pty.fork()
    if child == 0:
        show = terminal.shower()
        for part in (b"\x1b", b"[3", b"1mred \x1b", b"]0;EVIL\x07 \xc3", b"\xa9\n"):
            show(part)
        sys.stdout.flush()
        os._exit(0)
    seen = b""
    try:
        while chunk := os.read(fd, 1024):
            seen += chunk
    except OSError:
        pass
    os.waitpid(child, 0)
    os.close(fd)

    assert seen.decode() == "\x1b[31mred \\x1b]0;EVIL\\x07 \u00e9\r\n"


def test_a_pipe_cuts_nothing_unless_columns_says_how_wide_it_is(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = "long " * 40
    saved(home, ended(label=label.strip()))

    assert label.strip() in call("runs").output
    monkeypatch.setenv("COLUMNS", "60")
    for verb in ("runs", "compare"):
        shown = call(verb).output
        assert max(map(len, shown.splitlines())) <= 60
        assert "\x1b" not in shown
    monkeypatch.setenv("COLUMNS", "0")
    assert label.strip() in call("runs").output


EVIL = "\x1b]0;EVIL\x07"
PROJECT = f"""
needy:
  description: {json.dumps("Does " + EVIL)}
  main: needy.py
  flags:
    x: {json.dumps(EVIL)}
  requires:
    - file: missing.bin
      help: {json.dumps("Ask " + EVIL)}
plain:
  main: needy.py
  flags:
    {json.dumps("f" + EVIL)}: 1
"""


@pytest.mark.parametrize(
    "command",
    [
        ("run", "needy", "-y"),
        ("run", "plain", "--test-flags"),
        ("explain", "plain"),
        ("explain", "needy"),
        ("complete-words", "zsh", "--", "run", ""),
        ("complete-words", "zsh", "--", "run", "plain", ""),
        ("operations", "-d"),
    ],
)
def test_what_a_project_or_a_server_says_is_shown_escaped(
    call: Call, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "needy.py").write_text("pass\n")
    (tmp_path / "orchestra.yml").write_text(PROJECT)

    shown = call(*command)

    assert shown.output or shown.error
    assert not {"\x1b", "\x07"} & set(shown.output + shown.error)
