"""A fake Slurm that a test scripts, and a real one of one node, which is brought up once for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from cluster import Cluster, reason_against
from fake import Fake


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Fake]:
    """Fake commands with jobs of their own."""
    made = Fake(tmp_path / "fake")
    monkeypatch.setenv("FAKE_SLURM", str(made.root))
    yield made
    made.end()


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """A real Slurm of one node. Without the packages, or the right, to start it tests are skipped, but never in CI."""
    reason = reason_against()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(f"a real Slurm is needed here: {reason}")
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def cluster(real_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Generator[Cluster]:
    """The real Slurm, which Slurm's commands find; nothing is left in it afterwards."""
    monkeypatch.setenv("SLURM_CONF", str(real_cluster.configuration))
    yield real_cluster
    real_cluster.cancel_all()
