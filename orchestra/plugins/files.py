"""Plugins in a file that nobody has installed: what an author checks while it is written."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Generator
from pathlib import Path

from orchestra.contracts import KINDS, Kind
from orchestra.errors import UserError
from orchestra.plugins.explaining import Remark, explain_import
from orchestra.plugins.listing import PluginInfo


def plugins_in(path: Path, kind: Kind | None = None) -> list[PluginInfo] | Remark:
    """The plugins whose openers a file has, called ``open_store``, ``open_executor``, ...; or why there are none.

    With ``kind`` one of another name is taken, too, if it is the only one that begins with ``open_``. Imports it.

    Raises:
        UserError: there is no such file.
    """
    if not path.is_file():
        raise UserError(f"there is no file '{path}'")
    root, module = _module_of(path)
    try:
        with _first_in_path(root), contextlib.redirect_stdout(sys.stderr):
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
        wanted = f"open_{kind}" if kind else "open_store, open_executor, open_expander or open_resolver"
        advice = "If its opener has another name, say what it opens: '--kind executor'." if others else None
        return Remark(level="problem", message=f"'{path}' has no function {wanted}.", advice=advice)
    return [
        PluginInfo(kind=one, name=path.stem, target=f"{module}:{name}", distribution=str(path), version="")
        for one, name in names.items()
    ]


def _module_of(path: Path) -> tuple[str, str]:
    """Where the packages of a file begin, and the file's name from there."""
    root = path.resolve().parent
    parts = [] if path.stem == "__init__" else [path.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    return str(root), ".".join(parts)


@contextlib.contextmanager
def _first_in_path(root: str) -> Generator[None]:
    sys.path.insert(0, root)
    try:
        yield
    finally:
        sys.path.remove(root)
