"""The examples do what their READMEs show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, blocks_of, play
from tests.docs.readers import example_reader

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("name", ["argparse", "globals", "command", "project", "dependencies"])
def test_an_example_does_what_its_readme_shows(name: str, tmp_path: Path) -> None:
    with example_reader(tmp_path, EXAMPLES / name) as shell:
        assert play(blocks_of(EXAMPLES / name / "README.md"), shell) >= 3
        left = sorted(os.listdir(shell.cwd))

    # Runs are in the home, so the project is as it was.
    assert left == sorted(os.listdir(EXAMPLES / name))


def test_every_example_is_in_their_list() -> None:
    listed = (EXAMPLES / "README.md").read_text()

    for folder in EXAMPLES.iterdir():
        assert folder.is_file() or f"]({folder.name})" in listed
