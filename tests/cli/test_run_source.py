"""The source of a run, as real processes see it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.process import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "say.py").write_text("print('done')\n")
    return Shell(tmp_path / "home", tmp_path / "project")


def test_a_log_that_grows_without_end_does_not_hold_up_a_run(shell: Shell) -> None:
    log = shell.cwd / "app.log"
    log.write_bytes(b"x" * 1000)
    with subprocess.Popen(["sh", "-c", f"while :; do echo 'a line of the log' >> '{log}'; done"]) as writer:
        try:
            begin = time.monotonic()
            ran = shell.run("run", "say.py", "-y", timeout=60)
        finally:
            writer.kill()
    assert (ran.code, ran.output) == (0, "done\n")
    assert time.monotonic() - begin < 30
