"""``queue --prefix``: each line of a queue's runs has its run before it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.faults.site import wait_for
from tests.process import Shell

SCRIPT = """\
import sys
x = 1
print("line", x, flush=True)
print("\\x1b]0;title\\x07told", x, file=sys.stderr, flush=True)
sys.stdout.write("no end")
"""


@pytest.fixture
def staged(shell: Shell, tmp_path: Path) -> Shell:
    """Two staged trials, with the ids ``(x=1)`` and ``(x=2)`` in their labels."""
    (tmp_path / "talk.py").write_text(SCRIPT)
    shell.run("run", "-y", "talk.py", "x=[1,2]", "--stage-trials")
    return shell


def of_runs(output: str) -> list[str]:
    """The lines without ids, sorted, and without the queue's own."""
    lines = [line for line in output.splitlines() if "[queue]" not in line]
    return sorted(re.sub(r"^\[[0-9a-f]{8} ", "[ID ", line) for line in lines)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_each_line_has_its_run_before_it_and_drives_no_terminal(staged: Shell, jobs: str) -> None:
    ended = staged.run("queue", "run-once=yes", "--jobs", jobs, "--prefix")

    lines = of_runs(ended.output)
    assert len(lines) == 6
    assert [line for line in lines if "told" not in line] == [
        "[ID x=1] line 1",
        "[ID x=1] no end",
        "[ID x=2] line 2",
        "[ID x=2] no end",
    ]
    assert all(line.startswith(f"[ID x={line[-1]}] ") for line in lines if "told" in line)
    assert "\x1b" not in ended.output


def test_a_queue_in_the_background_keeps_its_runs_lines_so(staged: Shell) -> None:
    staged.run("queue", "run-once=yes", "--jobs", "2", "--prefix", "--background")
    wait_for(
        lambda: staged.run("runs").output.count("  completed") == 4, "the end of the queue and of its runs"
    )
    (queue,) = [run for run in json.loads(staged.run("runs", "--json").output) if run["operation"] == "queue"]

    assert "[ID x=2] line 2" in of_runs(staged.run("cat", "--output", queue["id"]).output)


def test_what_is_no_queue_has_no_lines_to_prefix(staged: Shell) -> None:
    ended = staged.run("run", "-y", "talk.py", "--prefix")

    assert "WARNING: not a queue - ignoring --prefix" in ended.output
    assert "line 1\n" in ended.output and "] line" not in ended.output
