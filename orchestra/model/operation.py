"""An operation: a named thing that can be run, with the flags it takes."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

FlagValue: TypeAlias = Any
"""None, bool, int, float, str, or a list or dict of these. Typed values survive storage unchanged."""

FlagsDest: TypeAlias = Literal["args", "globals", "none"]
"""How flags reach the process: as arguments, as module globals, or only as ``FLAG_*`` variables."""

OperationKind: TypeAlias = Literal["script", "executable", "batch", "queue"]


class FlagDef(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A flag that an operation takes."""

    name: str
    default: FlagValue = None
    type: Literal["string", "int", "float", "number", "boolean", "path"] | None = None
    description: str = ""
    required: bool = False
    choices: tuple[FlagValue, ...] = ()
    arg_name: str | None = None
    """The option's own spelling with its dashes (``--max-depth``) when it isn't ``--NAME``; ``""`` for a positional."""
    arg_switch: FlagValue = None
    """Pass the bare option if the value equals this, nothing otherwise (``store_true``)."""
    arg_split: bool = False
    """The value is split like a shell does and passed as several arguments (``nargs='+'``)."""


class Operation(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A named thing that can be run: kept whole in each run's record, so that a run needs no project."""

    name: str
    """As listings show it, e.g. ``say.py``."""
    kind: OperationKind
    source: str | None = None
    """The project's directory (absolute), of which the source snapshot is taken; None: no snapshot."""
    main: str = ""
    """The script or executable: relative to the run's directory when it is part of the snapshot, else absolute."""
    flags: tuple[FlagDef, ...] = ()
    flags_dest: FlagsDest = "none"
    accepts_any_flag: bool = False
    """True where flags can't be discovered (executables): any ``NAME=VALUE`` is passed on."""
    discovered_by: str = ""
    """How the flags were found: ``argparse``, ``globals`` or ``""``."""
    description: str = ""

    def flag(self, name: str) -> FlagDef | None:
        """The definition of flag ``name``, or None."""
        return next((flag for flag in self.flags if flag.name == name), None)
