"""What a row of the table is, and what it is measured with."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from tests.benchmarks.timing import Commands

ROOT = Path(__file__).parent.parent.parent
SAY = ROOT / "tests" / "samples" / "batch" / "say.py"
PASS = [sys.executable, "-c", "pass"]
SAY_ALONE = [sys.executable, str(SAY), "--msg", "a"]
NOMINAL_START = 0.010
"""What ``python -c pass`` took on the machine that the absolute targets are for, in seconds."""

Scale = Literal["ratio", "absolute", "scaled"]


class Figure(NamedTuple):
    """One result: a number with its unit, the targets, and the floor beside it."""

    what: str
    value: float
    unit: str
    target: float
    stretch: float | None = None
    floor: float | None = None
    """In the same unit, of the same sitting."""
    floor_is: str = ""
    scale: Scale = "absolute"
    """``ratio``: targets are multiples of the floor. ``scaled``: they grow with ``python -c pass``."""
    at_least: bool = False
    """The value is to be at least the target, not at most."""


class Bench:
    """A sitting: the directory that everything happens in, how much is done, and how slow the machine is."""

    def __init__(self, directory: Path, *, quick: bool) -> None:
        self.directory = directory
        self.quick = quick
        self.start_time = NOMINAL_START
        """Today's ``python -c pass`` in seconds."""
        self.project = directory / "project"
        self.project.mkdir()
        shutil.copy(SAY, self.project)
        self._script = Path(sys.executable).parent / "orchestra"

    def few(self, full: int, quick: int) -> int:
        """How many: ``full``, or ``quick`` where only the working of the benchmarks is of interest."""
        return quick if self.quick else full

    def new_home(self) -> Path:
        """The path of a home that is not there yet."""
        return Path(tempfile.mkdtemp(prefix="home-", dir=self.directory)) / "home"

    def commands(self, home: Path) -> Commands:
        """Runs commands in the project with that home."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRA_")}
        environment |= {
            "ORCHESTRA_HOME": str(home),
            "ORCHESTRA_CONFIG": os.devnull,
            "TMPDIR": str(self.directory),
        }
        if not self._script.exists():
            environment["PYTHONPATH"] = str(ROOT)
        return Commands(self.project, environment)

    def orchestra(self, *arguments: str) -> list[str]:
        """The command line: the installed script, or the source tree where it is not installed."""
        if self._script.exists():
            return [str(self._script), *arguments]
        return [sys.executable, "-m", "orchestra", *arguments]

    def script(self, name: str, text: str) -> str:
        """Put a script into the project and return its name."""
        (self.project / name).write_text(text)
        return name


class Row(NamedTuple):
    """A row of the table, which may have several figures."""

    key: str
    measure: Callable[[Bench], list[Figure]]
