"""From what an argparse parser says to flags.

Both ways to read a parser, from a script's source and by ``child/discover.py`` in a child process, give
*actions*: plain dicts with the keys ``options``, ``dest``, ``action``, ``type``, ``default``, ``choices``,
``help``, ``required``, ``nargs``, ``const`` and ``line``; of click and typer, also ``negative``, ``min``, ``max``
and ``hidden``.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias, cast

from msgspec import structs

from orchestra.model.flags import coerce, to_argument
from orchestra.model.operation import FlagDef, FlagValue, choices_of

Action: TypeAlias = dict[str, Any]

TYPES: Final = {"int": "int", "float": "float", "str": "string", "bool": "boolean"}
"""The types of argparse that a flag can have, and how the flag names them."""

SUPPRESS: Final = "==SUPPRESS=="
"""How argparse spells 'none at all'."""


def flags_of_actions(actions: list[Action], file: str = "") -> tuple[FlagDef, ...]:
    """The flags that a parser's actions stand for, in their order; what can't be a flag is left out.

    Args:
        actions: of the parser.
        file: the script's name, of which each flag tells where it comes from.
    """
    flags: dict[str, FlagDef] = {}
    for action in actions:
        flag = _flag_of_action(action)
        if flag is not None and flag.name:
            line = action.get("line")
            origin = f"{file}:{line}" if file and line else file
            flags.setdefault(flag.name, structs.replace(flag, origin=origin))
    return tuple(flags.values())


def left_out_of(actions: list[Action]) -> tuple[tuple[str, str], ...]:
    """The options of a parser that are no flags, and why."""
    found: list[tuple[str, str]] = []
    for action in actions:
        reason = _no_flag_because(action)
        if reason:
            found.append((_names(action["options"], action["dest"])[0], reason))
    return tuple(found)


def _no_flag_because(action: Action) -> str:
    if action["nargs"] in ("...", "A..."):
        return "it takes all arguments that are left"
    if action["action"] == "store_const" and action["const"] is None:
        return "it stores nothing"
    return _NO_FLAGS.get(action["action"], "")


_NO_FLAGS: Final = {
    "count": "it counts how often it is given",
    "append_const": "it adds a value each time it is given",
    "help": "it prints its help",
    "version": "it prints its version",
    "other": "its action is the script's own",
}


def _flag_of_action(action: Action) -> FlagDef | None:
    if _no_flag_because(action):
        return None
    kind = action["action"]
    name, arg_name = _names(action["options"], action["dest"])
    default = None if action["default"] == SUPPRESS else action["default"]
    description = _description(action["help"], default)
    if kind in ("append", "extend") and "hidden" not in action and isinstance(default, list):
        # argparse adds to the default what is given; click puts it in its place.
        added = _joined(cast("list[FlagValue]", default))
        description = f"{description} (added to {added})".lstrip() if added else description
        default = None
    if kind in ("store_true", "store_false", "store_const"):
        return _switch(name, arg_name, description, default, action["const"])
    if kind == "boolean_optional":
        return _pair(name, arg_name, description, default, action.get("negative") or f"--no-{name}")
    repeats = kind in ("append", "extend") and action["nargs"] in (None, 1)
    splits = repeats or action["nargs"] not in (None, "?")
    flag_type = TYPES.get(action["type"] or "")
    flag = FlagDef(
        name=name,
        type=None if splits else flag_type,  # pyright: ignore[reportArgumentType]
        description=description,
        required=bool(action["required"]),
        choices=() if splits else choices_of(*action["choices"] or ()),
        min=None if splits else action.get("min"),
        max=None if splits else action.get("max"),
        arg_name=arg_name,
        arg_split=splits,
        arg_repeat=repeats,
        # click takes no empty text for a boolean.
        arg_encoding={"yes": "true", "no": "false"} if "hidden" in action and flag_type == "boolean" else {},
    )
    return _with_default(flag, default)


def _names(options: list[str], dest: str) -> tuple[str, str | None]:
    """The flag's name, and the option's spelling where that is not ``--NAME``."""
    if not options:
        return dest, ""
    long = next((option for option in options if option.startswith("--")), None)
    if long is not None:
        return long[2:], None
    return options[0].lstrip("-"), options[0]


def _switch(
    name: str, arg_name: str | None, description: str, default: FlagValue, const: FlagValue
) -> FlagDef:
    boolean = isinstance(const, bool)
    return FlagDef(
        name=name,
        default=default,
        type="boolean" if boolean else None,
        description=description,
        choices=choices_of(True, False) if boolean else (),
        arg_name=arg_name,
        arg_switch=const,
    )


def _pair(name: str, arg_name: str | None, description: str, default: FlagValue, negative: str) -> FlagDef:
    """``--x`` and ``--no-x``: what differs from the default is passed."""
    switched = default is not True
    return FlagDef(
        name=name,
        default=default,
        type="boolean",
        description=description,
        choices=choices_of(True, False),
        arg_name=arg_name if switched else negative,
        arg_switch=switched,
    )


def _with_default(flag: FlagDef, default: FlagValue) -> FlagDef:
    if isinstance(default, list) and flag.arg_repeat and not default:
        default = None
    elif isinstance(default, list) and flag.arg_split:
        default = _joined(cast("list[FlagValue]", default))
    elif isinstance(default, list | dict):
        # It would read as a batch. Left out, the script uses its own.
        default = None
    elif isinstance(default, str) and flag.type in ("int", "float"):
        try:
            default = coerce(flag, default)
        except ValueError:
            pass
    return structs.replace(flag, default=default)


def _joined(values: list[FlagValue]) -> str:
    import shlex

    return shlex.join([to_argument(value) for value in values])


def _description(text: str | None, default: FlagValue) -> str:
    if not text or text == SUPPRESS:
        return ""
    filled = text.replace("%(default)s", str(default)).replace("%%", "%")
    return " ".join(filled.split())
