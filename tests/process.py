"""Real ``orchestra`` processes for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.fork_server import Forked, fork_server

FORKED = {"cwd", "env", "stdin", "stdout", "stderr", "errors"}
"""The options of ``subprocess`` that a process can have that is forked."""


class Ran(NamedTuple):
    """How a process ended and what it printed (both streams in ``output`` unless they were kept apart)."""

    code: int
    output: str
    error: str


class Shell:
    """Starts ``orchestra`` with a home of its own."""

    def __init__(self, home: Path, cwd: Path) -> None:
        self.home = home
        self.cwd = cwd
        self.environment = {
            **{name: value for name, value in os.environ.items() if _is_inherited(name)},
            "ORCHESTRA_HOME": str(home),
            "ORCHESTRA_CONFIG": os.devnull,
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orchestra", *arguments]

    def run(
        self,
        *arguments: str,
        cwd: Path | None = None,
        separate: bool = False,
        stdin: str | None = None,
        timeout: float = 60,
        **environment: str,
    ) -> Ran:
        """Run to the end."""
        process = self.start(
            *arguments,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stderr=subprocess.PIPE if separate else subprocess.STDOUT,
            errors="surrogateescape",
        )
        try:
            output, error = process.communicate(stdin, timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return Ran(process.returncode, output, error or "")

    def start(self, *arguments: str, cwd: Path | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start in the background; both streams in one pipe unless ``options`` say otherwise."""
        options = {
            "cwd": cwd or self.cwd,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            **options,
            "env": {**self.environment, **options.get("env", {})},
        }
        server = fork_server(self.environment)
        if options.keys() <= FORKED and server.suits(arguments, options["env"]):
            return Forked(server, arguments, **options)
        return subprocess.Popen(self.command(*arguments), text=True, **options)

    def bash(self, command: str, **environment: str) -> Ran:
        """What a person pastes into a terminal."""
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=self.cwd,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
        )
        return Ran(ended.returncode, ended.stdout, "")


def _is_inherited(name: str) -> bool:
    # Without cached bytecode every process would compile all of our modules anew.
    return not name.startswith("ORCHESTRA_") and name != "PYTHONDONTWRITEBYTECODE"
