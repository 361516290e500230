"""The store keeps the store's contract, and does what a dict would."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from conftest import new_schema
from orchestra.testing.store_machine import StoreMachine, run_store_machine
from orchestra.testing.stores import (
    EnduringContract,
    MarkingContract,
    StoreContract,
    StoreOpener,
    WatchableContract,
)
from postgres_server import PostgresServer

from orchestra_postgres import Options, open_store


class TestPostgresStore(WatchableContract, MarkingContract, EnduringContract, StoreContract):
    @pytest.fixture
    def opener(self, options: Options) -> StoreOpener:
        return lambda: open_store(options)


def test_a_store_does_what_a_dict_would(server: PostgresServer) -> None:
    class PostgresMachine(StoreMachine):
        def __init__(self) -> None:
            super().__init__()
            self.folder = tempfile.TemporaryDirectory()
            self.options = Options(home=Path(self.folder.name), url=server.url, schema=new_schema())

        def opener(self) -> StoreOpener:
            return lambda: open_store(self.options)

        def teardown(self) -> None:
            super().teardown()
            self.folder.cleanup()

    run_store_machine(PostgresMachine, examples=25)
