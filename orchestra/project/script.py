"""A Python script as an operation: its flags, read without running it where that is possible."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from msgspec import Struct

from orchestra.errors import ScriptError, text_of_os_error
from orchestra.model.flags import encode
from orchestra.model.operation import FlagDef, FlagValue, Operation
from orchestra.project.argument_parsers import read_parser, uses_argparse
from orchestra.project.parser_actions import flags_of_actions

MAX_TEXT = 4096
"""A longer text that is assigned to a global is data, not a flag."""


class Discovered(Struct, frozen=True, kw_only=True):
    """The flags of a script, and how they were found."""

    flags: tuple[FlagDef, ...]
    by: str
    """``argparse`` or ``globals``."""
    warning: str | None = None
    """Why flags could not be found."""


def python_operation(
    path: Path,
    *,
    name: str,
    source: str | None,
    main: str,
    cache_dir: Path | None,
    python: str,
    warn: Callable[[str], None] | None = None,
) -> Operation:
    """The operation that runs the script at ``path``.

    Args:
        path: of the script.
        name: of the operation.
        source: the project's directory, of which runs take a snapshot.
        main: the script, relative to ``source``.
        cache_dir: where the flags of scripts that had to be run are kept; None keeps nothing.
        python: the interpreter that the script is for.
        warn: is told why flags could not be found.

    Raises:
        ScriptError: the script can't be read, or is not valid Python.
    """
    found = discover_flags(path, cache_dir=cache_dir, python=python)
    if found.warning and warn is not None and os.environ.get("NO_WARN_FLAGS_IMPORT") != "1":
        warn(f"cannot import flags from {name}: {found.warning}")
    return Operation(
        name=name,
        kind="script",
        source=source,
        main=main,
        flags=found.flags,
        flags_dest="args" if found.by == "argparse" else "globals",
        discovered_by=found.by,
    )


def discover_flags(path: Path, *, cache_dir: Path | None, python: str) -> Discovered:
    """The flags that the script at ``path`` takes.

    Raises:
        ScriptError: the script can't be read, or is not valid Python.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ScriptError(f"cannot run '{path}': {text_of_os_error(error)}") from None
    module = parse_script(path, content, python)
    if module is None or (b"argparse" in content and uses_argparse(module)):
        actions = read_parser(module) if module is not None else None
        if actions is not None:
            return Discovered(flags=flags_of_actions(actions), by="argparse")
        from orchestra.project.discovery import run_discovery

        found = run_discovery(path, content, cache_dir=cache_dir, python=python)
        if found.actions is not None:
            return Discovered(flags=flags_of_actions(found.actions), by="argparse", warning=found.warning)
        if module is None or found.warning is not None:
            return Discovered(flags=(), by="argparse", warning=found.warning)
    return Discovered(flags=global_flags(module), by="globals")


def parse_script(path: Path, content: bytes, python: str) -> ast.Module | None:
    """The script's syntax tree; None where only the operation's own, other interpreter can judge it.

    Raises:
        ScriptError: it is not valid Python.
    """
    try:
        return ast.parse(content, str(path))
    except SyntaxError as error:
        if os.path.realpath(python) != os.path.realpath(sys.executable):
            return None
        raise syntax_error(path, error.lineno, error.msg, error.text) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ScriptError(f"'{path}' is not valid Python: {error or 'nested too deeply'}") from None


def syntax_error(path: Path, line: int | None, problem: str, text: str | None = None) -> ScriptError:
    """The error of a script that is not valid Python."""
    where = f"line {line}: " if line else ""
    shown = f"\n    {text.strip()}" if text and text.strip() else ""
    return ScriptError(f"'{path}' is not valid Python: {where}{problem}{shown}")


def global_flags(module: ast.Module) -> tuple[FlagDef, ...]:
    """A flag for each global whose first top-level assignment is a constant, or a list of constants."""
    flags: dict[str, FlagDef | None] = {}
    for statement in module.body:
        for name, value in assignments(statement):
            if name not in flags:
                flags[name] = None if name.startswith("_") else _flag_of_constant(name, value)
    return tuple(flag for flag in flags.values() if flag is not None)


def assignments(statement: ast.stmt) -> list[tuple[str, ast.expr]]:
    """The plain names that a top-level statement assigns, with the expression they get."""
    if isinstance(statement, ast.Assign):
        return [(target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        return [(statement.target.id, statement.value)]
    return []


def _flag_of_constant(name: str, expression: ast.expr) -> FlagDef | None:
    if not isinstance(expression, ast.Constant | ast.UnaryOp | ast.List):
        return None
    try:
        value: Any = ast.literal_eval(expression)
    except ValueError:
        return None
    if isinstance(value, list):
        return _flag_of_list(name, cast("list[FlagValue]", value))
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return None
    if isinstance(value, bool):
        return FlagDef(name=name, default=value, type="boolean")
    if isinstance(value, int | float):
        return FlagDef(name=name, default=value, type="number")
    if isinstance(value, str):
        return FlagDef(name=name, default=value, type="string")
    return FlagDef(name=name) if value is None else None


def _flag_of_list(name: str, values: list[FlagValue]) -> FlagDef | None:
    import shlex

    if not _is_plain(values):
        return None
    text = shlex.join([encode(value) for value in values])
    return FlagDef(name=name, default=text, arg_split=True) if len(text) <= MAX_TEXT else None


def _is_plain(values: list[FlagValue]) -> bool:
    return all(
        _is_plain(cast("list[FlagValue]", value))
        if isinstance(value, list)
        else value is None or isinstance(value, bool | int | float | str)
        for value in values
    )
