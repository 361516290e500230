"""The words of a command line that are flags: ``NAME=VALUE``."""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Iterable, Sequence

from orchestra.errors import FlagError, UsageError
from orchestra.model.flags import Text

_CLOSING = {"[": "]", "{": "}"}


def is_batch_file(word: str) -> bool:
    """Whether a word of the command line names a file of trials: ``@trials.csv``."""
    return len(word) > 1 and word.startswith("@") and "=" not in word


def parse_assignments(arguments: Iterable[str]) -> dict[str, Text]:
    """Split ``NAME=VALUE`` words; ``NAME=`` is the empty text, and a leading ``~/`` the home of the user.

    Raises:
        UsageError: a word is not of this form.
        FlagError: a name is given twice with different values.
    """
    arguments = list(arguments)
    values: dict[str, Text] = {}
    invalid: list[str] = []
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if not separator or not name.strip() or name != name.strip() or value.startswith("="):
            invalid.append(argument)
            continue
        text = Text(os.path.expanduser(value) if value.startswith("~") and value != "~" else value)
        if values.get(name, text) != text:
            raise FlagError(
                f"flag '{name}' is given twice, as {_shown(values[name])} and {_shown(text)}",
                f"Give it once. A batch over several values is written '{name}=[VALUE,VALUE]'.",
            )
        values[name] = text
    if invalid:
        listed = "\n".join(invalid)
        raise UsageError(
            f"invalid argument(s):\n{listed}\nexpected NAME=VAL",
            _hint_of_blanks(arguments) or _hint(invalid[0]),
        )
    return values


def _shown(text: str) -> str:
    return text if text.isprintable() and text and " " not in text else repr(str(text))


def _hint_of_blanks(arguments: Sequence[str]) -> str | None:
    """What to do where a list or mapping fell apart at its blanks, as the shell has it that saw no quotes."""
    for number, argument in enumerate(arguments):
        value = argument.partition("=")[2]
        closing = _CLOSING.get(value[:1])
        if closing is None or value.endswith(closing):
            continue
        for last in range(number + 1, len(arguments)):
            if arguments[last].endswith(closing):
                return f"Quote what has blanks in it: {shlex.quote(' '.join(arguments[number : last + 1]))}"
    return None


def _hint(argument: str) -> str | None:
    if argument.lstrip().startswith("="):
        return f"'{argument}' has no name before its '='."
    name, separator, value = argument.partition("=")
    if not separator:
        return f"Write '{argument}=' to give the flag '{argument}' an empty text."
    if value.startswith("="):
        return f"Write '{name}{value}', or \"{name}='{value}'\" if the value begins with '='."
    return "A name has no spaces around it."
