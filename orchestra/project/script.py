"""A Python script as an operation: its flags, read without running it where that is possible."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from orchestra.errors import FlagError, ScriptError, text_of_os_error
from orchestra.model.destinations import parse_destination
from orchestra.model.operation import FlagDef, FlagsDest, Operation
from orchestra.project.argument_parsers import has_no_parser, read_parser, uses_argparse, uses_click
from orchestra.project.literal_flags import global_flags, member_flags
from orchestra.project.parser_actions import Action, flags_of_actions, left_out_of

NO_PARSER = "it has no parser of arguments"
"""The warning of a script that reads its arguments itself: where its flags are defined, there is nothing wrong."""


class Discovered(Struct, frozen=True, kw_only=True):
    """The flags of a script, and how they were found."""

    flags: tuple[FlagDef, ...]
    by: str
    """``argparse``, ``click``, ``typer``, ``globals``, the destination (``dict:NAME``, ``config:FILE``), ``none``."""
    warning: str | None = None
    """Why flags could not be found."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Options that are no flags, and why."""

    @property
    def dest(self) -> FlagsDest:
        """How the flags reach the script."""
        return "args" if self.by in ("argparse", "click", "typer") else self.by


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
        flags_dest=found.dest,
        discovered_by=found.by,
    )


def discover_flags(
    path: Path,
    *,
    cache_dir: Path | None,
    python: str,
    arguments: Sequence[str] = (),
    dest: FlagsDest | None = None,
    root: Path | None = None,
) -> Discovered:
    """The flags that the script at ``path`` takes.

    Args:
        path: of the script.
        cache_dir: where the flags of scripts that had to be run are kept; None keeps nothing.
        python: the interpreter that the script is for.
        arguments: what it is always given: they may name a sub-command.
        dest: how flags reach it; None: as the script itself tells.
        root: the directory that the file of ``config:FILE`` is relative to; None: the script's.

    Raises:
        ScriptError: the script can't be read, or is not valid Python.
        FlagError: there is no such ``dest``.
    """
    kind, name = parse_destination(dest) if dest is not None else (None, "")
    if kind == "none":
        return Discovered(flags=(), by="none")
    if kind == "config":
        return _flags_of_file(root or path.parent, name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ScriptError(f"cannot run '{path}': {text_of_os_error(error)}") from None
    module = parse_script(path, content, python)
    if kind in ("dict", "namespace"):
        return _flags_of_global(module, path, kind, name)
    if kind == "args" and module is not None and has_no_parser(module):
        return Discovered(flags=(), by="argparse", warning=NO_PARSER)
    if kind != "globals" and (module is None or kind == "args" or _parses_arguments(module, content)):
        found = _flags_of_parser(path, content, module, cache_dir, python, arguments)
        if found is not None:
            return found
        if module is None or kind == "args":
            return Discovered(flags=(), by="argparse", warning="it ended without parsing its arguments")
    return Discovered(flags=global_flags(module, path.name) if module is not None else (), by="globals")


def _parses_arguments(module: ast.Module, content: bytes) -> bool:
    return (b"argparse" in content and uses_argparse(module)) or (
        (b"click" in content or b"typer" in content) and uses_click(module)
    )


def _flags_of_file(root: Path, name: str) -> Discovered:
    from orchestra.project.config_flags import config_flags

    try:
        return Discovered(flags=config_flags(root, name), by=f"config:{name}")
    except FlagError as error:
        # It may be one that a dependency brings: then it is there when a run starts.
        return Discovered(flags=(), by=f"config:{name}", warning=error.message)


def _flags_of_global(module: ast.Module | None, path: Path, kind: str, name: str) -> Discovered:
    flags = member_flags(module, name, path.name) if module is not None else None
    warning = f"'{name}' is not assigned a literal {kind} at its top level" if flags is None else None
    return Discovered(flags=flags or (), by=f"{kind}:{name}", warning=warning)


def _read_actions(module: ast.Module, content: bytes) -> tuple[str, list[Action]] | None:
    """The library of the script's parser and what the parser has, if all of it is literal."""
    actions = read_parser(module) if b"argparse" in content else None
    if actions is not None:
        return "argparse", actions
    if b"click" not in content:
        return None
    from orchestra.project.click_commands import read_command

    actions = read_command(module)
    return None if actions is None else ("click", actions)


def _flags_of_parser(
    path: Path,
    content: bytes,
    module: ast.Module | None,
    cache_dir: Path | None,
    python: str,
    arguments: Sequence[str],
) -> Discovered | None:
    """The flags of the script's parser; None if it ended without parsing its arguments."""
    read = _read_actions(module, content) if module is not None else None
    if read is not None:
        by, actions = read
        return Discovered(flags=flags_of_actions(actions, path.name), by=by, left_out=left_out_of(actions))
    from orchestra.project.discovery import run_discovery

    found = run_discovery(path, content, cache_dir=cache_dir, python=python, arguments=arguments)
    if found.actions is None:
        if found.warning is None:
            return None
        by = "argparse" if module is None or uses_argparse(module) else "click"
        return Discovered(flags=(), by=by, warning=found.warning)
    return Discovered(
        flags=flags_of_actions(found.actions, path.name),
        by=found.by,
        warning=found.warning,
        left_out=left_out_of(found.actions),
    )


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
