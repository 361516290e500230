"""The ``module`` resolver: makes sure that a Python module can be imported."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from orchestra.contracts import Resolved, Resolver, RunReader, Source
from orchestra.errors import ResolveError

_CHECK = "import importlib, sys; importlib.import_module(sys.argv[1])"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where modules are looked for."""

    python: str | None = None
    """The interpreter that must be able to import modules; None: the one that the operation is run by."""


class ModuleResolver:
    """Meets ``module:NAME`` if NAME can be imported by the operation's interpreter. Provides no file."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def resolve(self, source: Source, into: Path, runs: RunReader) -> Resolved:
        """See :meth:`Resolver.resolve`.

        Raises:
            ResolveError: the module can't be imported.
        """
        import anyio

        name = source.value
        if not all(part.isidentifier() for part in name.split(".")):
            raise ResolveError(f"'{name}' is not the name of a Python module")
        python = self._options.python or source.python or sys.executable
        try:
            done = await anyio.run_process([python, "-c", _CHECK, name], check=False, cwd=source.base)
        except OSError as error:
            raise ResolveError(f"'{python}' can't be run: {error.strerror}") from error
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            why = lines[-1] if lines else f"exit code {done.returncode}"
            raise ResolveError(
                f"'{name}' can't be imported: {why}", f"Install what provides '{name}' for '{python}'."
            )
        return Resolved(paths=(), origin=name)


@asynccontextmanager
async def open_resolver(options: Options) -> AsyncGenerator[Resolver]:
    """Open the module resolver."""
    yield ModuleResolver(options)
