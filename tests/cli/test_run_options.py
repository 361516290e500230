"""Options of `run`: what they print, and which of them can't be used together."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Call

REQUIRED = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', required=True)\np.parse_args()\n"


def test_help_of_an_operation_needs_no_values_of_its_flags(call: Call, tmp_path: Path) -> None:
    (tmp_path / "req.py").write_text(REQUIRED)

    shown = call("run", "req.py", "--help-op")

    assert (shown.code, shown.error) == (0, "")
    assert "  lr  (required)" in shown.lines
    assert call("run", "req.py", "nonsense=1", "--help-op").output == shown.output
    assert call("run", "none.py", "--help-op").code == 1
