"""Files that a person names are whole, or as they were."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from orchestra.errors import UserError
from orchestra.workspace import personal_files
from orchestra.workspace.personal_files import write_file


def test_a_file_is_made_as_open_as_others(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        write_file(tmp_path / "x.csv", b"1\n", "x.csv")
    finally:
        os.umask(umask)

    assert (tmp_path / "x.csv").read_bytes() == b"1\n"
    assert stat.S_IMODE((tmp_path / "x.csv").stat().st_mode) == 0o640


def test_no_folder_is_made_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "b/x.csv")

    with pytest.raises(UserError, match="a/b' is not a directory"):
        write_file(tmp_path / "a/b/x.csv", b"", "x.csv")
    with pytest.raises(UserError, match="b' is not a directory"):
        write_file(tmp_path / "link.csv", b"", "link.csv")
    assert os.listdir(tmp_path) == ["link.csv"]


def test_a_file_that_is_there_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "real.csv", tmp_path / "link.csv"
    target.write_text("old")
    target.chmod(0o604)
    link.symlink_to(target)

    write_file(link, b"new", "link.csv")

    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    assert sorted(os.listdir(tmp_path)) == ["link.csv", "real.csv"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()

    write_file(pipe, b"data", "pipe")
    reader.join(10)

    assert read == [b"data"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_can_not_be_written_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match="cannot write 'folder': Is a directory"):
        write_file(tmp_path, b"", "folder")
    with pytest.raises(UserError, match="file' is not a directory"):
        write_file(tmp_path / "file" / "x", b"", "file/x")


def test_who_fails_half_way_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.csv").write_text("old")

    def fail(descriptor: int, data: bytes) -> int:
        os.write(descriptor, data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(personal_files, "write_all", fail)
    with pytest.raises(UserError, match=r"cannot write 'x\.csv': No space left on device"):
        write_file(tmp_path / "x.csv", b"new", "x.csv")

    assert os.listdir(tmp_path) == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "old"
