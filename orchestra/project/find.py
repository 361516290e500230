"""From the name that a person gives to an operation: one of the project's file, a script, an executable, a built-in."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from orchestra.errors import OperationNotFound, ProjectFileError, ScriptError, text_of_os_error
from orchestra.model.operation import FlagDef, Operation
from orchestra.project.project_settings import OWN_FILE

PROJECT_FILES = (OWN_FILE, "guild.yml")
"""The project's own file, by the names it may have; of two in one directory the first counts."""

QUEUE = "queue"
_CLOSE_NAMES = 5


def find_operation(
    spec: str | None,
    *,
    cwd: Path,
    cache_dir: Path | None,
    python: str,
    warn: Callable[[str], None] | None = None,
) -> Operation:
    """The operation that ``spec`` names.

    Args:
        spec: an operation of the project's file (``OP``, ``MODEL:OP``), else ``queue``, or the path of a script or
            executable relative to ``cwd``; None for the default one.
        cwd: the project's directory.
        cache_dir: where the flags of scripts that had to be run are kept; None keeps nothing.
        python: the interpreter for scripts.
        warn: is told why a script's flags could not be found.

    Raises:
        OperationNotFound: there is no such operation.
        ProjectFileError: the project's file can't be read, or says something that has no meaning.
        ScriptError: it is there but can't be read or run, or is not valid Python.
    """
    file = project_file_in(cwd)
    if file is not None:
        try:
            defined = _defined_operation(file, spec, cache_dir, python, warn)
        except ProjectFileError:
            # A queue runs what is staged already: it needs no project.
            if spec != QUEUE:
                raise
            defined = None
        if defined is not None:
            return defined
    if spec is None:
        raise OperationNotFound(
            f"cannot find a default operation: there is no {' or '.join(PROJECT_FILES)} in '{cwd}'",
            "Name a script or an executable to run.",
        )
    if spec == QUEUE:
        return queue_operation()
    path = os.path.join(cwd, os.path.expanduser(spec))
    try:
        found = None if "\0" in spec or not spec else os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        found = None
    except OSError as error:
        raise ScriptError(f"cannot run '{_shown(spec)}': {text_of_os_error(error)}") from None
    if found is None and "\0" not in spec and os.path.islink(path):
        raise ScriptError(
            f"cannot run '{_shown(spec)}': it is a link to '{os.readlink(path)}', which is missing"
        )
    if found is None:
        raise _not_found(spec, cwd, file)
    if not stat.S_ISREG(found.st_mode):
        raise ScriptError(
            f"cannot run '{spec}': {_kind_of(found.st_mode)}", "Name a script or an executable."
        )
    path = os.path.abspath(path)
    source, main, name = _place(path, os.path.abspath(cwd))
    if spec.endswith(".py"):
        # A script needs its neighbours to import; a script outside of the project brings its own.
        if source is None:
            source, main = os.path.split(path)
        # A queue, and a program, need none of what finds the flags of scripts.
        from orchestra.project.script import python_operation

        return python_operation(
            Path(path), name=name, source=source, main=main, cache_dir=cache_dir, python=python, warn=warn
        )
    if not os.access(path, os.X_OK):
        raise ScriptError(f"cannot run '{spec}': must be an executable file", _hint_of_mode(path, spec))
    return Operation(
        name=name, kind="executable", source=source, main=main, flags_dest="args", accepts_any_flag=True
    )


def _hint_of_mode(path: str, spec: str) -> str:
    """What to do with a file that may not be executed: not with data, nor with a program's source."""
    try:
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError:
        head = b""
    if head.startswith((b"#!", b"\x7fELF")):
        return f"Make it one with 'chmod +x {spec}'."
    return "Name a Python script (.py), an operation of the project, or a program that begins with '#!'."


def project_file_in(directory: Path) -> Path | None:
    """The project's file of ``directory``, if it has one."""
    for name in PROJECT_FILES:
        path = os.path.join(directory, name)
        if os.path.lexists(path):
            return Path(path)
    return None


def _defined_operation(
    file: Path, spec: str | None, cache_dir: Path | None, python: str, warn: Callable[[str], None] | None
) -> Operation | None:
    """What the project's file defines under this name. Only projects that have one pay for reading YAML."""
    from orchestra.project.defined_operations import operation_of
    from orchestra.project.lookup import look_up
    from orchestra.project.project_file import load_project

    project = load_project(file, warn)
    defined = look_up(project, spec)
    if defined is None:
        return None
    operation = operation_of(project, defined, cache_dir=cache_dir, python=python, warn=warn)
    project.reader.tell_ignored()
    return operation


def queue_operation() -> Operation:
    """The built-in scheduler of staged runs."""
    return Operation(
        name=QUEUE,
        kind="queue",
        description="Start staged runs.",
        flags=(
            FlagDef(
                name="gpus", type="string", description="Devices to give to runs; runs that want others wait."
            ),
            FlagDef(
                name="ignore-running",
                default=False,
                type="boolean",
                description="Start staged runs while runs that no queue started are running.",
            ),
            FlagDef(
                name="poll-interval", default=10, type="number", description="Seconds between two looks."
            ),
            FlagDef(
                name="run-once",
                default=False,
                type="boolean",
                description="End when no staged run is left.",
            ),
            FlagDef(name="jobs", description="How many runs to have at once (default is 1), or 'auto'."),
            FlagDef(name="max-fails", type="int", description="Failed runs after which no other is started."),
            FlagDef(name="executor", type="string", description="The executor to give runs to."),
            FlagDef(name="wait-for-running", type="boolean", description="The inverse of ignore-running."),
        ),
    )


def _place(path: str, cwd: str) -> tuple[str | None, str, str]:
    """The project, the file's place in it, and the operation's name; no project for a file outside of it."""
    relative = os.path.relpath(path, cwd)
    if relative.startswith(os.pardir + os.sep):
        return None, path, os.path.basename(path)
    return cwd, relative, relative


def _kind_of(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "Is a directory"
    return "must be a regular file, not a " + ("named pipe" if stat.S_ISFIFO(mode) else "device or socket")


def _shown(spec: str) -> str:
    return spec if spec.isprintable() else repr(spec)[1:-1]


def _not_found(spec: str, cwd: Path, file: Path | None) -> OperationNotFound:
    import difflib

    try:
        scripts = sorted(name for name in os.listdir(cwd) if name.endswith(".py"))
    except OSError as error:
        return OperationNotFound(
            f"operation '{_shown(spec)}' cannot be looked for: {text_of_os_error(error)}"
        )
    if file is not None:
        from orchestra.project.lookup import not_defined
        from orchestra.project.project_file import load_project

        return not_defined(load_project(file), _shown(spec), [*scripts, "queue"])
    hint = "Try 'orchestra operations' for a list of available operations."
    close = difflib.get_close_matches(spec, [*scripts, "queue"], n=_CLOSE_NAMES, cutoff=0.65)
    if close:
        hint += f"\nDid you mean {', '.join(repr(name) for name in close)}?"
    return OperationNotFound(f"operation '{_shown(spec)}' is not defined for this project", hint)
