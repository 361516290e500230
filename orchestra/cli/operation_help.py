"""What ``run --help-op`` and ``run --test-flags`` print of an operation's flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from orchestra.cli import tables
from orchestra.console import printable
from orchestra.errors import UserError
from orchestra.model.flags import encode
from orchestra.model.operation import Choice, FlagDef, Operation
from orchestra.model.term_words import words_of
from orchestra.model.terms import Terms


def help_operation(operation: Operation) -> str:
    """What an operation is and which flags it takes."""
    lines = [f"Usage: orchestra run [OPTIONS] {operation.name} [FLAG]..."]
    if operation.description:
        lines += ["", operation.description]
    if operation.accepts_any_flag:
        lines += ["", "Takes any flag: NAME=VALUE is passed as '--NAME VALUE' and as FLAG_NAME."]
    if operation.flags:
        lines += ["", "Flags:"]
        rows: list[list[str]] = []
        for flag in operation.flags:
            rows.append([f"  {flag.name}", _summary(flag)])
            if flag.choices and flag.type != "boolean":
                rows.append(["", "  Choices:"])
                rows += [["", f"    {_choice(choice)}"] for choice in flag.choices]
        lines.append(tables.render(rows).rstrip("\n"))
        lines += _about_several(operation)
    elif not operation.accepts_any_flag:
        lines += ["", "Takes no flags."]
    lines += _about_terms(operation)
    return "\n".join(printable(line) for line in lines)


def help_model(operation: Operation) -> str:
    """The operations of the model that an operation is of.

    Raises:
        UserError: it is of none, or its project's file can't be read.
    """
    from orchestra.project.listing import list_model

    if operation.project_file is None:
        raise UserError(
            f"operation '{operation.name}' is of no model",
            "Models are in a project's file, orchestra.yml or guild.yml.",
        )
    model = list_model(Path(operation.project_file), operation.model)
    prefix = f"{model.name}:" if model.name else ""
    lines = [f"Usage: orchestra run [OPTIONS] {prefix}OPERATION [FLAG]..."]
    lines += ["", model.description] if model.description else []
    for title, found in (("Operations", model.operations), ("Resources", model.resources)):
        if found:
            rows = [one[:2] for one in found]
            lines += ["", f"{title}:", tables.render(rows, indent="  ").rstrip("\n")]
    lines += ["", f"Try 'orchestra run {prefix}OPERATION --help-op' for the flags of an operation."]
    return "\n".join(printable(line) for line in lines)


def _about_several(operation: Operation) -> list[str]:
    """How the values are written of flags that take several."""
    flag = next((flag for flag in operation.flags if flag.takes_several), None)
    if flag is None:
        return []
    separator = " " if isinstance(flag.arg_split, bool) or flag.arg_split in ("shlex", "") else flag.arg_split
    return [
        "",
        f"Several values of a flag are written as one text: {flag.name}='A{separator}B'.",
        f"A list makes a batch: {flag.name}=[A,B] are two trials.",
    ]


def _about_terms(operation: Operation) -> list[str]:
    """What the project says of when, and how often, it is run, as the options that go over it."""
    if operation.terms == Terms():
        return []
    rows = [[f"  --{name}", text] for name, text in words_of(operation.terms).items()]
    return ["", "Started with, unless other options are given:", tables.render(rows).rstrip("\n")]


def _summary(flag: FlagDef) -> str:
    parts = [flag.description]
    if flag.required:
        parts.append("(required)")
    elif flag.default is not None:
        parts.append(f"(default is {encode(flag.default)})")
    parts.append(f"[{rule}]" if (rule := rule_of(flag)) else "")
    parts.append(f"(or {flag.alias})" if flag.alias else "")
    return " ".join(part for part in parts if part)


def rule_of(flag: FlagDef) -> str:
    """What a value of the flag has to be: ``float, 0 to 1``."""
    if flag.min is not None and flag.max is not None:
        limits = f"{flag.min} to {flag.max}"
    elif flag.min is not None:
        limits = f"at least {flag.min}"
    else:
        limits = f"at most {flag.max}" if flag.max is not None else ""
    return ", ".join(part for part in (flag.type or "", limits, _several(flag)) if part)


def _several(flag: FlagDef) -> str:
    if not flag.takes_several:
        return ""
    plain = isinstance(flag.arg_split, bool) or flag.arg_split in ("shlex", "", " ")
    return "several values" if plain else f"several values, separated by {flag.arg_split!r}"


def _choice(choice: Choice) -> str:
    text = encode(choice.value)
    if choice.alias:
        text += f" (or {choice.alias})"
    if choice.description:
        text += f"  {choice.description}"
    if choice.flags:
        text += f"  sets {' '.join(f'{name}={encode(value)}' for name, value in choice.flags.items())}"
    return text


_ATTRIBUTES: Final = (
    *("default", "type", "required", "description", "choices", "allow_other", "min", "max", "distribution"),
    *("alias", "arg_name", "arg_skip", "arg_switch", "arg_split", "arg_repeat", "arg_encoding", "env_name"),
    *("env_encoding", "null_label", "origin"),
)


def attributes_of(flag: FlagDef) -> dict[str, Any]:
    """The flag's attributes by the names that project files give them; those that say nothing are left out."""
    plain = FlagDef(name=flag.name)
    found: dict[str, Any] = {}
    for name in _ATTRIBUTES:
        value = getattr(flag, name)
        if name in ("default", "required") or value != getattr(plain, name):
            found[name.replace("_", "-")] = value
    if flag.choices:
        found["choices"] = [choice.value for choice in flag.choices]
    return found


def describe_flags(operation: Operation) -> str:
    """All that is known of the operation's flags, in the words of a project file."""
    lines = [f"flags-dest: {operation.flags_dest}", f"flags-found-by: {operation.discovered_by or 'none'}"]
    lines.append("flags:" if operation.flags else "flags: {}")
    for flag in operation.flags:
        lines.append(f"  {encode(flag.name)}:")
        for name, value in attributes_of(flag).items():
            lines.append(f"    {name}: {encode(value)}")
    return "\n".join(printable(line) for line in lines)
