"""The places in which the documents are read: copies of the examples, homes of their own, plugins as installed."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestra.testing.distributions import FakeSite
from tests.docs.documents import NAMED, ROOT, Shell, blocks_of
from tests.guild_homes import STARTED, GuildHome

PLUGINS = "A plugin of each kind"
QUEUES = "Queues: order, resources, failures"
SWEEP = "Finish a sweep"
COMPARE = "Compare"
KEEPING = "Keep what is good"
PLOTS = "Plots"
SHARING = "Move and share runs"
GUILD = "From Guild AI"


@contextmanager
def readme_reader(place: Path, section: str) -> Iterator[Shell]:
    """A shell in a copy of what README's commands need. Files go where that section wants them."""
    clone, home, site = place / "clone", place / "home", place / "site"
    for folder in (clone, home, site):
        folder.mkdir()
    shutil.copytree(ROOT / "examples", clone / "examples")
    shell = Shell(clone, home, {"PYTHONPATH": str(site)})
    shell.files = {PLUGINS: site, SWEEP: clone, PLOTS: clone}.get(section, clone / "examples" / "argparse")
    try:
        if section == GUILD:
            guild = GuildHome(home / ".guild", project=clone)
            guild.run("0c9f8c4d2a6f4e0d9f6a3c4b5d6e7f80", "error", flags={"x": 1.0}, label="x=1.0")
            guild.run(
                "5be1a7c3a0d94f0e8d1c2b3a49586776", flags={"x": 2.0}, label="x=2.0", started=STARTED + 1
            )
        if section in (PLUGINS, QUEUES, COMPARE, SHARING):
            shell.run("cd examples/argparse")
        yield shell
    finally:
        shell.close()


@contextmanager
def example_reader(place: Path, example: Path) -> Iterator[Shell]:
    """A shell in a copy of an example."""
    project, home = place / example.resolve().name, place / "home"
    shutil.copytree(example, project)
    home.mkdir()
    shell = Shell(project, home)
    try:
        yield shell
    finally:
        shell.close()


def install_plugins(site: Path) -> None:
    """What README shows as files, as an installed distribution."""
    for block in blocks_of(ROOT / "README.md", section=PLUGINS):
        if named := NAMED.match(block.text):
            (site / named["name"]).write_text(block.text.removeprefix(named[0]))
    project = tomllib.loads((site / "pyproject.toml").read_text())["project"]
    FakeSite(site).install(project["name"], project["version"], entry_points=project["entry-points"])
