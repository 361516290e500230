"""The interactive table over a real home, and in a real terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("textual")

from orchestra.cli import options
from orchestra.cli.compare import Asked
from orchestra.cli.compare_view import SessionSource, show_view
from orchestra.cli.context import drive
from orchestra.cli.selection import FILTERS
from orchestra.engine.comparing import compare_request
from orchestra.errors import RunNotFound, UserError
from tests.cli.test_results import printed
from tests.saved_runs import ended, opened

ASKED = Asked((), FILTERS, compare_request(), False)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "current", options.GlobalOptions())


def test_runs_are_loaded_filtered_marked_and_described(home: Path) -> None:
    printed(home, "loss: 1\n", flags={"lr": 1})
    other = printed(home, "loss: 2\n", flags={"lr": 2})

    async def work() -> None:
        async with opened(home) as session:
            source = SessionSource(session, ASKED)
            assert len((await source.load("")).rows) == 2
            (row,) = (await source.load("lr > 1")).rows
            assert row.runs[0].id == other.id
            narrow = SessionSource(session, ASKED._replace(filters=replace(FILTERS, filter=("lr = 1",))))
            assert (await narrow.load("lr > 1")).rows == ()
            # The first of all runs, not of those that a filter leaves.
            named = SessionSource(session, ASKED._replace(specs=("1",)))
            assert [row.runs[0].id for row in (await named.load("lr > 0")).rows] == [other.id]
            assert (await named.load("lr = 1")).rows == ()
            assert "  loss: 2.000000 (step 0)\n" in await source.details(row.runs)
            both = await source.details([one.runs[0] for one in (await source.load("")).rows])
            assert len(both.splitlines()) == 2
            with pytest.raises(UserError, match="syntax error in filter"):
                await source.load("lr >")
            await source.mark(row.runs[0], True)
            assert [one.runs[0].marked for one in (await source.load("")).rows] == [True, False]
            await source.mark(row.runs[0], False)
            assert [one.runs[0].marked for one in (await source.load("")).rows] == [False, False]
            with pytest.raises(RunNotFound, match="is gone"):
                await source.mark(ended(), True)

    drive(work())


class Terminal:
    """A process at a terminal."""

    def __init__(self, home: Path) -> None:
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestra", "compare"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={
                **os.environ,
                "ORCHESTRA_HOME": str(home),
                "TERM": "xterm-256color",
                "COLUMNS": "100",
                "LINES": "20",
            },
        )
        os.close(slave)
        self.seen = b""

    def wait_for(self, text: bytes) -> None:
        end = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            select.select([self.master], [], [], 0.1)
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                continue


@pytest.fixture
def at_terminal(home: Path) -> Iterator[Terminal]:
    printed(home, "loss: 1\n", flags={"lr": 1})
    terminal = Terminal(home)
    yield terminal
    terminal.process.kill()
    terminal.process.wait()
    os.close(terminal.master)


def test_what_can_not_be_shown_is_an_error_and_no_table(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_HOME", str(home))
    printed(home, "loss: 1\n")
    request = compare_request(min="los")

    with pytest.raises(UserError, match="no run has 'los'"):
        show_view(ASKED._replace(request=request))


LEFT = b"\x1b[?1049l"


def test_a_key_leaves_it_and_the_terminal_is_as_it_was(at_terminal: Terminal) -> None:
    at_terminal.wait_for(b"1 row(s)")
    os.write(at_terminal.master, b"q")
    at_terminal.wait_for(LEFT)
    assert at_terminal.process.wait(30) == 0


def test_who_ends_it_finds_the_terminal_as_it_was(at_terminal: Terminal) -> None:
    at_terminal.wait_for(b"1 row(s)")
    at_terminal.process.terminate()
    at_terminal.wait_for(LEFT)
    assert at_terminal.process.wait(30) == -signal.SIGTERM
