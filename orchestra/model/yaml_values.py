"""YAML 1.1 as it is read in flag values: plain data only, no dates, no aliases, Python's floats."""

from __future__ import annotations

import re
from typing import Any, cast

import yaml

from orchestra.model.operation import FlagValue

_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
        |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_DROPPED = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")


class _ValueLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # pyright: ignore[reportUnknownMemberType]
            raise yaml.YAMLError("aliases are not read in flag values")
        return super().compose_node(parent, index)


RESOLVERS = {
    first: [pair for pair in pairs if pair[0] not in _DROPPED]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
"""How plain scalars get their types: as in YAML 1.1, but that dates are texts and floats are Python's."""
for _first in "-+0123456789.":
    RESOLVERS.setdefault(_first, []).append(("tag:yaml.org,2002:float", _FLOAT))
_ValueLoader.yaml_implicit_resolvers = RESOLVERS


def load(text: str) -> FlagValue:
    """The plain data that ``text`` holds; sets become maps to null.

    Raises:
        ValueError: it is not YAML, or holds something that a run's record can't keep.
        RecursionError: it is nested beyond reason.
    """
    try:
        return _plain(yaml.load(text, _ValueLoader))
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        OverflowError,
        AttributeError,
        KeyError,
        IndexError,
    ) as error:
        raise ValueError(str(error)) from None


def _plain(value: Any) -> FlagValue:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_plain(item) for item in cast(list[Any], value)]
    if isinstance(value, set):
        return dict.fromkeys(sorted(_name(item) for item in cast(set[Any], value)))
    if isinstance(value, dict):
        return {_name(name): _plain(item) for name, item in cast(dict[Any, Any], value).items()}
    raise ValueError(f"a {type(value).__name__} can't be a flag's value")


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("names in a map have to be texts")
    return value
