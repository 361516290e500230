"""A first ``orchestra.yml`` for a directory: its scripts as operations, with comments that say what else there is."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from orchestra.errors import OrchestraError, ProjectFileError
from orchestra.model.decoding import decode, encode
from orchestra.model.operation import FlagValue
from orchestra.project.find import PROJECT_FILES
from orchestra.project.listing import list_files
from orchestra.project.project_file import load_project
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
_AWKWARD = re.compile(r"[^\w.+-]+|^[^\w.]+")
"""What would have to be quoted in a shell, or means something else in the name of an operation."""
_KEY = "operations"
"""A file's key that is no operation's name."""


class InitialFile(Struct, frozen=True, kw_only=True):
    """A first project file."""

    text: str
    names: tuple[str, ...]
    """Of its operations."""
    left_out: tuple[str, ...] = ()
    """Files that can't be named in one, each with the reason."""


def initial_file(directory: Path, *, cache_dir: Path | None, python: str) -> InitialFile:
    """A project's file whose operations can all be run by their names.

    Args:
        directory: of the project.
        cache_dir: where the flags of scripts that had to be run are kept; None keeps nothing.
        python: the interpreter for scripts.

    Raises:
        OSError: the directory can't be read.
    """
    parts: list[str] = []
    names: list[str] = []
    left_out: list[str] = []
    for listed in list_files(directory):
        path = directory / listed.name
        if not path.is_file():
            continue
        if not _is_text(listed.name):
            left_out.append(f"'{listed.name}' (its name is not UTF-8)")
            continue
        name = _name(path, names)
        description = listed.description or f"Run {listed.name}."
        if path.suffix == ".py":
            told = _script(path, cache_dir, python)
        else:
            told = f"  exec: {_scalar(f'{_program(listed.name)} ${{flag_args}}')}\n"
        part = f"{_scalar(name)}:\n  description: {_scalar(description)}\n{told}"
        if reason := _refused(part, name):
            left_out.append(f"'{listed.name}' ({reason})")
        else:
            names.append(name)
            parts.append(part)
    if not parts:
        parts.append(
            "# train:\n#   description: Train the model.\n#   main: train.py\n#   flags-import: all\n"
        )
    else:
        parts.append(_MORE.replace("{name}", _scalar(names[0])))
    return InitialFile(text="\n".join([_HEAD, *parts]), names=tuple(names), left_out=tuple(left_out))


def _name(path: Path, taken: Collection[str]) -> str:
    """A name for the operation that can be given in a shell as it is: that of the file, as far as it can."""
    plain = [_AWKWARD.sub("-", text).strip("-") for text in (path.stem, path.name)]
    wanted = [name for name in plain if name and name != _KEY] or ["operation"]
    numbered = (f"{wanted[-1]}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (*wanted, *numbered) if name not in taken)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _program(name: str) -> str:
    """The executable as a word of a command, in which no flag is meant by ``${``."""
    return shlex.quote(f"./{name}".replace("${", "\\${"))


def _refused(part: str, name: str) -> str:
    """Why a project's file can't have this operation; nothing if it can."""
    with TemporaryDirectory(prefix="orchestra-init-") as scratch:
        file = Path(scratch, PROJECT_FILES[0])
        file.write_text(part, "utf-8")
        try:
            defined = [one.full_name for one in load_project(file).operations()]
        except ProjectFileError as error:
            return re.sub(re.escape(str(file)) + r"(:\d+)*:? ?", "", error.message)
    return "" if defined == [name] else "its name can't be an operation's"


def _script(path: Path, cache_dir: Path | None, python: str) -> str:
    try:
        flags = discover_flags(path, cache_dir=cache_dir, python=python).flags
    except OrchestraError as error:
        # Whoever runs it is told, too.
        return f"  # {' '.join(error.message.split())}\n  main: {_scalar(shlex.quote(path.name))}\n"
    lines = [f"  main: {_scalar(shlex.quote(path.name))}", "  flags-import: all"]
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
