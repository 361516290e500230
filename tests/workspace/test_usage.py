"""How much room directories take."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from orchestra.workspace.usage import Usage

BLOCK = 4096


def written(path: Path, blocks: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(blocks * BLOCK))
    # Some file systems allocate only when it is written back.
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path


def du(*paths: Path) -> int:
    printed = subprocess.run(
        ["du", "-s", "-c", "--block-size=1", *paths], capture_output=True, text=True, check=True
    ).stdout
    return int(printed.splitlines()[-1].split()[0])


def test_it_is_what_du_says(tmp_path: Path) -> None:
    written(tmp_path / "a" / "deep" / "er" / "file", 3)
    written(tmp_path / "a" / "other", 1)
    os.link(tmp_path / "a" / "other", tmp_path / "a" / "again")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    with (tmp_path / "a" / "sparse").open("wb") as file:
        file.truncate(1 << 40)

    assert Usage().add(str(tmp_path / "a")) == du(tmp_path / "a")


def test_a_file_with_links_in_several_directories_is_counted_once_in_all(tmp_path: Path) -> None:
    shared = written(tmp_path / "a" / "shared", 5)
    written(tmp_path / "b" / "own", 2)
    os.link(shared, tmp_path / "b" / "shared")
    usage = Usage()

    each = [usage.add(str(tmp_path / name)) for name in "ab"]

    assert each == [du(tmp_path / "a"), du(tmp_path / "b")]
    assert usage.total == usage.freed == du(tmp_path / "a", tmp_path / "b") == sum(each) - 5 * BLOCK


def test_a_file_with_a_link_elsewhere_is_not_freed(tmp_path: Path) -> None:
    shared = written(tmp_path / "a" / "shared", 5)
    (tmp_path / "kept").mkdir()
    os.link(shared, tmp_path / "kept" / "shared")
    usage = Usage()

    usage.add(str(tmp_path / "a"))

    assert usage.freed == usage.total - 5 * BLOCK


def test_what_is_gone_takes_no_room(tmp_path: Path) -> None:
    assert Usage().add(str(tmp_path / "missing")) == 0
