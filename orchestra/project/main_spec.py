"""What ``main`` of an operation names: a script of the project, one of its modules, or a module that is installed."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Final

from msgspec import Struct

from orchestra.errors import ScriptError
from orchestra.model.operation import OperationKind
from orchestra.project.project_file import Defined
from orchestra.project.sections import error_at

NO_OPERATION: Final = "orchestra.pass"
"""The module that does nothing."""
_NO_OPERATIONS: Final = (NO_OPERATION, "guild.pass")


class Main(Struct, frozen=True, kw_only=True):
    """What is executed, and with which words before the flags."""

    kind: OperationKind
    main: str
    arguments: tuple[str, ...] = ()
    script: Path | None = None
    """Its file, where that is the project's."""


def find_main(project: Path, spec: str, defined: Defined, python: str) -> Main:
    """What ``spec`` (``train``, ``pkg.train``, ``src/train.py --fast``) names in the directory ``project``.

    Args:
        project: the project's directory.
        spec: as the project's file has it.
        defined: the operation that it is of.
        python: the interpreter that it is for.

    Raises:
        ProjectFileError: it is empty, or a quote in it is not closed.
        ScriptError: there is no such file or module.
    """
    words = split_words(spec, defined, "main")
    if not words:
        raise error_at(defined.place, f"operation '{defined.full_name}'", "'main' names no script or module")
    name, *rest = words
    arguments = tuple(rest)
    if name in _NO_OPERATIONS:
        return Main(kind="module", main=NO_OPERATION, arguments=arguments)
    if (script := _script(project, name)) is not None:
        return Main(kind="script", main=script, arguments=arguments, script=project / script)
    if "/" in name or name.endswith(".py"):
        raise ScriptError(
            f"operation '{defined.full_name}' can't be run: there is no file '{name}' in '{project}'",
            f"It is named in {defined.place}.",
        )
    file = _module_file(project, name)
    if file is None and _is_missing(project, name, defined, python):
        raise ScriptError(
            f"operation '{defined.full_name}' can't be run: there is no module '{name}' in '{project}', and none "
            "is installed",
            f"It is named in {defined.place}.",
        )
    return Main(kind="module", main=name, arguments=arguments, script=file)


def _is_missing(project: Path, name: str, defined: Defined, python: str) -> bool:
    """Whether no run can have the module ``name``, as far as that is known without importing anything."""
    section = defined.section
    comes_later = section.requires or section.sourcecode or section.python_path or "PYTHONPATH" in section.env
    if comes_later or os.path.abspath(python) != os.path.abspath(sys.executable):
        return False
    top = name.partition(".")[0]
    if not all(name.split(".")) or (project / top / "__init__.py").is_file():
        return True
    import importlib.util

    try:
        return importlib.util.find_spec(top) is None
    except ValueError:
        # It is loaded already, and does not say from where.
        return False


def _script(project: Path, name: str) -> str | None:
    """The script that ``name`` is, with or without its ending."""
    if name.endswith(".py") and (project / name).is_file():
        return name
    if "." in name.rpartition("/")[2]:
        return None
    return f"{name}.py" if (project / f"{name}.py").is_file() else None


def _module_file(project: Path, name: str) -> Path | None:
    path = project.joinpath(*name.split("."))
    for candidate in (path.with_name(f"{path.name}.py"), path / "__main__.py"):
        if candidate.is_file():
            return candidate
    return None


def split_words(text: str, defined: Defined, key: str) -> tuple[str, ...]:
    """``text`` as the words that a shell would make of it.

    Raises:
        ProjectFileError: a quote in it is not closed.
    """
    try:
        return tuple(shlex.split(" ".join(text.splitlines())))
    except ValueError as error:
        place = defined.raw.places.get(key, defined.place)
        raise error_at(
            place, f"operation '{defined.full_name}'", f"'{key}' can't be split into words: {error}"
        ) from None
