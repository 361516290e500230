"""Flags that are literal values: of a script's globals, of one dict or namespace in it, of a configuration file."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, cast

from orchestra.model.destinations import flattened
from orchestra.model.flags import encode
from orchestra.model.operation import FlagDef, FlagValue

MAX_TEXT = 4096
"""A longer text that is assigned to a global is data, not a flag."""


def global_flags(module: ast.Module, file: str = "") -> tuple[FlagDef, ...]:
    """A flag for each global whose first top-level assignment is a constant, or a list of constants."""
    flags: dict[str, FlagDef | None] = {}
    for statement in module.body:
        for name, value in assignments(statement):
            if name not in flags:
                flags[name] = None if name.startswith("_") else _flag_of_expression(name, value, file)
    return tuple(flag for flag in flags.values() if flag is not None)


def member_flags(module: ast.Module, name: str, file: str = "") -> tuple[FlagDef, ...] | None:
    """A flag for each constant in the dict or namespace that the global ``name`` is first assigned.

    Those within others have dotted names. None if no such literal is assigned.
    """
    for statement in module.body:
        for assigned, value in assignments(statement):
            if assigned == name:
                members = _members(value)
                return None if members is None else tuple(_flags_of_members(members, "", file))
    return None


def value_flags(data: Mapping[Any, Any], file: str) -> tuple[FlagDef, ...]:
    """A flag for each plain value of a configuration file, with dotted names."""
    flags = (flag_of_value(name, value, file) for name, value in flattened(data).items())
    return tuple(flag for flag in flags if flag is not None)


def assignments(statement: ast.stmt) -> list[tuple[str, ast.expr]]:
    """The plain names that a top-level statement assigns, with the expression they get."""
    if isinstance(statement, ast.Assign):
        return [(target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        return [(statement.target.id, statement.value)]
    return []


def flag_of_value(name: str, value: Any, origin: str) -> FlagDef | None:
    """The flag with the default ``value``; None if that is none that a flag can have."""
    if isinstance(value, list):
        return _flag_of_list(name, cast("list[FlagValue]", value), origin)
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return None
    if isinstance(value, bool):
        return FlagDef(name=name, default=value, type="boolean", origin=origin)
    if isinstance(value, int | float):
        return FlagDef(name=name, default=value, type="number", origin=origin)
    if isinstance(value, str):
        return FlagDef(name=name, default=value, type="string", origin=origin)
    return FlagDef(name=name, origin=origin) if value is None else None


def _members(value: ast.expr) -> list[tuple[str, ast.expr]] | None:
    """What a dict, ``dict(...)`` or ``SimpleNamespace(...)`` holds by name; None for anything else."""
    if isinstance(value, ast.Dict):
        return [
            (key.value, item)
            for key, item in zip(value.keys, value.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        ]
    if isinstance(value, ast.Call) and not value.args:
        return [(keyword.arg, keyword.value) for keyword in value.keywords if keyword.arg is not None]
    return None


def _flags_of_members(members: list[tuple[str, ast.expr]], prefix: str, file: str) -> list[FlagDef]:
    flags: dict[str, FlagDef] = {}
    for name, value in members:
        inner = _members(value)
        if inner is not None:
            flags.update((flag.name, flag) for flag in _flags_of_members(inner, f"{prefix}{name}.", file))
            continue
        flag = _flag_of_expression(f"{prefix}{name}", value, file)
        if flag is not None:
            flags[flag.name] = flag
    return list(flags.values())


def _flag_of_expression(name: str, expression: ast.expr, file: str) -> FlagDef | None:
    if not isinstance(expression, ast.Constant | ast.UnaryOp | ast.List):
        return None
    try:
        value: Any = ast.literal_eval(expression)
    except ValueError:
        return None
    return flag_of_value(name, value, f"{file}:{expression.lineno}" if file else "")


def _flag_of_list(name: str, values: list[FlagValue], origin: str) -> FlagDef | None:
    import shlex

    if not _is_plain(values):
        return None
    text = shlex.join([encode(value) for value in values])
    if len(text) > MAX_TEXT:
        return None
    return FlagDef(name=name, default=text, arg_split=True, origin=origin)


def _is_plain(values: list[FlagValue]) -> bool:
    return all(
        _is_plain(cast("list[FlagValue]", value))
        if isinstance(value, list)
        else value is None or isinstance(value, bool | int | float | str)
        for value in values
    )
