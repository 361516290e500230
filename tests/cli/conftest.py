"""Commands in this process: as quick as a call, through the same entry as real ones."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestra.cli import entry, options


class Called(NamedTuple):
    """What a command returned and printed."""

    code: int
    output: str
    error: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.output)

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()


Call = Callable[..., Called]


@pytest.fixture
def call(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    """Call ``orchestra ARGUMENTS`` with a home of its own, in ``tmp_path``, with nobody at the keyboard."""
    monkeypatch.setenv("ORCHESTRA_HOME", str(home))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Called:
        monkeypatch.setattr(options, "current", options.GlobalOptions())
        capfd.readouterr()
        code = entry.execute(list(arguments))
        # A command freezes what is loaded, for its process ends with it. This one goes on.
        gc.unfreeze()
        return Called(code, *capfd.readouterr())

    return call
