"""What there is to run in a directory, found without running any of it."""

from __future__ import annotations

import ast
import os
import stat
from pathlib import Path
from typing import NamedTuple

from orchestra.project.find import queue_operation

MOST_READ = 1 << 20
"""So many bytes of a script are looked at; a longer one is listed without a description."""

_QUIET = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Try, ast.Pass)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Listed(NamedTuple):
    """One operation of a listing."""

    name: str
    description: str
    """One line; empty if there is none."""


def list_operations(directory: Path) -> list[Listed]:
    """The scripts and executables of ``directory`` and what is built in, by name.

    A Python file is a script unless all that it does is to define what others import. Hidden files are left
    out, and Python files whose names begin with an underscore.

    Raises:
        OSError: the directory can't be read.
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
