"""What operations of a project need, and who provides it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.process import Shell


def test_a_module_is_required_of_the_interpreter_that_runs_the_operation(
    shell: Shell, tmp_path: Path
) -> None:
    other = tmp_path / "python3.99"
    other.write_text(f"#!/bin/sh\nPYTHONPATH='{tmp_path}/only' exec '{sys.executable}' \"$@\"\n")
    other.chmod(0o755)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "rare_module.py").write_text("")
    (tmp_path / "use.py").write_text("import rare_module\nprint('used')\n")
    (tmp_path / "orchestra.yml").write_text(
        f"named: {{exec: '{other} use.py', requires: [{{module: rare_module}}]}}\n"
        "chosen: {main: use, requires: [{module: rare_module}]}\n"
    )

    assert shell.run("run", "named", "-y").output.endswith("used\n")
    assert shell.run("run", "chosen", "-y").code == 1
    assert shell.run("run", "chosen", "-y", ORCHESTRA_PYTHON=str(other)).output.endswith("used\n")
