"""Queues of several hosts share one server and one folder: they are killed while they work, and so is the server."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import psycopg
import pytest
from orchestra.testing.store_storm import Storm
from postgres_server import PostgresServer


def on_host(number: int, command: list[str]) -> list[str]:
    """Under another host name, which is half of what a host is known by."""
    return ["unshare", "-Uru", "sh", "-c", f'hostname host-{number}; exec "$@"', "sh", *command]


@pytest.fixture
def _hosts() -> None:
    made = subprocess.run(on_host(1, ["hostname"]), capture_output=True, text=True)
    if made.stdout != "host-1\n":
        pytest.skip("no host names can be made here")


@pytest.mark.usefixtures("_hosts")
def test_when_queues_of_several_hosts_and_their_server_are_killed_all_runs_once(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    def cut() -> None:
        with psycopg.connect(own_server.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'orchestra %' AND random() < 0.5"
            )

    storm = Storm(
        tmp_path,
        {"ORCHESTRA_STORE": f"postgres url={own_server.url}"},
        on_host=on_host,
        strikes=[cut, lambda: own_server.restart("immediate")],
    )
    storm.rage(random.Random(1))
