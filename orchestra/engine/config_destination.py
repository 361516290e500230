"""Flags that reach their operation as a configuration file: it is written into the run's directory at each start."""

from __future__ import annotations

from pathlib import Path

from orchestra.errors import FlagError, ResolveError, text_of_os_error
from orchestra.model.destinations import parse_destination
from orchestra.model.flags import global_values
from orchestra.model.operation import Operation
from orchestra.model.run import Run
from orchestra.workspace.durable import write_atomic


def has_config(operation: Operation) -> bool:
    """Whether the flags of ``operation`` reach it as a configuration file."""
    return parse_destination(operation.flags_dest)[0] == "config"


def write_config(directory: Path, run: Run) -> None:
    """Write the configuration file of ``run``, if it has one, with its flags' values.

    What else is in it is taken from the run's own copy, or from the project's where it has none.

    Args:
        directory: of the run.
        run: that is about to be started.

    Raises:
        ResolveError: the file can't be read, changed or written.
    """
    if not has_config(run.operation):
        return
    _, name = parse_destination(run.operation.flags_dest)
    from orchestra.model.config_text import apply_to_config, config_name

    try:
        values = global_values(run.operation, run.flags)
        text = apply_to_config(_read(directory, run, name), name, values)
        target = directory / config_name(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, text, fsync=False)
    except FlagError as error:
        raise ResolveError(error.message, error.hint) from None
    except OSError as error:
        raise ResolveError(f"'{name}' can't be written: {text_of_os_error(error)}") from None


def _read(directory: Path, run: Run, name: str) -> bytes:
    try:
        return (directory / name).read_bytes()
    except FileNotFoundError:
        if run.operation.source is None:
            raise
        return (Path(run.operation.source) / name).read_bytes()
