"""Signals that come while what a run needs is still being provided."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.site import wait_for
from tests.process import Shell

PROJECT = """\
- operations:
    job:
      main: job
      requires: [slow]
  resources:
    slow:
      - file: data
        post-process: 'touch {begun}; sleep 300'
"""


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """There once the project's dependency is being provided, which takes its time."""
    path = tmp_path / "begun"
    (tmp_path / "job.py").write_text("print('ran')\n")
    (tmp_path / "data").touch()
    (tmp_path / "orchestra.yml").write_text(PROJECT.format(begun=path))
    return path


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 241)], ids=["interrupt", "terminate"]
)
@pytest.mark.parametrize("options", [(), ("--stage",), ("--background",)], ids=["run", "stage", "background"])
def test_it_ends_with_the_code_of_the_signal_and_never_claims_to_have_started(
    shell: Shell, begun: Path, options: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    process = shell.start("run", "job", "-y", *options)
    wait_for(begun.exists)

    process.send_signal(number)
    output, _ = process.communicate(timeout=30)

    assert process.returncode == code, output
    assert "started in background" not in output
    assert "Traceback" not in output
    info = shell.run("runs", "info", "1").output
    assert f"exit_status: {-number}" in info
    assert "status: terminated" in info
