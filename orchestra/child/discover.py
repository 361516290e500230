"""Run a script up to where it parses its arguments, and print what its parser knows, as JSON.

Run by path with the operation's interpreter (Python >= 3.8): ``python -u discover.py SCRIPT [ARGUMENT]...``.
The parser is one of argparse, click or typer; where it has sub-commands, the arguments choose one. Prints one of
``{"actions": [...], "by": NAME, "subcommands": [...]}`` (``null`` actions if the script ended without parsing;
sub-commands if none was chosen), ``{"error": TEXT}`` and ``{"syntax": TEXT, "line": N}``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_SIMPLE = (type(None), bool, int, float, str)
_NAMES = {
    "_StoreAction": "store",
    "_StoreTrueAction": "store_true",
    "_StoreFalseAction": "store_false",
    "_StoreConstAction": "store_const",
    "_AppendAction": "append",
    "_AppendConstAction": "append_const",
    "_ExtendAction": "extend",
    "_CountAction": "count",
    "_HelpAction": "help",
    "_VersionAction": "version",
    "_SubParsersAction": "parsers",
    "BooleanOptionalAction": "boolean_optional",
}
_MOST_CHOICES = 1000


def _plain(value: Any) -> Any:
    if type(value) in _SIMPLE:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]  # pyright: ignore
    return str(value)


def _choices(action: argparse.Action) -> list[Any] | None:
    if action.choices is None:
        return None
    found: list[Any] = []
    for choice in action.choices:
        if len(found) >= _MOST_CHOICES:
            return None
        found.append(choice)
    return [choice if type(choice) in _SIMPLE else str(choice) for choice in found]


def _describe(action: Any) -> dict[str, Any]:
    kind = _NAMES.get(type(action).__name__, "other" if action.nargs == 0 else "store")
    text = action.help
    added = " (default: %(default)s)"
    # Python before 3.13 adds this on its own.
    if kind == "boolean_optional" and text and text.endswith(added):
        text = text[: -len(added)]
    positional = not action.option_strings
    return {
        "options": list(action.option_strings),
        "dest": action.dest,
        "action": kind,
        "type": getattr(action.type, "__name__", None),
        "default": _plain(action.default),
        "choices": _choices(action),
        "help": text if text is None else str(text),
        "required": action.nargs not in ("?", "*", "...") if positional else bool(action.required),
        "nargs": None if kind.startswith(("store_", "boolean", "count", "append_c")) else action.nargs,
        "const": _plain(action.const),
        "line": getattr(action, "orchestra_line", None),
    }


def _chosen_parser(parser: Any, arguments: list[str]) -> tuple[Any, list[str]]:
    """The parser of the sub-command that the arguments name, and the sub-commands if they name none."""
    for place, argument in enumerate(arguments):
        for action in parser._actions:
            if type(action).__name__ == "_SubParsersAction" and argument in action.choices:
                return _chosen_parser(action.choices[argument], arguments[place + 1 :])
    names = [action.choices for action in parser._actions if type(action).__name__ == "_SubParsersAction"]
    return parser, [str(name) for choices in names for name in choices]


def _line_of(script: str) -> int | None:
    """The line of ``script`` that is being executed."""
    frame: Any = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code.co_filename != script:
        frame = frame.f_back
    return frame.f_lineno if frame is not None else None


def _hook_argparse(script: str, arguments: list[str], descriptor: int) -> None:
    def stop(parser: Any, *args: Any, **kwargs: Any) -> None:
        parser, commands = _chosen_parser(parser, arguments)
        described = [_describe(action) for action in parser._actions]
        actions = [action for action in described if action["action"] not in ("help", "version", "parsers")]
        _report({"actions": actions, "by": "argparse", "subcommands": commands}, descriptor)

    def add_argument(self: Any, *args: Any, **kwargs: Any) -> Any:
        action = add(self, *args, **kwargs)
        action.orchestra_line = _line_of(script)
        return action

    container: Any = argparse._ActionsContainer  # pyright: ignore[reportPrivateUsage]
    add = container.add_argument
    container.add_argument = add_argument
    for name in ("parse_args", "parse_known_args", "parse_intermixed_args", "parse_known_intermixed_args"):
        setattr(argparse.ArgumentParser, name, stop)


def _hook_click(script: str, content: bytes, arguments: list[str], descriptor: int) -> None:
    """Stop where a click command or a typer application is called, if the script may have one."""

    def stop(command: Any, by: str) -> None:
        command, commands = _chosen_command(command, arguments)
        actions = [_describe_param(param, command) for param in command.params if not _is_eager(param)]
        _report({"actions": actions, "by": by, "subcommands": commands}, descriptor)

    if b"typer" in content:
        try:
            import typer.main as typer_main  # pyright: ignore
        except ImportError:
            pass
        else:
            application: Any = typer_main.Typer  # pyright: ignore
            find: Any = typer_main.get_command  # pyright: ignore

            def stop_typer(self: Any, *args: Any, **kwargs: Any) -> None:
                stop(find(self), "typer")

            application.__call__ = stop_typer
    if b"click" in content:
        try:
            import click  # pyright: ignore
        except ImportError:
            return
        base: Any = click.Command  # pyright: ignore

        def stop_click(self: Any, *args: Any, **kwargs: Any) -> None:
            stop(self, "click")

        base.__call__ = base.main = stop_click
        start = click.Parameter.__init__  # pyright: ignore

        def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
            start(self, *args, **kwargs)
            self.orchestra_line = _line_of(script)

        click.Parameter.__init__ = initialize  # pyright: ignore


def _chosen_command(command: Any, arguments: list[str]) -> tuple[Any, list[str]]:
    """The sub-command of a group that the arguments name, and all of them if they name none."""
    if not hasattr(command, "list_commands"):
        return command, []
    for place, argument in enumerate(arguments):
        if not argument.startswith("-"):
            chosen = command.get_command(None, argument)
            if chosen is not None:
                return _chosen_command(chosen, arguments[place + 1 :])
    return command, [str(name) for name in command.list_commands(None)]


def _is_eager(param: Any) -> bool:
    """Whether it is an option such as ``--help`` that ends the program."""
    if param.name in ("install_completion", "show_completion"):
        return True
    return bool(param.is_eager) and (not param.expose_value or param.name in ("help", "version"))


_CLICK_TYPES = {
    "int": "int",
    "bool": "bool",
    "str": "str",
    "integer": "int",
    "integer range": "int",
    "float": "float",
    "float range": "float",
    "boolean": "bool",
    "text": "str",
    "path": "str",
    "file": "str",
    "filename": "str",
    "directory": "str",
}


def _describe_param(param: Any, command: Any) -> dict[str, Any]:
    """An option or argument of click, in the words of argparse."""
    positional = param.param_type_name == "argument"
    flag_value = _click_value(getattr(param, "flag_value", None))
    kind = "store"
    if getattr(param, "count", False):
        kind = "count"
    elif getattr(param, "is_flag", False):
        if param.secondary_opts:
            kind = "boolean_optional"
        else:
            kind = "store_true" if flag_value is True or flag_value is None else "store_const"
    elif getattr(param, "multiple", False):
        kind = "append"
    # click has a type with its range; a typer without click has the range itself, and an annotation.
    type_: Any = getattr(param, "type", param)
    name, choices = _annotated(param) if type_ is param else (type_.name, getattr(type_, "choices", None))
    line = getattr(param, "orchestra_line", None)
    function: Any = getattr(command, "callback", None)
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    return {
        "options": [] if positional else list(param.opts),
        "dest": param.name,
        "action": kind,
        "type": _CLICK_TYPES.get(str(name)) if choices is None else None,
        "default": _click_default(param, kind),
        "choices": [_click_value(choice) for choice in choices] if choices is not None else None,
        "help": getattr(param, "help", None),
        "required": bool(param.required),
        "nargs": _click_nargs(param, kind),
        "const": True if kind == "store_true" else flag_value,
        "negative": param.secondary_opts[0] if param.secondary_opts else None,
        "min": getattr(type_, "min", None),
        "max": getattr(type_, "max", None),
        "hidden": bool(getattr(param, "hidden", False)),
        "line": line if line is not None else getattr(code, "co_firstlineno", None),
    }


def _click_nargs(param: Any, kind: str) -> Any:
    if param.nargs == 1 or kind not in ("store", "append"):
        return None
    return "*" if param.nargs == -1 else param.nargs


def _annotated(param: Any) -> tuple[str, Any]:
    """The name of the type that an option is annotated with, and its choices."""
    kind: Any = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    while True:
        inner = [one for one in getattr(kind, "__args__", ()) if one is not type(None)]
        if inner and str(kind).startswith("typing.Literal"):
            return "", inner
        if not inner:
            return getattr(kind, "__name__", ""), list(kind) if hasattr(kind, "__members__") else None
        kind = inner[0]


def _click_default(param: Any, kind: str) -> Any:
    value = _click_value(param.default)
    if kind == "store_true" and value is None:
        return False
    return value


def _click_value(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_click_value(item) for item in value]  # pyright: ignore
    # An enum's member stands for its value; what says that there is none (a sentinel is one, too) for nothing.
    if type(value).__name__ == "Sentinel" or callable(value):
        return None
    value = getattr(value, "value", value)
    return value if type(value) in _SIMPLE else str(value)


def _report(result: dict[str, Any], descriptor: int) -> NoReturn:
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        json.dump(result, stream)
    # At once: what the script would do from here on is not wanted, and a bare 'except' could go on with it.
    os._exit(0)


def _run(script: str, arguments: list[str], descriptor: int) -> None:
    with open(script, "rb") as stream:
        content = stream.read()
    try:
        code = compile(content, script, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        _report(
            {"syntax": getattr(error, "msg", str(error)), "line": getattr(error, "lineno", None)}, descriptor
        )
    main = type(sys)("__main__")
    main.__dict__.update(__file__=script, __builtins__=__builtins__, __loader__=None, __spec__=None)
    sys.modules["__main__"] = main
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(script)
    _hook_argparse(script, arguments, descriptor)
    _hook_click(script, content, arguments, descriptor)
    exec(code, main.__dict__)


def main() -> None:
    descriptor = os.dup(1)
    # The script's own output must not mix with the result.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        _run(sys.argv[1], sys.argv[2:], descriptor)
    except SystemExit as error:
        text = error.code if isinstance(error.code, str) else "exit code %s" % (error.code or 0)
        _report({"error": "it exited before it parsed its arguments (%s)" % text}, descriptor)
    except BaseException as error:
        _report({"error": ("%s: %s" % (type(error).__name__, error)).rstrip(": ")}, descriptor)
    _report({"actions": None}, descriptor)


if __name__ == "__main__":
    main()
