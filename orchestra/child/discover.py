"""Run a script up to where it parses its arguments, and print what its argparse parser knows, as JSON.

Run by path with the operation's interpreter (Python >= 3.8): ``python -u discover.py SCRIPT``. Prints one of
``{"actions": [...]}`` (``null`` if the script ended without parsing), ``{"error": TEXT}`` and
``{"syntax": TEXT, "line": N}``.
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


def _describe(action: argparse.Action) -> dict[str, Any]:
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
    }


def _report(result: dict[str, Any], descriptor: int) -> NoReturn:
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        json.dump(result, stream)
    # At once: what the script would do from here on is not wanted, and a bare 'except' could go on with it.
    os._exit(0)


def _run(script: str, descriptor: int) -> None:
    def stop(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        described = [_describe(action) for action in parser._actions]  # pyright: ignore[reportPrivateUsage]
        actions = [action for action in described if action["action"] not in ("help", "version", "parsers")]
        _report({"actions": actions}, descriptor)

    for name in ("parse_args", "parse_known_args", "parse_intermixed_args", "parse_known_intermixed_args"):
        setattr(argparse.ArgumentParser, name, stop)
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
    sys.argv = [script]
    sys.path[0] = os.path.dirname(script)
    exec(code, main.__dict__)


def main() -> None:
    descriptor = os.dup(1)
    # The script's own output must not mix with the result.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        _run(sys.argv[1], descriptor)
    except SystemExit as error:
        text = error.code if isinstance(error.code, str) else "exit code %s" % (error.code or 0)
        _report({"error": "it exited before it parsed its arguments (%s)" % text}, descriptor)
    except BaseException as error:
        _report({"error": ("%s: %s" % (type(error).__name__, error)).rstrip(": ")}, descriptor)
    _report({"actions": None}, descriptor)


if __name__ == "__main__":
    main()
