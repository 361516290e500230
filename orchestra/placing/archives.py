"""Unpack archives that may be hostile: all is checked first, links are made last, and nothing leads out."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias, cast

from orchestra.child.supervisor import failpoint
from orchestra.errors import ResolveError, text_of_os_error
from orchestra.placing.members import Limits, Member, check_members, clean_name, refuse
from orchestra.placing.steps import CHUNK, Steps

ArchiveType: TypeAlias = Literal["zip", "tar", "gz"]

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
_RESERVE = 1 << 30
"""Bytes of the disk that are never filled; of a small one a twentieth."""
_ZIP_METHODS = (0, 8, 12, 14)
_ZIP_END = 22
"""Bytes of the record that ends a zip, without its comment."""
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    struct.error,
    ValueError,
    KeyError,
)
UNPACKED = "unpacked"


def archive_type(name: str, declared: str | None = None) -> ArchiveType | None:
    """What kind of archive it is by its name, or as declared; None: none that is known.

    Raises:
        ResolveError: such a kind is not known.
    """
    if declared is not None:
        if declared in ("zip", "gz"):
            return cast(ArchiveType, declared)
        if declared == "tar" or f".{declared}" in _TAR:
            return "tar"
        raise ResolveError(f"'{declared}' is no type of archive", "Types are zip, tar and gz.")
    lower = name.lower()
    if lower.endswith(_TAR):
        return "tar"
    return "zip" if lower.endswith(".zip") else "gz" if lower.endswith(".gz") else None


def type_by_content(path: Path) -> ArchiveType | None:
    """Whether a file is a zip, or looks like a tar (compressed or not); None: neither."""
    with open(path, "rb") as file:
        head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    return "tar" if head.startswith(_COMPRESSED) or head[257:262] == b"ustar" else None


Wanted: TypeAlias = Callable[[Member], bool]


def unpack(
    path: Path, kind: ArchiveType, into: Path, *, name: str | None = None, wanted: Wanted | None = None
) -> Steps:
    """Unpack the archive ``path`` into the empty folder ``into``. What an error leaves there is of no use.

    Args:
        path: the archive.
        kind: what it is.
        into: a folder that nobody else writes to.
        name: how it is called, where that is not the name of ``path``.
        wanted: which members are unpacked, of a zip or tar; all are checked.

    Raises:
        ResolveError: it is damaged, or something in it is refused. In that case nothing was written yet, except
            where it only shows on the way: sizes that lie.
    """
    name = name or path.name
    disk = shutil.disk_usage(into)
    room = max(0, disk.free - min(_RESERVE, disk.total // 20))
    limits = Limits(total=room, packed=path.stat().st_size)
    steps = {"zip": _unpack_zip, "tar": _unpack_tar, "gz": _unpack_gz}[kind](
        path, name, _Writer(name, into, limits, wanted), limits
    )
    try:
        yield from steps
    except _DAMAGED as error:
        raise _damaged(name) from error
    except (NotImplementedError, RuntimeError) as error:
        raise ResolveError(f"'{name}' can't be unpacked: {error}") from error
    except ResolveError:
        raise
    except OSError as error:
        if not error.errno:
            # Of compressed data; a full disk has a number.
            raise _damaged(name) from error
        raise ResolveError(f"'{name}' can't be unpacked: {text_of_os_error(error)}") from error
    except Exception as error:
        if type(error).__name__ != "LZMAError":  # of a module that not every Python has
            raise
        raise _damaged(name) from error
    yield UNPACKED


def _damaged(name: str) -> ResolveError:
    return ResolveError(
        f"'{name}' can't be unpacked: it is damaged or cut off", "Get it once more from where it is whole."
    )


def _unpack_zip(path: Path, name: str, writer: _Writer, limits: Limits) -> Steps:
    with zipfile.ZipFile(path) as archive:
        _check_zip_end(path, archive)
        entries = archive.infolist()
        if sum(entry.compress_size for entry in entries) > limits.packed:
            raise ResolveError(f"'{name}' is refused: its members overlap")
        members = check_members(name, _zip_members(name, archive, entries), limits, writer.wants)
        yield ""
        for member in members:
            if not writer.wants(member):
                continue
            if member.kind == "file":
                with archive.open(entries[member.index]) as reader:
                    yield from writer.write(member, reader)
            else:
                yield from writer.other(member)
        writer.finish()


def _check_zip_end(path: Path, archive: zipfile.ZipFile) -> None:
    """Nothing stands behind the record that ends a zip.

    Raises:
        BadZipFile: something does.
    """
    with open(path, "rb") as file:
        file.seek(-_ZIP_END - len(archive.comment), os.SEEK_END)
        if not file.read(4).startswith(b"PK\x05\x06"):
            raise zipfile.BadZipFile("something follows its end")


def _zip_members(name: str, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> Iterator[Member]:
    for index, entry in enumerate(entries):
        mode = entry.external_attr >> 16
        # Python cuts a name at a NUL byte; the original tells.
        member = clean_name(name, entry.orig_filename)
        if entry.flag_bits & 0x1:
            raise refuse(name, member, "is encrypted")
        if entry.compress_type not in _ZIP_METHODS:
            raise refuse(name, member, "is compressed in an unknown way")
        if entry.is_dir():
            yield Member(name=member, kind="folder", index=index)
        elif stat.S_ISLNK(mode):
            if entry.file_size > 4096:
                raise refuse(name, member, "is a link with an endless target")
            target = os.fsdecode(archive.read(entry))
            yield Member(name=member, kind="link", index=index, target=target)
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise refuse(name, member, "is a device or the like")
        else:
            yield Member(
                name=member,
                kind="file",
                index=index,
                size=entry.file_size,
                executable=bool(mode & 0o100),
            )


def _unpack_tar(path: Path, name: str, writer: _Writer, limits: Limits) -> Steps:
    members: tuple[Member, ...] = ()
    with _OpenTar(path, name, limits) as (stream, archive):
        members = check_members(name, _tar_members(name, archive, stream), limits, writer.wants)
        yield ""
        yield from stream.check_end()
    by_index = {member.index: member for member in members}
    with _OpenTar(path, name, limits) as (_, archive):
        for index, info in enumerate(_each(archive)):
            member = by_index.get(index)
            if member is None or not writer.wants(member):
                continue
            if member.kind == "file":
                reader = archive.extractfile(info)
                assert reader is not None
                yield from writer.write(member, reader)
            else:
                yield from writer.copy(member) if member.kind == "copy" else writer.other(member)
    writer.finish()


def _each(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (info := archive.next()) is not None:
        # A million of them would fill the memory.
        archive.members.clear()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
        yield info


def _tar_members(name: str, archive: tarfile.TarFile, stream: _Stream) -> Iterator[Member]:
    files: set[str] = set()
    for index, info in enumerate(_each(archive)):
        member = clean_name(name, info.name)
        if info.isreg():
            files.add(member)
            executable = bool(info.mode & 0o100)
            yield Member(name=member, kind="file", index=index, size=info.size, executable=executable)
        elif info.isdir():
            yield Member(name=member, kind="folder", index=index)
        elif info.issym():
            yield Member(name=member, kind="link", index=index, target=info.linkname)
        elif info.islnk():
            target = clean_name(name, info.linkname)
            if target not in files:
                raise refuse(name, member, f"is a hard link to '{target}', which is no file of it")
            files.add(member)
            yield Member(name=member, kind="copy", index=index, target=target)
        else:
            raise refuse(name, member, "is a device or the like")
    stream.members_end()


class _Stream:
    """An archive's bytes after decompression: counts them, and knows how the archive ends."""

    def __init__(self, raw: Any, name: str, limits: Limits) -> None:
        self._raw = raw
        self._name = name
        self._limits = limits
        self._last = b""
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        data = cast(bytes, self._raw.read(size))
        self._last = data
        self._read += len(data)
        # What is not wanted has to be read, too, but takes no room.
        self._limits.check_ratio(self._name, self._read)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        # Reading on counts and limits what is passed over, too.
        position = self._raw.tell()
        if whence == 0 and offset > position:
            while position < offset and (data := self.read(min(CHUNK, offset - position))):
                position += len(data)
            return position
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def members_end(self) -> None:
        """A whole archive's members end with a block of zeros; Python takes any end for one."""
        if len(self._last) != tarfile.BLOCKSIZE or self._last.strip(b"\0"):
            raise _damaged(self._name)

    def check_end(self) -> Generator[str]:
        """Read to the end, which also compares the check sums of compressed files."""
        while data := self.read(CHUNK):
            if data.strip(b"\0"):
                raise ResolveError(f"'{self._name}' is refused: something follows its end")
            yield ""


class _OpenTar:
    """The decompressed stream, and the archive that reads from it."""

    def __init__(self, path: Path, name: str, limits: Limits) -> None:
        self._path, self._name, self._limits = path, name, limits
        self._stack = ExitStack()

    def __enter__(self) -> tuple[_Stream, tarfile.TarFile]:
        with self._stack:
            raw = self._stack.enter_context(_decompressed(self._path))
            stream = _Stream(raw, self._name, self._limits)
            archive = tarfile.TarFile(fileobj=cast(IO[bytes], stream), mode="r")
            self._stack.enter_context(closing(archive))
            self._stack = self._stack.pop_all()
        return stream, archive

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _decompressed(path: Path) -> Any:
    with open(path, "rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        import gzip

        return gzip.open(path)
    if magic.startswith(b"BZh"):
        import bz2

        return bz2.open(path)
    if magic.startswith(b"\xfd7zXZ\0"):
        import lzma

        return lzma.open(path)
    return open(path, "rb")


def _unpack_gz(path: Path, name: str, writer: _Writer, limits: Limits) -> Steps:
    import gzip

    plain = name[:-3] if name.lower().endswith(".gz") else name
    member = Member(name=clean_name(name, posixpath.basename(plain)) or "unpacked", kind="file", index=0)
    with gzip.open(path) as reader:
        yield from writer.write(member, cast(IO[bytes], reader))


class _Writer:
    """Writes members below a folder that nobody else writes to; links only at the end."""

    def __init__(self, archive: str, into: Path, limits: Limits, wanted: Wanted | None) -> None:
        self._archive = archive
        self._into = into
        self._limits = limits
        self._wanted = wanted
        self._total = 0
        self._links: list[Member] = []

    def wants(self, member: Member) -> bool:
        return self._wanted is None or self._wanted(member)

    def write(self, member: Member, reader: IO[bytes]) -> Generator[str]:
        place = self._into / member.name
        place.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        mode = 0o755 if member.executable else 0o644
        size = 0
        with open(os.open(place, flags, mode), "wb", buffering=0) as file:
            while data := reader.read(CHUNK):
                size += len(data)
                self._total += len(data)
                self._limits.check(self._archive, self._total)
                file.write(data)
                failpoint("unpack.begun")
                yield ""
        if member.size and size != member.size:
            raise ResolveError(f"'{self._archive}' can't be unpacked: '{member.name}' is cut off")

    def copy(self, member: Member) -> Generator[str]:
        source = self._into / member.target
        executable = bool(source.stat().st_mode & 0o100)
        with open(source, "rb", buffering=0) as reader:
            changed = Member(name=member.name, kind="file", index=member.index, executable=executable)
            yield from self.write(changed, cast(IO[bytes], reader))

    def other(self, member: Member) -> Generator[str]:
        if member.kind == "folder":
            (self._into / member.name).mkdir(parents=True, exist_ok=True)
        else:
            self._links.append(member)
        yield ""

    def finish(self) -> None:
        root = os.path.realpath(self._into)
        for link in self._links:
            place = os.path.join(root, link.name)
            parent = os.path.dirname(place)
            os.makedirs(parent, exist_ok=True)
            if os.path.realpath(parent) != parent:
                # To some file systems, names are the same that differ in case alone.
                raise refuse(self._archive, link.name, "lies below a link")
            os.symlink(link.target, place)
