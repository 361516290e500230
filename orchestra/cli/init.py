"""``orchestra init``: a first project file."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import terminal
from orchestra.cli.context import current
from orchestra.cli.prompts import insist
from orchestra.console import printable
from orchestra.engine.command_line import operation_python
from orchestra.errors import UserError, text_of_os_error
from orchestra.project.find import PROJECT_FILES, project_file_in
from orchestra.project.initial_file import initial_file
from orchestra.workspace.durable import write_atomic
from orchestra.workspace.layout import Layout


def init(*, yes: Annotated[bool, Parameter(alias="-y", help="Replace a file that is there.")] = False) -> int:
    """Write orchestra.yml: an operation for each script and executable of the project's directory.

    A script that can only be told its flags by running it is run up to where it parses its arguments. What is there
    already is replaced only with --yes, or if you say so.
    """
    context = current()
    path = context.cwd / PROJECT_FILES[0]
    there = project_file_in(context.cwd)
    if there is not None and not yes:
        what = f"Replace '{path.name}'?" if there == path else f"'{there.name}' will count no more. Go on?"
        insist(what, default=False)
    try:
        found = initial_file(context.cwd, cache_dir=Layout(context.home).cache_dir, python=operation_python())
    except OSError as error:
        raise UserError(f"'{context.cwd}' can't be read: {text_of_os_error(error)}") from None
    write_atomic(path, found.text.encode(), fsync=False)
    os.chmod(path, 0o666 & ~_umask())
    names = found.names
    count = f"{len(names)} operation{'' if len(names) == 1 else 's'}"
    terminal.write(
        printable(f"Wrote {path.name} with {count}")
        + (f": {printable(', '.join(names))}\n" if names else "\n")
    )
    for one in found.left_out:
        terminal.write(printable(f"Left out: {one}") + "\n")
    return 0


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
