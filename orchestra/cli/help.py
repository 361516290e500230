"""``orchestra help``: of orchestra, a command, an operation or a project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import app, tables, terminal
from orchestra.cli.context import Context, complete, current
from orchestra.engine.begin import operation_of
from orchestra.engine.request import RunRequest
from orchestra.errors import OperationNotFound, UsageError, UserError
from orchestra.project.find import PROJECT_FILES, project_file_in
from orchestra.project.listing import Listed, list_models, list_operations


def help_(*words: Annotated[str, Parameter(show=False)]) -> int:
    """Show the commands of orchestra and the operations of the project.

    'help COMMAND' tells how a command is used, 'help OPERATION' which flags an operation takes, and 'help PATH' what
    there is to run in another project.
    """
    context = current()
    if not words:
        terminal.write(app.top_help())
        if project_file_in(context.cwd) is not None:
            terminal.write("\n" + _of_project(context.cwd))
        return 0
    word, *more = words
    if word in app.GROUPS or app.resolve(word) is not None:
        return app.run([*words, "--help"])
    if more:
        raise UsageError(f"no such command '{' '.join(words)}'")
    place = Path(os.path.normpath(context.cwd / os.path.expanduser(word)))
    if place.is_dir() or place.name in PROJECT_FILES:
        terminal.write(_of_project(place if place.is_dir() else place.parent))
    else:
        terminal.write(_of_operation(context, word))
    return 0


def _of_operation(context: Context, name: str) -> str:
    async def described() -> str:
        from orchestra.cli.operation_help import help_operation

        async with context.session(looking=True, absent="bear") as session:
            found = await operation_of(session, RunRequest(operation=name, cwd=context.cwd))
        return help_operation(found) + "\n"

    try:
        return complete(described)
    except OperationNotFound as error:
        raise UserError(
            f"there is no command, operation or project '{name}'",
            f"Try 'orchestra help' for a list of commands.\n{error.hint}" if error.hint else None,
        ) from error


def _of_project(directory: Path) -> str:
    """What there is to run in ``directory``."""
    file = project_file_in(directory)
    where = directory if file is None else file
    parts = [f"Operations of {where}:\n{_listed(list_operations(directory))}"]
    models = list_models(directory)
    if models:
        parts.append(f"Models:\n{_listed(models)}")
    parts.append(
        "Try 'orchestra run OPERATION --help-op' for the flags of an operation,\n"
        "and 'orchestra operations --details' for those of all.\n"
    )
    return "\n".join(parts)


def _listed(found: list[Listed]) -> str:
    return tables.render([one[:2] for one in found], indent="  ", width=terminal.width()) or "  (none)\n"
