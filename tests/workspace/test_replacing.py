"""The source of a run is replaced by all of another or not at all, whoever is killed meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestra.workspace import copies, source
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.manifest import MANIFEST
from orchestra.workspace.replacing import Incoming, undo

OLD = {"train.py": "old", "lib/a.py": "old a", "only_old.py": "mine", "swap": "a file"}
NEW = {"train.py": "new", "lib/a.py": "new a", "only_new.py": "theirs", "swap/deep.py": "in a folder"}


class Killed(BaseException):
    """In the place of a kill -9: nothing handles it."""


def select(folder: Path, files: dict[str, str]) -> source.Selection:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return source.select(folder)


def content(run_dir: Path) -> dict[str, str]:
    files = (path for path in run_dir.rglob("*") if path.is_file() and CONTROL not in path.parts)
    return {str(path.relative_to(run_dir)): path.read_text() for path in files}


@pytest.fixture
def half_replaced(tmp_path: Path) -> Path:
    """A run's directory as somebody left it who was killed when all new files were in their places."""
    run_dir, left = tmp_path / "run", tmp_path / "left"
    selection = select(tmp_path / "old", OLD)
    copies.copy_selection(selection, run_dir)
    (run_dir / CONTROL).mkdir()
    (run_dir / CONTROL / MANIFEST).write_bytes(selection.manifest)
    incoming = Incoming(run_dir, "x")
    incoming.copy(select(tmp_path / "new", NEW))
    with incoming.swapped():
        shutil.copytree(run_dir, left)
    assert content(left) == NEW
    return left


@contextmanager
def killed_at(number: int) -> Iterator[None]:
    """Die instead of the ``number``-th change of a directory."""
    left = number

    def dying(change: Any) -> Any:
        def changed(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return change(*args, **options)

        return changed

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "unlink", "rmdir"):
            patch.setattr(os, name, dying(getattr(os, name)))
        yield


def test_an_undoing_that_is_killed_anywhere_is_gone_on_with(half_replaced: Path, tmp_path: Path) -> None:
    kills = 0
    while True:
        run_dir = tmp_path / f"killed {kills}"
        shutil.copytree(half_replaced, run_dir)
        try:
            with killed_at(kills):
                undo(run_dir)
        except Killed:
            kills += 1
        else:
            break
        undo(run_dir)
        assert content(run_dir) == OLD, f"killed at change {kills}"
    assert kills > len(OLD) + len(NEW)
    assert content(run_dir) == OLD
