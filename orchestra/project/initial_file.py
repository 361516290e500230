"""A first ``orchestra.yml`` for a directory: its scripts as operations, with comments that say what else there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from orchestra.errors import OrchestraError
from orchestra.model.decoding import decode, encode
from orchestra.model.operation import FlagValue
from orchestra.project.listing import list_files
from orchestra.project.script import discover_flags

_HEAD = """\
# What can be run in this project: 'orchestra operations' lists it, 'orchestra run NAME' runs it.
# The part of each operation that is only a comment is what could be said of it, too.
"""
_MORE = """\
# A pipeline: each step is a run of its own.
# pipeline:
#   steps:
#     - {name}
"""
_PLAIN = re.compile(r"[A-Za-z_][\w-]*")


def initial_file(directory: Path, *, cache_dir: Path | None, python: str) -> tuple[str, tuple[str, ...]]:
    """The text of a project's file, and the names of its operations.

    Args:
        directory: of the project.
        cache_dir: where the flags of scripts that had to be run are kept; None keeps nothing.
        python: the interpreter for scripts.

    Raises:
        OSError: the directory can't be read.
    """
    parts: list[str] = []
    names: list[str] = []
    taken: set[str] = set()
    for listed in list_files(directory):
        path = directory / listed.name
        if not path.is_file():
            continue
        name = path.stem if path.stem not in taken else path.name
        taken.add(name)
        names.append(name)
        description = listed.description or f"Run {listed.name}."
        if path.suffix == ".py":
            told = _script(path, cache_dir, python)
        else:
            told = f"  exec: {_scalar(f'./{listed.name} ${{flag_args}}')}\n"
        parts.append(f"{_scalar(name)}:\n  description: {_scalar(description)}\n{told}")
    if not parts:
        parts.append(
            "# train:\n#   description: Train the model.\n#   main: train.py\n#   flags-import: all\n"
        )
    else:
        parts.append(_MORE.replace("{name}", names[0]))
    return "\n".join([_HEAD, *parts]), tuple(names)


def _script(path: Path, cache_dir: Path | None, python: str) -> str:
    try:
        flags = discover_flags(path, cache_dir=cache_dir, python=python).flags
    except OrchestraError as error:
        # Whoever runs it is told, too.
        return f"  # {' '.join(error.message.split())}\n  main: {_scalar(path.name)}\n"
    lines = [f"  main: {_scalar(path.name)}", "  flags-import: all"]
    if flags:
        lines += ["  # flags:"]
        lines += [f"  #   {_scalar(flag.name)}: {_value(flag.default)}" for flag in flags]
    return "\n".join([*lines, "  # label: ...", "  # tags: []", ""])


def _value(value: FlagValue) -> str:
    return _scalar(value) if isinstance(value, str) else encode(value)


def _scalar(text: str) -> str:
    """``text`` as a YAML scalar: what is not plainly a text is quoted as in JSON, which is YAML as well."""
    if _PLAIN.fullmatch(text) or re.fullmatch(r"[A-Za-z_][\w .,/-]*[\w.]", text):
        return text if decode(text) == text else json.dumps(text)
    return json.dumps(text)
