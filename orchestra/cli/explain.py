"""``orchestra explain OPERATION``: where each flag, default and scalar pattern of an operation comes from."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from orchestra.cli import tables, terminal
from orchestra.cli.context import complete, current
from orchestra.cli.operation_help import attributes_of, rule_of
from orchestra.console import printable
from orchestra.engine.begin import operation_of
from orchestra.engine.command_line import operation_python
from orchestra.engine.request import RunRequest
from orchestra.engine.session import Session
from orchestra.model.arguments import env_name
from orchestra.model.destinations import parse_destination
from orchestra.model.flags import encode
from orchestra.model.operation import FlagDef, Operation, OutputPattern
from orchestra.model.output_rules import DEFAULT_ATTRIBUTES, DEFAULT_SCALARS
from orchestra.model.term_words import words_of
from orchestra.model.terms import Terms

_FOUND_BY = {
    "argparse": "the parser of argparse",
    "click": "the command of click",
    "typer": "the application of typer",
    "globals": "the script's globals",
}
_BUILT_IN = "built in"
_DEFAULT = "by default"
_PROJECT = "of the project"


def explain(
    operation: str | None = None, /, *, json: Annotated[bool, Parameter(name="--json")] = False
) -> int:
    """Tell where each flag, default and scalar pattern of an operation comes from, and where flags go.

    Parameters
    ----------
    operation
        A script, an executable, or an operation of the project; the default one unless told otherwise.
    json
        Print JSON.
    """
    found = complete(lambda: _explained(operation))
    if json:
        terminal.write_json(found)
    else:
        terminal.write(_as_text(found))
    return 0


async def _explained(name: str | None) -> dict[str, Any]:
    context = current()
    async with context.session(looking=True, absent="bear") as session:
        operation = await operation_of(session, RunRequest(operation=name, cwd=context.cwd))
        left_out = _left_out(session, operation)
    return {
        "operation": operation.name,
        "kind": operation.kind,
        "defined_by": operation.project_file or _found_as(operation),
        "source": operation.source,
        "flags_found_by": operation.discovered_by or None,
        "flags_dest": operation.flags_dest,
        "accepts_any_flag": operation.accepts_any_flag,
        "flags": [_explained_flag(operation, flag) for flag in operation.flags],
        "no_flags": [{"name": name, "reason": reason} for name, reason in left_out],
        "terms": _explained_terms(operation.terms),
        "scalars": _explained_patterns(operation.output_scalars, DEFAULT_SCALARS),
        "attributes": _explained_patterns(operation.output_attrs, DEFAULT_ATTRIBUTES),
    }


def _found_as(operation: Operation) -> str:
    return _BUILT_IN if operation.kind in ("queue", "batch") else "its path"


def _defined(by: str) -> str:
    return by if by == _BUILT_IN else f"defined by {by}" if by.startswith("/") else f"found by {by}"


def _left_out(session: Session, operation: Operation) -> Sequence[tuple[str, str]]:
    """The script's options that are no flags: what was found is still in the cache."""
    if operation.discovered_by not in ("argparse", "click", "typer") or operation.kind != "script":
        return ()
    from orchestra.project.script import discover_flags

    found = discover_flags(
        Path(os.path.join(operation.source or "", operation.main)),
        cache_dir=session.layout.cache_dir,
        python=operation_python(),
        arguments=operation.main_args,
    )
    return found.left_out


def _explained_flag(operation: Operation, flag: FlagDef) -> dict[str, Any]:
    return {
        "name": flag.name,
        **{name.replace("-", "_"): value for name, value in attributes_of(flag).items()},
        "rule": rule_of(flag),
        "passed_as": _passed_as(operation, flag),
        "variable": flag.env_name or env_name(flag.name),
        "origin": flag.origin or (os.path.basename(operation.project_file) if operation.project_file else ""),
    }


def _explained_terms(terms: Terms) -> list[dict[str, str]]:
    """What runs are started with unless options say otherwise, by those options."""
    return [
        {"name": name, "value": text, "origin": terms.origins.get(name, "-")}
        for name, text in words_of(terms).items()
    ]


def _passed_as(operation: Operation, flag: FlagDef) -> str | None:
    """How the flag reaches the process beside its variable; None: not at all."""
    kind, name = parse_destination(operation.flags_dest)
    if flag.arg_skip or kind == "none":
        return None
    if kind == "args":
        return "argument" if flag.arg_name == "" else flag.arg_name or f"--{flag.name}"
    if kind == "globals":
        return f"global {flag.name}"
    return f"{name}: {flag.name}" if kind == "config" else f"{kind} {name}: {flag.name}"


def _explained_patterns(
    own: Sequence[OutputPattern] | None, defaults: Sequence[OutputPattern]
) -> list[dict[str, Any]]:
    return [
        {
            "pattern": one.pattern,
            **({"key": one.key} if one.key else {}),
            "origin": _DEFAULT if own is None else _PROJECT,
        }
        for one in (defaults if own is None else own)
    ]


def _values(flag: dict[str, Any]) -> str:
    """What the flag's values may be."""
    if flag.get("choices") and flag.get("type") != "boolean":
        return "one of " + ", ".join(encode(value) for value in flag["choices"])
    return flag["rule"] or "any"


def _as_text(found: dict[str, Any]) -> str:
    by = found["flags_found_by"]
    lines = [
        f"{found['operation']}: {found['kind']}, {_defined(found['defined_by'])}\n",
        f"source: {found['source'] or 'none'}\n",
        f"flags: passed to {found['flags_dest']}" + (f", found by {_FOUND_BY.get(by, by)}\n" if by else "\n"),
    ]
    if found["accepts_any_flag"]:
        lines.append("any flag is accepted: NAME=VALUE is passed as '--NAME VALUE'\n")
    rows = [["  flag", "default", "value", "passed as", "variable", "from"]]
    for flag in found["flags"]:
        default = "(required)" if flag["required"] else encode(flag["default"])
        rows.append(
            [
                f"  {flag['name']}",
                default,
                _values(flag),
                flag["passed_as"] or "-",
                flag["variable"],
                flag["origin"] or "-",
            ]
        )
    lines.append(tables.render(rows) if found["flags"] else "")
    if found["no_flags"]:
        lines.append("options that are no flags:\n")
        lines.append(tables.render([[f"  {one['name']}", one["reason"]] for one in found["no_flags"]]))
    if found["terms"]:
        lines.append("terms, unless options of run say otherwise:\n")
        rows = [[f"  --{one['name']}", one["value"], one["origin"]] for one in found["terms"]]
        lines.append(tables.render(rows))
    for what in ("scalars", "attributes"):
        lines.append(f"{what}:\n" if found[what] else f"{what}: none\n")
        rows = [[f"  {one['pattern']}", one.get("key", "-"), one["origin"]] for one in found[what]]
        lines.append(tables.render(rows))
    return printable("".join(lines))
