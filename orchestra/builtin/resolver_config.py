"""The ``config`` resolver: a configuration file of the project with the run's flags in it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from orchestra.contracts import Resolved, Resolver, RunReader, Source
from orchestra.errors import FlagError, ResolveError, text_of_os_error

_RESERVED = (".orchestra", ".guild")
_MAX_SIZE = 64 << 20


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """There is nothing to choose."""


class ConfigResolver:
    """Provides ``config:FILE`` (YAML, JSON, TOML, INI) with the source's ``params`` in it, and then the run's flags
    that are not null, each at its dotted name. A template ``FILE.in`` is provided as ``FILE``.
    """

    async def resolve(self, source: Source, into: Path, runs: RunReader) -> Resolved:
        """See :meth:`Resolver.resolve`.

        Raises:
            ResolveError: the file is missing, can't be read, or a value has no place in it.
        """
        from orchestra.model.config_text import apply_to_config, config_name

        path = _locate(source)
        name = config_name(path.name)
        flags = {flag: value for flag, value in source.flags.items() if value is not None}
        values: dict[str, Any] = {**source.params, **flags}
        try:
            if path.stat().st_size > _MAX_SIZE:
                raise ResolveError(f"'{source.value}' is too large for a configuration file")
            content = apply_to_config(path.read_bytes(), path.name, values)
            partial = into / f".{name[:100]}.{os.urandom(4).hex()}.part"
            partial.write_bytes(content)
            if (into / name).is_dir() and not (into / name).is_symlink():
                partial.unlink()
                raise ResolveError(f"'{into / name}' is a folder, and a file must be there")
            os.replace(partial, into / name)
        except FlagError as error:
            raise ResolveError(error.message, error.hint) from error
        except OSError as error:
            raise ResolveError(f"'{source.value}' can't be read: {text_of_os_error(error)}") from error
        return Resolved(paths=(name,), origin=str(path), target="copy")


def _locate(source: Source) -> Path:
    value = source.value
    name = os.path.basename(value)
    if "\0" in value or name in ("", ".", "..", ".in", *_RESERVED):
        raise ResolveError(f"{value!r} names no configuration file")
    path = Path(os.path.normpath(source.base / Path(value).expanduser()))
    if not path.is_file():
        raise ResolveError(f"cannot find source file '{value}'", f"It was looked for as '{path}'.")
    return path


@asynccontextmanager
async def open_resolver(options: Options) -> AsyncGenerator[Resolver]:
    """Open the config resolver."""
    yield ConfigResolver()
