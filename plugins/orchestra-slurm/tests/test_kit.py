"""The executor keeps its contract: on a Slurm that is faked, and on a real one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from cluster import Cluster
from fake import Fake
from orchestra.testing.executors import ExecutorContract, ExecutorOpener
from orchestra.testing.hinting import HintingContract
from orchestra.testing.scheduling import PersistingContract, SchedulingContract

from orchestra_slurm import Options, open_executor


class TestFakeSlurm(HintingContract, PersistingContract, SchedulingContract, ExecutorContract):
    many = 40

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"

    @pytest.fixture
    def opener(self, fake: Fake, tmp_path: Path) -> ExecutorOpener:
        return partial(open_executor, Options(home=tmp_path, poll=0.05, window=0.02, **fake.options))


class TestRealSlurm(HintingContract, PersistingContract, SchedulingContract, ExecutorContract):
    many = 40

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def opener(self, cluster: Cluster, tmp_path: Path) -> ExecutorOpener:
        return partial(open_executor, Options(home=tmp_path, poll=0.1, window=0.02))
