"""How flag values reach a process: as arguments, as variables, as module globals."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from orchestra.errors import FlagError
from orchestra.model.decoding import decode, encode
from orchestra.model.destinations import nested, parse_destination
from orchestra.model.operation import FlagDef, FlagValue, Operation
from orchestra.model.sequences import grouped

MAX_ARGUMENT = 128 * 1024 - 1
"""Bytes that Linux takes in one argument or variable (``MAX_ARG_STRLEN`` less the closing NUL)."""

_NOT_IDENTIFIER = r"[^A-Z0-9_]"


def to_argument(value: FlagValue) -> str:
    """``value`` as one argument: true is ``1``, false and null are empty, a list is quoted as for a shell."""
    if isinstance(value, str):
        return value
    if value is None or value is False:
        return ""
    if value is True:
        return "1"
    if isinstance(value, list | tuple):
        import shlex

        return shlex.join([to_argument(item) for item in cast("list[FlagValue]", value)])
    return repr(value)


def env_name(name: str) -> str:
    """The variable that carries flag ``name``: ``FLAG_MAX_DEPTH`` for ``max-depth``."""
    return "FLAG_" + re.sub(_NOT_IDENTIFIER, "_", name.upper())


def environment(flags: Mapping[str, FlagValue], definitions: Sequence[FlagDef] = ()) -> dict[str, str]:
    """The variables that carry a run's flags: ``FLAG_*``, or those that the definitions name."""
    known = {flag.name: flag for flag in definitions}
    variables: dict[str, str] = {}
    for name in sorted(flags):
        definition = known.get(name)
        encoding = definition.env_encoding if definition else {}
        variable = (definition.env_name if definition else None) or env_name(name)
        variables[variable] = to_argument(_encoded(flags[name], encoding))
    return variables


_DANGEROUS: Final = frozenset(
    (
        *("BASH_ENV", "ENV", "GIT_SSH_COMMAND", "HOME", "IFS", "PATH", "SHELL", "TMPDIR"),
        *("PERL5LIB", "PYTHONHOME", "PYTHONINSPECT", "PYTHONPATH", "PYTHONSTARTUP", "RUN_DIR", "RUN_ID"),
    )
)
_DANGEROUS_PREFIXES: Final = ("LD_", "DYLD_", "ORCHESTRA_")


def check_variable(definition: FlagDef) -> None:
    """Refuse a variable for a flag's value that decides what is run, or that is ours.

    Raises:
        FlagError: names it.
    """
    name = definition.env_name
    if name is None:
        return
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise FlagError(f"flag '{definition.name}' can't be given as variable '{name}': it is no name of one")
    if name in _DANGEROUS or name.startswith(_DANGEROUS_PREFIXES):
        raise FlagError(
            f"flag '{definition.name}' can't be given as variable '{name}': it decides how programs are run",
            "Choose another env-name.",
        )


def _encoded(value: FlagValue, encoding: dict[str, FlagValue]) -> FlagValue:
    return encoding.get(encode(value), value) if encoding else value


def command_arguments(operation: Operation, flags: dict[str, FlagValue]) -> tuple[str, ...]:
    """The arguments that bring ``flags`` to a process whose flags are arguments; none for any other.

    Positionals come first, in the order of their definition, then options in the order of their names. A
    value that begins with a dash is joined to its option, so that it can't be taken for one; where a
    positional does, the positionals come last, behind ``--``.
    """
    if parse_destination(operation.flags_dest)[0] != "args":
        return ()
    definitions = {flag.name: flag for flag in operation.flags}
    hidden = shadowed(operation, flags)
    options: list[str] = []
    for name in sorted(flags):
        definition = definitions.get(name)
        if name in hidden or (definition is not None and definition.arg_skip):
            continue
        if definition is None or definition.arg_name != "":
            options += _option(name, definition, flags[name])
    positionals = [
        argument
        for definition in operation.flags
        if definition.arg_name == "" and not definition.arg_skip and flags.get(definition.name) is not None
        for argument in _values(definition, flags[definition.name])
    ]
    if any(argument.startswith("-") for argument in positionals):
        return (*options, "--", *positionals)
    return (*positionals, *options)


def shadowed(operation: Operation, flags: Mapping[str, FlagValue]) -> dict[str, str]:
    """The flags that can't be passed because the operation's own command has their options, with these."""
    own = {argument.partition("=")[0] for argument in (*operation.main_args, *operation.exec)}
    found: dict[str, str] = {}
    if not own or parse_destination(operation.flags_dest)[0] != "args":
        return found
    for name in flags:
        definition = operation.flag(name)
        option = (definition.arg_name if definition else None) or f"--{name}"
        if option in own and not (definition is not None and definition.arg_name == ""):
            found[name] = option
    return found


def _option(name: str, definition: FlagDef | None, value: FlagValue) -> list[str]:
    option = (definition.arg_name if definition else None) or f"--{name}"
    if definition is not None and definition.arg_switch is not None:
        return [option] if value == definition.arg_switch else []
    if value is None:
        return []
    values = _values(definition, value)
    if definition is not None and definition.arg_repeat:
        return [word for one in values for word in _words(option, [one])]
    return _words(option, values)


def _words(option: str, values: list[str]) -> list[str]:
    if len(values) == 1 and values[0].startswith("-"):
        # To click and getopt the '=' behind a letter is part of the value.
        short = len(option) == 2 and not option.startswith("--")
        return [f"{option}{values[0]}" if short else f"{option}={values[0]}"]
    return [option, *values]


def _values(definition: FlagDef | None, value: FlagValue) -> list[str]:
    if definition is not None:
        value = _encoded(value, definition.arg_encoding)
    if definition is None or not definition.takes_several:
        return [to_argument(value)]
    if isinstance(value, str):
        return _parts(definition, value)
    if isinstance(value, list | tuple):
        return [to_argument(item) for item in cast("list[FlagValue]", value)]
    return [to_argument(value)]


def _parts(definition: FlagDef, text: str) -> list[str]:
    separator = definition.arg_split
    if isinstance(separator, bool) or separator in ("shlex", ""):
        return split(definition.name, text)
    return text.split(separator) if text else []


def split(name: str, text: str) -> list[str]:
    """The parts of ``text`` as a shell would split them.

    Raises:
        FlagError: a quote is not closed.
    """
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise FlagError(
            f"invalid value {text} for {name}: {error}", "Close the quote, or double it."
        ) from None


def global_values(operation: Operation, flags: dict[str, FlagValue]) -> dict[str, FlagValue]:
    """The values that are injected for ``flags``: split values are lists again, encoded ones what they stand for."""
    definitions = {flag.name: flag for flag in operation.flags}
    values: dict[str, FlagValue] = {}
    for name in sorted(flags):
        value, definition = flags[name], definitions.get(name)
        if definition is not None:
            if definition.arg_skip:
                continue
            value = _encoded(value, definition.arg_encoding)
            if definition.takes_several and isinstance(value, str):
                value = [decode(part, name) for part in _parts(definition, value)]
            elif definition.takes_several and value is not None and not isinstance(value, list):
                value = [value]
        values[name] = value
    return values


def injection(operation: Operation, flags: dict[str, FlagValue]) -> str:
    """The JSON that ``child/inject.py`` takes; keeps NaN, infinities and undecodable bytes.

    The values of a dict or namespace are one object under its name: ``{"dict:params": {"lr": 0.1}}``.

    Raises:
        FlagError: it is longer than one argument can be.
    """
    values = global_values(operation, flags)
    kind, name = parse_destination(operation.flags_dest)
    if kind in ("dict", "namespace"):
        values = {f"{kind}:{name}": nested(values)}
    try:
        text = None if _holds_special_floats(values) else msgspec.json.encode(values).decode()
    except UnicodeEncodeError:
        text = None
    if text is None:
        import json

        text = json.dumps(values)
    if len(text.encode()) > MAX_ARGUMENT:
        raise FlagError(
            f"argument list too long: the flags take {grouped(len(text.encode()))} bytes "
            f"(the limit is {grouped(MAX_ARGUMENT)})",
            "Pass large values in a file.",
        )
    return text


def _holds_special_floats(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_holds_special_floats(item) for item in cast("dict[str, Any]", value).values())
    if isinstance(value, list | tuple):
        return any(_holds_special_floats(item) for item in cast("list[Any]", value))
    return False


def check_argument(name: str, value: FlagValue) -> None:
    """Refuse a value that no process can be given; of a list, which stands for several runs, any such item.

    Raises:
        FlagError: it holds a NUL, or is longer than one argument can be.
    """
    if "\0" in name:
        raise _holds_nul(name)
    # A character takes 4 bytes at most. There may be a hundred thousand items.
    short = (MAX_ARGUMENT - len("FLAG_=")) // 4 - len(name)
    for item in cast("list[FlagValue]", value) if isinstance(value, list | tuple) else (value,):
        if isinstance(item, str):
            if len(item) > short or "\0" in item:
                _check_text(name, item)
        elif isinstance(item, (list, tuple, dict)):
            _check_text(name, to_argument(item))


def _check_text(name: str, text: str) -> None:
    if "\0" in text:
        raise _holds_nul(name)
    prefix = max(len(env_name(name)) + 1, len(name.encode("utf-8", "surrogateescape")) + 3)
    size = len(text.encode("utf-8", "surrogateescape")) + prefix
    if size > MAX_ARGUMENT:
        raise FlagError(
            f"argument list too long: the value of flag '{name}' has {grouped(size - prefix)} bytes "
            f"(the limit is {grouped(MAX_ARGUMENT - prefix)})",
            "Pass large values in a file.",
        )


def _holds_nul(name: str) -> FlagError:
    return FlagError(f"the value of flag {name!r} holds a NUL character, which no process can be given")
