"""Write archives and folders: piece by piece, with the digest of each, and there only once they are whole."""

from __future__ import annotations

import os
import stat
import tarfile
import time
import zipfile
from collections.abc import Generator
from contextlib import suppress
from io import UnsupportedOperation
from pathlib import Path
from typing import IO, Any, Literal, Protocol, TypeAlias

from orchestra.child.cloning import clone
from orchestra.child.supervisor import failpoint
from orchestra.errors import ResolveError, UserError
from orchestra.model.links import Kind, Tree
from orchestra.placing import members
from orchestra.placing.making import alone_in, hold, place, sweep_partial, sync
from orchestra.placing.members import Limits, clean_name
from orchestra.placing.steps import CHUNK, Steps, sha256

WriteMode: TypeAlias = Literal["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]
_ENDINGS: dict[str, WriteMode] = {
    ".zip": "zip",
    ".tar": "tar",
    ".tar.gz": "tar.gz",
    ".tgz": "tar.gz",
    ".tar.bz2": "tar.bz2",
    ".tbz2": "tar.bz2",
    ".tar.xz": "tar.xz",
    ".txz": "tar.xz",
}
_OTHERS = (".7z", ".rar", ".zst", ".tzst", ".lz4", ".br", ".gz", ".bz2", ".xz", ".tbz", ".jar", ".whl")
_WORTH_SHARING = 1 << 16
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""A zip file knows no time before."""


def write_mode(name: str) -> WriteMode | None:
    """What kind of archive is written to a file of this name; None: it is the name of a folder.

    Raises:
        UserError: it is that of an archive of a kind that we don't write.
    """
    lower = name.lower()
    for ending, mode in _ENDINGS.items():
        if lower.endswith(ending):
            return mode
    if lower.endswith(_OTHERS):
        raise UserError(
            f"'{name}' can't be written: there is no such kind of archive",
            f"Give a directory, or a name that ends with {', '.join(_ENDINGS)}.",
        )
    return None


class Writer(Protocol):
    """Where pieces go. Names are relative and clean; ``size`` bytes are read of each reader."""

    def folder(self, name: str) -> None: ...

    def file(self, name: str, reader: IO[bytes], size: int, *, executable: bool, modified: float) -> Steps:
        """Write a file; the result is its SHA-256."""
        ...

    def link(self, name: str, target: str) -> None: ...


class FolderWriter:
    """Writes below a folder that nobody else writes to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> None:
        (self.root / name).mkdir(parents=True, exist_ok=True)

    def file(self, name: str, reader: IO[bytes], size: int, *, executable: bool, modified: float) -> Steps:
        place = self.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        digest = sha256()
        with open(os.open(place, flags, 0o755 if executable else 0o644), "wb", buffering=0) as file:
            shared = size >= _WORTH_SHARING and _shares(reader, file.fileno())
            for chunk in _chunks(name, reader, size):
                digest.update(chunk)
                view = memoryview(b"" if shared else chunk)
                while view:
                    view = view[file.write(view) :]
                yield ""
            if shared:
                file.truncate(size)
            os.utime(file.fileno(), (modified, modified))
        yield digest.hexdigest()

    def link(self, name: str, target: str) -> None:
        place = self.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, place)


def _shares(reader: IO[bytes], descriptor: int) -> bool:
    """Whether a file could get what ``reader`` reads without its being copied."""
    try:
        return clone(reader.fileno(), descriptor)
    except UnsupportedOperation:
        # It reads from memory.
        return False


class ArchiveFile:
    """An archive in the making: beside its place, where it is put when it is whole.

    With ``own`` it is for :func:`~orchestra.placing.archives.unpack`: what that would refuse is not written, and links
    that it would refuse are left out.
    """

    def __init__(self, path: Path, mode: WriteMode, *, own: bool = True) -> None:
        self.path = path
        self.mode = mode
        self._own = own
        self._tree = Tree()
        self._partial = path.with_name(f".{path.name[:100]}.{os.urandom(4).hex()}.part")
        self._file: IO[bytes] | None = None
        self._size = 0
        self._zip: zipfile.ZipFile | None = None
        self._tar: Any = None

    def open(self) -> None:
        """Begin.

        Raises:
            OSError: it can't be written there.
            UserError: this Python can't write archives of that kind.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with alone_in(self.path.parent):
            sweep_partial(self.path)
            try:
                self._file = open(hold(os.open(self._partial, flags, 0o600)), "r+b", buffering=CHUNK)  # noqa: SIM115
            except OSError as error:
                error.filename = os.fspath(self.path)
                raise
        if self.mode == "zip":
            self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False)
            return
        how: Any = f"w:{self.mode.partition('.')[2]}"
        try:
            self._tar = tarfile.open(fileobj=self._file, mode=how, format=tarfile.PAX_FORMAT)  # noqa: SIM115
        except tarfile.CompressionError as error:
            raise UserError(
                f"'{self.path}' can't be written: {error}", "Give another kind of archive."
            ) from None

    def _add(self, name: str, kind: Kind, target: str = "") -> None:
        self._tree.add(name, kind, target)
        if self._own and len(self._tree) > members.MAX_MEMBERS:
            raise UserError(
                f"'{self.path.name}' would have more than {members.MAX_MEMBERS} members: it would be refused",
                "Export to a directory, or fewer runs.",
            )

    def folder(self, name: str) -> None:
        self._add(name, "folder")
        if self._zip is not None:
            self._zip.writestr(_zip_info(f"{name}/", stat.S_IFDIR | 0o755, time.time()), b"")
        else:
            self._tar.addfile(_tar_info(name, tarfile.DIRTYPE, 0o755))

    def file(self, name: str, reader: IO[bytes], size: int, *, executable: bool, modified: float) -> Steps:
        self._add(name, "file")
        mode = 0o755 if executable else 0o644
        digest = sha256()
        self._size += size
        write = self._zip_member if self._zip is not None else self._tar_member
        steps = write(name, reader, size, mode, modified)
        for chunk in steps:
            digest.update(chunk)
            yield ""
        yield digest.hexdigest()

    def _zip_member(
        self, name: str, reader: IO[bytes], size: int, mode: int, modified: float
    ) -> Generator[bytes]:
        assert self._zip is not None
        info = _zip_info(name, stat.S_IFREG | mode, modified)
        info.file_size = size
        with self._zip.open(info, "w", force_zip64=size >= 1 << 30) as member:
            for chunk in _chunks(name, reader, size):
                member.write(chunk)
                yield chunk

    def _tar_member(
        self, name: str, reader: IO[bytes], size: int, mode: int, modified: float
    ) -> Generator[bytes]:
        archive = self._tar
        info = _tar_info(name, tarfile.REGTYPE, mode)
        info.size, info.mtime = size, int(modified)
        header = info.tobuf(archive.format, archive.encoding, archive.errors)
        archive.fileobj.write(header)
        for chunk in _chunks(name, reader, size):
            archive.fileobj.write(chunk)
            yield chunk
        rest = -size % tarfile.BLOCKSIZE
        archive.fileobj.write(b"\0" * rest)
        archive.offset += len(header) + size + rest

    def link(self, name: str, target: str) -> None:
        # What it leads to may come later.
        self._add(name, "link", target)

    def _write_link(self, name: str, target: str) -> None:
        if self._zip is not None:
            info = _zip_info(name, stat.S_IFLNK | 0o777, time.time())
            self._zip.writestr(info, os.fsencode(target))
            return
        info = _tar_info(name, tarfile.SYMTYPE, 0o777)
        info.linkname = target
        self._tar.addfile(info)

    def finish(self, *, replace: bool, fsync: bool) -> None:
        """Let it take its place.

        Raises:
            FileExistsError: it is there already.
            OSError: it can't be written to its end.
            UserError: what is in it could not be taken out again.
        """
        assert self._file is not None
        self._tree.drop_faulty()
        for name, target in self._tree.links.items():
            self._write_link(name, target)
        (self._zip or self._tar).close()
        self._file.flush()
        if self._own:
            self._require_no_bomb(os.fstat(self._file.fileno()).st_size)
        if fsync:
            os.fsync(self._file.fileno())
        failpoint("export.written")
        place(self._partial, self.path, replace=replace)
        self._file.close()
        if fsync:
            sync(self.path.parent)

    def _require_no_bomb(self, packed: int) -> None:
        # As whoever reads it counts: of a tar, headers and padding, too.
        size = self._size if self._zip is not None else self._tar.offset
        try:
            Limits(total=1 << 62, packed=packed).check_ratio(self.path.name, size)
        except ResolveError:
            raise UserError(
                f"'{self.path.name}' would be too small for what is in it: it would be refused as a bomb",
                "Export to a directory, or to a .tar that is not compressed.",
            ) from None

    def discard(self) -> None:
        """Remove what is not whole. Does nothing once it is finished."""
        # Their ends are written to what is removed; a full disk has no room for them.
        with suppress(OSError, ValueError):
            if self._tar is not None:
                self._tar.close()
            if self._zip is not None:
                self._zip.close()
        if self._zip is not None:
            self._zip.fp = None
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        with suppress(FileNotFoundError):
            self._partial.unlink()


def taken(path: Path) -> UserError:
    """The error for an archive that is there already."""
    return UserError(f"'{path}' exists already", "Choose another name, or use --force to replace it.")


def storable(name: str, *, as_zip: bool) -> bool:
    """Whether what has such a name can be taken out of an archive again."""
    try:
        if as_zip:
            name.encode()
        return bool(clean_name("", name)) and clean_name("", name) == name
    except (ResolveError, UnicodeEncodeError):
        return False


def _chunks(name: str, reader: IO[bytes], size: int) -> Generator[bytes]:
    left = size
    while left and (chunk := reader.read(min(CHUNK, left))):
        left -= len(chunk)
        failpoint("export.writing")
        yield chunk
    if left:
        raise UserError(f"'{name}' was changed while it was read", "Try again when nothing writes to it.")


def _zip_info(name: str, mode: int, modified: float) -> zipfile.ZipInfo:
    when = max(time.localtime(modified)[:6], _EARLIEST)
    info = zipfile.ZipInfo(name, min(when, (2107, 12, 31, 23, 59, 59)))
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3
    return info


def _tar_info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, int(time.time())
    return info
