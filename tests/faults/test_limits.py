"""Limits of the system: too few files, processes or memory. They fail what they hit, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.faults.site import Site

LIMITED = """
import os, resource, sys
kind, limit = getattr(resource, sys.argv[1]), int(sys.argv[2])
resource.setrlimit(kind, (limit, limit))
os.execv(sys.executable, [sys.executable, "-m", "orchestra", *sys.argv[3:]])
"""


def limited(site: Site, kind: str, limit: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return site.run_under([sys.executable, "-c", LIMITED, kind, str(limit), *arguments])


@pytest.mark.parametrize("files", [14, 22, 40])
def test_a_queue_with_too_few_files_fails_no_run_and_the_next_starts_the_rest(site: Site, files: int) -> None:
    site.stage(count=12)

    ended = limited(site, "RLIMIT_NOFILE", files, "run", "-y", "queue", "run-once=yes", "jobs=12")

    assert "Traceback" not in ended.stdout, ended.stdout
    assert ended.returncode in ((0,) if files >= 40 else (0, 75)), ended.stdout
    assert not {"error", "lost", "aborted"} & set(site.states()), ended.stdout
    assert site.queue().code == 0
    site.wait_for_rest()
    assert site.states() == ["completed"] * 12
    assert len(site.executions()) == 12


def test_an_operation_that_has_no_memory_left_fails_by_itself_and_says_so(site: Site) -> None:
    script = site.home.parent / "greedy.py"
    script.write_text(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))\n"
        "print('before', flush=True)\n"
        "block = bytearray(1 << 30)\n"
    )

    ended = site.shell.run("run", "-y", "greedy.py")

    assert ended.code == 1
    assert ended.output.splitlines()[0] == "before" and "MemoryError" in ended.output
    assert [(run.state, run.exit_code) for run in site.runs()] == [("error", 1)]
    assert b"MemoryError" in site.output(site.runs()[0])
