"""The examples do what their READMEs show."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, Shell, blocks_of, play

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("name", ["argparse", "globals", "command"])
def test_an_example_does_what_its_readme_shows(name: str, tmp_path: Path) -> None:
    project = tmp_path / name
    shutil.copytree(EXAMPLES / name, project)
    home = tmp_path / "home"
    home.mkdir()
    shell = Shell(project, home)
    try:
        assert play(blocks_of(project / "README.md"), shell) >= 3
    finally:
        shell.close()

    # Runs are in the home, so the project is as it was.
    assert sorted(os.listdir(project)) == sorted(os.listdir(EXAMPLES / name))


def test_every_example_is_in_their_list() -> None:
    listed = (EXAMPLES / "README.md").read_text()

    for folder in EXAMPLES.iterdir():
        assert folder.is_file() or f"]({folder.name})" in listed
