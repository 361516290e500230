"""The benchmarks work: what they measure is really done. Their figures are nobody's gate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CHEAP = "version,stage,queue-true,claims,settle,results-1k,compare-1k"


def test_rows_are_measured_and_nothing_is_left_behind(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", "--rows", CHEAP],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 3 + len(
        [
            *("version", "one staged", "further trial", "queue", "p99", "longest", "settle"),
            *("first", "again", "csv", "group"),
        ]
    )
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_is_not_there_is_refused() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--rows", "no-such-row"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 2
    assert "no such row: no-such-row" in ended.stderr
