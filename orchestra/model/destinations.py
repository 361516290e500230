"""Where an operation's flags go: ``args``, ``globals``, ``dict:NAME``, ``config:FILE`` ..., and dotted names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from orchestra.errors import FlagError
from orchestra.model.operation import FlagsDest, FlagValue

DestinationKind: TypeAlias = Literal["args", "globals", "dict", "namespace", "config", "none"]

_KINDS: Final[dict[str, DestinationKind]] = {
    "global": "dict",
    "dict": "dict",
    "namespace": "namespace",
    "config": "config",
}


def parse_destination(text: FlagsDest) -> tuple[DestinationKind, str]:
    """The kind of a destination, and the name of its variable or file (empty for most).

    Raises:
        FlagError: there is no such destination.
    """
    if text in ("args", "globals", "none"):
        return text, ""
    kind, _, name = text.partition(":")
    if kind == "args" and name in ("click", "argparse", "typer"):
        return "args", ""
    if kind == "config" and (name.startswith("/") or set(name.split("/")) & {"..", ".orchestra"}):
        raise FlagError(f"flags can't be passed to '{text}'", "The file is one within the run's directory.")
    if kind in _KINDS and name:
        return _KINDS[kind], name
    raise FlagError(
        f"flags can't be passed to '{text}'",
        "It is one of args, globals, global:NAME, dict:NAME, namespace:NAME, config:FILE and none.",
    )


def nested(values: Mapping[str, FlagValue]) -> dict[str, FlagValue]:
    """``{"model.depth": 3}`` as ``{"model": {"depth": 3}}``.

    Raises:
        FlagError: a flag is a part of another flag that is no map.
    """
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        place = holder_of(tree, parents)
        if isinstance(place, InTheWay):
            raise FlagError(f"flag '{name}' can't be set: '{place.key}' has the value {place.value}")
        place[last] = value
    return tree


class InTheWay(NamedTuple):
    """A value that is no map, where one is needed."""

    key: Any
    value: Any


def holder_of(tree: dict[Any, Any], parents: Sequence[Any]) -> dict[Any, Any] | InTheWay:
    """The map that ``parents`` lead to, made as far as it is missing."""
    for parent in parents:
        inner = tree.setdefault(parent, {})
        if not isinstance(inner, dict):
            return InTheWay(parent, inner)
        tree = cast("dict[Any, Any]", inner)
    return tree


def flattened(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """``{"model": {"depth": 3}}`` as ``{"model.depth": 3}``; what is no map, or an empty one, is a value."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            values.update(flattened(cast("dict[Any, Any]", value), f"{prefix}{name}."))
        else:
            values[f"{prefix}{name}"] = value
    return values
