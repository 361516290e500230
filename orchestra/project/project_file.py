"""The project's file, ``orchestra.yml`` or ``guild.yml``: its models and what each says of its operations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from orchestra.model.python_requires import allows
from orchestra.project.documents import Map, Place
from orchestra.project.file_types import TERMS, ModelSection, OperationSection
from orchestra.project.inheritance import Family, read_items
from orchestra.project.sections import Reader, error_at, is_guild_file, mapping, names_of


class Defined(Struct, frozen=True, kw_only=True):
    """What the file says of one operation."""

    name: str
    model: str
    section: OperationSection
    raw: Map
    """As it was written, with the places."""
    place: Place

    @property
    def full_name(self) -> str:
        """``MODEL:OP``, or ``OP`` of the anonymous model."""
        return f"{self.model}:{self.name}" if self.model else self.name


class Model(Struct, frozen=True, kw_only=True):
    """A model: operations that belong together, and resources that they may need."""

    name: str
    description: str
    default: bool
    operations: dict[str, Defined]
    resources: Map
    sourcecode: Any
    """As :class:`~orchestra.project.file_types.ModelSection` has it."""
    python_requires: str | None = None
    extra: dict[str, Any] = {}
    """What the file has for other programs to read."""

    @property
    def default_operation(self) -> Defined | None:
        """The operation that the model's name alone stands for."""
        chosen = [one for one in self.operations.values() if one.section.default]
        if chosen:
            return chosen[0]
        public = [one for name, one in self.operations.items() if not name.startswith("_")]
        return public[0] if len(public) == 1 else None


class Definitions(Struct, frozen=True, kw_only=True):
    """All that a project's file defines."""

    file: Path
    models: dict[str, Model]
    reader: Reader

    @property
    def directory(self) -> Path:
        """The project's directory."""
        return self.file.parent

    @property
    def default_model(self) -> Model | None:
        """The model that an operation without a model is of: the only one, or the one that says so."""
        if len(self.models) == 1:
            return next(iter(self.models.values()))
        chosen = [model for model in self.models.values() if model.default]
        return chosen[0] if chosen else self.models.get("")

    def operations(self) -> Iterator[Defined]:
        """Every operation, as it is in the file."""
        for model in self.models.values():
            yield from model.operations.values()


def load_project(path: Path, warn: Callable[[str], None] | None = None) -> Definitions:
    """What the file at ``path`` defines. ``warn`` is told what is odd in it, but no error.

    Raises:
        ProjectFileError: it can't be read, or says something that has no meaning.
    """
    path = Path(os.path.abspath(path))
    reader = Reader(warn or _keep_quiet)
    items = read_items(path)
    family = Family(items)
    models: dict[str, Model] = {}
    for item in items:
        if "package" in item:
            _skip_package(item, reader)
        elif "config" in item:
            # Others take from it: what is wrong with a part is told where it is used.
            _check_keys(item, reader)
        else:
            model = _model(family.whole(item), reader)
            if model.name in models:
                raise error_at(item.place, "", f"there are two {_described(model.name)}")
            models[model.name] = model
    return Definitions(file=path, models=models, reader=reader)


def _keep_quiet(_: str) -> None:
    pass


def _described(name: str) -> str:
    return f"models '{name}'" if name else "models without a name"


def _skip_package(item: Map, reader: Reader) -> None:
    place = item.places["package"]
    if not is_guild_file(place):
        raise error_at(place, "package", "projects are not packaged", "Leave this item out.")
    reader.ignore(place, "package")


def _check_keys(item: Map, reader: Reader) -> None:
    known = names_of(ModelSection)
    only_unknown = item.like()
    for key, value in item.items():
        if key not in known:
            only_unknown.put(key, value, item.places[key])
    reader.read(only_unknown, ModelSection, f"config '{item['config']}'")


def _model(item: Map, reader: Reader) -> Model:
    name = str(item.get("model") or "")
    what = f"model '{name}'" if name else "model"
    defaults = mapping(item.get("operation-defaults"), item.place, f"{what}: operation-defaults")
    raw = mapping(item.get("operations"), item.place, f"{what}: operations")
    outer = item.like()
    for key, value in item.items():
        if key not in (
            "operations",
            "operation-defaults",
            "params",
            "flags",
            "resources",
            "extends",
        ):
            outer.put(key, value, item.places[key])
    section = reader.read(outer, ModelSection, what)
    check_python_requires(section.python_requires, item, what)
    return Model(
        name=name,
        description=section.description,
        default=section.default,
        operations={
            key: _operation(key, name, value, raw.places[key], defaults, reader) for key, value in raw.items()
        },
        resources=mapping(item.get("resources"), item.place, f"{what}: resources"),
        sourcecode=section.sourcecode,
        python_requires=section.python_requires,
        extra=section.extra,
    )


def check_python_requires(requires: str | None, section: Map, what: str) -> None:
    """Refuse what is no list of versions.

    Raises:
        ProjectFileError: says so.
    """
    if requires is None:
        return
    try:
        allows(requires, "3")
    except ValueError as error:
        message = f"'python-requires' can't be read: {error}"
        raise error_at(section.places["python-requires"], what, message) from None


def _operation(name: str, model: str, value: Any, place: Place, defaults: Map, reader: Reader) -> Defined:
    shown = name if name.isprintable() else repr(name)[1:-1]
    what = f"operation '{model}:{shown}'" if model else f"operation '{shown}'"
    if not name.strip(". ") or name != name.strip() or any(one in name for one in "=/\\\0\n"):
        hint = (
            "A name has a letter or digit, no space at its ends, and no '=', '/', '\\' or line break in it."
        )
        raise error_at(place, what, "such a name can't be given on a command line", hint)
    if isinstance(value, str):
        raw = Map(place)
        raw.put("main", value, place)
    else:
        raw = mapping(value, place, what)
    # Of a pipeline the steps are the runs that terms are for, and they have the same defaults.
    is_pipeline = "steps" in raw and "main" not in raw and "exec" not in raw
    for key, default in defaults.items():
        if key not in raw and not (is_pipeline and key in TERMS):
            raw.put(key, default, defaults.places[key])
    raw = _without_our_terms(raw, reader)
    outer = raw.like()
    for key, item in raw.items():
        # Each flag is read by itself when the operation is wanted: its place is better known then.
        outer.put(key, raw.like() if key == "flags" and isinstance(item, Map) else item, raw.places[key])
    section = reader.read(outer, OperationSection, what)
    check_python_requires(section.python_requires, raw, what)
    return Defined(name=name, model=model, section=section, raw=raw, place=place)


def _without_our_terms(raw: Map, reader: Reader) -> Map:
    """``raw`` without the keys that had no meaning where it was written: in a file of the predecessor."""
    kept = raw.like()
    for key, value in raw.items():
        if key in TERMS and is_guild_file(raw.places[key]):
            reader.ignore(raw.places[key], key)
        else:
            kept.put(key, value, raw.places[key])
    return kept
