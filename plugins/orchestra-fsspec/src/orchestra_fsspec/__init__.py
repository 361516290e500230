"""A resolver for whatever fsspec can read: ``fsspec:s3://bucket/data``."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from orchestra.contracts import Resolved, RunReader, Source
from orchestra.errors import ResolveError
from orchestra.model.dependencies import masked_url
from orchestra.placing.copying import partial_name
from orchestra.placing.steps import CHUNK, Steps, finish, sha256
from orchestra.placing.web_pages import page_warnings

__all__ = ["FsspecResolver", "Options", "open_gs", "open_resolver", "open_s3"]

_RESERVED = ("", ".", "..", ".orchestra", ".guild")


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How stores are reached."""

    storage: dict[str, Any] = {}
    """Options of the file system."""
    max_size: int = 20 << 30
    """Bytes that one source may have in all."""


class FsspecResolver:
    """Provides the file or folder that a URL names, under the last part of its path."""

    def __init__(self, options: Options, scheme: str = "") -> None:
        self._options = options
        self._scheme = scheme

    async def resolve(self, source: Source, into: Path, runs: RunReader) -> Resolved:
        """See :meth:`orchestra.contracts.Resolver.resolve`.

        Raises:
            ResolveError: it is not there, its store can't be reached, or it has a name that leads astray.
        """
        url = f"{self._scheme}:{source.value}" if self._scheme else source.value
        name = _name(url)
        digest = await finish(self._fetch(url, into / name))
        shown = masked_url(url)
        warnings = page_warnings(into / name, shown) if source.sha256 is None else ()
        return Resolved(paths=(name,), origin=shown, digest=f"sha256:{digest}", warnings=warnings)

    def _fetch(self, url: str, target: Path) -> Steps:
        shown = masked_url(url)
        partial = partial_name(target)
        yield ""
        try:
            system, path = self._located(url)
            digest = ""
            yield ""
            for step in _fetch_any(system, path, partial, shown, self._options.max_size):
                digest = step
                yield ""
            _replace(partial, target)
        except ResolveError:
            raise
        except FileNotFoundError as error:
            raise ResolveError(f"'{shown}' does not exist") from error
        except GeneratorExit:
            raise
        except Exception as error:
            # Each file system has errors of its own.
            raise ResolveError(f"'{shown}' can't be had: {error or type(error).__name__}") from error
        finally:
            _remove(partial)
        yield digest

    def _located(self, url: str) -> tuple[Any, str]:
        import fsspec

        return fsspec.url_to_fs(url, **self._options.storage)


def _fetch_any(system: Any, path: str, partial: Path, shown: str, limit: int) -> Steps:
    info = system.info(path)
    if info["type"] != "directory":
        _check_size(info.get("size") or 0, limit, shown)
        yield from _fetch_file(system, info["name"], info.get("size"), partial, shown)
        return
    partial.mkdir()
    files = sorted(_files(system, path, shown))
    if not files:
        raise ResolveError(f"'{shown}' does not exist")
    _check_size(sum(size or 0 for _, _, size in files), limit, shown)
    digest = sha256()
    for relative, name, size in files:
        place = partial / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        one = ""
        for step in _fetch_file(system, name, size, place, shown):
            one = step
            yield ""
        digest.update(f"{relative}\0{one}\n".encode(errors="surrogateescape"))
    yield digest.hexdigest()


def _files(system: Any, path: str, shown: str) -> Iterator[tuple[str, str, int | None]]:
    """What is below ``path``: where it belongs, its name in the store, its size."""
    root = system._strip_protocol(path).rstrip("/")
    for name, info in system.find(path, detail=True).items():
        relative = name.removeprefix(root).lstrip("/")
        # What stores keep in the place of an empty folder.
        if info["type"] == "directory" or not relative or name.endswith("/"):
            continue
        parts = relative.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise ResolveError(f"'{shown}' is refused: its file {relative!r} has a name that leads astray")
        yield relative, name, info.get("size")


def _fetch_file(system: Any, name: str, size: int | None, target: Path, shown: str) -> Steps:
    digest = sha256()
    came = 0
    with system.open(name, "rb") as reader, open(target, "xb", buffering=0) as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
            came += len(chunk)
            yield ""
    if size is not None and came != size:
        raise ResolveError(f"'{shown}' can't be had: {came} of {size} bytes of '{name}' came")
    yield digest.hexdigest()


def _check_size(size: int, limit: int, shown: str) -> None:
    if size > limit:
        raise ResolveError(
            f"'{shown}' is larger than {limit} bytes", "Set 'max_size' of the resolver if that is fine."
        )


def _name(url: str) -> str:
    protocol, separator, rest = url.partition("://")
    name = posixpath.basename(rest.rstrip("/"))
    if not protocol or not separator or name in _RESERVED or any(ord(char) < 32 for char in url):
        raise ResolveError(f"{masked_url(url)!r} names no file or folder", "Write PROTOCOL://PATH.")
    return name


def _replace(partial: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        if not partial.is_dir():
            raise ResolveError(f"'{target}' is a folder, and a file must be there")
        shutil.rmtree(target)
    elif partial.is_dir() and target.is_symlink():
        target.unlink()
    os.replace(partial, target)


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)


@asynccontextmanager
async def open_resolver(options: Options) -> AsyncIterator[FsspecResolver]:
    """Open the resolver of ``fsspec:URL``."""
    yield FsspecResolver(options)


@asynccontextmanager
async def open_s3(options: Options) -> AsyncIterator[FsspecResolver]:
    """Open the resolver of ``s3://BUCKET/KEY``."""
    yield FsspecResolver(options, "s3")


@asynccontextmanager
async def open_gs(options: Options) -> AsyncIterator[FsspecResolver]:
    """Open the resolver of ``gs://BUCKET/KEY``."""
    yield FsspecResolver(options, "gs")
