"""Sources of small plugins that tests install."""

from __future__ import annotations

HEAD = """
from contextlib import asynccontextmanager
from pathlib import Path
from msgspec import Struct

class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rate: float = 1.0
    loud: bool = False
    label: str = "plain"
    where: Path | None = None
    home: Path

class Sound:
    def __init__(self, options):
        self.options = options
    async def resolve(self, source, into, runs):
        return None
"""

OPENER = """
@asynccontextmanager
async def open_it(options: Options):
    yield Sound(options)
"""

SOUND = HEAD + OPENER
LATE = "from __future__ import annotations\n" + SOUND
RESOLVERS = "orchestra.resolvers"


def resolvers(**targets: str) -> dict[str, dict[str, str]]:
    """Entry points of resolvers."""
    return {RESOLVERS: targets}
