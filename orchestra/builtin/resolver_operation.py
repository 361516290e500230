"""The ``operation`` resolver: what another run has made, as links in the run's directory."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct, structs

from orchestra.builtin.copying import link_into
from orchestra.contracts import Resolved, Resolver, RunReader, Source
from orchestra.errors import ResolveError
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

_PAGE = 200
_SHOWN = 5
_CONTROL = ".orchestra"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run's files are provided."""

    layout: Literal["files", "folder"] = "files"
    """``files`` links each file and folder that the run made; ``folder`` links the run's directory, under the
    operation's name."""


class OperationResolver:
    """Provides ``operation:NAME`` from the newest completed run of NAME, and ``operation:ID`` from that run.

    An id may be shortened. A name wins over an id.
    """

    def __init__(self, options: Options) -> None:
        self._options = options

    async def resolve(self, source: Source, into: Path, runs: RunReader) -> Resolved:
        """See :meth:`Resolver.resolve`. What ``into`` has of its own is never replaced by a link.

        Raises:
            ResolveError: no run is suitable, more than one has such an id, or its directory is gone.
        """
        run = await _newest_completed(source.value, runs) or await _by_id(source.value, runs)
        directory = runs.directory(run)
        if not directory.is_dir():
            raise ResolveError(f"the files of run {run.short_id} are gone: '{directory}'")
        if self._options.layout == "folder":
            name = _folder_name(run)
            link_into(directory, into / name)
            return Resolved(paths=(name,), origin=run.id)
        return Resolved(paths=tuple(_link_files(run, directory, into)), origin=run.id)


async def _newest_completed(name: str, runs: RunReader) -> Run | None:
    completed = RunQuery(states=frozenset(("completed",)), kinds=frozenset(("run",)), limit=_PAGE)
    offset = 0
    while True:
        page = await runs.query(structs.replace(completed, offset=offset))
        for run in page.runs:
            if run.operation.name == name:
                return run
        offset += len(page.runs)
        if not page.runs or offset >= page.total:
            return None


async def _by_id(prefix: str, runs: RunReader) -> Run:
    unsuitable = ResolveError(
        f"no suitable run for {prefix}", "A completed run of this operation is needed, or the id of a run."
    )
    if not prefix:
        raise unsuitable
    found = (await runs.query(RunQuery(id_prefix=prefix, limit=_SHOWN + 1))).runs
    candidates = [run for run in found if run.id == prefix] or list(found)
    if not candidates:
        raise unsuitable
    if len(candidates) > 1:
        ids = ", ".join(run.id[: max(8, len(prefix) + 4)] for run in candidates[:_SHOWN])
        raise ResolveError(f"'{prefix}' begins the ids of several runs: {ids}", "Give more of the id.")
    run = candidates[0]
    if run.state != "completed":
        raise ResolveError(
            f"no suitable run for {prefix}: run {run.short_id} of {run.operation_name} is {run.state}",
            "Only what a completed run has made can be used.",
        )
    return run


def _folder_name(run: Run) -> str:
    name = os.path.basename(run.operation.name)
    if name in ("", ".", "..", _CONTROL):
        raise ResolveError(f"'{run.operation.name}' is no name that a link could take")
    return name


def _link_files(run: Run, directory: Path, into: Path) -> list[str]:
    """Link what the run made: not its records, its script, or what it had from others."""
    borrowed = {path.split("/", 1)[0] for entry in run.resolved for path in entry.paths}
    left_out = {_CONTROL, run.operation.main, *borrowed}
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
