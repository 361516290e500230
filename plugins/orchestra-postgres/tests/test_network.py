"""Hosts with networks of their own reach the server over a wire, which is cut while a queue works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from postgres_server import PostgresServer

ORCHESTRA = Path(sys.executable).with_name("orchestra")
NETWORK = "10.213.{}.{}"
SCRIPT = """
import os, time
print("begun", flush=True)
while not os.path.exists(os.path.join(os.environ["PROJECT_DIR"], "gate")):
    time.sleep(0.05)
print("loss: 1")
"""
PATIENCE = 30.0


class Host:
    """A host of this name, with one wire: to where the server is."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.space = f"orchestra-{os.getpid()}-{name}"
        self.wire = f"orch{os.getpid() % 100_000}{number}"
        self.server_address, self.address = NETWORK.format(number, 1), NETWORK.format(number, 2)

    def __enter__(self) -> Host:
        call("ip", "netns", "add", self.space)
        try:
            self._lay_wire()
        except subprocess.CalledProcessError:
            self.__exit__()
            raise
        return self

    def _lay_wire(self) -> None:
        call("ip", "link", "add", self.wire, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        call("ip", "address", "add", f"{self.server_address}/30", "dev", self.wire)
        call("ip", "link", "set", self.wire, "up")
        call("ip", "-n", self.space, "address", "add", f"{self.address}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            call("ip", "-n", self.space, "link", "set", device, "up")

    def __exit__(self, *_: object) -> None:
        # The wire goes with it.
        call("ip", "netns", "delete", self.space)

    def command(self, *words: str) -> list[str]:
        named = ["unshare", "--uts", "sh", "-c", f'hostname {self.name}; exec "$@"', "sh"]
        return ["ip", "netns", "exec", self.space, *named, *words]

    def reaches(self, server: PostgresServer) -> bool:
        """Whether the server can be reached from here."""
        knock = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5)"
        words = self.command(sys.executable, "-c", knock, self.server_address, str(server.port))
        return subprocess.run(words, stderr=subprocess.DEVNULL, timeout=30, check=False).returncode == 0

    def cut(self) -> None:
        """Let nothing pass any more, and nobody be told."""
        call("ip", "link", "set", self.wire, "down")

    def mend(self) -> None:
        call("ip", "link", "set", self.wire, "up")


def call(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two of them: a desk, and a gate to where runs are executed."""
    if os.geteuid() != 0:
        pytest.skip("only root can make networks")
    if shutil.which("ip") is None:
        pytest.skip("there is no 'ip' here: apt-get install iproute2")
    with ExitStack() as stack:
        try:
            made = stack.enter_context(Host("desk", 1)), stack.enter_context(Host("gate", 2))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no networks can be made here: {error.stderr.strip()}")
        yield made


class Site:
    """A home and a project that the hosts share, and the command as a person gives it on each."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.server = server
        self.project = folder / "project"
        self.project.mkdir()
        (self.project / "work.py").write_text(SCRIPT)
        self.environment = {**os.environ, "HOME": str(folder), "ORCHESTRA_HOME": str(folder / "home")}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, host: Host, *words: str) -> subprocess.Popen[str]:
        url = self.server.url_at(host.server_address)
        process = subprocess.Popen(
            host.command(str(ORCHESTRA), *words),
            cwd=self.project,
            env={**self.environment, "ORCHESTRA_STORE": f"postgres url={url}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def on(self, host: Host, *words: str) -> str:
        """What a command prints, which must succeed."""
        process = self.start(host, *words)
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out
        return out

    def run(self, host: Host) -> dict[str, object]:
        """The one run, as ``host`` sees it."""
        (run,) = (run for run in json.loads(self.on(host, "runs", "--json")) if run["kind"] == "run")
        return run

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, "it never came to that"
            time.sleep(0.1)


@pytest.fixture
def site(own_server: PostgresServer, tmp_path: Path) -> Iterator[Site]:
    own_server.let_in(f"{NETWORK.format(0, 0)}/16")
    own_server.restart()
    made = Site(tmp_path, own_server)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def test_a_queue_whose_wire_is_cut_while_it_works_goes_on_when_it_is_mended(
    hosts: tuple[Host, Host], site: Site
) -> None:
    desk, gate = hosts
    site.on(desk, "run", "work.py", "--stage", "-y")
    queue = site.start(gate, "queue", "run-once=yes")
    site.until(lambda: site.run(desk)["status"] == "running")

    assert gate.reaches(site.server)
    gate.cut()
    # Nobody waits for the server: the operation ends, and its record is there.
    (site.project / "gate").touch()
    time.sleep(2)
    assert not gate.reaches(site.server)
    assert queue.poll() is None
    assert site.run(desk)["status"] in ("running", "completed")
    gate.mend()

    told, _ = queue.communicate(timeout=PATIENCE)
    assert queue.returncode == 0, told
    assert (site.run(desk)["status"], site.run(gate)["exit_status"]) == ("completed", 0)
    assert told.count("begun") == told.count("loss: 1") == 1
