"""``${flag}`` in commands, variables and steps: a flag's value takes its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from orchestra.errors import FlagError
from orchestra.model.arguments import to_argument
from orchestra.model.decoding import encode
from orchestra.model.operation import FlagValue, Operation

FLAG_ARGS: Final = "${flag_args}"
"""The word that all of the flags' arguments take the place of."""
_REFERENCE: Final = re.compile(r"\\?\$\{([^{}]*)\}")


def fill(text: str, value_of: Callable[[str], str]) -> str:
    """``text`` with each ``${name}`` replaced; ``\\${name}`` stays as it is, without the backslash."""
    if "${" not in text:
        return text
    return _REFERENCE.sub(lambda one: one[0][1:] if one[0][0] == "\\" else value_of(one[1].strip()), text)


def filled_words(
    words: tuple[str, ...],
    operation: Operation,
    flags: Mapping[str, FlagValue],
    names: Mapping[str, str],
    arguments: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """The words of a command with values for their references, and ``arguments`` in the place of ``${flag_args}``.

    Args:
        words: as the project has them.
        operation: whose command it is.
        flags: of the run.
        names: what else may be referred to.
        arguments: of the flags.

    Raises:
        FlagError: there is no flag of a name that is referred to.
    """
    filled: list[str] = []
    for word in words:
        if word == FLAG_ARGS:
            filled += arguments
        else:
            filled.append(
                fill(word, lambda name: names[name] if name in names else flag_text(operation, flags, name))
            )
    return tuple(filled)


def filled_environment(operation: Operation, flags: Mapping[str, FlagValue]) -> dict[str, str]:
    """The variables that the project sets for a run with these flags."""
    return {
        name: fill(text, partial(flag_text, operation, flags, holder=f"variable '{name}'"))
        for name, text in operation.env.items()
    }


def flag_text(
    operation: Operation, flags: Mapping[str, FlagValue], name: str, *, holder: str = "command"
) -> str:
    """The value of flag ``name`` as an argument; ``holder`` is what refers to it.

    Raises:
        FlagError: there is no such flag.
    """
    if name not in flags:
        kept = "\\\\" if holder == "command" else "\\"
        raise FlagError(
            f"invalid setting for operation '{operation.name}': {holder} contains invalid reference '{name}'",
            # Of a command, splitting it into words takes one of two backslashes away.
            f"Define a flag of this name, or write {kept}${{{name}}} to keep it as it is.",
        )
    value, definition = flags[name], operation.flag(name)
    if definition is not None and definition.arg_encoding:
        value = definition.arg_encoding.get(encode(value), value)
    return to_argument(value)
