"""The ``file`` resolver: a file or a folder, copied into the run's directory."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct

from orchestra.contracts import Resolved, Resolver, RunReader, Source
from orchestra.errors import ResolveError, text_of_os_error
from orchestra.placing.copying import copy_into, link_into
from orchestra.placing.steps import finish

_RESERVED = (".orchestra", ".guild")


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How files are provided."""

    target: Literal["copy", "link"] = "copy"
    """``link`` makes a symbolic link to the file or folder instead of a copy."""


class FileResolver:
    """Provides ``file:PATH`` under its own name. A relative path counts from the project's directory."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def resolve(self, source: Source, into: Path, runs: RunReader) -> Resolved:
        """See :meth:`Resolver.resolve`. Files that are there already are replaced, others are left.

        Raises:
            ResolveError: the file is missing, can't be read, is no file or folder, or has no safe name.
        """
        path = _locate(source)
        target = self._options.target
        if target == "link" or source.by_link:
            link_into(path, into / path.name)
            return Resolved(paths=(path.name,), origin=str(path), target=target)
        try:
            digest = await finish(copy_into(path, into / path.name))
        except OSError as error:
            raise ResolveError(f"cannot copy '{source.value}': {text_of_os_error(error)}") from error
        return Resolved(paths=(path.name,), origin=str(path), digest=f"sha256:{digest}")


def _locate(source: Source) -> Path:
    value = source.value
    if not value or "\0" in value:
        raise ResolveError(f"{value!r} names no file", "Write 'file:PATH'.")
    path = Path(os.path.normpath(source.base / Path(value).expanduser()))
    if os.path.basename(value.rstrip("/")) in ("", ".", "..", *_RESERVED):
        raise ResolveError(f"'{value}' has no name that a run's directory could take")
    if not os.path.lexists(path):
        raise ResolveError(f"cannot find source file '{value}'", f"It was looked for as '{path}'.")
    return path


@asynccontextmanager
async def open_resolver(options: Options) -> AsyncGenerator[Resolver]:
    """Open the file resolver."""
    yield FileResolver(options)
