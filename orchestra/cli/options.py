"""The options that belong to the command line as a whole: accepted before and after the verb.

Imports nothing but what the interpreter has loaded already, for ``--version`` must be quick.
"""

from __future__ import annotations

from orchestra.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

HELP = (
    ("-H PATH", "Keep runs in PATH (ORCHESTRA_HOME)."),
    ("-C PATH", "Use PATH as the project's directory."),
    ("--debug", "Log more, and show tracebacks."),
    ("--log-format FORMAT", "Format of log lines on standard error: console or json."),
    ("--log-file PATH", "Append every event to PATH as JSON lines."),
    ("--version", "Show the version."),
)
_WITH_VALUE = {"-H": "home", "-C": "directory", "--log-format": "log_format", "--log-file": "log_file"}
_SWITCHES = {"--debug": "debug", "--version": "version"}
LOG_FORMATS = ("console", "json")


class GlobalOptions:
    """What was given for the whole command. ``None``: not given."""

    __slots__ = ("debug", "directory", "home", "json", "log_file", "log_format", "version")

    def __init__(self) -> None:
        self.home: str | None = None
        self.directory: str | None = None
        self.debug = False
        self.log_format = "console"
        self.log_file: str | None = None
        self.version = False
        self.json = False
        """Whether ``--json`` is among the verb's arguments: then an error is JSON, too."""


current = GlobalOptions()
"""The options of this process's command."""


def take(arguments: list[str], into: GlobalOptions) -> list[str]:
    """Move the global options from ``arguments`` to ``into`` and return what is left. ``--`` ends them.

    Raises:
        UsageError: a value is missing or unknown.
    """
    rest: list[str] = []
    index = 0
    while index < len(arguments):
        token = arguments[index]
        index += 1
        if token == "--":
            rest += arguments[index - 1 :]
            break
        name, equals, value = token.partition("=") if token.startswith("--") else (token, "", "")
        if name in _SWITCHES and not equals:
            setattr(into, _SWITCHES[name], True)
        elif name in _WITH_VALUE:
            if not equals:
                if index == len(arguments):
                    raise UsageError(f"option {name} needs a value")
                value = arguments[index]
                index += 1
            setattr(into, _WITH_VALUE[name], value)
        else:
            rest.append(token)
    into.json = "--json" in rest
    if into.log_format not in LOG_FORMATS:
        raise UsageError(f"invalid value '{into.log_format}' for --log-format: it is console or json")
    return rest


def whole(_: object, tokens: Sequence[Any]) -> int:
    """What a verb's parser makes of the word that was given for an option that is a whole number: nothing is rounded.

    Raises:
        ValueError: it is none; who called the parser says it with the option's name.
    """
    return int(tokens[0].value)
