"""Options of `run`: what they print, and which of them can't be used together."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cli.conftest import Call
from tests.process import Shell

REQUIRED = (
    "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', required=True)\np.parse_args()\n"
)


def test_help_of_an_operation_needs_no_values_of_its_flags(call: Call, tmp_path: Path) -> None:
    (tmp_path / "req.py").write_text(REQUIRED)

    shown = call("run", "req.py", "--help-op")

    assert (shown.code, shown.error) == (0, "")
    assert "  lr  (required)" in shown.lines
    assert call("run", "req.py", "nonsense=1", "--help-op").output == shown.output
    assert call("run", "none.py", "--help-op").code == 1


def test_debug_shows_every_event_by_its_name(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('hello')\n")

    ended = shell.run("--debug", "run", "train.py", "-y", separate=True)

    (run_id,) = os.listdir(shell.home / "runs")
    lines = ended.error.splitlines()
    assert ended.output == "hello\n"
    assert f"DEBUG: [orchestra] run.created run={run_id[:8]} attempt=1" in lines
    assert all(line.startswith("DEBUG: [orchestra] ") and "hello" not in line for line in lines)
    assert shell.run("run", "train.py", "-y", separate=True).error == ""
