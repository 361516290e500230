"""The flags of an operation: those that the project's file defines, and those that its script has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from msgspec import UNSET, structs

from orchestra.model.decoding import decode, encode
from orchestra.model.operation import Choice, FlagDef, FlagsDest, FlagType, FlagValue
from orchestra.project.documents import Map, Place, did_you_mean
from orchestra.project.file_types import ChoiceSection, FlagSection
from orchestra.project.project_file import Defined
from orchestra.project.script import NO_PARSER, Discovered, discover_flags
from orchestra.project.sections import Reader


class Importing(NamedTuple):
    """How flags are imported from a script: see :func:`~orchestra.project.find.find_operation`."""

    cache_dir: Path | None
    python: str
    warn: Callable[[str], None] | None
    root: Path
    """The project's directory."""

    def discover(
        self, script: Path, arguments: tuple[str, ...], dest: FlagsDest | None, defined: Defined
    ) -> Discovered:
        """The flags of the script, whether they are wanted or not; ``arguments`` may name a sub-command."""
        found = discover_flags(
            script,
            cache_dir=self.cache_dir,
            python=self.python,
            # What refers to flags is not known yet.
            arguments=[word for word in arguments if "${" not in word],
            dest=dest,
            root=self.root,
        )
        expected = found.warning == NO_PARSER and defined.section.flags_import is None
        if found.warning and self.warn is not None and not expected and not _is_muted():
            self.warn(f"cannot import flags for {defined.full_name}: {found.warning}")
        return found

    def warn_of_missing(self, file: str, defined: Defined, known: Iterable[str]) -> None:
        """Say which flags are to be imported that ``file`` does not have: a misspelt one would never be passed."""
        asked = defined.section.flags_import
        if not isinstance(asked, list) or self.warn is None or _is_muted():
            return
        place = defined.raw.places["flags-import"]
        if place.file != defined.place.file or place.line < defined.place.line:
            # Said above for several operations, of which not each has all.
            return
        for name in asked:
            if name not in known:
                meant = did_you_mean(name, known)
                message = f"flags-import of {defined.full_name}: {file} has no flag '{name}'"
                self.warn(f"{message}. {meant}" if meant else message)


def _is_muted() -> bool:
    return os.environ.get("NO_WARN_FLAGS_IMPORT") == "1"


def defined_flags(
    defined: Defined,
    script: Path | None,
    arguments: tuple[str, ...],
    dest: FlagsDest | None,
    importing: Importing,
    reader: Reader,
) -> tuple[tuple[FlagDef, ...], Discovered | None]:
    """The flags in the order of the file, then those that are imported beyond it; and what the script has.

    What the file says of a flag wins; what it leaves open is the script's.

    Raises:
        ProjectFileError: a flag is not defined as one can be.
        ScriptError: the script can't be read, or is not valid Python.
    """
    raw = defined.raw.get("flags")
    own: dict[str, tuple[FlagDef, tuple[str, ...]]] = {}
    if isinstance(raw, Map):
        for name, value in raw.items():
            own[name] = _flag(name, value, raw.places[name], defined, reader)
    if script is None and dest is not None and dest.startswith("config:"):
        # The flags are those of the configuration file, whatever is executed.
        script = importing.root
    found = None
    if script is not None and dest != "none" and _wants_script(defined, own):
        found = importing.discover(script, arguments, dest, defined)
    imported = {flag.name: flag for flag in found.flags} if found is not None else {}
    wanted = _imported_names(defined, imported, own)
    if script is not None and found is not None and not found.warning:
        file = dest.removeprefix("config:") if dest and dest.startswith("config:") else script.name
        importing.warn_of_missing(file, defined, [*imported, *own])
    flags = [
        _completed(flag, said, imported[name]) if name in wanted else flag
        for name, (flag, said) in own.items()
    ]
    flags += [imported[name] for name in wanted if name not in own]
    return tuple(flags), found


def _wants_script(defined: Defined, own: dict[str, Any]) -> bool:
    """Whether the script has to be read: without flags it need not be."""
    importing = defined.section.flags_import
    return bool(own) or importing is True or importing == "all" or isinstance(importing, list)


def _imported_names(defined: Defined, imported: dict[str, FlagDef], own: dict[str, Any]) -> list[str]:
    wanted, skipped = defined.section.flags_import, defined.section.flags_import_skip
    if wanted is False:
        return []
    if wanted is None:
        chosen = [name for name in imported if name in own]
    elif isinstance(wanted, list):
        chosen = [name for name in imported if name in wanted or name in own]
    else:
        chosen = list(imported)
    return [name for name in chosen if name not in ([skipped] if isinstance(skipped, str) else skipped)]


def _completed(flag: FlagDef, said: tuple[str, ...], imported: FlagDef) -> FlagDef:
    """``imported`` with what the file says."""
    return structs.replace(imported, **{name: getattr(flag, name) for name in (*said, "origin")})


def _flag(
    name: str, value: Any, place: Place, defined: Defined, reader: Reader
) -> tuple[FlagDef, tuple[str, ...]]:
    """The flag, and which of its fields the file has set."""
    fields: dict[str, Any] = {"origin": f"{os.path.basename(place.file)}:{place.line}"}
    if not isinstance(value, Map):
        # A list is a batch's values, a mapping is the flag's definition, all else is its default.
        fields["default"] = list(cast("list[FlagValue]", value)) if isinstance(value, list) else value
    else:
        what = f"operation '{defined.full_name}': flag '{name}'"
        fields |= _fields(reader.read(value, FlagSection, what))
    if defined.section.default_flag_arg_skip and "arg_skip" not in fields:
        fields["arg_skip"] = True
    said = tuple(field for field in fields if field != "origin")
    return FlagDef(name=name, **fields), said


def _fields(section: FlagSection) -> dict[str, Any]:
    given: dict[str, Any] = {
        name: value for name, value in structs.asdict(section).items() if value is not UNSET
    }
    if "type" in given:
        given["type"] = cast("FlagType | None", None if given["type"] == "auto" else given["type"])
    if "choices" in given:
        given["choices"] = tuple(_choice(one) for one in given["choices"])
    if given.get("distribution") == "loguniform":
        given["distribution"] = "log-uniform"
    for name in ("arg_encoding", "env_encoding"):
        if name in given:
            # By the value as it is shown: 'true' and 'yes' are one.
            given[name] = {encode(decode(key)): value for key, value in given[name].items()}
    if given.get("arg_name"):
        given["arg_name"] = _option(given["arg_name"])
    if "null_label" in given and not isinstance(given["null_label"], str):
        given["null_label"] = encode(given["null_label"])
    return given


def _option(name: str) -> str:
    return name if name.startswith("-") else f"--{name}"


def _choice(given: Any) -> Choice:
    if not isinstance(given, ChoiceSection):
        return Choice(value=given)
    alias = (
        None if given.alias is None else given.alias if isinstance(given.alias, str) else encode(given.alias)
    )
    return Choice(value=given.value, description=given.description, alias=alias, flags=given.flags)
