"""One server for all tests; each has a schema and a home of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from orchestra.testing.stores import StoreOpener
from postgres_server import PostgresServer, binaries

from orchestra_postgres import Options, open_store

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """The server that all tests share."""
    yield from a_server()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server for one test, which may stop it."""
    yield from a_server()


def a_server() -> Iterator[PostgresServer]:
    programs = binaries()
    if programs is None:
        assert os.environ.get("CI") != "true", "PostgreSQL must be installed here"
        pytest.skip("there is no PostgreSQL here: apt-get install postgresql")
    # Not below pytest's own folder, which other users can't enter.
    folder = Path(tempfile.mkdtemp(prefix="orchestra-postgres-"))
    try:
        folder.chmod(0o755)
        yield from PostgresServer(folder / "server", programs).running()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_schema() -> str:
    return f"test_{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def options(server: PostgresServer, tmp_path: Path) -> Options:
    return Options(home=tmp_path / "home", url=server.url, schema=new_schema())


@pytest.fixture
def opener(options: Options) -> StoreOpener:
    return lambda: open_store(options)


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("PG", "ORCHESTRA_")):
            monkeypatch.delenv(name)
