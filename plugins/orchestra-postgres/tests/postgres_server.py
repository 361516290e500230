"""A PostgreSQL server of one's own: in a folder, on a free port of this computer, gone when it is stopped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "log_min_messages": "warning",
}


def binaries() -> Path | None:
    """Where the newest server's programs are; None if there is none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3])
    )
    return versions[-1].parent if versions else None


class PostgresServer:
    """One server, which can be stopped, killed and started again."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._settings = dict(SETTINGS)
        self.port = _free_port()

    @property
    def url(self) -> str:
        return self.url_at("127.0.0.1")

    def url_at(self, address: str) -> str:
        return f"postgresql://postgres@{address}:{self.port}/postgres"

    def make(self) -> None:
        self.folder.mkdir(exist_ok=True)
        if self._as_postgres:
            shutil.chown(self.folder, "postgres")
        self._call(
            "initdb", "-D", f"{self.folder}/data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"
        )

    def let_in(self, network: str) -> None:
        """From the next start on, listen to all networks, and let in whoever comes from this one."""
        self._settings["listen_addresses"] = "*"
        with open(f"{self.folder}/data/pg_hba.conf", "a") as file:
            file.write(f"host all all {network} trust\n")

    def start(self) -> None:
        settings = " ".join(f"-c {name}={value}" for name, value in self._settings.items())
        options = f"-p {self.port} -k {self.folder} {settings}"
        self._call(
            "pg_ctl", "-D", f"{self.folder}/data", "-w", "-l", f"{self.folder}/log", "-o", options, "start"
        )

    def stop(self, how: str = "fast") -> None:
        self._call("pg_ctl", "-D", f"{self.folder}/data", "-w", "-m", how, "stop")

    def restart(self, how: str = "fast") -> None:
        self.stop(how)
        self.start()

    def running(self) -> Iterator[PostgresServer]:
        self.make()
        self.start()
        try:
            yield self
        finally:
            self.stop("immediate")

    def _call(self, program: str, *arguments: str) -> None:
        ended = subprocess.run(
            [*self._as_postgres, self._programs / program, *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            timeout=90,
        )
        assert ended.returncode == 0, (ended.args, ended.stdout)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
