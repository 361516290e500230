"""The example does what its README says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from postgres_server import binaries

EXAMPLE = Path(__file__).parents[3] / "examples" / "shared-store"


@pytest.mark.skipif(
    binaries() is None and os.environ.get("CI") != "true", reason="there is no PostgreSQL here"
)
def test_two_queues_share_the_sweep_of_the_example_and_leave_nothing(tmp_path: Path) -> None:
    project = tmp_path / "shared-store"
    shutil.copytree(EXAMPLE, project)
    # The server's user may be another one, and the path of a socket is short.
    scratch = Path(tempfile.mkdtemp(prefix="orchestra-", dir="/tmp"))
    scratch.chmod(0o755)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    ended = subprocess.run(
        [project / "demo.sh"],
        env={**os.environ, "PATH": path, "TMPDIR": str(scratch), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert ended.returncode == 0, ended.stderr
    staged, one, two, *runs = ended.stdout.splitlines()
    assert staged == "8 runs staged"
    assert sum(int(re.fullmatch(r"a queue started (\d) runs", line)[1]) for line in (one, two)) == 8
    # Two that the queues start at once are listed in either order.
    assert sorted(line.split()[-2:] for line in runs) == [["completed", f"n={n}"] for n in range(1, 9)]
    scratch.rmdir()
    assert sorted(os.listdir(project)) == sorted(os.listdir(EXAMPLE))


@pytest.mark.skipif(
    binaries() is None and os.environ.get("CI") != "true", reason="there is no PostgreSQL here"
)
def test_the_example_tells_what_went_wrong_and_leaves_nothing(tmp_path: Path) -> None:
    # The server's user runs it.
    programs = Path(tempfile.mkdtemp(prefix="orchestra-", dir="/tmp"))
    refusing = programs / "initdb"
    refusing.write_text("#!/bin/sh\necho 'initdb: no room' >&2\nexit 1\n")
    for path in (programs, refusing):
        path.chmod(0o755)

    try:
        ended = subprocess.run(
            [EXAMPLE / "demo.sh"],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
    finally:
        shutil.rmtree(programs)

    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "initdb: no room\n")
    assert list(tmp_path.iterdir()) == []
