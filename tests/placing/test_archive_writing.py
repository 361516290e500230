"""Archives are written piece by piece, and are there whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import IO, cast

import pytest

from orchestra.errors import UserError
from orchestra.placing import archive_writing, members
from orchestra.placing.archive_writing import ArchiveFile, FolderWriter, storable, write_mode
from orchestra.placing.archives import archive_type, type_by_content, unpack
from orchestra.placing.making import Making

KINDS = ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"]
ODD = 1_700_001


def reader(data: bytes) -> IO[bytes]:
    return cast(IO[bytes], io.BytesIO(data))


def write(writer: ArchiveFile | FolderWriter, name: str, data: bytes, *, size: int | None = None) -> str:
    steps = writer.file(
        name, reader(data), len(data) if size is None else size, executable=True, modified=1e9
    )
    return [step for step in steps if step][-1]


def opened(path: Path) -> ArchiveFile:
    mode = write_mode(path.name)
    assert mode is not None
    archive = ArchiveFile(path, mode)
    archive.open()
    return archive


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_is_unpacked_again(tmp_path: Path, name: str) -> None:
    data = os.urandom(ODD)
    archive = opened(tmp_path / name)
    archive.folder("one")
    digest = write(archive, "one/big", data)
    write(archive, "one/empty", b"")
    archive.link("one/link", "big")
    archive.finish(replace=False, fsync=True)
    archive.discard()
    (tmp_path / "into").mkdir()

    kind = type_by_content(tmp_path / name)
    assert kind == archive_type(name)
    for _ in unpack(tmp_path / name, kind or "tar", tmp_path / "into"):
        pass

    one = tmp_path / "into" / "one"
    assert digest == hashlib.sha256(data).hexdigest()
    assert (one / "big").read_bytes() == (one / "link").read_bytes() == data
    assert os.access(one / "big", os.X_OK)
    assert (one / "empty").read_bytes() == b""
    assert os.readlink(one / "link") == "big"


@pytest.mark.parametrize("name", KINDS)
def test_what_is_discarded_leaves_nothing(tmp_path: Path, name: str) -> None:
    archive = opened(tmp_path / name)
    steps = archive.file("one", reader(b"x" * ODD), ODD, executable=False, modified=1e9)
    next(steps)
    steps.close()
    archive.discard()

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_has_shrunk_is_told(tmp_path: Path, name: str) -> None:
    archive = opened(tmp_path / name)
    with pytest.raises(UserError, match="'one' was changed while it was read"):
        write(archive, "one", b"short", size=100)
    archive.discard()

    assert os.listdir(tmp_path) == []


def test_one_that_is_there_is_replaced_only_on_wish(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("mine")
    archive = opened(tmp_path / "a.zip")
    with pytest.raises(FileExistsError):
        archive.finish(replace=False, fsync=False)
    archive.discard()
    assert (tmp_path / "a.zip").read_text() == "mine"

    archive = opened(tmp_path / "a.zip")
    archive.finish(replace=True, fsync=False)
    assert type_by_content(tmp_path / "a.zip") == "zip"
    assert os.listdir(tmp_path) == ["a.zip"]


def test_nothing_is_written_that_would_be_refused_as_a_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "RATIO_FREE", 1000)
    archive = opened(tmp_path / "a.zip")
    write(archive, "zeros", bytes(ODD))
    with pytest.raises(UserError, match="refused as a bomb"):
        archive.finish(replace=False, fsync=False)
    archive.discard()

    assert os.listdir(tmp_path) == []


def test_what_others_left_is_removed_and_what_they_write_is_not(tmp_path: Path) -> None:
    left = tmp_path / ".a.zip.0123abcd.part"
    left.touch()
    (tmp_path / ".making-0123abcd").mkdir()
    (tmp_path / ".making-0123abcd" / "file").touch()
    mine = [tmp_path / ".a.zip.mine.part", tmp_path / ".making-mine"]
    for path in mine:
        path.mkdir()

    first = opened(tmp_path / "a.zip")
    second = opened(tmp_path / "a.zip")
    making = Making(tmp_path, ".making-")
    other = Making(tmp_path, ".making-")

    assert not left.exists()
    assert len(os.listdir(tmp_path)) == 6
    first.finish(replace=False, fsync=False)
    second.discard()
    making.close()
    other.close()
    assert sorted(os.listdir(tmp_path)) == [".a.zip.mine.part", ".making-mine", "a.zip"]


def test_a_folder_is_written_without_following_or_replacing(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    writer = FolderWriter(tmp_path)

    for name in ("target", "link"):
        with pytest.raises(FileExistsError):
            write(writer, name, b"x")
    assert (tmp_path / "target").read_bytes() == b""


def test_what_is_in_memory_is_written_however_large_it_is(tmp_path: Path) -> None:
    digest = write(FolderWriter(tmp_path), "one", b"x" * ODD)

    assert digest == hashlib.sha256((tmp_path / "one").read_bytes()).hexdigest()


def test_a_clone_has_no_more_than_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def clone(source: int, target: int) -> bool:
        os.write(target, data + b"grown")
        return True

    data = os.urandom(ODD)
    (tmp_path / "source").write_bytes(data + b"grown")
    monkeypatch.setattr(archive_writing, "clone", clone)

    with open(tmp_path / "source", "rb", buffering=0) as file:
        steps = FolderWriter(tmp_path).file("copy", file, ODD, executable=False, modified=1e9)
        digest = [step for step in steps if step][-1]

    assert digest == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "copy").read_bytes() == data


@pytest.mark.parametrize(
    ("name", "as_tar", "as_zip"),
    [
        ("a/b c", True, True),
        ("a\nb", False, False),
        ("\udcff", True, False),
        ("a\\..\\b", False, False),
        ("C:x", False, False),
    ],
)
def test_names_are_kept_that_can_be_taken_out_again(name: str, as_tar: bool, as_zip: bool) -> None:
    assert storable(name, as_zip=False) is as_tar
    assert storable(name, as_zip=True) is as_zip


def test_of_a_tar_its_headers_count_as_for_those_who_unpack_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "RATIO_FREE", 1000)
    monkeypatch.setattr(members, "MAX_RATIO", 5)
    archive = opened(tmp_path / "tiny.tar.bz2")
    for number in range(500):
        write(archive, f"{number}", b"x")

    with pytest.raises(UserError, match="would be refused as a bomb"):
        archive.finish(replace=False, fsync=False)
    archive.discard()


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_links_that_would_be_refused_are_left_out_and_the_others_stay(tmp_path: Path, name: str) -> None:
    into = tmp_path / "into"
    into.mkdir()
    archive = opened(tmp_path / name)
    archive.link("one/round", "../two/round")
    archive.link("one/fine", "../two/later")
    archive.link("one/gone", "../two/gone")
    write(archive, "two/later", b"x")
    archive.link("two/round", "../one/round")
    archive.finish(replace=False, fsync=False)
    archive.discard()

    for _ in unpack(tmp_path / name, archive_type(name) or "tar", into):
        pass
    assert [str(path.relative_to(into)) for path in into.rglob("*") if path.is_symlink()] == ["one/fine"]


def test_no_more_is_written_than_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_MEMBERS", 3)
    archive = opened(tmp_path / "a.tar")
    write(archive, "one/x", b"")
    write(archive, "one/y", b"")
    with pytest.raises(UserError, match="more than 3 members"):
        write(archive, "one/z", b"")
    archive.discard()
