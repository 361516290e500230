"""What a script's argparse parser says, read from the script's source where all of it is literal."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from typing import Any, Final, cast

from orchestra.project.parser_actions import SUPPRESS, TYPES, Action

_CREATORS: Final = frozenset(("add_argument", "add_argument_group", "add_mutually_exclusive_group"))
_PARSERS: Final = frozenset(("parse_args", "parse_known_args", "parse_intermixed_args"))
_HARMLESS: Final = frozenset(("print_help", "print_usage", "format_help", "format_usage", "error", "exit"))
_PARSER_KEYWORDS: Final = frozenset(("prog", "usage", "description", "epilog", "formatter_class", "add_help"))
_ARGUMENT_KEYWORDS: Final = frozenset(
    (
        "action",
        "nargs",
        "const",
        "default",
        "type",
        "choices",
        "required",
        "help",
        "metavar",
        "dest",
        "version",
    )
)
_ACTIONS: Final = frozenset(
    (
        "store",
        "store_true",
        "store_false",
        "store_const",
        "append",
        "append_const",
        "extend",
        "count",
        "help",
        "version",
    )
)
_OPTIONAL: Final = ("?", "*", "...")


class _Dynamic(Exception):
    """The parser is not literal."""


def uses_argparse(module: ast.Module) -> bool:
    """Whether the script imports argparse and mentions a parser, at any level."""
    imported = mentioned = False
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            imported = imported or any(alias.name == "argparse" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported = imported or node.module == "argparse"
            mentioned = mentioned or node.module == "argparse"
        elif isinstance(node, ast.Attribute):
            mentioned = mentioned or node.attr == "ArgumentParser" or node.attr in _PARSERS
    return imported and mentioned


def uses_click(module: ast.Module) -> bool:
    """Whether the script imports click or typer, at any level."""
    return not _imported(module).isdisjoint(("click", "typer"))


def has_no_parser(module: ast.Module) -> bool:
    """Whether the script can't have a parser that we know, nor run code that has one: it reads its arguments itself."""
    others = sys.stdlib_module_names - {"argparse", "importlib", "runpy"}
    names = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    return _imported(module) <= others and names.isdisjoint(("__import__", "exec", "eval"))


def _imported(module: ast.Module) -> set[str]:
    """The packages that the script imports, at any level; ``""`` for what is relative."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add("" if node.level else (node.module or "").partition(".")[0])
    return found


def read_parser(module: ast.Module) -> list[Action] | None:
    """The actions of the script's parser; None where they are not certain without running it."""
    try:
        return _read_literal(module)
    except (_Dynamic, ValueError, TypeError):
        return None


def _read_literal(module: ast.Module) -> list[Action]:
    block, position, name = _find_parser(module)
    owners = {name}
    actions: list[Action] = []
    understood: set[int] = set()
    last = 0
    for statement in block[position + 1 :]:
        call = _call_of(statement, owners)
        if call is None:
            continue
        method = cast(ast.Attribute, call.func).attr
        if method == "add_argument":
            if not isinstance(statement, ast.Expr):
                raise _Dynamic
            action = _read_argument(call, module)
            actions += [action] if action else []
        elif method in _CREATORS:
            owners.add(_group_name(statement))
        else:
            continue
        last = statement.lineno
        understood.add(id(cast(ast.Attribute, call.func).value))
    _check_uses(module, owners, understood, last)
    return actions


def _find_parser(module: ast.Module) -> tuple[list[ast.stmt], int, str]:
    """The block and place of the one statement ``NAME = ArgumentParser(...)``."""
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call) and _is_parser_class(node.func)]
    if len(calls) != 1 or not _comes_from_argparse(calls[0].func, module):
        raise _Dynamic
    call = calls[0]
    if call.args or any(keyword.arg not in _PARSER_KEYWORDS for keyword in call.keywords):
        raise _Dynamic
    for block in _blocks(module):
        for position, statement in enumerate(block):
            if isinstance(statement, ast.Assign) and statement.value is call:
                target = statement.targets[0]
                if len(statement.targets) == 1 and isinstance(target, ast.Name):
                    return block, position, target.id
    raise _Dynamic


def _blocks(module: ast.Module) -> Iterator[list[ast.stmt]]:
    """The statements that run straight through: the module's, a top-level function's, ``if __name__ ...``."""
    yield module.body
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef) or (
            isinstance(statement, ast.If)
            and isinstance(statement.test, ast.Compare)
            and isinstance(statement.test.left, ast.Name)
            and statement.test.left.id == "__name__"
        ):
            yield statement.body


def _is_parser_class(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "ArgumentParser"
    return isinstance(function, ast.Attribute) and function.attr == "ArgumentParser"


def _comes_from_argparse(function: ast.expr, module: ast.Module) -> bool:
    """Whether the parser's class is argparse's own, whatever else is called like it."""
    owner = function.value if isinstance(function, ast.Attribute) else function
    if not isinstance(owner, ast.Name):
        return False
    wanted = "ArgumentParser" if isinstance(function, ast.Name) else None
    found = False
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == owner.id:
                    origin = node.module if isinstance(node, ast.ImportFrom) else None
                    name = alias.name if isinstance(node, ast.ImportFrom) else None
                    if (origin or alias.name, name) != ("argparse", wanted):
                        return False
                    found = True
        elif _binds(node, owner.id):
            return False
    return found


def _binds(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name and isinstance(node.ctx, ast.Store)
    return isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name


def _call_of(statement: ast.stmt, owners: set[str]) -> ast.Call | None:
    """The call of a method of a parser or group that the statement is, or assigns."""
    if not isinstance(statement, ast.Expr | ast.Assign) or not isinstance(statement.value, ast.Call):
        return None
    call = statement.value
    if not isinstance(call.func, ast.Attribute) or not isinstance(call.func.value, ast.Name):
        return None
    return call if call.func.value.id in owners else None


def _group_name(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return target.id
    raise _Dynamic


def _check_uses(module: ast.Module, owners: set[str], understood: set[int], last: int) -> None:
    """Refuse a script that does anything with its parser but what was understood, and parse."""
    parsed = False
    assigned: list[str] = []
    allowed: set[int] = set(understood)
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in owners:
            if node.attr in _PARSERS:
                parsed = True
                if node.lineno <= last:
                    raise _Dynamic
            if node.attr in _PARSERS or node.attr in _HARMLESS:
                allowed.add(id(node.value))
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and node.id in owners:
            if isinstance(node.ctx, ast.Store):
                assigned.append(node.id)
            elif id(node) not in allowed:
                raise _Dynamic
        elif isinstance(node, ast.Global | ast.Nonlocal | ast.arg):
            names = [node.arg] if isinstance(node, ast.arg) else node.names
            if owners.intersection(names):
                raise _Dynamic
    if not parsed or len(assigned) != len(owners):
        raise _Dynamic


def _read_argument(call: ast.Call, module: ast.Module) -> Action | None:
    """The action of one call of ``add_argument``; None for one that is no flag."""
    given: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg not in _ARGUMENT_KEYWORDS:
            raise _Dynamic
        given[keyword.arg] = _read_keyword(keyword.arg, keyword.value, module)
    options: list[Any] = [ast.literal_eval(argument) for argument in call.args]
    if not all(isinstance(option, str) and option for option in options):
        raise _Dynamic
    positional = not options or not options[0].startswith("-")
    kind = given.get("action", "store")
    action: Action = {
        "options": [] if positional else options,
        "dest": given.get("dest") or (options[0] if positional and options else ""),
        "action": kind,
        "type": given.get("type"),
        "default": given.get("default", {"store_true": False, "store_false": True}.get(kind)),
        "choices": given.get("choices"),
        "help": given.get("help"),
        "required": given.get("nargs") not in _OPTIONAL if positional else bool(given.get("required")),
        "nargs": given.get("nargs"),
        "const": given.get("const", {"store_true": True, "store_false": False}.get(kind)),
        "line": call.lineno,
    }
    return None if kind in ("help", "version") else action


def _read_keyword(name: str, value: ast.expr, module: ast.Module) -> Any:
    if name == "type":
        if isinstance(value, ast.Name) and value.id in TYPES and not _is_redefined(value.id, module):
            return value.id
        raise _Dynamic
    if name == "action" and isinstance(value, ast.Attribute) and value.attr == "BooleanOptionalAction":
        return "boolean_optional"
    if isinstance(value, ast.Attribute) and value.attr == "SUPPRESS":
        return SUPPRESS
    literal = ast.literal_eval(value)
    if name == "choices" and isinstance(literal, tuple):
        literal = list(cast("tuple[Any, ...]", literal))
    if name == "action" and literal not in _ACTIONS:
        raise _Dynamic
    if not _is_json(literal):
        raise _Dynamic
    return literal


def _is_redefined(name: str, module: ast.Module) -> bool:
    return any(
        _binds(node, name) or (isinstance(node, ast.alias) and (node.asname or node.name) in (name, "*"))
        for node in ast.walk(module)
    )


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_json(item) for item in cast("list[Any]", value))
    return value is None or isinstance(value, bool | int | float | str)
