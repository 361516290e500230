"""`output: direct`: the operation writes to the file of its output itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestra.workspace.orders import read_orders
from tests.cli.conftest import Call
from tests.process import Shell

SCRIPT = """\
import os, sys
print('loss: 0.5')
print('to standard error', file=sys.stderr)
own = os.path.samestat(os.fstat(1), os.stat(os.path.join(os.environ['RUN_DIR'], '.orchestra/attempts/1/output')))
print('own file:', own)
sys.exit(7)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "orchestra.yml").write_text(
        "direct: {main: train, output: direct}\npiped: {main: train, output: piped}\nplain: train\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("operation", "settled", "own"),
    [
        ("direct", "piped", True),
        ("piped", "direct", False),
        ("plain", "direct", True),
        ("train.py", "direct", True),
        ("plain", "piped", False),
    ],
)
def test_output_and_exit_are_kept_whoever_writes_them(
    shell: Shell, project: Path, operation: str, settled: str, own: bool
) -> None:
    ended = shell.run("run", operation, "-y", "--run-id", "r", ORCHESTRA_OUTPUT=settled)

    lines = sorted(["loss: 0.5", "to standard error", f"own file: {own}"])
    assert (ended.code, sorted(ended.output.splitlines())) == (7, lines)
    assert sorted(shell.run("cat", "r", "--output").output.splitlines()) == lines
    assert "loss: 0.5" in shell.run("runs", "info", "r").output
    orders = read_orders(shell.home / "runs/r/.orchestra/attempts/1")
    assert orders is not None
    assert orders.output == ("direct" if own else "piped")


def test_a_way_to_write_that_there_is_not_is_refused(call: Call, project: Path) -> None:
    (project / "orchestra.yml").write_text("a: {main: train, output: fast}\n")

    refused = call("run", "a", "-y")

    assert refused.code == 1
    assert "output" in refused.error and "fast" in refused.error


def test_an_output_that_is_too_large_keeps_its_beginning_and_its_end(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "talk.py").write_text("for n in range(300000): print('%09d' % n)\n")
    shell.environment["ORCHESTRA_OUTPUT_LIMIT"] = "1M"

    ended = shell.run("run", "-y", "talk.py")
    kept = shell.run("cat", "--output").output
    info = shell.run("runs", "info").output

    assert (ended.code, ended.output.splitlines()[-1]) == (0, "000299999")
    lines = kept.splitlines()
    assert (lines[0], lines[-1]) == ("000000000", "000299999")
    (notice,) = (line for line in lines if "bytes of output were not kept" in line)
    assert "\0" not in kept and len(kept) < 1_200_000
    count = notice.split()[1]
    assert f"{count} bytes in the middle of its output were given up: it is larger than 1048576" in info
    assert "status: completed" in info


def test_a_queue_keeps_the_ends_of_what_it_passes_on(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "talk.py").write_text("for n in range(300000): print('%09d' % n)\n")
    shell.environment["ORCHESTRA_OUTPUT_LIMIT"] = "1M"
    shell.run("run", "-y", "talk.py", "--stage")

    shell.run("queue", "run-once=yes")
    (queue,) = [run for run in json.loads(shell.run("runs", "--json").output) if run["operation"] == "queue"]

    info = shell.run("runs", "info", queue["id"]).output
    assert "status: completed" in info and "bytes in the middle of its output were given up" in info
