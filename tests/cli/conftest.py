"""Commands in this process: as quick as a call, through the same entry as real ones."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cyclopts
import pytest

from orchestra.cli import entry, options
from orchestra.plugins import listing, scanning


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

_assemble = cyclopts.App.assemble_argument_collection
_assembled: dict[Any, Any] = {}
_scan = scanning.scan
_installed = listing.installed_path()
_scanned: list[Any] = []


def _assemble_once(app: cyclopts.App, *, parse_docstring: bool = False) -> Any:
    """The options of a verb: what is found out of its signature takes longer than the verb, and is the same."""
    key = (app.default_command, parse_docstring)
    if key not in _assembled:
        _assembled[key] = _assemble(app, parse_docstring=parse_docstring)
    copies = {id(one): copy.copy(one) for one in _assembled[key]}
    for one in copies.values():
        one.tokens = []
        one.children = type(one.children)(copies[id(child)] for child in one.children)
    return type(_assembled[key])(copies.values())


def _scan_once(path: list[str]) -> Any:
    """What is really installed: each test's home is new, and would have us look for plugins again."""
    if path != _installed:
        return _scan(path)
    if not _scanned:
        _scanned.append(_scan(path))
    return _scanned[0]


@pytest.fixture
def call(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    """Call ``orchestra ARGUMENTS`` with a home of its own, in ``tmp_path``, with nobody at the keyboard."""
    monkeypatch.setenv("ORCHESTRA_HOME", str(home))
    monkeypatch.setattr(cyclopts.App, "assemble_argument_collection", _assemble_once)
    monkeypatch.setattr(scanning, "scan", _scan_once)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Called:
        monkeypatch.setattr(options, "current", options.GlobalOptions())
        capfd.readouterr()
        code = entry.execute(list(arguments))
        # A command freezes what is loaded, for its process ends with it. This one goes on.
        gc.unfreeze()
        return Called(code, *capfd.readouterr())

    return call
