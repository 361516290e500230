"""Changes of single values in the text of a configuration file: all else, comments too, stays as it is.

Each editor returns None where it can't be sure, and whoever calls it reads what it returns and compares: so these
need to know a format only as people write it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, cast

KeyPath: TypeAlias = tuple[Any, ...]
Changes: TypeAlias = Mapping[KeyPath, Any]
"""New values by the keys that lead to them. All but the last key are there already."""
Form: TypeAlias = Callable[[Any], str]
"""A value as a text of the format."""

_INI_HEADER: Final = re.compile(r"\[(?P<name>[^\]]+)\]\s*")
_INI_ENTRY: Final = re.compile(r"(?P<key>[^\s=:#;\[][^=:]*?)(?P<sign>\s*[=:]\s*)(?P<value>.*)")
_TOML_HEADER: Final = re.compile(r"\s*\[(?P<name>[^\[\]]+)\]\s*(?:#.*)?")
_TOML_ENTRY: Final = re.compile(
    r"\s*(?P<key>[\w-]+|\"[^\"\\]*\"|'[^']*')(?P<sign>\s*=\s*)"
    r"(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*'|\[[^#\"']*\]|[^#\"'\[{]*?)(?P<rest>\s*(?:#.*)?)"
)


def edit_yaml(content: str, changes: Changes) -> str | None:
    """``content`` with ``changes``; None where a value spans lines, or braces lack it."""
    import yaml

    root = cast("Any", yaml).compose(content, Loader=yaml.SafeLoader)
    edits: list[tuple[int, int, str]] = []
    for path, value in changes.items():
        edit = _yaml_edit(content, root, path, _yaml_text(value))
        if edit is None:
            return None
        edits.append(edit)
    # From the end on, so that places stay true; what is added at one place keeps its order.
    for start, end, text in sorted(edits, key=lambda edit: edit[0])[::-1]:
        content = content[:start] + text + content[end:]
    return content


def _yaml_text(value: Any) -> str:
    import yaml

    written: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=1 << 30)
    return written.strip()[1:-1]


def _yaml_edit(content: str, root: Any, path: KeyPath, text: str) -> tuple[int, int, str] | None:
    node = root
    for number, key in enumerate(path):
        if node is None or node.id != "mapping":
            return None
        inner = next((value for name, value in node.value if name.value == str(key)), None)
        if inner is None:
            return _yaml_addition(content, node, key, text) if number == len(path) - 1 else None
        node = inner
    start, end = node.start_mark, node.end_mark
    if (node.id == "scalar" and node.style in ("|", ">")) or start.line != end.line:
        return None
    return start.index, end.index, f" {text}" if start.index == end.index else text


def _yaml_addition(content: str, mapping: Any, key: Any, text: str) -> tuple[int, int, str] | None:
    """A new entry below the last one of a mapping."""
    if mapping.flow_style or not mapping.value:
        return None
    last = mapping.value[-1][1]
    while last.id != "scalar" and not last.flow_style and last.value:
        last = last.value[-1] if last.id == "sequence" else last.value[-1][1]
    if last.id == "scalar" and last.style in ("|", ">"):
        return None
    end = content.find("\n", last.end_mark.index)
    end = len(content) if end < 0 else end
    indent = " " * mapping.value[0][0].start_mark.column
    return end, end, f"\n{indent}{_yaml_text(key)}: {text}"


def edit_ini(content: str, changes: Changes, form: Form) -> str | None:
    """``content`` with ``changes``; None where a section has to be made."""
    return _edit_lines(content, changes, _INI_HEADER, _INI_ENTRY, _ini_path, form)


def edit_toml(content: str, changes: Changes, form: Form) -> str | None:
    """``content`` with ``changes``; None where a table has to be made, or is written in braces."""
    return _edit_lines(content, changes, _TOML_HEADER, _TOML_ENTRY, _toml_path, form)


def _ini_path(name: str) -> KeyPath:
    return () if name == "DEFAULT" else (name,)


def _toml_path(name: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in name.split("."))


def _edit_lines(
    content: str,
    changes: Changes,
    header: re.Pattern[str],
    entry: re.Pattern[str],
    path_of: Callable[[str], KeyPath],
    form: Form,
) -> str | None:
    left = dict(changes)
    newline = "\r\n" if "\r\n" in content else "\n"
    lines = content.split(newline)
    ends: dict[KeyPath, int] = {(): 0}
    """The line after the last entry of each section."""
    section: KeyPath = ()
    for number, line in enumerate(lines):
        if (found := header.fullmatch(line)) is not None:
            section = path_of(found["name"])
            ends[section] = number + 1
        elif line.lstrip().startswith("[["):
            # A table of several.
            section = (None,)
        elif (found := entry.fullmatch(line)) is not None:
            ends[section] = number + 1
            path = (*section, found["key"].strip("\"'"))
            if path in left:
                lines[number] = (
                    line[: found.start("value")] + form(left.pop(path)) + line[found.end("value") :]
                )
    for (*parents, key), value in reversed(left.items()):
        if tuple(parents) not in ends:
            return None
        lines.insert(ends[tuple(parents)], f"{key} = {form(value)}")
        ends = {name: end + (end > ends[tuple(parents)]) for name, end in ends.items()}
    return newline.join(lines)
