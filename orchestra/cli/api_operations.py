"""``orchestra api ops`` and ``orchestra api help-op``: operations with their flags, as JSON for other programs."""

from __future__ import annotations

import os
from typing import Annotated, Any

from cyclopts import Parameter

from orchestra.cli import run_text, terminal
from orchestra.cli.context import current
from orchestra.engine.command_line import operation_python
from orchestra.errors import OrchestraError
from orchestra.model.attributes import bare_name
from orchestra.model.flags import encode
from orchestra.model.operation import FlagDef, Operation
from orchestra.project.find import find_operation
from orchestra.project.listing import list_operations
from orchestra.workspace.layout import Layout

Format = Annotated[bool, Parameter(name=("--format", "-f"))]


def api_ops(*, format_: Format = False) -> int:
    """Print the operations of the project as an array of JSON objects.

    The keys are name, fullname (with the model), description, opref, projectFile (dir and src), and flags: by name,
    default, defaultAssign, description, type, required, min, max and choices. One that is defined wrongly has its name
    and error.

    Parameters
    ----------
    format_
        Break and indent the lines.
    """
    listed = list_operations(current().cwd)
    terminal.write_json([_described_or_error(one.name) for one in listed], indented=format_)
    return 0


def api_help_op(operation: str, /, *, format_: Format = False) -> int:
    """Print one operation as a JSON object, as 'orchestra api ops' does.

    Parameters
    ----------
    operation
        An operation of the project, or the path of a script or an executable.
    format_
        Break and indent the lines.
    """
    terminal.write_json(_described(_found(operation)), indented=format_)
    return 0


def _found(name: str) -> Operation:
    here = current()
    return find_operation(
        name, cwd=here.cwd, cache_dir=Layout(here.home).cache_dir, python=operation_python()
    )


def _described_or_error(name: str) -> dict[str, Any]:
    try:
        return _described(_found(name))
    except OrchestraError as error:
        return {"name": name, "fullname": name, "error": error.message}


def _described(operation: Operation) -> dict[str, Any]:
    file = operation.project_file
    return {
        "name": bare_name(operation),
        "fullname": operation.name,
        "description": operation.description,
        "opref": run_text.reference_parts(operation).as_json(),
        "projectFile": None if file is None else {"dir": os.path.dirname(file), "src": file},
        "flags": {flag.name: _flag(flag) for flag in operation.flags},
    }


def _flag(flag: FlagDef) -> dict[str, Any]:
    return {
        "default": flag.default,
        "defaultAssign": f"{flag.name}={encode(flag.default)}",
        "description": flag.description,
        "type": flag.type,
        "required": flag.required,
        "min": flag.min,
        "max": flag.max,
        "choices": [
            {"value": choice.value, "alias": choice.alias, "description": choice.description}
            for choice in flag.choices
        ],
    }
