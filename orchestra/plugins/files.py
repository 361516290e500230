"""Plugins in a file that nobody has installed: what an author checks while it is written."""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import shlex
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from orchestra.contracts import KINDS, Kind
from orchestra.errors import UserError
from orchestra.plugins.explaining import Remark, explain_import
from orchestra.plugins.listing import PluginInfo


def plugins_in(path: Path, kind: Kind | None = None) -> list[PluginInfo] | Remark:
    """The plugins whose openers a file has, called ``open_store``, ``open_executor``, ...; or why there are none.

    With ``kind`` one of another name is taken, too, if it is the only one that begins with ``open_``. Imports it,
    unless it defines nothing that is called so: a script would be run by that.

    Raises:
        UserError: there is no such file.
    """
    if path.is_dir():
        raise UserError(f"'{path}' is a folder, and what is checked is a plugin", _what_of(path))
    if not path.is_file():
        raise UserError(f"there is no file '{path}'")
    if _defines_none(path):
        return _none_in(path, kind, "'orchestra plugins new KIND NAME' writes one that has.")
    root, module = _module_of(path)
    try:
        with _first_in_path(root), _without_arguments(path), contextlib.redirect_stdout(sys.stderr):
            found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        return explain_import(str(path), module, error)
    file = getattr(found, "__file__", None)
    if file is None or not os.path.samefile(file, path):
        message = f"'{path}' can't be imported: the module '{module}' is '{file}'."
        return Remark(level="problem", message=message, advice="Give the file another name.")
    names: dict[Kind, str] = {
        one: f"open_{one}" for one in KINDS if hasattr(found, f"open_{one}") and kind in (None, one)
    }
    others = [name for name in vars(found) if name.startswith("open_")]
    if kind is not None and not names and len(others) == 1:
        names = {kind: others[0]}
    if not names:
        other = "If its opener has another name, say what it opens: '--kind executor'."
        return _none_in(path, kind, other if others else None)
    return [
        PluginInfo(kind=one, name=path.stem, target=f"{module}:{name}", distribution=str(path), version="")
        for one, name in names.items()
    ]


def is_file(name: str) -> bool:
    """Whether ``name`` is that of a file: no plugin or distribution is called so."""
    return "/" in name or name.endswith(".py")


def _none_in(path: Path, kind: Kind | None, advice: str | None = None) -> Remark:
    wanted = f"open_{kind}" if kind else "open_store, open_executor, open_expander or open_resolver"
    return Remark(level="problem", message=f"'{path}' has no function {wanted}.", advice=advice)


def _what_of(folder: Path) -> str:
    """What of a folder can be checked."""
    if (folder / "pyproject.toml").is_file():
        return (
            f"Install its package ('pip install -e {shlex.quote(str(folder))}') and check what that declares by its"
            " NAME, or check the FILE.py that has the opener."
        )
    return "Name a FILE.py that has an opener, a plugin that is installed, or its distribution."


def _defines_none(path: Path) -> bool:
    """Whether nothing in a file begins with ``open_``, as far as that can be known without importing it."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False  # importing it tells what is wrong
    names = list(_bound(tree.body))
    return "*" not in names and not any(name.startswith("open_") for name in names)


def _bound(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """The names that statements bind in a module; ``*`` where that can't be known."""
    for one in statements:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield "*" if one.name == "__getattr__" else one.name
        elif isinstance(one, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in one.names)
        else:
            yield from (name.id for name in ast.walk(one) if isinstance(name, ast.Name))
            for inner in ast.iter_child_nodes(one):
                if isinstance(inner, ast.stmt):
                    yield from _bound([inner])
                elif isinstance(inner, ast.ExceptHandler | ast.match_case):
                    yield from _bound(inner.body)


def _module_of(path: Path) -> tuple[str, str]:
    """Where the packages of a file begin, and the file's name from there."""
    root = path.resolve().parent
    parts = [] if path.stem == "__init__" else [path.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    return str(root), ".".join(parts)


@contextlib.contextmanager
def _without_arguments(path: Path) -> Generator[None]:
    """What is run by importing a file is not to take our words for its own."""
    before = sys.argv
    sys.argv = [str(path)]
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _first_in_path(root: str) -> Generator[None]:
    sys.path.insert(0, root)
    try:
        yield
    finally:
        sys.path.remove(root)
