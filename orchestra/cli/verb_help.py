"""What ``orchestra VERB --help`` prints: laid out here, for what cyclopts has for that takes long to load."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from orchestra.cli import app, terminal

WIDTH: Final = 80
ARGUMENTS: Final = "Arguments"
OPTIONS: Final = "Options"
PARAMETERS: Final = "    Parameters\n"
"""Where a docstring begins to tell of them."""
_KINDS: Final[dict[Any, str]] = {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}


def verb_help(name: str) -> str:
    """How the verb is used, and what its arguments and options are, by their groups."""
    parser = app.build_parser(name)
    for word in name.split():
        parser = parser[word]
    text = app.command_of(name).__doc__ or ""
    # Reading the source of what has no such section would find nothing.
    found = parser.assemble_argument_collection(parse_docstring=PARAMETERS in text)
    shown = [argument for argument in found if argument.show]
    width = min(terminal.width() or WIDTH, WIDTH)
    parts = [f"Usage: orchestra {name} {app.VERBS[name].usage or _usage(shown)}\n"]
    parts += (f"{textwrap.fill(each, width)}\n" for each in _description(text).split("\n\n"))
    groups: dict[tuple[int, str], list[str]] = {}
    for argument in shown:
        groups.setdefault(_group(argument), []).append(_entry(argument, width))
    parts += (f"{title}:\n{''.join(groups[place, title])}" for place, title in sorted(groups))
    return "\n".join(parts)


def _description(text: str) -> str:
    """What a docstring says before its parameters, as paragraphs that are wrapped where they are shown."""
    paragraphs = text.partition(PARAMETERS)[0].split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).strip()


def _is_positional(argument: Any) -> bool:
    return argument.index is not None and not any(name.startswith("-") for name in argument.names)


def _usage(arguments: list[Any]) -> str:
    return " ".join(_words(arguments))


def _words(arguments: list[Any]) -> Iterator[str]:
    if not all(map(_is_positional, arguments)):
        yield "[OPTIONS]"
    for argument in filter(_is_positional, arguments):
        several = "..." if get_origin(argument.hint) is tuple else ""
        name = argument.names[0].strip("-").upper()
        yield f"{name}{several}" if argument.required else f"[{name}]{several}"


def _group(argument: Any) -> tuple[int, str]:
    """What the groups are sorted by, and the title of the one that the argument is in."""
    if _is_positional(argument):
        return -1, ARGUMENTS
    for group in argument.parameter.group or ():
        if isinstance(group.sort_key, int):
            return group.sort_key, group.name
    return 0, OPTIONS


def _entry(argument: Any, width: int) -> str:
    names: list[str] = [name for name in argument.names if name not in argument.negatives]
    if _is_positional(argument):
        head = names[0].strip("-").upper()
    else:
        kind = _kind(argument.hint) if argument.token_count()[0] else ""
        head = ", ".join(names) + (f" {kind}" if kind else "")
    text = " ".join((argument.parameter.help or "").split())
    line = f"{head}: {text}" if text else head
    return (
        textwrap.fill(line, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        + "\n"
    )


def _kind(hint: Any) -> str:
    """What a value is: ``PATH``, or all that it can be."""
    inner = [one for one in get_args(hint) if one not in (NoneType, Ellipsis)]
    if get_origin(hint) is Literal:
        return "|".join(map(str, inner))
    if get_origin(hint) is tuple:
        return f"{_kind(inner[0])}..."
    return _kind(inner[0]) if inner else _KINDS.get(hint, "TEXT")
