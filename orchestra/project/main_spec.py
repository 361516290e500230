"""What ``main`` of an operation names: a script of the project, one of its modules, or a module that is installed."""

from __future__ import annotations

import shlex
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


def find_main(project: Path, spec: str, defined: Defined) -> Main:
    """What ``spec`` (``train``, ``pkg.train``, ``src/train.py --fast``) names in the directory ``project``.

    Raises:
        ProjectFileError: it is empty, or a quote in it is not closed.
        ScriptError: it is a path, and there is no such file.
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
    return Main(kind="module", main=name, arguments=arguments, script=_module_file(project, name))


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
