"""``orchestra operations``: what there is to run."""

from __future__ import annotations

from orchestra.cli import tables, terminal
from orchestra.cli.context import current
from orchestra.project.listing import list_operations


def operations() -> int:
    """List what can be run: the scripts and executables of the project's directory, and what is built in."""
    terminal.write(tables.render(list_operations(current().cwd), width=terminal.width()))
    return 0
