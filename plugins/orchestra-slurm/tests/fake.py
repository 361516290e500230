"""The tests' end of the fake Slurm."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("fake_slurm.py")
COMMANDS = ("sbatch", "squeue", "scancel", "sacct")


class Fake:
    """Commands, and the jobs that were given to them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("jobs", "pid", "ended", "state", "mode", "bin"):
            (root / name).mkdir(parents=True)
        for name in COMMANDS:
            (root / "bin" / name).symlink_to(PROGRAM)

    @property
    def options(self) -> dict[str, str]:
        """The executor's options that name these commands."""
        python = shlex.quote(sys.executable)
        return {name: f"{python} -S {self.root}/bin/{name}" for name in COMMANDS}

    def let(self, name: str, mode: str | None) -> None:
        """Let a command behave so from now on; None: well."""
        path = self.root / "mode" / name
        if mode is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(mode)

    def becomes(self, element: str, state: str) -> None:
        """Let Slurm say so of a job."""
        (self.root / "state" / element).write_text(state)

    def calls(self, command: str) -> list[tuple[float, str]]:
        """When a command was called, and with what."""
        try:
            lines = [line.split(" ", 2) for line in (self.root / "calls").read_text().splitlines()]
        except FileNotFoundError:
            return []
        return [(float(line[0]), line[2] if len(line) > 2 else "") for line in lines if line[1] == command]

    def jobs(self) -> dict[str, dict[str, Any]]:
        """All jobs that were taken."""
        return {
            path.name: json.loads(path.read_text()) for path in (self.root / "jobs").glob("[0-9]*[0-9]")
        } | {path.name: json.loads(path.read_text()) for path in (self.root / "jobs").glob("[0-9]")}

    def execute(self, element: str) -> None:
        """Start a job, as a cluster does that has found a place for it."""
        os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-S", str(PROGRAM), "run", element])

    def end(self) -> None:
        """Kill what is still running."""
        for path in (self.root / "pid").iterdir():
            if not (self.root / "ended" / path.name).exists():
                try:
                    os.kill(int(path.read_text()), signal.SIGKILL)
                except (ProcessLookupError, ValueError):
                    pass
