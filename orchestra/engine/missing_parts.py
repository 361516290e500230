"""What a run that was taken over from Guild lacks here, so that it can not be executed: Guild keeps no operations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from orchestra.engine.command_line import NO_OPERATION
from orchestra.engine.session import Session
from orchestra.errors import UserError
from orchestra.model.operation import Operation
from orchestra.model.run import Run

FOUND_BY: Final = "guild"
"""How the flags of operations were found that Guild has kept with a run."""


def require_parts(session: Session, run: Run) -> None:
    """Refuse a run that lacks what it would execute: its script, or what defines it.

    Raises:
        UserError: it does; the message names what is missing.
    """
    if run.operation.discovered_by != FOUND_BY:
        return
    missing = _missing(run.operation, session.directory(run))
    if missing is not None:
        raise UserError(
            f"run {run.id} was imported and can't be started here: {missing}",
            "Bring that back and try again, or start the operation anew from its project.",
        )


def _missing(operation: Operation, directory: Path) -> str | None:
    if operation.kind == "steps":
        file = operation.project_file
        if file is None or not os.path.isfile(file):
            return f"the project file '{file}', which defines its steps, is missing"
        return None
    if operation.kind == "module" or operation.exec:
        return None
    if not operation.main:
        return f"what operation '{operation.name}' executes is not recorded"
    if operation.main != NO_OPERATION and not (directory / operation.main).is_file():
        return f"its script '{operation.main}' is missing"
    return None
