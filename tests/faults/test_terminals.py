"""Runs in the foreground of a real terminal: Ctrl-C is typed, the window is closed."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from tests.faults.site import OPERATIONS, PATIENCE, Site, wait_for

CTRL_C = b"\x03"


class Terminal:
    """A terminal with a command in its foreground."""

    def __init__(self, site: Site, *arguments: str) -> None:
        self.screen, inner = pty.openpty()
        os.set_blocking(self.screen, False)
        self.seen = b""
        self.process = subprocess.Popen(
            site.shell.command(*arguments),
            cwd=OPERATIONS,
            env=site.shell.environment,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inner)

    def type(self, keys: bytes) -> None:
        os.write(self.screen, keys)

    def read_until(self, text: bytes) -> None:
        """Wait until ``text`` is shown, and forget what was shown up to there."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} is never shown, but {self.seen!r}"
            try:
                self.seen += os.read(self.screen, 65536)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError as error:
                assert error.errno == errno.EIO, error
                raise AssertionError(f"{text!r} was never shown, but {self.seen!r}") from error
        self.seen = self.seen.partition(text)[2]

    def close(self) -> None:
        """What a person does who closes the window."""
        if self.screen >= 0:
            os.close(self.screen)
            self.screen = -1


@pytest.fixture
def terminal(site: Site, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    terminal = Terminal(site, *request.param(site))
    yield terminal
    terminal.close()
    if terminal.process.poll() is None:
        terminal.process.kill()
    terminal.process.wait()


def work(site: Site) -> list[str]:
    return ["run", "-y", "work.py", "lines=2000", f"gate={site.gate}"]


def stubborn(site: Site) -> list[str]:
    del site
    return ["run", "-y", "stubborn.py"]


@pytest.mark.parametrize("terminal", [stubborn], indirect=True)
def test_ctrl_c_reaches_the_operation_and_grows_stronger_each_time(site: Site, terminal: Terminal) -> None:
    terminal.read_until(b"ready")

    terminal.type(CTRL_C)
    terminal.read_until(b"INT")
    terminal.read_until(b"interrupt again to terminate it")
    terminal.type(CTRL_C)
    terminal.read_until(b"TERM")
    terminal.type(CTRL_C)

    assert terminal.process.wait(timeout=30) == 130
    assert [(run.state, run.exit_code) for run in site.runs()] == [("terminated", -9)]


@pytest.mark.parametrize("terminal", [work], indirect=True)
def test_ctrl_c_ends_a_run_that_does_not_mind(site: Site, terminal: Terminal) -> None:
    terminal.read_until(b"000500")

    terminal.type(CTRL_C)

    assert terminal.process.wait(timeout=30) == 130
    assert [(run.state, run.exit_code) for run in site.runs()] == [("terminated", -2)]


@pytest.mark.parametrize("terminal", [work], indirect=True)
def test_a_run_goes_on_when_its_window_is_closed_and_loses_no_output(site: Site, terminal: Terminal) -> None:
    terminal.read_until(b"000500")
    wait_for(lambda: site.states() == ["running"], "the start")

    terminal.close()

    terminal.process.wait(timeout=30)
    assert site.states() == ["running"]
    site.open_gate()
    site.wait_for_rest()
    assert site.states() == ["completed"]
    assert len(site.output(site.runs()[0])) == 14_000
