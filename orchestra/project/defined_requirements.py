"""What an operation of a project's file needs: resources by name, or described where they are needed."""

from __future__ import annotations

import re
from typing import Any, Final, cast

from msgspec import structs

from orchestra.model.dependencies import source_name
from orchestra.model.operation import Requirement, SourceDef
from orchestra.project.documents import Map, Place, Seq, did_you_mean, kind_of
from orchestra.project.file_types import RenameSection, RequirementSection, ResourceSection, SourceSection
from orchestra.project.project_file import Defined, Definitions, Model
from orchestra.project.sections import Reader, error_at

SCHEMES: Final = ("file", "url", "module", "operation", "config", "dvcfile", "dvcstage")
"""The keys that say what a source is."""


def requirements_of(project: Definitions, model: Model, defined: Defined) -> tuple[Requirement, ...]:
    """What the operation requires, in the order of the file.

    Raises:
        ProjectFileError: a resource is not defined, or not as one can be.
    """
    given = defined.raw.get("requires")
    if given is None:
        return ()
    place = defined.raw.places["requires"]
    items = cast("list[Any]", given) if isinstance(given, Seq) else [given]
    places = given.places if isinstance(given, Seq) else [place]
    return tuple(
        _requirement(item, where, project, model, defined) for item, where in zip(items, places, strict=True)
    )


def _requirement(
    item: Any, place: Place, project: Definitions, model: Model, defined: Defined
) -> Requirement:
    what = f"operation '{defined.full_name}': requires"
    if isinstance(item, str):
        return _named(item, "", place, project, model, defined)
    if not isinstance(item, Map):
        raise error_at(place, what, f"a resource is a name or a mapping, not {kind_of(item)}")
    if "resource" in item:
        section = project.reader.read(item, RequirementSection, what)
        return _named(section.resource, section.description, place, project, model, defined)
    if "sources" in item:
        return resource_of(None, item, what, project.reader)
    source = _source(item, what, project.reader)
    return Requirement(name=source_name(source), sources=(source,))


def _named(
    name: str, description: str, place: Place, project: Definitions, model: Model, defined: Defined
) -> Requirement:
    owner, separator, rest = name.rpartition(":")
    holder = project.models.get(owner) if separator else model
    if holder is None or rest not in holder.resources:
        message = (
            f"invalid definition for operation '{defined.full_name}': resource '{name}' required by "
            f"operation '{defined.full_name}' is not defined"
        )
        known = [
            f"{one.name}:{resource}" if one.name and one is not model else resource
            for one in project.models.values()
            for resource in one.resources
        ]
        raise error_at(place, "", message, did_you_mean(name, known))
    given = holder.resources[rest]
    what = f"resource '{name}'"
    if isinstance(given, Seq):
        found = Requirement(name=rest, sources=_sources(given, what, project.reader))
    elif isinstance(given, Map) and "sources" in given:
        found = resource_of(rest, given, what, project.reader)
    elif isinstance(given, str | Map):
        found = Requirement(name=rest, sources=(_source(given, what, project.reader),))
    else:
        raise error_at(
            holder.resources.places[rest], what, f"has to be a list of sources, not {kind_of(given)}"
        )
    return structs.replace(found, description=description) if description else found


def resource_of(name: str | None, given: Map, what: str, reader: Reader) -> Requirement:
    """The resource that ``given``, a mapping with ``sources``, describes.

    Raises:
        ProjectFileError: not as one can be.
    """
    # The sources are read one by one: their places are better known then.
    outer = given.like()
    for key, value in given.items():
        outer.put(
            key, Seq(given.place) if key == "sources" and isinstance(value, Seq) else value, given.places[key]
        )
    section = reader.read(outer, ResourceSection, what)
    common = {
        "target_path": section.target_path or section.path,
        "target_type": section.target_type,
        "preserve_path": section.preserve_path or None,
        "unpack": section.default_unpack,
    }
    sources = tuple(
        structs.replace(
            source,
            **{key: value for key, value in common.items() if value is not None and not _says(source, key)},
        )
        for source in _sources(cast(Seq, given["sources"]), what, reader)
    )
    return Requirement(
        name=name or section.name or (source_name(sources[0]) if sources else ""),
        sources=sources,
        description=section.description,
    )


def _says(source: SourceDef, key: str) -> bool:
    return getattr(source, key) not in (None, False) or (key == "unpack" and source.unpack is False)


def _sources(given: Seq, what: str, reader: Reader) -> tuple[SourceDef, ...]:
    for item, place in zip(cast("list[Any]", given), given.places, strict=True):
        if not isinstance(item, str | Map):
            raise error_at(place, what, f"a source is a path or a mapping, not {kind_of(item)}")
    return tuple(_source(item, what, reader) for item in cast("list[str | Map]", given))


def _source(given: str | Map, what: str, reader: Reader) -> SourceDef:
    if isinstance(given, str):
        return SourceDef(scheme="file", value=given)
    section = reader.read(given, SourceSection, what)
    named = [scheme for scheme in SCHEMES if getattr(section, scheme) is not None]
    if len(named) != 1:
        wrong = f"can't be {' and '.join(named)} at once" if named else f"needs one of {', '.join(SCHEMES)}"
        raise error_at(given.place, what, f"a source {wrong}")
    if section.flag_name is True:
        raise error_at(given.places["flag-name"], what, "'flag-name' is a name or no")
    source = SourceDef(
        scheme=named[0],
        value=getattr(section, named[0]),
        name=section.name,
        flag_name=section.flag_name,
        select=(section.select,) if isinstance(section.select, str) else tuple(section.select),
        select_min=section.select_min,
        select_max=section.select_max,
        rename=_renames(section.rename, given, what),
        target_path=section.target_path or section.path,
        target_type=section.target_type,
        preserve_path=section.preserve_path,
        unpack=section.unpack,
        archive_type=section.type,
        sha256=section.sha256,
        replace_existing=section.replace_existing,
        always_resolve=section.always_resolve,
        optional=section.optional,
        warn_if_empty=section.warn_if_empty,
        fail_if_empty=section.fail_if_empty,
        params=section.params,
        post_process=section.post_process,
        help=section.help,
    )
    _check(source, given, what)
    return source


def _check(source: SourceDef, given: Map, what: str) -> None:
    """Refuse, before anything is made, what no run can have; what refers to flags is known later."""
    if source.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", source.sha256):
        raise error_at(given.places["sha256"], what, "'sha256' has to be 64 hexadecimal digits")
    patterns = {
        "select": source.select,
        "select-min": (source.select_min,),
        "select-max": (source.select_max,),
        "rename": tuple(pattern for pattern, _ in source.rename),
    }
    for key, pattern in ((key, one) for key, found in patterns.items() for one in found):
        try:
            re.compile("" if pattern is None or "${" in pattern else pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise error_at(
                given.places[key], what, f"'{key}': '{pattern}' is no regular expression: {error}"
            ) from None
    target = source.target_path
    if target is None or "${" in target:
        return
    key = "target-path" if "target-path" in given else "path"
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if target.startswith(("/", "~")) or ".." in parts or parts[:1] in ([".orchestra"], [".guild"]):
        hint = "Give a relative path without '..', outside of the run's records."
        raise error_at(given.places[key], what, f"'{target}' is not a path in the run's directory", hint)


def _renames(given: Any, source: Map, what: str) -> tuple[tuple[str, str], ...]:
    items = cast("list[str | RenameSection]", given if isinstance(given, list) else [given])
    renames: list[tuple[str, str]] = []
    for item in items:
        if isinstance(item, RenameSection):
            renames.append((item.pattern, item.repl))
            continue
        words = item.split()
        if len(words) not in (1, 2):
            raise error_at(
                source.places["rename"], what, f"'{item}' is neither a name nor PATTERN and REPLACEMENT"
            )
        renames.append((words[0], words[1]) if len(words) == 2 else (".*", words[0]))
    return tuple(renames)
