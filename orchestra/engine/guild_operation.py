"""From what Guild keeps of an operation with each run to an operation of ours, so that the run can be started again."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast, get_args

from msgspec import Struct

from orchestra.engine.guild_attributes import as_list, as_mapping
from orchestra.engine.missing_parts import FOUND_BY
from orchestra.errors import FlagError, ProjectFileError, UsageError
from orchestra.model.destinations import parse_destination
from orchestra.model.operation import (
    FlagDef,
    FlagType,
    FlagValue,
    Operation,
    OperationKind,
    OutputPattern,
    Requirement,
    Step,
)
from orchestra.model.step_words import flag_text, split_step
from orchestra.project.defined_requirements import resource_of
from orchestra.project.documents import Map, Seq
from orchestra.project.find import queue_operation
from orchestra.project.sections import Reader
from orchestra.workspace.guild_runs import OLD_SOURCE, Opref

FLAG_ARGS: Final = "__flag_args__"
"""What stands for the flags in a command of Guild's."""
_PYTHON_MAIN: Final = "guild.op_main"
_STEPS_MAIN: Final = "guild.steps_main"
_PASS: Final = "guild.pass"
_ABOUT_RUNS: Final = frozenset(("name", "location", "config"))
"""What Guild adds to a resource in the record of a run."""
_TYPES: Final = frozenset(get_args(FlagType))


class Kept(Struct, frozen=True, kw_only=True):
    """What a run holds of its operation."""

    opref: Opref
    op: Mapping[str, Any]
    """The attribute ``op``."""
    requires: Sequence[Requirement] = ()
    flags: Mapping[str, FlagValue]
    steps: Sequence[Any] = ()
    attributes: Mapping[str, FlagValue] = {}
    compare: Sequence[str] = ()
    source: frozenset[str] = frozenset()
    """The files of its source, relative to its directory."""


class _Command(Struct, frozen=True, kw_only=True):
    kind: OperationKind
    main: str = ""
    main_args: tuple[str, ...] = ()
    exec: tuple[str, ...] = ()
    python_path: tuple[str, ...] = ()


def operation_of_guild(kept: Kept) -> Operation:
    """The operation. Of one that can't be executed by what is known of it, ``main`` and ``exec`` are empty."""
    opref = kept.opref
    if is_queue(opref):
        return queue_operation()
    project_file = opref.package if opref.package_type == "guildfile" else None
    source = os.path.dirname(opref.package) if project_file else None
    if opref.package_type == "script":
        source = opref.package
    op_cmd = as_mapping(kept.op.get("op-cmd"))
    command = _command(kept, [str(word) for word in as_list(op_cmd.get("cmd-args"))])
    return Operation(
        name=opref.name or "?",
        kind=command.kind,
        source=source,
        main=command.main,
        main_args=command.main_args,
        exec=command.exec,
        python_path=command.python_path,
        flags=_flags(kept, as_mapping(op_cmd.get("cmd-flags"))),
        flags_dest="none" if command.kind == "steps" else _destination(op_cmd),
        accepts_any_flag=command.kind == "executable",
        discovered_by=FOUND_BY,
        project_file=project_file,
        model=opref.model,
        requires=tuple(kept.requires),
        run_attrs=dict(kept.attributes),
        compare=tuple(kept.compare) or None,
        output_scalars=_patterns(kept.op.get("output-scalars")),
        steps=_steps(kept.steps),
    )


def is_queue(opref: Opref) -> bool:
    """Whether it is Guild's own scheduler."""
    return opref.package_type == "builtin" and opref.operation == "queue"


def requirements_of_guild(op: Any, problems: list[str]) -> tuple[Requirement, ...]:
    """What an operation needs, by the attribute ``op`` of a run (whose parts know their places)."""
    given = op.get("deps") if isinstance(op, Map) else None
    reader = Reader(problems.append)
    found: list[Requirement] = []
    for item in as_list(given):
        if not isinstance(item, Map) or not isinstance(item.get("sources"), Seq):
            continue
        resource = item.like()
        for key in item:
            if key not in _ABOUT_RUNS:
                resource.put(key, item[key], item.places[key])
        name = item.get("name")
        try:
            found.append(resource_of(name if isinstance(name, str) else None, resource, "dependency", reader))
        except ProjectFileError as error:
            problems.append(f"something that it needs is not known: {error.message}")
    return tuple(found)


def _command(kept: Kept, words: list[str]) -> _Command:
    if _STEPS_MAIN in words or kept.steps:
        return _Command(kind="steps")
    if _PYTHON_MAIN in words:
        given = words[words.index(_PYTHON_MAIN) + 1 :]
        before = given[: given.index(FLAG_ARGS)] if FLAG_ARGS in given else given
        command = _python_command(kept, before)
        if command.kind == "script" or kept.opref.package_type != "script":
            return command
    if kept.opref.package_type == "script":
        name = kept.opref.operation
        for place in (name, f"{OLD_SOURCE}/{name}"):
            if place in kept.source:
                return _Command(kind="script" if name.endswith(".py") else "executable", main=place)
        kind = "script" if name.endswith(".py") else "executable"
        return _Command(kind=kind, main=os.path.join(kept.opref.package, name))
    if kept.opref.package_type == "guildfile" and words and words[0] != FLAG_ARGS:
        return _Command(
            kind="executable", exec=tuple("${flag_args}" if word == FLAG_ARGS else word for word in words)
        )
    return _Command(kind="executable")


def _python_command(kept: Kept, words: list[str]) -> _Command:
    """``guild.op_main MAIN [ARGUMENT]... --``: a module or script of the run's source, or one that is installed."""
    if not words:
        return _Command(kind="executable")
    name, *rest = words
    if rest[-1:] == ["--"]:
        rest.pop()
    arguments = tuple(rest)
    if name == _PASS:
        return _Command(kind="module", main="orchestra.pass", main_args=arguments)
    for folder in ("", f"{OLD_SOURCE}/"):
        for file in (name, f"{name}.py"):
            if file.endswith(".py") and f"{folder}{file}" in kept.source:
                return _Command(kind="script", main=f"{folder}{file}", main_args=arguments)
    is_old = any(path.startswith(f"{OLD_SOURCE}/") for path in kept.source)
    python_path = (OLD_SOURCE,) if is_old else ()
    if "/" in name:
        return _Command(kind="executable")
    return _Command(kind="module", main=name, main_args=arguments, python_path=python_path)


def _flags(kept: Kept, cmd_flags: Mapping[str, Any]) -> tuple[FlagDef, ...]:
    extra = as_mapping(kept.op.get("flags-extra"))
    return tuple(
        _flag(name, kept.flags.get(name), as_mapping(cmd_flags.get(name)), as_mapping(extra.get(name)))
        for name in dict.fromkeys((*kept.flags, *cmd_flags))
    )


def _flag(name: str, default: FlagValue, command: Mapping[str, Any], extra: Mapping[str, Any]) -> FlagDef:
    kind, arg_name, split = extra.get("type"), command.get("arg-name"), command.get("arg-split")
    env_name = command.get("env-name")
    return FlagDef(
        name=name,
        default=default if not isinstance(default, list) else None,
        type=cast(FlagType, kind) if kind in _TYPES else None,
        description=str(extra.get("description") or ""),
        arg_name=f"--{arg_name}" if isinstance(arg_name, str) and arg_name else None,
        arg_skip=bool(command.get("arg-skip")) or ":" in name,
        arg_switch=command.get("arg-switch"),
        arg_split=split if isinstance(split, str) else bool(split),
        env_name=env_name if isinstance(env_name, str) else None,
        arg_encoding=dict(as_mapping(command.get("arg-encoding"))),
    )


def _destination(op_cmd: Mapping[str, Any]) -> str:
    dest = op_cmd.get("flags-dest") or as_mapping(op_cmd.get("cmd-env")).get("FLAGS_DEST") or "args"
    try:
        kind, _ = parse_destination(str(dest))
    except FlagError:
        return "args"
    return "args" if kind == "args" else str(dest)


def _patterns(given: Any) -> tuple[OutputPattern, ...] | None:
    if given is None or given is True:
        return None
    patterns: list[OutputPattern] = []
    for item in as_list(given) if isinstance(given, list) else [given]:
        if isinstance(item, str):
            patterns.append(OutputPattern(pattern=item))
        else:
            pairs = as_mapping(item).items()
            patterns += [OutputPattern(pattern=str(pattern), key=key) for key, pattern in pairs]
    return tuple(patterns)


def _steps(given: Sequence[Any]) -> tuple[Step, ...]:
    steps: list[Step] = []
    names: dict[str, int] = {}
    for item in given:
        fields = {"run": item} if isinstance(item, str) else as_mapping(item)
        try:
            operation, words, options = split_step(shlex.split(str(fields.get("run") or "")))
        except (UsageError, ValueError):
            continue
        flags: dict[str, FlagValue] = {}
        for word in [*words, *(str(flag) for flag in as_list(fields.get("flags")))]:
            name, _, value = word.partition("=")
            flags[name] = value
        flags |= {name: flag_text(value) for name, value in as_mapping(fields.get("flags")).items()}
        name = re.sub(r"[/\0]", "_", str(fields.get("name") or operation)).lstrip(".")
        if not operation or not name:
            continue
        names[name] = names.get(name, 0) + 1
        distinct = name if names[name] == 1 else f"{name}_{names[name]}"
        isolate = fields.get("isolate-runs") is not False
        steps.append(Step(run=operation, name=distinct, flags=flags, options=options, isolate_runs=isolate))
    return tuple(steps)
