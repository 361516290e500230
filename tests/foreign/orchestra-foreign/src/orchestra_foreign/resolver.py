"""``env:NAME``: the value of an environment variable, as the file ``NAME``."""

import os
from contextlib import asynccontextmanager

from msgspec import Struct
from orchestra.contracts import Resolved
from orchestra.errors import ResolveError


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    suffix: str = ""


class EnvResolver:
    def __init__(self, options):
        self.options = options

    async def resolve(self, source, into, runs):
        name = source.value
        if not name.isidentifier() or name not in os.environ:
            raise ResolveError(f"there is no variable '{name}'")
        partial = into / f".{name}.part"
        partial.write_text(os.environ[name])
        partial.replace(into / (name + self.options.suffix))
        return Resolved(paths=(name + self.options.suffix,), origin=f"${name}")


@asynccontextmanager
async def open_resolver(options: Options):
    yield EnvResolver(options)
