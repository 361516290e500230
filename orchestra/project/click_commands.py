"""What a script's click command says, read from the script's source where all of it is literal."""

from __future__ import annotations

import ast
import re
from typing import Any, Final, cast

from orchestra.project.parser_actions import Action

_WITHOUT_EFFECT: Final = frozenset(
    (
        *("pass_context", "pass_obj", "version_option", "help_option"),
        # What is used within functions.
        *("echo", "secho", "style", "progressbar", "confirm", "prompt", "ClickException", "UsageError"),
        *("BadParameter", "Abort", "Context", "get_current_context"),
    )
)
_DECLARING: Final = ("command", "option", "argument")
_NAMES: Final = frozenset(("click", "int", "float", "str", "bool", "*"))
"""Names that have to mean what they do everywhere."""
_COMMAND_KEYWORDS: Final = frozenset(("name", "help", "short_help", "epilog", "no_args_is_help"))
_SHOWN: Final = frozenset(("show_default", "show_choices", "show_envvar", "metavar", "envvar"))
_OPTION_KEYWORDS: Final = _SHOWN | {
    "default",
    "type",
    "required",
    "help",
    "is_flag",
    "multiple",
    "nargs",
    "hidden",
}
_ARGUMENT_KEYWORDS: Final = _SHOWN | {"default", "type", "required", "nargs"}
_TYPES: Final = {
    "int": "int",
    "float": "float",
    "str": "str",
    "bool": "bool",
    "INT": "int",
    "FLOAT": "float",
    "STRING": "str",
    "BOOL": "bool",
    "Path": "str",
    "File": "str",
    "IntRange": "int",
    "FloatRange": "float",
}


class _Dynamic(Exception):
    """The command is not literal."""


def read_command(module: ast.Module) -> list[Action] | None:
    """The actions of the script's one click command; None where they are not certain without running it."""
    try:
        return _read(module)
    except (_Dynamic, ValueError, TypeError):
        return None


def _read(module: ast.Module) -> list[Action]:
    _check_imports(module)
    commands = [
        node
        for node in module.body
        if isinstance(node, ast.FunctionDef)
        and any(_name_of(one) == "command" for one in node.decorator_list)
    ]
    if len(commands) != 1:
        raise _Dynamic
    command = commands[0]
    actions: list[Action] = []
    known = {"command": 1}
    for decorator in command.decorator_list:
        name = _name_of(decorator)
        known[name] = known.get(name, 0) + (name in ("option", "argument"))
        if name == "command":
            _check_command(decorator)
        elif name in ("option", "argument") and isinstance(decorator, ast.Call):
            actions.append(_parameter(decorator, positional=name == "argument"))
        elif name not in _WITHOUT_EFFECT:
            raise _Dynamic
    _check_uses(module, command.name, known)
    return actions


def _name_of(node: ast.expr) -> str:
    """``option`` for ``click.option(...)`` and ``click.option``; empty for what is not click's."""
    if isinstance(node, ast.Call):
        node = node.func
    is_clicks = (
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "click"
    )
    return cast(ast.Attribute, node).attr if is_clicks else ""


def _check_imports(module: ast.Module) -> None:
    """``click`` has to be click itself, imported at the top as such, and no other library of parsers."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                is_plain = alias.name == "click" and alias.asname is None
                if top in ("argparse", "typer") or ("click" in (top, alias.asname) and not is_plain):
                    raise _Dynamic
        elif isinstance(node, ast.ImportFrom):
            names = [alias.asname or alias.name for alias in node.names]
            others = (node.module or "").partition(".")[0] in ("argparse", "typer", "click")
            if others or not _NAMES.isdisjoint(names):
                raise _Dynamic
    top = [alias.name for node in module.body if isinstance(node, ast.Import) for alias in node.names]
    if "click" not in top:
        raise _Dynamic


def _check_command(decorator: ast.expr) -> None:
    if isinstance(decorator, ast.Call) and (
        len(decorator.args) > 1 or any(keyword.arg not in _COMMAND_KEYWORDS for keyword in decorator.keywords)
    ):
        raise _Dynamic


def _check_uses(module: ast.Module, command: str, known: dict[str, int]) -> None:
    """Refuse a script that does anything with click or its command but what was understood."""
    understood: set[int] = set()
    used: dict[str, int] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "click":
            used[node.attr] = used.get(node.attr, 0) + 1
            if isinstance(node.ctx, ast.Load):
                understood.add(id(node.value))
    calls = _calls(module, command)
    understood.update(id(call.func) for call in calls)
    defined = 0
    for node in ast.walk(module):
        if isinstance(node, ast.Name):
            is_bound = node.id in _NAMES and not isinstance(node.ctx, ast.Load)
            if is_bound or (node.id in ("click", command) and id(node) not in understood):
                raise _Dynamic
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined += node.name == command
            if node.name in _NAMES:
                raise _Dynamic
    strange = used.keys() - known.keys() - _WITHOUT_EFFECT - _TYPES.keys() - {"Choice"}
    elsewhere = any(used.get(name, 0) != count for name, count in known.items() if name in _DECLARING)
    if not calls or defined != 1 or strange or elsewhere:
        raise _Dynamic


def _calls(module: ast.Module, command: str) -> list[ast.Call]:
    """Where the script calls its command, without arguments of its own; not what functions may do."""
    found: list[ast.Call] = []
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        found += [
            node for node in ast.walk(statement) if isinstance(node, ast.Call) and _is_call(node, command)
        ]
    return found


def _is_call(call: ast.Call, command: str) -> bool:
    named = isinstance(call.func, ast.Name) and call.func.id == command
    return named and not call.args and all(keyword.arg == "standalone_mode" for keyword in call.keywords)


def _parameter(call: ast.Call, *, positional: bool) -> Action:
    """The option or argument, in the words of ``child/discover.py``."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if None in given or given.keys() - (_ARGUMENT_KEYWORDS if positional else _OPTION_KEYWORDS):
        raise _Dynamic
    literal = {
        name: ast.literal_eval(value) for name, value in given.items() if name is not None and name != "type"
    }
    options, negatives, dest = _declared([ast.literal_eval(argument) for argument in call.args], positional)
    nargs, multiple = literal.get("nargs", 1), literal.get("multiple", False)
    kind = _kind(literal, negatives, nargs)
    if kind in ("store_true", "boolean_optional") and "type" in given:
        raise _Dynamic
    default = _default(literal.get("default"), several=multiple or nargs != 1)
    if kind == "store_true" and default is None:
        default = False
    if not isinstance(literal.get("help", ""), str):
        raise _Dynamic
    type_name, choices, low, high = _type(given.get("type"), default)
    required = literal.get("required", positional and default is None and nargs > 0)
    return {
        "options": options,
        "dest": dest,
        "action": kind,
        "type": type_name,
        "default": default,
        "choices": choices,
        "help": literal.get("help"),
        "required": bool(required),
        "nargs": None if nargs == 1 or kind not in ("store", "append") else "*" if nargs == -1 else nargs,
        "const": True if kind == "store_true" else None,
        "negative": negatives[0] if negatives else None,
        "min": low,
        "max": high,
        "hidden": bool(literal.get("hidden", False)),
        "line": call.lineno,
    }


def _declared(words: list[Any], positional: bool) -> tuple[list[str], list[str], str]:
    """The options' spellings, those that negate them, and the name."""
    if not words or not all(isinstance(word, str) and word for word in words):
        raise _Dynamic
    if positional:
        if len(words) != 1 or not words[0].isidentifier():
            raise _Dynamic
        return [], [], words[0].lower()
    options: list[str] = []
    negatives: list[str] = []
    for word in words:
        if word.isidentifier():
            continue
        first, separator, second = word.partition("/")
        if not _is_option(first) or (separator and not _is_option(second)):
            raise _Dynamic
        options.append(first)
        negatives += [second] if separator else []
    if not options:
        raise _Dynamic
    return options, negatives, ""


def _is_option(word: str) -> bool:
    return re.fullmatch(r"--?[A-Za-z0-9][A-Za-z0-9_-]*", word) is not None


def _kind(literal: dict[str, Any], negatives: list[str], nargs: Any) -> str:
    if not isinstance(nargs, int) or isinstance(nargs, bool) or nargs == 0 or nargs < -1:
        raise _Dynamic
    several = literal.get("multiple", False) or nargs != 1
    if literal.get("is_flag", False) or negatives:
        default = literal.get("default")
        # What a pair without a default is, and what a switch that is on passes, is a matter of click's version.
        unclear = default is None if negatives else default is True
        if several or unclear or literal.get("required") or literal.get("is_flag") is False:
            raise _Dynamic
        if default is not None and not isinstance(default, bool):
            raise _Dynamic
        return "boolean_optional" if negatives else "store_true"
    return "append" if literal.get("multiple", False) else "store"


def _default(value: Any, *, several: bool) -> Any:
    if isinstance(value, (list, tuple)) and several:
        items = list(cast("list[Any]", value))
        if all(isinstance(item, str | int | float) for item in items):
            return items
    if value is None or (isinstance(value, bool | int | float | str) and not several):
        return value
    raise _Dynamic


def _type(node: ast.expr | None, default: Any) -> tuple[str | None, list[str] | None, Any, Any]:
    """The type's name as argparse has it, the choices, and the limits."""
    if node is None:
        return type(default).__name__ if isinstance(default, bool | int | float) else "str", None, None, None
    name = (
        node.id
        if isinstance(node, ast.Name) and node.id in ("int", "float", "str", "bool")
        else _name_of(node)
    )
    if name == "Choice" and isinstance(node, ast.Call) and len(node.args) == 1:
        choices = ast.literal_eval(node.args[0])
        if not isinstance(choices, (list, tuple)) or {keyword.arg for keyword in node.keywords} - {
            "case_sensitive"
        }:
            raise _Dynamic
        values = list(cast("list[Any]", choices))
        if not values or not all(isinstance(value, str) for value in values):
            raise _Dynamic
        return None, values, None, None
    if name not in _TYPES:
        raise _Dynamic
    low, high = _limits(node) if name.endswith("Range") else (None, None)
    if not name.endswith("Range") and isinstance(node, ast.Call) and name not in ("Path", "File"):
        raise _Dynamic
    return _TYPES[name], None, low, high


def _limits(node: ast.expr) -> tuple[Any, Any]:
    if not isinstance(node, ast.Call) or len(node.args) > 2:
        raise _Dynamic
    values = dict(zip(("min", "max"), map(ast.literal_eval, node.args), strict=False))
    for keyword in node.keywords:
        if keyword.arg not in ("min", "max") or keyword.arg in values:
            raise _Dynamic
        values[keyword.arg] = ast.literal_eval(keyword.value)
    if not all(value is None or type(value) in (int, float) for value in values.values()):
        raise _Dynamic
    return values.get("min"), values.get("max")
