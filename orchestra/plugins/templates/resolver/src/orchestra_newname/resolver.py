"""Copies a file or folder into a run's directory. The path counts from one folder, and leads nowhere else."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct
from orchestra.contracts import Resolved, Resolver, RunReader, Source
from orchestra.errors import ResolveError
from orchestra.placing.copying import copy_into
from orchestra.placing.steps import finish

_RESERVED = (".orchestra", ".guild")


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where files are taken from."""

    folder: Path | None = None
    """Where paths count from; the project's directory unless it is given."""


class NewnameResolver:
    """Provides ``newname:PATH`` under the last part of its path."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def resolve(self, source: Source, into: Path, runs: RunReader) -> Resolved:
        """See :meth:`orchestra.contracts.Resolver.resolve`.

        Raises:
            ResolveError: it is not there, is outside of the folder, or can't be copied.
        """
        path = self._located(source)
        try:
            # All or nothing, and in slices that leave the event loop free.
            digest = await finish(copy_into(path, into / path.name))
        except OSError as error:
            raise ResolveError(f"'{source.value}' can't be copied: {error}") from error
        return Resolved(paths=(path.name,), origin=str(path), digest=f"sha256:{digest}")

    def _located(self, source: Source) -> Path:
        folder = Path(os.path.realpath(self._options.folder or source.base))
        if "\0" in source.value:
            raise ResolveError(f"{source.value!r} names no file")
        path = Path(os.path.realpath(folder / source.value))
        if path == folder or not path.is_relative_to(folder) or path.name in _RESERVED:
            raise ResolveError(f"'{source.value}' names nothing inside of '{folder}'")
        if not path.exists():
            raise ResolveError(f"'{source.value}' does not exist", f"It was looked for as '{path}'.")
        return path


@asynccontextmanager
async def open_resolver(options: Options) -> AsyncGenerator[Resolver]:
    """Open the resolver: set up before ``yield``, close after it, in a ``finally``."""
    yield NewnameResolver(options)
