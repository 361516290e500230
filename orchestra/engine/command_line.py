"""The command that executes an operation with given flags."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from orchestra import child
from orchestra.model import flags as flag_rules
from orchestra.model.destinations import parse_destination
from orchestra.model.operation import FlagValue, Operation
from orchestra.model.run import Run

INJECT = str(Path(child.__file__).with_name("inject.py"))
"""What runs a script with other module globals: by path, for the script's interpreter may lack orchestra."""

NO_OPERATION = "orchestra.pass"
"""The module that does nothing."""
_PYTHON = re.compile(r"python[0-9.]*")
INJECTED = ("globals", "dict", "namespace")
"""The kinds of destinations that are variables of the script."""


def operation_python() -> str:
    """The interpreter for scripts: ``ORCHESTRA_PYTHON``, else the active environment's, else our own."""
    if chosen := os.environ.get("ORCHESTRA_PYTHON"):
        return chosen
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if prefix := os.environ.get(variable):
            candidate = os.path.join(prefix, "bin", "python")
            if os.access(candidate, os.X_OK):
                return candidate
    return sys.executable


def interpreter_of(operation: Operation, flags: Mapping[str, FlagValue]) -> str:
    """The Python that the operation is run by: that of its command, if it names one.

    Raises:
        FlagError: a value can't be part of a command line.
    """
    command = command_line(operation, flags)
    named = bool(command) and _PYTHON.fullmatch(os.path.basename(command[0]))
    return command[0] if named else operation_python()


def command_line(operation: Operation, flags: Mapping[str, FlagValue]) -> tuple[str, ...]:
    """The command line, to be started in the run's directory.

    Raises:
        FlagError: a value can't be part of a command line.
    """
    if operation.kind in ("batch", "queue", "steps"):
        return ()
    if operation.project_file is not None:
        return _defined_command(operation, flags)
    arguments = flag_rules.command_arguments(operation, dict(flags))
    if operation.kind == "executable":
        main = operation.main if os.path.isabs(operation.main) else os.path.join(".", operation.main)
        return (main, *arguments)
    python = (operation_python(), "-u")
    if parse_destination(operation.flags_dest)[0] in INJECTED:
        return (*python, INJECT, operation.main, flag_rules.injection(operation, dict(flags)))
    return (*python, operation.main, *arguments)


def _defined_command(operation: Operation, flags: Mapping[str, FlagValue]) -> tuple[str, ...]:
    """The command of an operation of a project's file: its own words, with flags in their places."""
    from orchestra.model.templates import filled_words

    names = {
        "python_exe": operation_python(),
        "guild_python_exe": sys.executable,
        "project_dir": operation.source or "",
    }
    arguments = flag_rules.command_arguments(operation, dict(flags))
    if operation.exec:
        return filled_words(operation.exec, operation, flags, names, arguments)
    words = filled_words(operation.main_args, operation, flags, names)
    python = (operation_python(), "-u")
    if operation.main == NO_OPERATION:
        return (*python, "-c", "pass", *words, *arguments)
    main = ("-m", operation.main) if operation.kind == "module" else (operation.main,)
    if parse_destination(operation.flags_dest)[0] in INJECTED:
        return (*python, INJECT, *main, flag_rules.injection(operation, dict(flags)), *words)
    return (*python, *main, *words, *arguments)


def print_command(run: Run) -> str:
    """The command line of ``run``, quoted for a shell."""
    return shlex.join(command_line(run.operation, run.flags))
