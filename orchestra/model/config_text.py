"""Configuration files as data: read, changed at dotted names, and written, by the format that their name tells.

Comments and the layout of a file are kept where single values change (not in JSON); where that can't be done, it is
written anew, with its entries in their order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from io import StringIO
from typing import Any, Final, Literal, TypeAlias, cast

from orchestra.errors import FlagError
from orchestra.model.decoding import decode, encode
from orchestra.model.destinations import InTheWay, holder_of

Format: TypeAlias = Literal["yaml", "json", "toml", "ini"]

_FORMATS: Final[dict[str, Format]] = {
    **dict.fromkeys(("yml", "yaml"), "yaml"),
    "json": "json",
    "toml": "toml",
    **dict.fromkeys(("cfg", "ini", "conf"), "ini"),
}


def config_name(name: str) -> str:
    """The name of the file that is written: that of a template ``config.yml.in`` is ``config.yml``."""
    return name.removesuffix(".in")


def format_of(name: str) -> Format:
    """The format of the configuration file ``name``.

    Raises:
        FlagError: it is none that is known.
    """
    _, dot, extension = config_name(name).rpartition("/")[2].lower().rpartition(".")
    if not dot or extension not in _FORMATS:
        known = ", ".join(f".{known}" for known in _FORMATS)
        raise FlagError(f"'{name}' is no configuration file that can be read", f"Known are {known}.")
    return _FORMATS[extension]


def read_config(text: bytes, name: str) -> dict[str, Any]:
    """What the configuration file ``name`` holds; of an INI file, a map for each section.

    Raises:
        FlagError: it is not of the format that its name tells, or no map.
    """
    kind = format_of(name)
    try:
        content = text.decode("utf-8-sig")
        data = _READERS[kind](content)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise FlagError(f"'{name}' can't be read as {kind.upper()}: {reason}") from None
    if not isinstance(data, dict):
        raise FlagError(f"'{name}' can't hold flags: it is no map of names to values")
    return cast("dict[str, Any]", data)


def apply_to_config(text: bytes, name: str, values: Mapping[str, Any]) -> bytes:
    """The configuration file ``name`` with ``values`` at their dotted names (``model.depth``).

    Args:
        text: of the file as it is.
        name: of the file, for its format and for messages.
        values: that take the places of those in the file, or are added.

    Raises:
        FlagError: the file can't be read, a name leads through a value that is no map, or a value has no form
            in the file's format.
    """
    data = read_config(text, name)
    paths = dict(_paths(data))
    changes: dict[tuple[Any, ...], Any] = {}
    for dotted, value in values.items():
        *parents, last = path = paths.get(dotted, tuple(dotted.split(".")))
        place = holder_of(data, parents)
        if isinstance(place, InTheWay):
            raise FlagError(f"flag '{dotted}' can't be set in '{name}': '{place.key}' is no map there")
        if last not in place or not _is_same(place[last], value):
            changes[tuple(path)] = value
        place[last] = value
    kind = format_of(name)
    try:
        return (_edited(text, kind, data, changes) or _WRITERS[kind](data)).encode()
    except ValueError as error:
        raise FlagError(f"'{name}' can't be written as {kind.upper()}: {error}") from None


def _is_same(before: Any, after: Any) -> bool:
    """Whether both are written alike: 1, 1.0 and true are not."""
    if type(before) is not type(after):
        return False
    if isinstance(before, dict):
        ours, theirs = cast("dict[Any, Any]", before), cast("dict[Any, Any]", after)
        return ours.keys() == theirs.keys() and all(_is_same(ours[key], theirs[key]) for key in ours)
    if isinstance(before, list):
        mine, other = cast("list[Any]", before), cast("list[Any]", after)
        return len(mine) == len(other) and all(map(_is_same, mine, other))
    return before == after or (before != before and after != after)


def _edited(
    text: bytes, kind: Format, data: dict[str, Any], changes: dict[tuple[Any, ...], Any]
) -> str | None:
    """The text with single values changed, if it then holds ``data``."""
    from orchestra.model import config_edits

    content = text.decode("utf-8-sig")
    if kind == "json":
        return None
    if not changes:
        return content
    if kind == "yaml":
        edited = config_edits.edit_yaml(content, changes)
    elif kind == "ini":
        edited = config_edits.edit_ini(content, changes, lambda value: _ini_text(value) or "")
    else:
        # TOML has no null: what is null has to be left out.
        nulls = any(value is None for value in changes.values())
        edited = None if nulls else config_edits.edit_toml(content, changes, _toml_value)
    if edited is None:
        return None
    try:
        return edited if _is_same(_READERS[kind](edited), data) else None
    except ValueError:
        return None


def _paths(data: dict[Any, Any], above: tuple[Any, ...] = ()) -> list[tuple[str, tuple[Any, ...]]]:
    """The names of all values as they are dotted, and where these are: a name itself may have a dot."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    for key, value in data.items():
        path = (*above, key)
        if isinstance(value, dict) and value:
            found += _paths(cast("dict[Any, Any]", value), path)
        else:
            found.append((".".join(str(part) for part in path), path))
    return found


def _read_yaml(content: str) -> Any:
    import yaml

    try:
        data = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    return {} if data is None else data


def _write_yaml(data: dict[str, Any]) -> str:
    import yaml

    try:
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=False)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _read_json(content: str) -> Any:
    import json

    return json.loads(content)


def _write_json(data: dict[str, Any]) -> str:
    import json

    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _read_toml(content: str) -> Any:
    import tomllib

    return tomllib.loads(content)


def _write_toml(data: dict[str, Any]) -> str:
    return "\n".join(_toml_table(data, ())).strip("\n") + "\n"


def _toml_table(table: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    inner: dict[str, dict[str, Any]] = {
        key: cast("dict[str, Any]", value) for key, value in table.items() if isinstance(value, dict)
    }
    # TOML has no null: what is left out is what a program has to take for it.
    own = [
        f"{_toml_key(key)} = {_toml_value(value)}"
        for key, value in table.items()
        if key not in inner and value is not None
    ]
    header = ["", f"[{'.'.join(_toml_key(part) for part in path)}]"] if path and (own or not inner) else []
    lines = header + own
    for key, value in inner.items():
        lines += _toml_table(value, (*path, key))
    return lines


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_text(key)


def _toml_text(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_value(value: Any) -> str:
    if isinstance(value, str):
        return _toml_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "nan" if math.isnan(value) else f"{value:+}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(item) for item in cast('list[Any]', value))}]"
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(item)}" for key, item in entries) + "}"
    if value is None:
        raise ValueError("a list with null has no form in it")
    # A date or time, as tomllib reads them.
    return str(value)


def _parser() -> Any:
    from configparser import ConfigParser

    parser = ConfigParser(interpolation=None, allow_no_value=True)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    return parser


def _read_ini(content: str) -> Any:
    from configparser import Error

    parser = _parser()
    try:
        parser.read_string(content)
    except Error as error:
        raise ValueError(str(error)) from None
    data: dict[str, Any] = {key: _ini_value(value) for key, value in parser.defaults().items()}
    for section in parser.sections():
        own: dict[str, Any] = parser._sections[section]  # what configparser itself mixes with the defaults
        data[section] = {key: _ini_value(value) for key, value in own.items()}
    return data


def _ini_value(text: str | None) -> Any:
    value = None if text is None else decode(text)
    # Lists and searches are a batch's: in a file of texts they are texts.
    return value if value is None or isinstance(value, bool | int | float | str) else text


def _write_ini(data: dict[str, Any]) -> str:
    parser = _parser()
    for key, value in data.items():
        if isinstance(value, dict):
            if not parser.has_section(key):
                parser.add_section(key)
            for name, item in cast("dict[str, Any]", value).items():
                parser.set(key, name, _ini_text(item))
        else:
            parser.defaults()[key] = _ini_text(value)
    stream = StringIO()
    parser.write(stream)
    return stream.getvalue().rstrip("\n") + "\n"


def _ini_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return encode(value)


_READERS: Final[dict[Format, Any]] = {
    "yaml": _read_yaml,
    "json": _read_json,
    "toml": _read_toml,
    "ini": _read_ini,
}
_WRITERS: Final[dict[Format, Any]] = {
    "yaml": _write_yaml,
    "json": _write_json,
    "toml": _write_toml,
    "ini": _write_ini,
}
