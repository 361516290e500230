"""What `orchestra operations` finds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestra.project.listing import list_operations


def listed(directory: Path) -> dict[str, str]:
    return {one.name: one.description for one in list_operations(directory)}


@pytest.mark.parametrize(
    "content",
    [
        "print('hi')",
        "x = 1",
        "def main(): ...\nif __name__ == '__main__':\n    main()",
        "def main(): ...\nmain()",
        "import os\nclass A: ...\nfor _ in []: pass",
        "not python",
    ],
)
def test_a_python_file_that_does_something_is_an_operation(tmp_path: Path, content: str) -> None:
    (tmp_path / "it.py").write_text(content)

    assert listed(tmp_path) == {"it.py": "", "queue": "Start staged runs."}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("it.py", '"""Of use to others."""\nimport os\nX = 1\ndef f(): ...\nif X:\n    Y = 2'),
        ("_it.py", "print()"),
        (".it.py", "print()"),
        ("data.csv", "1,2"),
    ],
)
def test_other_files_are_none(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)

    assert list(listed(tmp_path)) == ["queue"]


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "gone.py").symlink_to("nowhere")

    assert list(listed(tmp_path)) == ["queue"]


def test_a_script_is_described_by_the_first_line_of_its_docstring_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "fit.py").write_text('"""\nFit a model.\n\nMore.\n"""\nraise SystemExit("run!")\n')

    assert listed(tmp_path)["fit.py"] == "Fit a model."


def test_operations_are_sorted_with_the_executables(tmp_path: Path) -> None:
    (tmp_path / "z.py").write_text("")
    (tmp_path / "a.sh").write_text("#!/bin/sh\n")
    (tmp_path / "a.sh").chmod(0o755)

    assert list(listed(tmp_path)) == ["a.sh", "queue", "z.py"]
