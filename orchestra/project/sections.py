"""Check what a project's file says against its types, and say by file, line and key what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from orchestra.errors import ProjectFileError
from orchestra.model.type_words import has_to_be
from orchestra.project.documents import Map, Place, did_you_mean, kind_of, place_in, plain

T = TypeVar("T", bound=msgspec.Struct)

_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`(?: - at `(\$.*)`)?")
_MISSING = re.compile(r"Object missing required field `(.*?)`(?: - at `(\$.*)`)?")
_OTHER = re.compile(r"(.*?)(?: - at `(\$.*)`)?")
_PART = re.compile(r"\.([A-Za-z0-9_-]+)|\[([0-9]+)\]|\[\.\.\.\]")
_DUE = {
    "notebook": "Jupyter notebooks are not run as operations: write their code to a script and name it as 'main'",
}

_ELSEWHERE = {
    "plugins": "what operations take of the computer is always recorded, as scalars 'sys/...'",
    "publish": "runs can't be published yet",
}
"""Keys of the predecessor that are ignored, and why."""
_SPAN = "Give a time with its unit, such as 90s, 30m, 1h30m or 2d."
_FORMS = {"time-limit": _SPAN, "delay": _SPAN, "retry-delay": _SPAN}
"""How values are written of which the type says too little."""


class Reader:
    """Reads the sections of one project's files. Unknown keys of a ``guild.yml`` are ignored, with one warning."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._ignored: dict[str, set[tuple[int, str]]] = {}

    def read(self, section: Map, kind: type[T], what: str) -> T:
        """``section`` as the struct ``kind``; ``what`` names it in messages.

        Raises:
            ProjectFileError: a key is unknown, or has a value that it can't have.
        """
        data = plain(section)
        while True:
            try:
                return msgspec.convert(data, kind)
            except msgspec.ValidationError as error:
                problem = str(error)
            unknown = _UNKNOWN.fullmatch(problem)
            if unknown is None:
                raise _invalid(problem, section, what) from None
            self._drop_unknown(data, section, unknown, kind, what)

    def _drop_unknown(
        self, data: Any, section: Map, unknown: re.Match[str], kind: type[msgspec.Struct], what: str
    ) -> None:
        key, keys = unknown[1], _keys(unknown[2])
        inner, place = _follow(section, [*keys, key])
        if key in _DUE:
            raise error_at(place, what, _DUE[key])
        names = names_of(kind) if not keys else ()
        if not is_guild_file(place):
            known = ", ".join(names)
            hint = did_you_mean(key, names) or (f"Known are {known}." if known else None)
            if key in _ELSEWHERE:
                hint = f"{_ELSEWHERE[key][:1].upper()}{_ELSEWHERE[key][1:]}."
            raise error_at(place, what, f"'{key}' is not known here", hint)
        self.ignore(place, key)
        if inner != len(keys) + 1:
            raise error_at(place, what, f"'{key}' is not known here")
        for step in keys:
            data = data[step]
        del data[key]

    def ignore(self, place: Place, key: str) -> None:
        """Note that ``key`` at ``place`` means nothing here."""
        self._ignored.setdefault(place.file, set()).add((place.line, key))

    def tell_ignored(self) -> None:
        """Warn of all that was ignored, by file."""
        for file, entries in self._ignored.items():
            unknown = [f"'{key}' (line {line})" for line, key in sorted(entries) if key not in _ELSEWHERE]
            if unknown:
                self._warn(f"{file}: what is not known here is ignored: {', '.join(unknown)}")
            for line, key in sorted(entries):
                if key in _ELSEWHERE:
                    self._warn(f"{file}:{line}: '{key}' is ignored: {_ELSEWHERE[key]}")
        self._ignored.clear()

    def warn(self, place: Place, what: str, message: str) -> None:
        """Tell of something at ``place`` that is odd, but no error."""
        self._warn(f"{place}: {what}: {message}")


def is_guild_file(place: Place) -> bool:
    """Whether ``place`` is in a file of the predecessor, whose keys we need not know all."""
    return Path(place.file).name.startswith("guild")


def error_at(place: Place, what: str, message: str, hint: str | None = None) -> ProjectFileError:
    """The error that something at ``place`` is wrong with ``what``."""
    return ProjectFileError(f"{place}: {what}: {message}" if what else f"{place}: {message}", hint)


def mapping(value: Any, place: Place, what: str) -> Map:
    """``value``, which has to be a mapping; nothing is an empty one.

    Raises:
        ProjectFileError: it is something else.
    """
    if value is None:
        return Map(place)
    if not isinstance(value, Map):
        raise error_at(place, what, f"has to be a mapping, not {kind_of(value)}")
    return value


def names_of(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The keys that a section of this kind has."""
    return tuple(one.encode_name for one in msgspec.structs.fields(kind))


def _keys(path: str | None) -> list[str | int]:
    """The keys of a path as msgspec writes it, as far as it tells them."""
    keys: list[str | int] = []
    for part in _PART.finditer(path or ""):
        if part[0] == "[...]":
            break
        keys.append(part[1] if part[1] is not None else int(part[2]))
    return keys


def _follow(section: Map, keys: list[str | int]) -> tuple[int, Place]:
    """How many of ``keys`` lead on, and where the last of them was written."""
    value: Any = section
    place = section.place
    for number, key in enumerate(keys):
        if not isinstance(value, dict | list):
            return number, place
        place = place_in(value, key, place)
        try:
            value = cast("Any", value)[key]
        except (KeyError, IndexError, TypeError):
            return number, place
    return len(keys), place


def _invalid(problem: str, section: Map, what: str) -> ProjectFileError:
    missing = _MISSING.fullmatch(problem)
    if missing is not None:
        place = _follow(section, _keys(missing[2]))[1]
        return error_at(place, what, f"'{missing[1]}' is missing")
    other = _OTHER.fullmatch(problem)
    assert other is not None
    keys = _keys(other[2])
    named = ".".join(str(key) for key in keys)
    place = _follow(section, keys)[1]
    wanted = has_to_be(other[1])
    if wanted is None:
        text = other[1][:1].lower() + other[1][1:]
        return error_at(place, what, f"'{named}' has a value that it can't have: {text}")
    return error_at(place, what, f"'{named}' {wanted}", _FORMS.get(named.rpartition(".")[2]))
