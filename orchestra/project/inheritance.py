"""What parts of a project's file take from each other: ``include``, ``extends``, ``$include``, ``{{ param }}``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, cast

from orchestra.project.documents import Map, Place, Seq, did_you_mean, kind_of, read_document
from orchestra.project.find import project_file_in
from orchestra.project.project_settings import SETTINGS
from orchestra.project.sections import error_at, is_guild_file, mapping

TYPES: Final = ("model", "config", "include", "package")
INHERITED: Final = (
    "description",
    "extra",
    "flags",
    "operation-defaults",
    "operations",
    "params",
    "references",
    "resources",
    "sourcecode",
)
"""What a model takes from those that it extends."""
INCLUDE: Final = "$include"
DEFAULTS_BELONG: Final = "Put 'operation-defaults' into the item that has the 'operations' that they are for."
_PARAM = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")


def read_items(path: Path, above: tuple[Path, ...] = ()) -> list[Map]:
    """The items of the file at ``path``, with those of the files that it includes in their places.

    Raises:
        ProjectFileError: a file can't be read, includes itself, or is no list of items.
    """
    document = read_document(path)
    place = getattr(document, "place", Place(str(path), 1))
    if document is None:
        return []
    if isinstance(document, Map):
        return [_anonymous(document)]
    if not isinstance(document, Seq):
        raise error_at(
            place,
            "",
            f"a project's file has to be a mapping of operations or a list, not {kind_of(document)}",
        )
    items: list[Map] = []
    for item, where in zip(cast("list[Any]", document), document.places, strict=True):
        entry = mapping(item, where, "item")
        if SETTINGS in entry and not is_guild_file(where):
            _check_settings(entry, above)
            continue
        kinds = [name for name in TYPES if name in entry]
        if len(kinds) > 1:
            raise error_at(where, "item", f"it can't be {' and '.join(kinds)} at once")
        if not kinds and "operations" not in entry:
            hint = DEFAULTS_BELONG if "operation-defaults" in entry else None
            raise error_at(where, "item", "it needs one of model, config, include or operations", hint)
        if kinds == ["include"]:
            items += _included(entry, path, (*above, path.resolve()))
        else:
            items.append(entry)
    return items


def _anonymous(document: Map) -> Map:
    """A file that is a mapping: the operations of the anonymous model, or that model itself."""
    if isinstance(document.get("operations"), Map):
        if SETTINGS not in document or is_guild_file(document.place):
            return document
        rest = document.like()
        for key, value in document.items():
            if key != SETTINGS:
                rest.put(key, value, document.places[key])
        return rest
    item = document.like()
    item.put("operations", document, document.place)
    return item


def _check_settings(entry: Map, above: tuple[Path, ...]) -> None:
    """Settings are read for themselves, by who needs them."""
    place = entry.places[SETTINGS]
    if above:
        raise error_at(
            place, SETTINGS, "only the project's own file can have settings, not one that it includes"
        )
    others = [key for key in entry if key != SETTINGS]
    if others:
        raise error_at(
            entry.places[others[0]],
            SETTINGS,
            f"'{others[0]}' can't stand beside them",
            "Make it an item of its own.",
        )


def _included(entry: Map, path: Path, above: tuple[Path, ...]) -> list[Map]:
    place = entry.places["include"]
    for key in entry:
        if key != "include":
            raise error_at(entry.places[key], "include", f"'{key}' is not known here")
    items: list[Map] = []
    for name in texts(entry["include"], place, "include"):
        file = path.parent / name
        if file.is_dir():
            file = project_file_in(file) or file
        root = (above or (path.resolve(),))[0].parent
        if not is_guild_file(place) and not file.resolve().is_relative_to(root):
            hint = "Only files of the project can be included: a run takes its definition along."
            raise error_at(place, "include", f"'{name}' is outside of the project, '{root}'", hint)
        if not file.exists():
            raise error_at(place, "include", f"there is no file '{name}' in '{path.parent}'")
        if file.resolve() in above:
            raise error_at(place, "include", f"'{name}' includes itself")
        items += read_items(file, above)
    return items


def texts(value: Any, place: Place, what: str) -> list[str]:
    """``value`` as a list of texts.

    Raises:
        ProjectFileError: it is neither a text nor a list of texts.
    """
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str):
            raise error_at(place, what, f"it has to be a text or a list of texts, not {kind_of(item)}")
    return cast("list[str]", items)


def merged(child: Any, parent: Any) -> Any:
    """``child`` with what it lacks of ``parent``; mappings are merged at every depth."""
    if not isinstance(child, Map) or not isinstance(parent, Map):
        return child
    result = child.like()
    for key in parent:
        if key not in child:
            result.put(key, parent[key], parent.places.get(key, parent.place))
        else:
            result.put(key, merged(child[key], parent[key]), child.places.get(key, child.place))
    for key in child:
        if key not in result:
            result.put(key, child[key], child.places.get(key, child.place))
    return result


class Family:
    """The items of a project by their names, and what each has once it has taken from the others."""

    def __init__(self, items: list[Map]) -> None:
        self._named: dict[str, Map] = {}
        for item in items:
            kind = "config" if "config" in item else "model"
            name = item.get(kind)
            if isinstance(name, str) and name:
                if name in self._named:
                    place = item.places[kind]
                    raise error_at(place, f"{kind} '{name}'", "there are two of this name")
                self._named[name] = item
            elif kind in item and name != "":
                raise error_at(item.places[kind], kind, f"its name has to be a text, not {kind_of(name)}")
        self._anonymous = next((item for item in items if not _name(item)), None)

    def whole(self, item: Map) -> Map:
        """``item`` with all that it takes from others, and its parameters filled in.

        Raises:
            ProjectFileError: a name is unknown, or something takes from itself.
        """
        item = self._extended(item, ())
        item = self._with_includes(item)
        raw = mapping(item.get("params"), item.place, "params")
        params: dict[str, Any] = {**raw}
        filled = _filled(item, params, ())
        return cast(Map, filled)

    def _extended(self, item: Map, above: tuple[str, ...]) -> Map:
        if "extends" not in item:
            return item
        place = item.places["extends"]
        own = _name(item)
        for name in texts(item["extends"], place, "extends"):
            if name in above or name == own:
                raise error_at(
                    place, "extends", f"there is a cycle in 'extends': {' -> '.join((*above, own, name))}"
                )
            parent = self._named.get(name)
            if parent is None:
                raise error_at(
                    place,
                    "extends",
                    f"there is no model or config '{name}'",
                    did_you_mean(name, self._named),
                )
            parent = self._extended(parent, (*above, own))
            given = parent.like()
            for key in INHERITED:
                if key in parent:
                    given.put(key, parent[key], parent.places[key])
            item = merged(item, given)
        return item

    def _with_includes(self, item: Map) -> Map:
        result = item.like()
        for key in item:
            value = item[key]
            if key in ("operations", "flags", "resources") and isinstance(value, Map):
                value = self._section(value, key, item, ())
            if key == "operations" and isinstance(value, Map):
                value = self._operations(value, item)
            if key == "operation-defaults" and isinstance(value, Map):
                value = self._operation(value, item)
            result.put(key, value, item.places.get(key, item.place))
        return result

    def _operations(self, operations: Map, item: Map) -> Map:
        result = operations.like()
        for name, value in operations.items():
            value = self._operation(value, item) if isinstance(value, Map) else value
            result.put(name, value, operations.places[name])
        return result

    def _operation(self, operation: Map, item: Map) -> Map:
        result = operation.like()
        for key, value in operation.items():
            if key == "flags" and isinstance(value, Map):
                value = self._section(value, "flags", item, ())
            elif key == "steps" and isinstance(value, Seq):
                value = self._steps(value, item)
            result.put(key, value, operation.places[key])
        return result

    def _steps(self, steps: Seq, item: Map) -> Seq:
        result = steps.like()
        for step, place in zip(cast("list[Any]", steps), steps.places, strict=True):
            result.put(self._operation(step, item) if isinstance(step, Map) else step, place)
        return result

    def _section(self, section: Map, key: str, item: Map, above: tuple[str, ...]) -> Map:
        """``section`` with what its ``$include`` names."""
        if INCLUDE not in section:
            return section
        place = section.places[INCLUDE]
        included = section.like()
        for reference in texts(section[INCLUDE], place, INCLUDE):
            if reference in above:
                raise error_at(place, INCLUDE, f"'{reference}' includes itself")
            name, _, attributes = reference.partition("#")
            found = self._included(name, key, item, place)
            found = self._section(found, key, item, (*above, reference))
            for one in _chosen(found, attributes, reference, place):
                included.put(one, found[one], found.places.get(one, found.place))
        own = section.like()
        for one, value in section.items():
            if one != INCLUDE:
                own.put(one, value, section.places[one])
        return merged(own, included)

    def _included(self, name: str, key: str, item: Map, place: Place) -> Map:
        if name in self._named:
            holder: Any = self._extended(self._named[name], ())
        else:
            model, separator, operation = name.rpartition(":")
            owner = (self._named.get(model) if model else self._anonymous) if separator else item
            operations = self._extended(owner, ()).get("operations") if owner is not None else None
            holder = cast("Any", operations).get(operation) if isinstance(operations, Map) else None
        if holder is None:
            raise error_at(
                place,
                INCLUDE,
                f"there is no config or operation '{name}'",
                did_you_mean(name, self._named),
            )
        section = holder.get(key) if isinstance(holder, Map) else None
        return mapping(section, place, f"{key} of '{name}'")


def _name(item: Map) -> str:
    name = item.get("config") or item.get("model")
    return name if isinstance(name, str) else ""


def _chosen(found: Map, attributes: str, reference: str, place: Place) -> list[str]:
    if not attributes:
        return list(found)
    wanted = [one.strip() for one in attributes.split(",")]
    for one in wanted:
        if one not in found:
            raise error_at(place, INCLUDE, f"'{reference}': there is no '{one}'", did_you_mean(one, found))
    return wanted


def _filled(value: Any, params: dict[str, Any], above: tuple[str, ...]) -> Any:
    """``value`` with each ``{{ param }}`` replaced, in keys, too.

    A text that is nothing else becomes the parameter's value, with its type.
    """
    if isinstance(value, Map):
        result = value.like()
        for key, item in value.items():
            place = value.places.get(key, value.place)
            result.put(str(_filled(key, params, above)), _filled(item, params, above), place)
        return result
    if isinstance(value, Seq):
        items = value.like()
        for item, place in zip(cast("list[Any]", value), value.places, strict=True):
            items.put(_filled(item, params, above), place)
        return items
    if not isinstance(value, str) or "{{" not in value:
        return value
    whole = _PARAM.fullmatch(value)
    if whole is not None and whole[1] in params:
        return _param(whole[1], params, above)
    return _PARAM.sub(
        lambda one: _shown(_param(one[1], params, above)) if one[1] in params else one[0], value
    )


def _param(name: str, params: dict[str, Any], above: tuple[str, ...]) -> Any:
    # A parameter that stands for itself stays as it is written.
    return "{{ " + name + " }}" if name in above else _filled(params[name], params, (*above, name))


def _shown(value: Any) -> str:
    from orchestra.model.decoding import encode

    return value if isinstance(value, str) else encode(value)
