from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.model.ignore import is_ignored, parse_ignore

PATHS = (
    "a",
    "b",
    "ab",
    "a/b",
    "a/a",
    "b/a/a",
    "a/b/a",
    "b/b/a/b",
    "a.c",
    "a/a.c",
    "*",
    "a/b/*",
    "x-a",
    "[",
    "a b",
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def ignored_by_git(repository: Path, text: str) -> set[str]:
    (repository / ".gitignore").write_text(text)
    done = subprocess.run(
        ["git", "-C", str(repository), "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(PATHS),
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
    )
    return {path for path in done.stdout.split("\0") if path}


def ignored_by_us(text: str) -> set[str]:
    patterns = parse_ignore(text.splitlines())

    def ignored(path: str) -> bool:
        folders = [path[:at] for at, char in enumerate(path) if char == "/"]
        return any(is_ignored(patterns, one, folder=True) for one in folders) or is_ignored(
            patterns, path, folder=False
        )

    return {path for path in PATHS if ignored(path)}


PIECES = ["a", "b", "c", ".", "*", "**", "**/", "/", "?", "[ab]", "[!a]", "[^b]", "[a-b]", "\\", " ", "-"]
pieces = st.sampled_from(PIECES)
lines = st.builds(
    lambda begin, parts: begin + "".join(parts),
    st.sampled_from(["", "", "!", "/"]),
    st.lists(pieces, max_size=5),
)


@settings(max_examples=150, deadline=None)
@given(text=st.lists(lines, max_size=3).map("\n".join))
def test_patterns_mean_what_they_mean_to_git(repository: Path, text: str) -> None:
    assert ignored_by_us(text) == ignored_by_git(repository, text)


SPECIAL = [
    "# a",
    "a ",
    "a\\ b",
    "\\#",
    "[",
    "[]",
    "[[:alpha:]]",
    "[[:nonsense:]]",
    "\\*",
    "*.c",
    "a/**",
    "**/b",
    "/a",
    "a/",
]


@pytest.mark.parametrize("text", SPECIAL)
def test_special_lines_mean_what_they_mean_to_git(repository: Path, text: str) -> None:
    assert ignored_by_us(text) == ignored_by_git(repository, text)
