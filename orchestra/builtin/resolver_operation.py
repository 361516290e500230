"""The ``operation`` resolver: what another run has made, as links in the run's directory."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct

from orchestra.contracts import Resolved, Resolver, RunReader, Source
from orchestra.errors import ResolveError
from orchestra.model.run import Run
from orchestra.placing.choice import choose_run
from orchestra.placing.copying import link_into

_CONTROL = ".orchestra"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run's files are provided."""

    layout: Literal["files", "folder"] = "files"
    """``files`` links each file and folder that the run made; ``folder`` links the run's directory, under the
    operation's name."""


class OperationResolver:
    """Provides ``operation:NAME`` from the newest completed run of NAME, ``operation:ID`` from that run,
    and ``operation:NAME=ID`` from that run if it is one of NAME.

    An id may be shortened. A name wins over an id.
    """

    def __init__(self, options: Options) -> None:
        self._options = options

    async def resolve(self, source: Source, into: Path, runs: RunReader) -> Resolved:
        """See :meth:`Resolver.resolve`. What ``into`` has of its own is never replaced by a link.

        Raises:
            ResolveError: no run is suitable, more than one has such an id, or its directory is gone.
        """
        run = await choose_run(source.value, runs, pipeline=source.pipeline)
        directory = runs.directory(run)
        if not directory.is_dir():
            raise ResolveError(f"the files of run {run.short_id} are gone: '{directory}'")
        if self._options.layout == "folder":
            name = _folder_name(run)
            link_into(directory, into / name)
            return Resolved(paths=(name,), origin=run.id, target="link")
        left_out = {_CONTROL} if source.selective else _left_out(run, directory, runs.source_files(run))
        linked = _link_files(directory, into, left_out)
        return Resolved(paths=tuple(linked), origin=run.id, target="link", root="")


def _folder_name(run: Run) -> str:
    name = os.path.basename(run.operation.name)
    if name in ("", ".", "..", _CONTROL):
        raise ResolveError(f"'{run.operation.name}' is no name that a link could take")
    return name


def _left_out(run: Run, directory: Path, source: frozenset[str]) -> set[str]:
    """What the run did not make: its records, its source, and what it had from others."""
    borrowed = {path.split("/", 1)[0] for entry in run.resolved for path in entry.paths}
    folders = {path.split("/", 1)[0] for path in source if "/" in path}
    untouched = {name for name in folders if not _has_own(directory, name, source)}
    return {_CONTROL, "__pycache__", run.operation.main, *source, *untouched, *borrowed}


def _has_own(directory: Path, folder: str, source: frozenset[str]) -> bool:
    """Whether the run made a file in a folder of its source."""
    return any(
        os.path.relpath(os.path.join(parent, name), directory) not in source
        for parent, _, files in os.walk(directory / folder)
        for name in files
        # What importing the source leaves is nothing that the run made.
        if not name.endswith(".pyc")
    )


def _link_files(directory: Path, into: Path, left_out: set[str]) -> list[str]:
    linked: list[str] = []
    for name in sorted(os.listdir(directory)):
        if name in left_out:
            continue
        target = into / name
        if os.path.lexists(target) and not target.is_symlink():
            continue  # the run's own, of its source for instance
        link_into(directory / name, target)
        linked.append(name)
    return linked


@asynccontextmanager
async def open_resolver(options: Options) -> AsyncGenerator[Resolver]:
    """Open the operation resolver."""
    yield OperationResolver(options)
