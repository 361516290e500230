"""Flags that are the entries of a configuration file of the project."""

from __future__ import annotations

from pathlib import Path

from orchestra.errors import FlagError, text_of_os_error
from orchestra.model.config_text import read_config
from orchestra.model.operation import FlagDef
from orchestra.project.literal_flags import value_flags


def config_flags(root: Path, name: str) -> tuple[FlagDef, ...]:
    """A flag for each plain entry of the file ``name`` in the project at ``root``, with dotted names.

    Raises:
        FlagError: it can't be read, or is no configuration file.
    """
    try:
        content = (root / name).read_bytes()
    except OSError as error:
        raise FlagError(f"flags can't be read from '{name}': {text_of_os_error(error)}") from None
    return value_flags(read_config(content, name), name)
