"""What was downloaded before: one folder for each URL, used by one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from orchestra.child.supervisor import failpoint
from orchestra.errors import ResolveError, text_of_os_error
from orchestra.placing.steps import finish, hash_file

_PATIENCE = 0.05
_Facts = TypeVar("_Facts", bound=Struct)


class Kept(Struct, frozen=True, kw_only=True):
    """What is known of a whole file. One that was changed since has another stamp."""

    sha256: str
    stamp: tuple[int, int, int, int]


class Part(Struct, frozen=True, kw_only=True):
    """What is known of the file of which a part is there."""

    validator: str | None
    """What the server says that it is; a part of what has none can't be completed."""
    total: int | None


class Entry:
    """The folder of one URL in the cache. Use it under :func:`locked_entry`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.file = folder / "file" / name
        self.part = folder / "part"
        self._part_facts = folder / "part.json"
        self._facts = folder / "file.json"

    async def whole(self, expected: str | None) -> str | None:
        """The digest of the file if it is there and as it was downloaded; else None."""
        kept = _read(self._facts, Kept)
        try:
            stamp = _stamp(self.file)
        except OSError:
            return None
        if kept is None:
            return None
        if stamp == kept.stamp and expected is None:
            return kept.sha256
        digest = await finish(hash_file(self.file))
        return digest if digest == kept.sha256 and expected in (None, digest) else None

    def part_facts(self) -> Part | None:
        """What the part that is there belongs to, if it can be completed."""
        facts = _read(self._part_facts, Part)
        return facts if facts is not None and facts.validator and self.part.exists() else None

    def begin_part(self, facts: Part) -> None:
        """Forget an earlier part, and note what the coming one belongs to."""
        self.drop_part()
        _write(self._part_facts, facts)

    def drop_part(self) -> None:
        """Forget the part that is there."""
        self._part_facts.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)

    async def complete(self, expected: str | None, shown: str) -> str:
        """Make the whole file of the part, if it is what was expected; its digest.

        Raises:
            ResolveError: it has another digest. It is set aside as ``rejected``.
        """
        from anyio.to_thread import run_sync

        digest = await finish(hash_file(self.part))
        self._part_facts.unlink(missing_ok=True)
        if expected is not None and digest != expected:
            os.replace(self.part, self.folder / "rejected")
            raise ResolveError(
                f"'{shown}' has an unexpected sha256 (expected {expected} but got {digest})",
                f"What came is kept as '{self.folder / 'rejected'}'; the next try downloads it again.",
            )
        self._facts.unlink(missing_ok=True)
        self.file.parent.mkdir(exist_ok=True)
        await run_sync(_sync, self.part)
        os.replace(self.part, self.file)
        failpoint("download.complete")
        _write(self._facts, Kept(sha256=digest, stamp=_stamp(self.file)))
        return digest


@asynccontextmanager
async def locked_entry(cache: Path, url: str, name: str) -> AsyncGenerator[Entry]:
    """The folder of ``url``; whoever else wants it waits. A holder that died holds nothing.

    Raises:
        ResolveError: the cache can't be used.
    """
    import anyio

    folder = cache / hashlib.sha256(url.encode()).hexdigest()[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ResolveError(f"the cache can't be used: {text_of_os_error(error)}") from error
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await anyio.sleep(_PATIENCE)
        yield Entry(folder, name)
    finally:
        os.close(lock)


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _stamp(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


def _read(path: Path, kind: type[_Facts]) -> _Facts | None:
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=kind)
    return None


def _write(path: Path, facts: Struct) -> None:
    # Torn or not written it only costs a download.
    partial = path.with_suffix(".tmp")
    partial.write_bytes(msgspec.json.encode(facts))
    os.replace(partial, path)
