"""From what a project's file says of an operation to the operation itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from msgspec import Struct, structs

from orchestra.errors import FlagError, UserError
from orchestra.model.decoding import encode
from orchestra.model.destinations import parse_destination
from orchestra.model.operation import (
    FlagDef,
    FlagsDest,
    FlagValue,
    Operation,
    OperationKind,
    Optimizer,
    OutputPattern,
)
from orchestra.model.output_rules import LinePattern
from orchestra.model.run import OWN_ATTRIBUTES, Run
from orchestra.project.defined_flags import Importing, defined_flags
from orchestra.project.defined_requirements import requirements_of
from orchestra.project.defined_source import sourcecode_of
from orchestra.project.defined_steps import steps_of
from orchestra.project.defined_terms import terms_of
from orchestra.project.documents import Map, place_in
from orchestra.project.file_types import ObjectiveSection, OperationSection
from orchestra.project.main_spec import find_main, split_words
from orchestra.project.project_file import Defined, Definitions
from orchestra.project.sections import error_at, is_guild_file

FLAG_ARGS = "${flag_args}"
_RESERVED = OWN_ATTRIBUTES.union(Run.__struct_fields__)


class _Command(Struct, frozen=True, kw_only=True):
    """What an operation executes."""

    kind: OperationKind
    main: str = ""
    main_args: tuple[str, ...] = ()
    exec: tuple[str, ...] = ()
    script: Path | None = None
    """The file whose flags may be imported."""


def operation_of(
    project: Definitions,
    defined: Defined,
    *,
    cache_dir: Path | None,
    python: str,
    warn: Callable[[str], None] | None = None,
) -> Operation:
    """The operation that ``defined`` describes; its script's flags are imported as it says.

    Raises:
        ProjectFileError: something in it has no meaning.
        ScriptError: its script can't be read, or is not valid Python.
    """
    section, model = defined.section, project.models[defined.model]
    command = _command(project, defined, python)
    flags, dest, found_by = _flags(
        defined, command, Importing(cache_dir, python, warn, project.directory), project
    )
    return Operation(
        name=defined.full_name,
        kind=command.kind,
        source=str(project.directory),
        main=command.main,
        main_args=command.main_args,
        exec=command.exec,
        flags=flags,
        flags_dest=dest,
        discovered_by=found_by,
        description=section.description.strip(),
        project_file=str(project.file),
        model=defined.model,
        env=_environment(defined),
        env_secrets=_texts(section.env_secrets),
        python_path=_python_path(project, section),
        python_requires=section.python_requires or model.python_requires,
        pip_freeze=section.pip_freeze,
        extra=model.extra,
        label=section.label,
        tags=_texts(section.tags),
        run_attrs=_run_attributes(project, defined),
        compare=None if section.compare is None else tuple(section.compare),
        objective=_objective(defined),
        optimizers=_optimizers(defined),
        default_max_trials=section.default_max_trials,
        requires=requirements_of(project, model, defined),
        sourcecode=sourcecode_of(
            None if command.kind == "steps" else model.sourcecode, section.sourcecode, defined
        ),
        output_scalars=_patterns(defined, "output-scalars", section.output_scalars),
        output_attrs=_patterns(defined, "output-attrs", section.output_attrs),
        steps=steps_of(defined),
        terms=terms_of(defined, is_pipeline=command.kind == "steps"),
        delete_on_success=section.delete_on_success,
        output=section.output,
        grace=section.grace,
        stop_timeout=section.stop_timeout,
    )


def _command(project: Definitions, defined: Defined, python: str) -> _Command:
    section, what = defined.section, f"operation '{defined.full_name}'"
    given = [name for name in ("exec", "main", "steps") if getattr(section, name) is not None]
    if len(given) > 1:
        ignored = " and ".join(f"'{name}'" for name in given[1:])
        place = defined.raw.places[given[1]]
        project.reader.warn(place, what, f"{ignored} is ignored: it has '{given[0]}'")
    if section.exec is not None:
        words = split_words(section.exec, defined, "exec")
        if any(FLAG_ARGS in word and word != FLAG_ARGS for word in words):
            raise error_at(
                defined.raw.places["exec"],
                what,
                "invalid setting for operation: command contains invalid reference 'flag_args'",
                f"Write {FLAG_ARGS} as a word of its own.",
            )
        if not words or words[0] == FLAG_ARGS:
            raise error_at(defined.raw.places["exec"], what, "'exec' names no program")
        return _Command(kind="executable", exec=words)
    if section.main is None and section.steps is not None:
        return _Command(kind="steps")
    main = find_main(project.directory, section.main or defined.name, defined, python)
    return _Command(kind=main.kind, main=main.main, main_args=main.arguments, script=main.script)


def _flags(
    defined: Defined, command: _Command, importing: Importing, project: Definitions
) -> tuple[tuple[FlagDef, ...], FlagsDest, str]:
    dest = _destination(defined)
    flags, found = defined_flags(defined, command.script, command.main_args, dest, importing, project.reader)
    if dest is None:
        dest = found.dest if found is not None else "args"
    if command.kind == "steps":
        dest = "none"
    return flags, dest, found.by if found is not None else ""


def _destination(defined: Defined) -> FlagsDest | None:
    dest = defined.section.flags_dest
    if dest is None:
        return None
    try:
        kind, _ = parse_destination(dest)
    except FlagError as error:
        what = f"operation '{defined.full_name}'"
        raise error_at(defined.raw.places["flags-dest"], what, error.message, error.hint) from None
    return "args" if kind == "args" else dest


def _texts(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _environment(defined: Defined) -> dict[str, str]:
    section = defined.section
    shown = {True: "1", False: "", None: ""}
    return {
        name: value
        if isinstance(value, str)
        else shown[value]
        if value is None or isinstance(value, bool)
        else repr(value)
        for name, value in section.env.items()
    }


def _python_path(project: Definitions, section: OperationSection) -> tuple[str, ...]:
    """Folders of the snapshot stay relative: they are the run's; others are where the project finds them."""
    paths: list[str] = []
    for path in _texts(section.python_path):
        path = os.path.normpath(os.path.expanduser(path))
        outside = os.path.isabs(path) or path == os.pardir or path.startswith(os.pardir + os.sep)
        paths.append(os.path.normpath(project.directory / path) if outside else path)
    return tuple(paths)


def _run_attributes(project: Definitions, defined: Defined) -> dict[str, FlagValue]:
    attributes = defined.section.run_attrs
    reserved = sorted(set(attributes) & _RESERVED)
    for name in reserved:
        project.reader.warn(
            place_in(defined.raw["run-attrs"], name, defined.raw.places["run-attrs"]),
            f"operation '{defined.full_name}'",
            f"the attribute '{name}' is ignored: each run has one of that name",
        )
    return {name: value for name, value in attributes.items() if name not in _RESERVED}


def _objective(defined: Defined) -> str | None:
    objective = defined.section.objective
    if not isinstance(objective, ObjectiveSection):
        return objective
    if (objective.minimize is None) == (objective.maximize is None):
        raise error_at(
            defined.raw.places["objective"],
            f"operation '{defined.full_name}'",
            "'objective' needs either minimize or maximize",
        )
    return objective.minimize if objective.minimize is not None else f"-{objective.maximize}"


def _optimizers(defined: Defined) -> tuple[Optimizer, ...]:
    section, what = defined.section, f"operation '{defined.full_name}'"
    if section.optimizer is not None and section.optimizers is not None:
        raise error_at(
            defined.raw.places["optimizers"], what, "it can't have both 'optimizer' and 'optimizers'"
        )
    if section.optimizer is not None:
        one = _optimizer(None, section.optimizer, defined, "optimizer")
        return (structs.replace(one, default=True),)
    return tuple(
        _optimizer(name, value, defined, "optimizers") for name, value in (section.optimizers or {}).items()
    )


def _optimizer(name: str | None, value: dict[str, Any] | str | None, defined: Defined, key: str) -> Optimizer:
    settings = {"algorithm": value} if isinstance(value, str) else dict(value or {})
    default = settings.pop("default", False)
    algorithm = settings.pop("algorithm", name)
    what = f"operation '{defined.full_name}'"
    if not isinstance(algorithm, str) or not algorithm:
        raise error_at(defined.raw.places[key], what, f"'{key}' does not name an algorithm")
    if not isinstance(default, bool):
        raise error_at(
            defined.raw.places[key], what, f"'default' of an optimizer is yes or no, not {encode(default)}"
        )
    return Optimizer(name=name or algorithm, algorithm=algorithm, flags=settings, default=default)


def _patterns(defined: Defined, name: str, given: Any) -> tuple[OutputPattern, ...] | None:
    """
    Raises:
        ProjectFileError: a pattern is no regular expression, or does not tell what is the name and what the value.
    """
    patterns = _listed_patterns(given)
    for pattern in patterns or ():
        place = defined.raw.places.get(name)
        if place is None or is_guild_file(place):
            # Guild finds out when it reads the output, and so do we: with a warning.
            continue
        try:
            LinePattern(pattern)
        except UserError as error:
            what = f"operation '{defined.full_name}'"
            raise error_at(place, what, f"'{name}': {error.message}", error.hint) from None
    return patterns


def _listed_patterns(given: Any) -> tuple[OutputPattern, ...] | None:
    if given is None or given is True:
        return None
    if given is False:
        return ()
    patterns: list[OutputPattern] = []
    items = cast("list[str | dict[str, str]]", given if isinstance(given, list) else [given])
    for item in items:
        if isinstance(item, str):
            patterns.append(OutputPattern(pattern=item))
        else:
            patterns += [OutputPattern(pattern=pattern, key=key) for key, pattern in item.items()]
    return tuple(patterns)


def describe(defined: Defined) -> tuple[str, ...]:
    """What the operation executes and the flags that the file defines, as lines for listings."""
    section, flags = defined.section, defined.raw.get("flags")
    if section.exec is not None:
        command = f"exec: {section.exec}"
    elif section.main is None and section.steps is not None:
        command = f"steps: {', '.join(step.name for step in steps_of(defined))}"
    else:
        command = f"main: {section.main or defined.name}"
    if not isinstance(flags, Map) or not flags:
        return (command,)
    width = max(len(name) for name in flags)
    rows = (f"  {name:<{width}}  {_described(value)}".rstrip() for name, value in flags.items())
    return (command, "flags:", *rows)


def _described(flag: Any) -> str:
    if not isinstance(flag, Map):
        return f"(default is {encode(flag)})"
    default = flag.get("default")
    told = str(flag.get("description", ""))
    return told if default is None else f"{told} (default is {encode(default)})".strip()
