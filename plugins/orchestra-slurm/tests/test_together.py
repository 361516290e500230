"""Two foreign engines at once: staged on one host, claimed on another, run on Slurm, looked at from a third."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from cluster import Cluster

ORCHESTRA = Path(sys.executable).with_name("orchestra")
STORE_TESTS = Path(__file__).parents[2] / "orchestra-postgres" / "tests"
SCRIPT = "x = 1\nprint('loss:', x * x)\n"


@pytest.fixture
def store() -> Generator[str]:
    """A PostgreSQL server, as ``ORCHESTRA_STORE`` names it."""
    if importlib.util.find_spec("orchestra_postgres") is None:
        pytest.skip("orchestra-postgres is not installed")
    sys.path.append(str(STORE_TESTS))
    try:
        from postgres_server import PostgresServer, binaries
    finally:
        sys.path.remove(str(STORE_TESTS))
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for server in PostgresServer(Path(folder) / "server", programs).running():
            yield f"postgres url={server.url}"


class Site:
    """A folder that several hosts share, and the command as a person gives it on each."""

    def __init__(self, folder: Path, store: str) -> None:
        self.project = folder / "project"
        self.project.mkdir()
        (self.project / "square.py").write_text(SCRIPT)
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "ORCHESTRA_HOME": str(folder / "home"),
            "ORCHESTRA_STORE": store,
        }

    def on(self, host: str, *words: str) -> str:
        """Run a command on ``host``; what it prints."""
        named = ["unshare", "--uts", "sh", "-c", f'hostname {host}; exec "$@"', "sh"]
        done = subprocess.run(
            [*named, ORCHESTRA, *words],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def test_a_sweep_is_staged_claimed_run_and_compared_on_different_hosts(
    cluster: Cluster, store: str, tmp_path: Path
) -> None:
    site = Site(tmp_path, store)

    site.on("desk", "run", "square.py", "x=[1,2,3]", "--stage-trials", "-y")
    site.on("gate", "queue", "run-once=yes", "--jobs", "3", "--executor", "slurm")
    runs = [run for run in json.loads(site.on("train", "runs", "--json")) if run["kind"] == "run"]
    table = list(csv.DictReader(io.StringIO(site.on("train", "compare", "-Fo", "square.py", "--csv", "-"))))
    told = [site.on("train", "runs", "info", run["id"]) for run in runs]

    assert [(run["status"], run["executor"]) for run in runs] == [("completed", "slurm")] * 3
    assert sorted((int(row["x"]), float(row["loss"])) for row in table) == [(1, 1.0), (2, 4.0), (3, 9.0)]
    assert all("square.py" in text and "exit_status: 0" in text for text in told)
    assert not (tmp_path / "home" / "store.db").exists()
