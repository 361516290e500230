"""Archives are unpacked whole or refused; a hostile one harms nothing."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestra.errors import ResolveError
from orchestra.placing import archives, members
from orchestra.placing.archives import archive_type, type_by_content, unpack

Change = dict[str, object]


def run(path: Path, into: Path, kind=None, wanted=None) -> None:
    for _ in unpack(path, kind or archive_type(path.name) or "tar", into, wanted=wanted):
        pass


def tar(path: Path, *entries: tuple[str, bytes | Change], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else b""
            if isinstance(content, dict):
                for field, value in content.items():
                    setattr(info, field, value)
            else:
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, *entries: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "canary").write_text("alive")
    into = tmp_path / "into"
    into.mkdir()
    return into


def found(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar", "w"), ("a.tgz", "w:gz"), ("a.tar.bz2", "w:bz2"), ("a.tar.xz", "w:xz")]
)
def test_a_tar_file_comes_out_as_it_is(tmp_path, into, name, mode):
    path = tar(
        tmp_path / name,
        ("./", {"type": tarfile.DIRTYPE}),
        ("./d/one.txt", b"1" * 70_000),
        ("d/tool", {"mode": 0o4777, "size": 0}),
        ("d/same.txt", {"type": tarfile.LNKTYPE, "linkname": "d/one.txt"}),
        ("d/link", {"type": tarfile.SYMTYPE, "linkname": "one.txt"}),
        ("empty", {"type": tarfile.DIRTYPE}),
        mode=mode,
    )
    run(path, into)

    big = b"1" * 70_000
    assert found(into) == {"d/one.txt": big, "d/tool": b"", "d/same.txt": big, "d/link": big}
    assert (into / "empty").is_dir()
    assert stat.S_IMODE((into / "d/tool").stat().st_mode) & ~0o755 == 0
    assert (into / "d/one.txt").stat().st_nlink == 1


def test_a_zip_file_comes_out_as_it_is(tmp_path, into):
    path = zipped(
        tmp_path / "a.zip",
        ("d/", b"", 0),
        ("d/one.txt", b"1", 0o644 | stat.S_IFREG),
        ("tool", b"#!", 0o755 | stat.S_IFREG),
        ("l", b"d/one.txt", 0o777 | stat.S_IFLNK),
    )
    run(path, into)

    assert found(into) == {"d/one.txt": b"1", "tool": b"#!", "l": b"1"}
    assert (into / "tool").stat().st_mode & 0o100


def test_a_compressed_file_comes_out_under_its_own_name(tmp_path, into):
    (tmp_path / "data.csv.gz").write_bytes(gzip.compress(b"1,2"))
    run(tmp_path / "data.csv.gz", into)

    assert found(into) == {"data.csv": b"1,2"}


def sym(target: str) -> Change:
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hard(target: str) -> Change:
    return {"type": tarfile.LNKTYPE, "linkname": target}


REFUSED: dict[str, list[tuple[str, bytes | Change]]] = {
    "parent": [("ok", b"1"), ("../canary", b"x")],
    "absolute": [("ok", b"1"), ("/tmp/canary", b"x")],
    "drive": [("C:\\canary", b"x")],
    "drive slash": [("C:/canary", b"x")],
    "backslashes": [("..\\canary", b"x")],
    "inner parent": [("a/../../canary", b"x")],
    "link out": [("l", sym("../canary"))],
    "absolute link": [("l", sym("/etc/passwd"))],
    "empty link": [("l", sym(""))],
    "file through a link": [("l", sym("d")), ("d", {"type": tarfile.DIRTYPE}), ("l/x", b"x")],
    "file below a file": [("l", b"1"), ("l/x", b"x")],
    "hard link out": [("l", hard("../canary"))],
    "hard link absolute": [("l", hard("/etc/passwd"))],
    "hard link to a link": [("a", b"1"), ("s", sym("a")), ("l", hard("s"))],
    "hard link to what follows": [("l", hard("a")), ("a", b"1")],
    "device": [("ok", b"1"), ("dev", {"type": tarfile.CHRTYPE})],
    "block device": [("dev", {"type": tarfile.BLKTYPE})],
    "pipe": [("fifo", {"type": tarfile.FIFOTYPE})],
    "twice": [("a", b"1"), ("a", b"2")],
    "twice by another way": [("a", b"1"), ("./a", b"2")],
    "control character": [("a\x1b[2J", b"1")],
    "newline": [("a\nb", b"1")],
    "long name": [("x" * 300, b"1")],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_tar_file_is_refused_before_anything_is_written(tmp_path, into, case):
    path = tar(tmp_path / "a.tar.gz", *REFUSED[case], mode="w:gz")

    with pytest.raises(ResolveError, match=r"'a\.tar\.gz' is refused"):
        run(path, into)
    assert list(into.iterdir()) == []
    assert (tmp_path / "canary").read_text() == "alive"


@pytest.mark.parametrize(
    "entries",
    [
        [("a/b/up", sym("..")), ("x", sym("a/b/up/../canary"))],
        [("d", {"type": tarfile.DIRTYPE}), ("a", sym("d")), ("b", sym("a/../../canary"))],
        [("d/here", sym("."))],
        [("d/up", sym(".."))],
        [("a", sym("b")), ("b", sym("a"))],
        [("a", sym("nothing"))],
    ],
)
def test_links_that_lead_out_by_other_links_or_in_circles_are_refused_before_anything_is_written(
    tmp_path, into, entries
):
    path = tar(tmp_path / "a.tar", *entries)

    with pytest.raises(ResolveError, match="is a link"):
        run(path, into)
    assert list(into.iterdir()) == []
    assert (tmp_path / "canary").read_text() == "alive"


def test_no_link_is_made_by_way_of_another_where_case_makes_no_difference(tmp_path, into, monkeypatch):
    # Of names that are two to us, and one to the file system.
    path = tar(tmp_path / "a.tar", ("f/x", b"1"), ("d", sym("f")), ("d/out", sym("../../canary")))
    monkeypatch.setattr(archives, "check_members", lambda name, found, *_: tuple(found))

    with pytest.raises(ResolveError, match="lies below a link"):
        run(path, into)
    assert not (into / "f" / "out").is_symlink()


HOSTILE_ZIPS: dict[str, tuple[str, bytes, int]] = {
    "parent": ("../canary", b"x", 0),
    "absolute": ("/canary", b"x", 0),
    "link out": ("l", b"../canary", 0o777 | stat.S_IFLNK),
    "device": ("d", b"", 0o666 | stat.S_IFCHR),
    "control": ("a\x07", b"x", 0),
}


@pytest.mark.parametrize("case", HOSTILE_ZIPS)
def test_a_hostile_zip_file_is_refused_before_anything_is_written(tmp_path, into, case):
    path = zipped(tmp_path / "a.zip", ("ok", b"1", 0), HOSTILE_ZIPS[case])

    with pytest.raises(ResolveError, match=r"'a\.zip' is refused"):
        run(path, into)
    assert list(into.iterdir()) == []


def test_a_zip_file_that_names_a_file_twice_is_refused(tmp_path, into):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = zipped(tmp_path / "a.zip", ("a", b"1", 0), ("a", b"2", 0))

    with pytest.raises(ResolveError, match="is in it twice"):
        run(path, into)


def test_an_encrypted_zip_file_is_refused(tmp_path, into):
    path = zipped(tmp_path / "a.zip", ("a", b"1", 0))
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    path.write_bytes(data)

    with pytest.raises(ResolveError, match="is encrypted"):
        run(path, into)


def test_a_zip_file_whose_members_overlap_is_refused(tmp_path, into):
    path = zipped(tmp_path / "a.zip", ("a", bytes(range(256)) * 40, 0))
    data = bytearray(path.read_bytes())
    position = data.index(b"PK\x01\x02")
    data[position + 20 : position + 24] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)

    with pytest.raises(ResolveError, match="refused|can't be unpacked"):
        run(path, into)


@pytest.mark.parametrize("make", ["tar", "tar.gz", "zip", "gz"])
def test_what_unpacks_to_far_more_than_it_is_is_refused(tmp_path, into, monkeypatch, make):
    monkeypatch.setattr(members, "RATIO_FREE", 1 << 16)
    monkeypatch.setattr(members, "MAX_RATIO", 50 if make != "tar" else 0)
    path = tmp_path / f"bomb.{make}"
    bomb = bytes(1 << 20)
    if make == "zip":
        zipped(path, ("a", bomb, 0))
    elif make == "gz":
        path.write_bytes(gzip.compress(bomb))
    else:
        tar(path, ("a", bomb), mode="w:gz" if make == "tar.gz" else "w")

    with pytest.raises(ResolveError, match="times its size"):
        run(path, into)


@pytest.mark.parametrize(("total", "left"), [(1 << 40, 1 << 30), (512 << 20, (512 << 20) // 20)])
def test_what_would_fill_the_disk_is_refused(tmp_path, into, monkeypatch, total, left):
    path = tar(tmp_path / "a.tar", ("a", b"1"))
    room = 100_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=total, free=left + room))
    run(path, into)

    room = 0
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ResolveError, match="would fill the disk"):
        run(path, other)
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_what_is_not_wanted_needs_no_room(tmp_path, into, monkeypatch, name):
    large = os.urandom(200_000)
    if name == "a.zip":
        path = zipped(tmp_path / name, ("large", large, 0), ("small", b"1", 0))
    else:
        path = tar(tmp_path / name, ("large", large), ("small", b"1"), mode="w:gz" if "gz" in name else "w")
    disk = SimpleNamespace(total=1 << 40, free=(1 << 30) + 100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)

    run(path, into, wanted=lambda member: member.name == "small")

    assert found(into) == {"small": b"1"}
    with pytest.raises(ResolveError, match="would fill the disk"):
        run(path, into)


def test_too_many_members_are_refused(tmp_path, into, monkeypatch):
    monkeypatch.setattr(members, "MAX_MEMBERS", 3)
    path = tar(tmp_path / "a.tar", *((str(number), b"") for number in range(4)))

    with pytest.raises(ResolveError, match="more than 3 members"):
        run(path, into)


def makers() -> dict[str, Callable[[Path], Path]]:
    content = bytes(range(256)) * 8
    return {
        "a.tar": lambda folder: tar(folder / "a.tar", ("one", content), ("two", content)),
        "a.tgz": lambda folder: tar(folder / "a.tgz", ("one", content), ("two", content), mode="w:gz"),
        "a.tar.xz": lambda folder: tar(folder / "a.tar.xz", ("one", content), ("two", content), mode="w:xz"),
        "a.zip": lambda folder: zipped(folder / "a.zip", ("one", content, 0), ("two", content, 0)),
    }


@pytest.mark.parametrize("name", makers())
def test_an_archive_that_is_cut_off_anywhere_is_refused(tmp_path, name):
    path = makers()[name](tmp_path)
    whole = path.read_bytes()
    # Up to the end of what it holds; beyond that a plain tar file has only padding.
    end = whole.rstrip(b"\0").__len__() + 512 if name == "a.tar" else len(whole)
    for size in {*range(1, end, max(1, end // 60)), end - 1}:
        path.write_bytes(whole[:size])
        into = tmp_path / f"into{size}"
        into.mkdir()
        with pytest.raises(
            ResolveError, match="can't be unpacked: (it is damaged or cut off|'.*' is cut off)$"
        ):
            run(path, into)


@pytest.mark.parametrize("name", ["a.tgz", "a.tar.xz", "a.zip"])
def test_a_compressed_archive_with_a_changed_byte_gives_what_it_held_or_is_refused(tmp_path, name):
    path = makers()[name](tmp_path)
    whole = path.read_bytes()
    content = bytes(range(256)) * 8
    for position in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
        into = tmp_path / f"into{position}"
        into.mkdir()
        try:
            run(path, into)
        except ResolveError:
            continue
        assert set(found(into).values()) <= {content}


@pytest.mark.parametrize("name", ["a.tar", "a.tgz"])
def test_what_follows_the_end_is_refused(tmp_path, into, name):
    path = makers()[name](tmp_path)
    path.write_bytes(path.read_bytes() + b"garbage")

    with pytest.raises(ResolveError):
        run(path, into)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.ZIP", "zip"),
        ("a.tar", "tar"),
        ("a.tar.gz", "tar"),
        ("a.csv.gz", "gz"),
        ("a.csv", None),
        ("zip", None),
    ],
)
def test_the_name_tells_the_kind(name, kind):
    assert archive_type(name) == kind


def test_an_unknown_kind_is_refused():
    with pytest.raises(ResolveError, match="'rar' is no type of archive"):
        archive_type("a", "rar")


def test_only_what_is_wanted_is_unpacked_but_all_is_checked(tmp_path: Path, into: Path) -> None:
    def wanted(member: members.Member) -> bool:
        return member.name == "a/b"

    good = tar(tmp_path / "good.tar", ("a/b", b"1"), ("a/c", b"2"))
    bad = tar(tmp_path / "bad.tar", ("a/b", b"1"), ("../c", b"2"))
    for name, path in (("zip", zipped(tmp_path / "x.zip", ("a/b", b"1", 0), ("c", b"2", 0))), ("tar", good)):
        (into / name).mkdir()
        run(path, into / name, wanted=wanted)

    assert found(into) == {"zip/a/b": b"1", "tar/a/b": b"1"}
    with pytest.raises(ResolveError, match="leads out of it"):
        run(bad, into, wanted=wanted)


def test_a_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("PK is no zip")
    (tmp_path / "empty").touch()

    assert type_by_content(zipped(tmp_path / "a.tar", ("a", b"1", 0))) == "zip"
    assert type_by_content(tar(tmp_path / "b.zip", ("a", b"1"))) == "tar"
    assert type_by_content(tar(tmp_path / "c", ("a", b"1"), mode="w:gz")) == "tar"
    assert type_by_content(tmp_path / "text.zip") is None
    assert type_by_content(tmp_path / "empty") is None
