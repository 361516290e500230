"""Both stores, and a dict, do the same whatever is asked of them in whatever order."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import pytest

from orchestra.builtin.store_sqlite import Options, open_store
from orchestra.testing.memory_store import MemoryData, MemoryOptions, open_memory_store
from orchestra.testing.store_machine import StoreMachine, run_store_machine
from orchestra.testing.store_race import StoreOpener


class SqliteMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()

    def opener(self) -> StoreOpener:
        return partial(open_store, Options(home=Path(self.folder.name)))

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class MemoryMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.data = MemoryData()

    def opener(self) -> StoreOpener:
        return partial(open_memory_store, MemoryOptions(data=self.data))


@pytest.mark.parametrize("machine", [SqliteMachine, MemoryMachine])
def test_a_store_does_what_a_dict_would(machine: type[StoreMachine]) -> None:
    run_store_machine(machine)
