"""What a command is to the warm executor: an interpreter with options, a script, and the environment of both."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from orchestra import child
from orchestra.builtin.warm_imports import FirstImports
from orchestra.child import supervisor

INJECTOR = str(Path(child.__file__).with_name("inject.py"))
"""What a command begins with whose script is given globals."""

_PYTHON = re.compile(r"python[0-9.]*")
_OPTIONS = frozenset(("-u", "-B", "-O", "-OO", "-s", "-b", "-bb", "-E", "-q"))
"""Options of the interpreter that change nothing but how it is started. With others, it is started anew."""
_PER_RUN = frozenset((supervisor.COOKIE, "RUN_ATTEMPT", "RUN_DIR", "RUN_ID"))
_PER_RUN_PREFIX = "FLAG_"
_PYTHON_PATH = "PYTHONPATH"


class Command(Struct, frozen=True):
    """The part of a command that is the same for all its runs, whatever their flags: a key."""

    python: str
    options: tuple[str, ...]
    first: int
    """Where in the command's words the script stands."""
    environment: tuple[tuple[str, str], ...]
    """What is set for the interpreter."""
    unset: tuple[str, ...]
    imports: tuple[str, ...]
    must: bool
    """Whether the imports were asked for."""


class Commands:
    """Reads the orders of jobs. ``imports``: what is to be imported; None: what is found in the scripts."""

    def __init__(self, imports: tuple[str, ...] | None) -> None:
        self._declared = imports
        self._first = FirstImports()

    def read(self, directory: str, added: Mapping[str, str], orders: str = "orders") -> Command | None:
        """What a job with these orders is, ``added`` to its environment; None if it is no script for us.

        ``orders``: the name of their file.

        Raises:
            OSError, ValueError: the orders can't be read.
        """
        told = supervisor.OrdersFile(os.fsencode(directory), os.fsencode(orders))
        words = [os.fsdecode(word) for word in told.arguments]
        if told.inherit or not _PYTHON.fullmatch(os.path.basename(words[0])):
            return None
        first = 1
        while first < len(words) and words[first] in _OPTIONS:
            first += 1
        cwd = os.fsdecode(told.cwd)
        changes = dict(added)
        changes.update((os.fsdecode(name), os.fsdecode(text)) for name, text in told.changes)
        unset = tuple(sorted(map(os.fsdecode, told.unset)))
        environment = {**os.environ, **changes}
        for name in unset:
            environment.pop(name, None)
        python = _find(words[0], environment.get("PATH", os.defpath), cwd)
        own, others = _own_paths(environment.get(_PYTHON_PATH, ""), cwd)
        imports = self._imports(words[first:], cwd, own)
        if python is None or imports is None:
            return None
        shared = {name: text for name, text in changes.items() if not _is_per_run(name)}
        if own:
            shared[_PYTHON_PATH] = os.pathsep.join(others)
        return Command(
            python,
            tuple(words[1:first]),
            first,
            tuple(sorted(shared.items())),
            unset,
            imports,
            self._declared is not None,
        )

    def _imports(self, words: Sequence[str], cwd: str, own: Sequence[str]) -> tuple[str, ...] | None:
        """What is to be imported for a script; None if it is no script."""
        if words and words[0] == INJECTOR:
            words = words[1:]
        if len(words) > 1 and words[0] == "-m" and words[1].replace(".", "").isidentifier():
            if self._declared is not None:
                return self._declared
            return tuple(map(str, self._first.of_module(words[1], [cwd, *own])))
        if not words or words[0].startswith("-"):
            return None
        path = os.path.realpath(os.path.join(cwd, words[0]))
        if not words[0].endswith(".py") or not os.path.isfile(path):
            return None
        if self._declared is not None:
            return self._declared
        return tuple(map(str, self._first.of_script(path, [os.path.dirname(path), *own])))


def _is_per_run(name: str) -> bool:
    return name in _PER_RUN or name.startswith(_PER_RUN_PREFIX)


def _own_paths(text: str, cwd: str) -> tuple[list[str], list[str]]:
    """The folders of ``PYTHONPATH`` that belong to the run, absolute, and the others."""
    own: list[str] = []
    others: list[str] = []
    for path in text.split(os.pathsep) if text else ():
        whole = os.path.abspath(os.path.join(cwd, path))
        if os.path.isabs(path) and os.path.commonpath((whole, cwd)) != cwd:
            others.append(path)
        else:
            own.append(whole)
    return own, others


def _find(program: str, search: str, cwd: str) -> str | None:
    """The interpreter's path, found as ``exec`` would find it."""
    folders = [""] if os.sep in program else search.split(os.pathsep)
    for folder in folders:
        path = os.path.join(cwd, folder, program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None
