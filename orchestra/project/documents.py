"""YAML documents that remember where each of their parts was written, so that an error can name file and line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, cast

import yaml

from orchestra.errors import ProjectFileError
from orchestra.model.yaml_values import RESOLVERS

MOST_BYTES: Final = 5_000_000
MOST_NODES: Final = 200_000
"""So many values a file may stand for: with aliases a short one can stand for billions."""
MOST_LEVELS: Final = 100
_SHOWN: Final = 100
"""Characters of a line that an error shows."""
_STANDARD: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(
    ("binary", "bool", "float", "int", "map", "merge", "null", "omap", "seq", "set", "str", "timestamp")
)

_KINDS = {"str": "a text", "int": "a number", "float": "a number", "bool": "yes or no", "NoneType": "nothing"}


class Place(NamedTuple):
    """Where something was written."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Map(dict[str, Any]):
    """A mapping whose keys know their places. Keys are texts as they were written."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: dict[str, Place] = {}

    def put(self, key: str, value: Any, place: Place) -> None:
        """Set ``key``, which was written at ``place``."""
        self[key] = value
        self.places[key] = place

    def like(self) -> Map:
        """An empty map at the same place."""
        return Map(self.place)


class Seq(list[Any]):
    """A list whose items know their places."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: list[Place] = []

    def put(self, value: Any, place: Place) -> None:
        """Append an item, which was written at ``place``."""
        self.append(value)
        self.places.append(place)

    def like(self) -> Seq:
        """An empty list at the same place."""
        return Seq(self.place)


Container: TypeAlias = Map | Seq


# libyaml reads a file ten times as fast, where PyYAML was built with it.
_BASE: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):
    """Composes nodes only."""


_Loader.yaml_implicit_resolvers = RESOLVERS


def read_document(path: Path) -> Any:
    """What the YAML file at ``path`` holds; None if it is empty.

    Raises:
        ProjectFileError: it can't be read, is too large, or is not YAML.
    """
    content = _read(path)
    loader = _Loader(content)
    try:
        _check_depth(path, content)
        node = loader.get_single_node()
        return None if node is None else _Builder(str(path), loader).build(node)
    except yaml.MarkedYAMLError as error:
        raise _invalid(path, content, error) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ProjectFileError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ProjectFileError(f"{path}: nested too deeply") from None
    finally:
        loader.dispose()  # pyright: ignore[reportUnknownMemberType]


def _invalid(path: Path, content: str, error: yaml.MarkedYAMLError) -> ProjectFileError:
    """The error with its line and a caret under the place."""
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context
    if mark is None:
        return ProjectFileError(f"{path}: not valid YAML: {problem}")
    lines = content.split("\n")
    line = lines[mark.line].rstrip("\r") if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        problem = "it is indented by a tab; use spaces"
    hint = None
    if line.strip():
        start = max(0, mark.column - _SHOWN // 2) if len(line) > _SHOWN else 0
        shown = "".join(one if one.isprintable() else " " for one in line[start : start + _SHOWN])
        hint = f"    {shown}\n    {' ' * (mark.column - start)}^"
    return ProjectFileError(f"{path}:{mark.line + 1}:{mark.column + 1}: not valid YAML: {problem}", hint)


def _check_depth(path: Path, content: str) -> None:
    """Refuse what is nested beyond reason: libyaml would crash over it."""
    depth = 0
    for event in yaml.parse(content, _Loader):  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_LEVELS:
            raise ProjectFileError(f"{path}: nested too deeply")


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ProjectFileError(f"'{path}' can't be read: it is not a regular file")
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ProjectFileError(f"'{path}' can't be read: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise ProjectFileError(f"'{path}' can't be read: it is larger than {MOST_BYTES // 1_000_000} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ProjectFileError(f"{path}:{line}: not valid UTF-8") from None


class _Builder:
    def __init__(self, file: str, loader: yaml.SafeLoader) -> None:
        self._file = file
        self._loader = loader
        self._left = MOST_NODES

    def build(self, node: yaml.Node) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ProjectFileError(f"{self._file}: it stands for more than {MOST_NODES:,} values")
        tag = str(node.tag)
        if tag.removeprefix(_STANDARD) not in _TAGS:
            shown = tag.replace(_STANDARD, "!!", 1)
            raise ProjectFileError(f"{self._place(node)}: the tag '{shown}' is not allowed")
        if isinstance(node, yaml.MappingNode):
            return self._map(node)
        if isinstance(node, yaml.SequenceNode):
            items = Seq(self._place(node))
            for child in cast("list[yaml.Node]", node.value):
                items.put(self.build(child), self._place(child))
            return items
        return self._scalar(node)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1)

    def _map(self, node: yaml.MappingNode) -> Map:
        found = Map(self._place(node))
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
        for key, value in pairs:
            if key.tag == "tag:yaml.org,2002:merge":
                self._merge(found, value)
        own: set[str] = set()
        for key, value in pairs:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            place = self._place(key)
            if not isinstance(key, yaml.ScalarNode):
                raise ProjectFileError(f"{place}: a list or a mapping can't be a key")
            # As it was written: a flag may be called 'no', an operation '1'.
            name = _joined(str(key.value), place)
            if name in own:
                raise ProjectFileError(
                    f"{place}: '{name}' is there twice",
                    f"It is there in line {found.places[name].line}, too.",
                )
            own.add(name)
            found.put(name, self.build(value), place)
        return found

    def _merge(self, found: Map, node: yaml.Node) -> None:
        merged = self.build(node)
        for source in reversed(merged) if isinstance(merged, Seq) else (merged,):
            if not isinstance(source, Map):
                raise ProjectFileError(f"{self._place(node)}: '<<' takes a mapping")
            for key in source:
                found.put(key, source[key], source.places[key])

    def _scalar(self, node: yaml.Node) -> Any:
        value = cast(Any, self._loader.construct_object(node))  # pyright: ignore[reportUnknownMemberType]
        if isinstance(value, str):
            return _joined(value, self._place(node))
        return value if value is None or isinstance(value, bool | int | float) else str(node.value)


def _joined(text: str, place: Place) -> str:
    r"""``text`` with characters that were written as two escapes (``\ud83d\ude00``) whole."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ProjectFileError(f"{place}: half a character can't be a text") from None


def plain(value: Any) -> Any:
    """``value`` with ordinary dicts and lists."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [plain(item) for item in cast("list[Any]", value)]
    return value


def kind_of(value: Any) -> str:
    """What ``value`` is, in words."""
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else _KINDS.get(type(value).__name__, type(value).__name__)


def place_in(value: Any, key: Any, otherwise: Place) -> Place:
    """Where item ``key`` of ``value`` was written."""
    if isinstance(value, Map):
        return value.places.get(key, value.place)
    if isinstance(value, Seq) and isinstance(key, int) and key < len(value.places):
        return value.places[key]
    return otherwise


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint that names what is spelled like ``word``."""
    import difflib

    close = difflib.get_close_matches(word, list(dict.fromkeys(known)), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(repr(one) for one in close)}?" if close else None
