"""What there is to run in a directory, found without running any of it."""

from __future__ import annotations

import ast
import os
import stat
from pathlib import Path
from typing import NamedTuple

from orchestra.errors import UserError
from orchestra.project.find import project_file_in, queue_operation

MOST_READ = 1 << 20
"""So many bytes of a script are looked at; a longer one is listed without a description."""

_QUIET = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Try, ast.Pass)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Listed(NamedTuple):
    """One operation of a listing."""

    name: str
    description: str
    """One line; empty if there is none."""
    details: tuple[str, ...] = ()
    """What is executed, and the flags that the project's file defines."""


def list_operations(directory: Path, *, everything: bool = False) -> list[Listed]:
    """What can be run in ``directory``, by name: the operations of the project's file, if there is one.

    Without such a file, or with ``everything``: its scripts and executables, and what is built in.

    Raises:
        OSError: the directory can't be read.
        ProjectFileError: the project's file can't be read, or says something that has no meaning.
    """
    file = project_file_in(directory)
    if file is None:
        return list_files(directory)
    defined = _list_defined(file, everything)
    names = {one.name for one in defined}
    others = list_files(directory) if everything else []
    return sorted([*defined, *(one for one in others if one.name not in names)])


def compare_columns(file: Path) -> dict[str, tuple[str, ...] | None]:
    """By the full name of each operation of the project's file: the columns that it is compared by, if it says so.

    Raises:
        ProjectFileError: the file can't be read, or says something that has no meaning.
    """
    from orchestra.project.project_file import load_project

    return {
        one.full_name: None if one.section.compare is None else tuple(one.section.compare)
        for one in load_project(file).operations()
    }


def _list_defined(file: Path, hidden: bool) -> list[Listed]:
    """The operations of the project's file; ``hidden`` ones have names that begin with an underscore."""
    from orchestra.project.defined_operations import describe
    from orchestra.project.project_file import load_project

    return sorted(
        Listed(one.full_name, _first_line(one.section.description), describe(one))
        for one in load_project(file).operations()
        if hidden or not (one.name.startswith("_") or one.model.startswith("_"))
    )


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()


def list_models(directory: Path, *, everything: bool = False) -> list[Listed]:
    """The models of the project's file that have names; those that begin with an underscore with ``everything``.

    Raises:
        ProjectFileError: the project's file can't be read, or says something that has no meaning.
    """
    file = project_file_in(directory)
    if file is None:
        return []
    from orchestra.project.project_file import load_project

    models = load_project(file).models.values()
    return sorted(
        Listed(model.name, _first_line(model.description))
        for model in models
        if model.name and (everything or not model.name.startswith("_"))
    )


class ListedModel(NamedTuple):
    """A model of a listing, with what is in it."""

    name: str
    description: str
    operations: tuple[Listed, ...]
    resources: tuple[Listed, ...]


def list_model(file: Path, name: str) -> ListedModel:
    """What the model ``name`` (empty: the anonymous one) of a project's file has, hidden operations left out.

    Raises:
        ProjectFileError: the file can't be read, or says something that has no meaning.
        UserError: it has no such model.
    """
    from orchestra.project.project_file import load_project

    model = load_project(file).models.get(name)
    if model is None:
        raise UserError(
            f"'{file}' has no model '{name}' any more", "Try 'orchestra models' for a list of them."
        )
    operations = (
        Listed(one.name, _first_line(one.section.description))
        for one in model.operations.values()
        if not one.name.startswith("_")
    )
    resources = tuple(Listed(each, "") for each in sorted(model.resources))
    return ListedModel(model.name, model.description.strip(), tuple(sorted(operations)), resources)


def list_files(directory: Path) -> list[Listed]:
    """The scripts and executables of ``directory`` and what is built in, by name.

    A Python file is a script unless all that it does is to define what others import. Hidden files are left
    out, and Python files whose names begin with an underscore.
    """
    built_in = queue_operation()
    found = [Listed(built_in.name, built_in.description)]
    with os.scandir(directory) as entries:
        for entry in entries:
            described = None if entry.name.startswith(".") else _describe(entry)
            if described is not None:
                found.append(Listed(entry.name, described))
    return sorted(found)


def _describe(entry: os.DirEntry[str]) -> str | None:
    """The description of an operation; None if the file is none."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return None  # a link that leads nowhere
    if not stat.S_ISREG(mode):
        return None
    if not entry.name.endswith(".py"):
        return "" if os.access(entry.path, os.X_OK) else None
    return None if entry.name.startswith("_") else _describe_script(entry.path)


def _describe_script(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_READ + 1)
        module = ast.parse(content) if len(content) <= MOST_READ else None
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        module = None
    if module is None:
        # Whoever runs it is told what is wrong with it.
        return ""
    if not _is_script(module):
        return None
    return (ast.get_docstring(module) or "").partition("\n")[0].strip()


def _is_script(module: ast.Module) -> bool:
    defines = any(isinstance(statement, _DEFINITIONS) for statement in module.body)
    return not defines or any(_does_something(statement) for statement in module.body)


def _does_something(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.If):
        return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test))
    return not isinstance(statement, (*_QUIET, *_DEFINITIONS))
