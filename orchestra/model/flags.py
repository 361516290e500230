"""Flags: values as given, checked against an operation's definitions. The door to the modules beside it."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from typing import Any, cast

from orchestra.errors import FlagError
from orchestra.model.arguments import (
    check_argument,
    command_arguments,
    env_name,
    environment,
    global_values,
    injection,
    to_argument,
)
from orchestra.model.batch import Interval
from orchestra.model.coercion import coerce
from orchestra.model.decoding import Decoded, decode, encode
from orchestra.model.flag_values import PathBase, Text, chosen_by, settle, settle_resolved
from orchestra.model.labels import default_label, format_flags, render_label, run_label, trial_flags
from orchestra.model.operation import FlagDef, FlagValue, Operation
from orchestra.model.references import has_references, resolve_references
from orchestra.model.space import check_trial_count, count_combinations, is_batch, make_batch

__all__ = [
    "PathBase",
    "Text",
    "check",
    "check_given",
    "check_trial_count",
    "coerce",
    "command_arguments",
    "complete",
    "count_combinations",
    "decode",
    "default_label",
    "encode",
    "env_name",
    "environment",
    "format_flags",
    "global_values",
    "injection",
    "is_batch",
    "make_batch",
    "render_label",
    "run_label",
    "to_argument",
    "trial_flags",
    "typed_from_api",
]


def typed_from_api(value: object) -> Decoded:
    """The value that a Python caller means: texts stay texts, lists and tuples make a batch.

    Raises:
        FlagError: a run's record can't keep it.
    """
    if value is None or isinstance(value, bool | int | float | str | Interval):
        return _exact(value)
    if isinstance(value, list | tuple | range):
        return [typed_from_api(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {str(name): typed_from_api(item) for name, item in cast("dict[object, object]", value).items()}
    if isinstance(value, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", value))
    for method in ("tolist", "item"):
        # numpy's scalars and arrays.
        convert = getattr(value, method, None)
        if callable(convert):
            return typed_from_api(convert())
    raise FlagError(
        f"a value of type {type(value).__name__} can't be a flag's value",
        "Use None, bool, int, float, str, or a list or dict of these.",
    )


def _exact(value: Any) -> Decoded:
    # Subclasses (enums, numpy's float64) would not survive the record.
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    if isinstance(value, str) and not isinstance(value, Text) and type(value) is not str:
        return str.__str__(value)
    return value


def check(
    operation: Operation,
    values: dict[str, Decoded],
    force: bool = False,
    stored: Mapping[str, Decoded] | None = None,
    *,
    place: PathBase | None = None,
    varied: frozenset[str] = frozenset(),
) -> dict[str, Decoded]:
    """All of the operation's flags with their values: the given ones, coerced to their types, and defaults.

    A :class:`Text` is decoded. Lists are checked value by value. Where the values make a batch, flags that a
    choice may set are left out unless they are given, and references stay: :func:`complete` settles both for
    each trial.

    Args:
        operation: whose flags they are.
        values: as given, by the flags' names or aliases.
        force: skip the checks for unknown flags, choices, ranges, required flags and types.
        stored: values of an earlier start, checked then: they come before the defaults, and a flag that was
            forced then is known now.
        place: where values that are paths are looked for; None leaves them as they are.
        varied: flags that get other values in each trial.

    Raises:
        FlagError: a flag is unknown or missing, or has a value that it can't have.
    """
    definitions = {flag.name: flag for flag in operation.flags}
    given = check_given(operation, values, force, place=place, known=stored or {})
    known = {*given, *(stored or {})}
    checked: dict[str, Decoded] = {
        flag.name: flag.default if flag.name in known else _default(operation, flag, force, place)
        for flag in operation.flags
        if flag.name not in HIDDEN.get(operation.kind, ())
    }
    checked.update(stored or {})
    checked.update(given)
    batch = bool(varied) or is_batch(given) or is_batch(checked)
    chosen = _chosen_flags(operation, checked, given, varied)
    for name, value in chosen.items():
        if name not in (stored or {}) or any(one in given for one in _deciders(operation, name)):
            checked[name] = value
    for name in _undecided(operation, checked, varied) - given.keys() - (stored or {}).keys():
        checked.pop(name, None)
    if not batch:
        kept = (stored or {}).keys() - given.keys() - chosen.keys()
        checked = _resolved(operation, checked, force, place, kept)
    missing = [flag for flag in operation.flags if flag.required and checked.get(flag.name) in (None, "")]
    missing = [flag for flag in missing if flag.name not in varied and flag.name in checked]
    if missing and not force:
        raise _missing(operation, [definitions[flag.name] for flag in missing])
    return checked


HIDDEN: dict[str, tuple[str, ...]] = {"queue": ("jobs", "max-fails", "executor", "wait-for-running")}
"""Settings, by kind of operation, that are absent from a run's flags unless they were given."""


def check_given(
    operation: Operation,
    values: Mapping[str, Decoded],
    force: bool,
    *,
    place: PathBase | None = None,
    known: Container[str] = (),
) -> dict[str, Decoded]:
    """The given values alone, by the flags' names, decoded and checked.

    Args:
        operation: whose flags they are.
        values: as given, by the flags' names or aliases.
        force: skip the checks for unknown flags, choices, ranges and types.
        place: where values that are paths are looked for.
        known: flags that may be given though the operation doesn't define them.

    Raises:
        FlagError: a flag is unknown, or has a value that it can't have.
    """
    definitions = {flag.name: flag for flag in operation.flags}
    values = _by_name(operation, values, force)
    if not force and not operation.accepts_any_flag:
        for name in values:
            if name not in definitions and name not in known:
                raise _unsupported(operation, name)
    checked: dict[str, Decoded] = {}
    for name, value in values.items():
        definition = definitions.get(name) or FlagDef(name=name)
        if isinstance(value, str):
            check_argument(name, value)
        checked[name] = settle(definition, value, force, place)
        check_argument(name, checked[name])
    return checked


def complete(operation: Operation, flags: dict[str, FlagValue]) -> dict[str, FlagValue]:
    """The flags of a trial with what its values decide: flags that choices set, and references.

    Raises:
        FlagError: a reference can't be resolved, or gives a value that its flag can't have.
    """
    settable = {name for flag in operation.flags for choice in flag.choices for name in choice.flags}
    absent = [flag for flag in operation.flags if flag.name in settable and flag.name not in flags]
    if not absent and not any(has_references(value) for value in flags.values()):
        return flags
    full: dict[str, FlagValue] = {**{flag.name: flag.default for flag in absent}, **flags}
    full.update(_chosen_flags(operation, full, flags, ()))
    full = _resolved(operation, full, False, None, ())
    return {name: full[name] for name in sorted(full)}


def _by_name(operation: Operation, values: Mapping[str, Decoded], force: bool) -> dict[str, Decoded]:
    """The values by the flags' names where they are given by an alias."""
    aliases = {flag.alias: flag.name for flag in operation.flags if flag.alias}
    named: dict[str, Decoded] = {}
    for given, value in values.items():
        name = aliases.get(given, given)
        if name != given and name in values:
            if not force:
                raise FlagError(f"cannot specify both alias '{given}' and name for flag '{name}'")
            name = given
        named[name] = value
    return named


def _default(operation: Operation, flag: FlagDef, force: bool, place: PathBase | None) -> Decoded:
    """The default of a flag: one of a project's file is checked as what is given, one of a script is data."""
    if operation.project_file is None or not flag.is_defined or flag.default in (None, ""):
        return flag.default
    try:
        return settle(flag, flag.default, force, place)
    except FlagError as error:
        raise FlagError(f"{error.message} (its default, {flag.origin})", error.hint) from None


def _chosen_flags(
    operation: Operation, values: Mapping[str, Decoded], given: Container[str], varied: Container[str]
) -> dict[str, FlagValue]:
    """What the choices among ``values`` set of the flags that are not given."""
    chosen: dict[str, FlagValue] = {}
    for flag in operation.flags:
        value = values.get(flag.name)
        if not flag.choices or flag.name in varied or isinstance(value, list | Interval):
            continue
        choice = chosen_by(flag, value)
        for name, implied in (choice.flags if choice else {}).items():
            if name not in given:
                chosen[name] = implied
    return chosen


def _deciders(operation: Operation, name: str) -> list[str]:
    """The flags of which a choice sets flag ``name``."""
    return [flag.name for flag in operation.flags if any(name in choice.flags for choice in flag.choices)]


def _undecided(operation: Operation, values: Mapping[str, Decoded], varied: Container[str]) -> set[str]:
    """The flags that are set by choices which differ from trial to trial."""
    return {
        name
        for flag in operation.flags
        if flag.name in varied or isinstance(values.get(flag.name), list)
        for choice in flag.choices
        for name in choice.flags
    }


def _resolved(
    operation: Operation,
    values: dict[str, Decoded],
    force: bool,
    place: PathBase | None,
    kept: Container[str],
) -> dict[str, Decoded]:
    """The values with their references filled in, of their flags' types.

    A default that was read from a script is data, and what is ``kept`` has been filled in before: what looks
    like a reference in it is none.
    """
    referring = [name for name, value in values.items() if has_references(value)]
    if not referring:
        return values
    definitions = {flag.name: flag for flag in operation.flags}
    defaults = {
        name for name in referring if name in definitions and values[name] == definitions[name].default
    }
    data = {
        name: values[name]
        for name in referring
        if name in kept or (name in defaults and operation.project_file is None)
    }
    if len(data) == len(referring):
        return values
    shielded = {**values, **{name: text.replace("${", "\\${") for name, text in data.items()}}
    resolved = {**resolve_references(shielded, lenient=frozenset(defaults)), **data}
    for name in referring:
        if name in definitions and resolved[name] != values[name]:
            resolved[name] = settle_resolved(definitions[name], resolved[name], force, place)
    return resolved


def _unsupported(operation: Operation, name: str) -> FlagError:
    import difflib

    hint = (
        f"Try 'orchestra run {operation.name} --help-op' for a list of flags or use --force-flags to skip "
        "this check."
    )
    close = difflib.get_close_matches(name, [flag.name for flag in operation.flags], n=3, cutoff=0.6)
    if close:
        hint += f"\nDid you mean {' or '.join(repr(one) for one in close)}?"
    return FlagError(f"unsupported flag '{name}'", hint)


def _missing(operation: Operation, missing: list[FlagDef]) -> FlagError:
    width = max(len(flag.name) for flag in missing)
    rows = "\n".join(f"  {flag.name:<{width}}  {flag.description}".rstrip() for flag in missing)
    return FlagError(
        f"Operation requires the following missing flags:\n\n{rows}\n",
        "Run the command again with these flags specified as NAME=VAL.\n"
        f"Try 'orchestra run {operation.name} --help-op' for more information.",
    )
