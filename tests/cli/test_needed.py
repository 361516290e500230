"""``--needed`` of several commands at once: what is the same is executed once."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.site import wait_for
from tests.process import Shell

SCRIPT = """\
import os, subprocess, sys, time
x = 1
with open(os.environ["DONE"], "a") as file:
    print(x, file=file)
if x == 7 and "INNER" not in os.environ:
    again = [sys.executable, "-m", "orchestra", "run", "-y", "train.py", "x=7", "--needed"]
    sys.exit(subprocess.call(again, cwd=os.environ["PROJECT_DIR"], env={**os.environ, "INNER": "1"}))
while not os.path.exists(os.environ["GATE"]):
    time.sleep(0.01)
sys.exit(x == 9 and open(os.environ["DONE"]).read().count("9") == 1)
"""


class Project:
    """One script whose executions are counted, and that ends when it may."""

    def __init__(self, shell: Shell, folder: Path) -> None:
        self.shell = shell
        self.done = folder.with_name(f"{folder.name}.done")
        self.gate = folder.with_name(f"{folder.name}.gate")
        shell.environment |= {"DONE": str(self.done), "GATE": str(self.gate)}
        (folder / "train.py").write_text(SCRIPT)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return self.shell.start("run", "-y", "train.py", *words)

    def executions(self) -> list[str]:
        return self.done.read_text().split() if self.done.exists() else []

    def waits(self, process: subprocess.Popen[str]) -> str:
        """Wait until ``process`` says that it waits, and return what it says."""
        assert process.stdout is not None
        return process.stdout.readline()


def end(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=40)
    return process.returncode


@pytest.fixture
def project(shell: Shell, tmp_path: Path) -> Project:
    return Project(shell, tmp_path)


def test_of_many_that_want_the_same_at_once_one_executes_it_and_the_others_skip(project: Project) -> None:
    started = [project.start("x=3", "--needed") for _ in range(3)]
    wait_for(project.executions, "the execution")
    project.gate.touch()
    outputs = [process.communicate(timeout=40)[0] for process in started]

    assert [process.returncode for process in started] == [0, 0, 0]
    assert project.executions() == ["3"]
    assert sorted("Skipping because the following runs match" in output for output in outputs) == [
        False,
        True,
        True,
    ]


def test_who_waited_for_one_that_failed_executes_it(project: Project) -> None:
    first = project.start("x=9", "--needed")
    wait_for(project.executions, "the execution")
    second = project.start("x=9", "--needed")
    assert "which is the same (--needed specified)" in project.waits(second)
    project.gate.touch()

    assert (end(first), end(second)) == (1, 0)
    assert project.executions() == ["9", "9"]


def test_another_one_is_not_waited_for(project: Project) -> None:
    running = project.start("x=3")
    wait_for(project.executions, "the execution")
    other = project.start("x=4", "--needed")
    wait_for(lambda: len(project.executions()) == 2, "the other execution")
    project.gate.touch()

    assert (end(running), end(other)) == (0, 0)


def test_waiting_ends_with_ctrl_c_and_what_is_waited_for_goes_on(project: Project) -> None:
    running = project.start("x=3")
    wait_for(project.executions, "the execution")
    waiting = project.start("x=3", "--needed")
    assert "Waiting for" in project.waits(waiting)
    waiting.send_signal(signal.SIGINT)
    rest = waiting.communicate(timeout=40)[0]

    assert (waiting.returncode, "orchestra: stopped while it waited for" in rest) == (130, True)
    project.gate.touch()
    assert end(running) == 0


def test_what_is_staged_or_running_is_not_staged_once_more(project: Project) -> None:
    first = project.shell.run("run", "-y", "train.py", "x=3", "--needed", "--stage")
    second = project.shell.run("run", "-y", "train.py", "x=3", "--needed", "--stage")
    project.gate.touch()
    project.shell.run("run", "-y", "queue", "run-once=yes")

    assert "staged as" in first.output
    assert second.code == 0 and "Skipping because the following runs match" in second.output
    assert project.executions() == ["3"]


def test_a_run_that_asks_for_itself_does_not_wait_for_itself(project: Project) -> None:
    project.gate.touch()
    ended = project.start("x=7", "--needed")

    assert end(ended) == 0
    assert project.executions() == ["7", "7"]
