"""Which imports come first when a script runs: those that nothing the script does could make turn out otherwise.

The script is only read. Imports count up to the first statement that does anything but import or define, for what
such a statement does (set a variable of the environment, patch a module) may be meant for the imports after it.
Modules of the run's own source are followed, not imported: each run has its own.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence

from msgspec import Struct

_MOST_SOURCES = 256
_MOST_SIZE = 1 << 20


class Import(Struct, frozen=True):
    """``import module``, or ``from module import members``."""

    module: str
    members: tuple[str, ...] = ()
    level: int = 0

    def __str__(self) -> str:
        return f"{self.module}:{'+'.join(self.members)}" if self.members else self.module


class Prefix(Struct, frozen=True):
    """What a source begins with."""

    imports: tuple[Import, ...]
    whole: bool
    """Whether that is all of it."""


class FirstImports:
    """Finds the imports of scripts, and remembers what was found in which source."""

    def __init__(self) -> None:
        self._prefixes: dict[bytes, Prefix] = {}

    def of_script(self, path: str, roots: Sequence[str]) -> tuple[Import, ...]:
        """The imports of a script; ``roots``: the folders of the run's source where imports look first."""
        found: dict[Import, None] = {}
        self._follow(path, roots, found, set())
        return tuple(found)

    def of_module(self, name: str, roots: Sequence[str]) -> tuple[Import, ...]:
        """Those of a module that is run by ``-m``."""
        found: dict[Import, None] = {}
        paths = _own_files(name, roots)
        if paths is None or not paths:
            return ()
        if os.path.basename(paths[-1]) == "__init__.py":
            paths.append(os.path.join(os.path.dirname(paths[-1]), "__main__.py"))
        seen: set[str] = set()
        all(self._follow(path, roots, found, seen) for path in paths)
        return tuple(found)

    def _follow(self, path: str, roots: Sequence[str], found: dict[Import, None], seen: set[str]) -> bool:
        """Collect the imports of a file; whether those after it count, too."""
        if path in seen:
            return True
        seen.add(path)
        prefix = self._prefix(path)
        for each in prefix.imports:
            if each.level:
                base = path
                for _ in range(each.level):
                    base = os.path.dirname(base)
                modules, where = _names(each), [base]
            else:
                modules, where = _names(each), roots
            paths = _own_files(modules[0], where) if modules[0] else [os.path.join(where[0], "__init__.py")]
            if paths is None:
                return False
            if not paths:
                if each.level:
                    return False
                found[each] = None
                continue
            for module in modules[1:]:
                paths += [file for file in _own_files(module, where) or () if file not in paths]
            if not all(self._follow(file, roots, found, seen) for file in paths):
                return False
        return prefix.whole

    def _prefix(self, path: str) -> Prefix:
        try:
            with open(path, "rb") as file:
                source = file.read(_MOST_SIZE)
        except OSError:
            return Prefix((), False)
        known = self._prefixes.get(source)
        if known is None:
            if len(self._prefixes) >= _MOST_SOURCES:
                self._prefixes.clear()
            known = self._prefixes[source] = read_prefix(source)
        return known


def read_prefix(source: bytes) -> Prefix:
    """The imports that a source begins with; none if it can't be read."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Prefix((), False)
    imports: list[Import] = []
    whole = _collect(body, imports)
    return Prefix(tuple(imports), whole)


def _collect(body: Sequence[ast.stmt], imports: list[Import]) -> bool:
    """Add the imports of these statements, up to the first one that does something; whether there is none."""
    for statement in body:
        if isinstance(statement, ast.Import):
            imports.extend(Import(alias.name) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            if statement.module != "__future__":
                members = tuple(alias.name for alias in statement.names)
                imports.append(Import(statement.module or "", members, statement.level))
        elif isinstance(statement, ast.Try):
            if not _collect([*statement.body, *statement.orelse, *statement.finalbody], imports):
                return False
        elif isinstance(statement, ast.If) and _never(statement.test):
            if not _collect(statement.orelse, imports):
                return False
        elif not _harmless(statement):
            return False
    return True


def _never(test: ast.expr) -> bool:
    """Whether it is ``TYPE_CHECKING``, which is false when a script runs."""
    name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    return name == "TYPE_CHECKING"


def _harmless(statement: ast.stmt) -> bool:
    """Whether a statement only defines something."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Pass)):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Name) for target in statement.targets) and _plain(statement.value)
    if isinstance(statement, ast.AnnAssign):
        return isinstance(statement.target, ast.Name) and (statement.value is None or _plain(statement.value))
    return False


_PLAIN = (
    ast.Constant, ast.Name, ast.Attribute, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.UnaryOp, ast.BinOp,
    ast.expr_context, ast.operator, ast.unaryop, ast.JoinedStr, ast.FormattedValue,
)  # fmt: skip


def _plain(value: ast.expr) -> bool:
    """Whether it is a value that is written down, or asks for a logger, which changes nothing."""
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else ""
        return name == "getLogger"
    return all(isinstance(node, _PLAIN) for node in ast.walk(value))


def _names(each: Import) -> list[str]:
    """The module, and what may be modules in it."""
    inner = [f"{each.module}.{member}".lstrip(".") for member in each.members if member != "*"]
    return [each.module, *inner]


def _own_files(module: str, roots: Sequence[str]) -> list[str] | None:
    """The files of the run's source that an import of ``module`` runs; None if it can't be told."""
    for root in roots:
        found = list(_files_below(root, module.split(".")))
        if found:
            return None if "" in found else found
    return []


def _files_below(root: str, names: Sequence[str]) -> Iterator[str]:
    """The files, in order; an empty one for what is there but can't be read."""
    folder = root
    for name in names:
        folder = os.path.join(folder, name)
        package = os.path.join(folder, "__init__.py")
        if os.path.isfile(package):
            yield package
        elif os.path.isfile(folder + ".py"):
            yield folder + ".py"
            return
        else:
            if os.path.isdir(folder):
                yield ""
            return
