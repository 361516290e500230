"""What ``orchestra check`` looks at beside runs: what is installed, what works, what is wrong."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

import orchestra
from orchestra import plugins
from orchestra.child.cloning import clone
from orchestra.engine.command_line import operation_python
from orchestra.settings import Settings, parse_plugin_spec
from orchestra.workspace.environment import Interpreter
from orchestra.workspace.git import Git
from orchestra.workspace.layout import Layout
from orchestra.workspace.trash import Trash

Level: TypeAlias = Literal["ok", "note", "problem"]
LITTLE, TOO_LITTLE = 1 << 30, 100 << 20
"""Bytes of free space."""
_DISTRIBUTION = "orchestra-runs"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Item(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    what: str
    level: Level
    message: str


def check_installation(home: Path, settings: Settings) -> Iterator[Item]:
    """All there is to say of this installation and of the home; makes no home."""
    yield _item("orchestra", orchestra.__version__)
    yield _item("python", f"{platform.python_version()} ({sys.executable})")
    yield _operation_python()
    yield from _packages()
    yield from _plugins()
    yield _git()
    yield from _home(Layout(home), settings)


def _item(what: str, message: str, level: Level = "ok") -> Item:
    return Item(what=what, level=level, message=message)


def _operation_python() -> Item:
    chosen = operation_python()
    if not os.access(chosen, os.X_OK):
        return _item("python of operations", f"'{chosen}' can't be executed", "problem")
    return _item("python of operations", f"{Interpreter(chosen).version or 'version unknown'} ({chosen})")


def _packages() -> Iterator[Item]:
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield _item("packages", "orchestra runs from its source tree and is not installed", "note")
        return
    for text in required:
        if "extra ==" in text:
            continue
        found = _NAME.match(text)
        assert found is not None
        try:
            yield _item(f"package {found[0]}", metadata.version(found[0]))
        except metadata.PackageNotFoundError:
            yield _item(f"package {found[0]}", "it is not installed", "problem")


def _plugins() -> Iterator[Item]:
    for info in map(plugins.probe, plugins.list_plugins(cache_dir=None)):
        message = f"{info.distribution} {info.version}"
        if info.error:
            yield _item(f"{info.kind} {info.name}", f"{message}: {info.error}", "problem")
        else:
            yield _item(f"{info.kind} {info.name}", message)


def _git() -> Item:
    told = Git(os.curdir, "version").answer()
    if told is None:
        return _item("git", "it is not installed: no commit is recorded, nothing is ignored", "note")
    return _item("git", os.fsdecode(told).strip().removeprefix("git version "))


def _home(layout: Layout, settings: Settings) -> Iterator[Item]:
    home = layout.home
    if not home.exists():
        yield _item("home", f"'{home}' is not there yet; the first run makes it", "note")
        return
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield _item("home", f"'{home}' is not writable", "problem")
        return
    yield _item("home", str(home))
    yield _space(home)
    yield from _trash(layout)
    yield _copies(home)
    yield _store(layout, settings)


def _space(home: Path) -> Item:
    free = shutil.disk_usage(home).free
    level: Level = "problem" if free < TOO_LITTLE else "note" if free < LITTLE else "ok"
    return _item("space", f"{free / (1 << 30):.1f} GiB free in the home", level)


def _trash(layout: Layout) -> Iterator[Item]:
    if count := len(Trash(layout).entries()):
        what = f"{count} deleted run{'' if count == 1 else 's'}"
        yield _item("trash", f"{what}: 'orchestra runs purge' frees the room they take")


def _copies(home: Path) -> Item:
    try:
        with tempfile.TemporaryFile(dir=home) as source, tempfile.TemporaryFile(dir=home) as target:
            source.write(b"x" * 4096)
            source.flush()
            shared = clone(source.fileno(), target.fileno())
    except OSError as error:
        return _item("copies", f"no file can be written in the home: {error.strerror}", "problem")
    return _item("copies", "runs share the blocks of their source" if shared else "each run has its own")


def _store(layout: Layout, settings: Settings) -> Item:
    name = parse_plugin_spec(settings.store)[0]
    if name != "sqlite":
        return _item("store", name)
    import sqlite3

    if not layout.store_path.exists():
        return _item("store", "SQLite: there is none yet; the first run makes it", "note")
    try:
        with closing(sqlite3.connect(f"file:{layout.store_path}?mode=ro", uri=True)) as connection:
            rows = connection.execute("PRAGMA quick_check(3)").fetchall()
    except sqlite3.Error as error:
        return _item("store", f"'{layout.store_path}' can't be read: {error}", "problem")
    problems = "; ".join(str(row[0]) for row in rows)
    if problems != "ok":
        return _item("store", f"'{layout.store_path}' is damaged: {problems}", "problem")
    return _item("store", f"SQLite {sqlite3.sqlite_version}, whole")
