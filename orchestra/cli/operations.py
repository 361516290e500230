"""``orchestra operations`` and ``orchestra models``: what there is to run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import tables, terminal
from orchestra.cli.context import current
from orchestra.console import printable
from orchestra.project.listing import Listed, list_models, list_operations


def operations(
    *filters: Annotated[
        str, Parameter(help="List only operations whose names hold one of these.", show=False)
    ],
    all_: Annotated[
        bool, Parameter(name=("--all", "-a"), help="List hidden operations, scripts and built-ins, too.")
    ] = False,
    details: Annotated[bool, Parameter(alias="-d", help="Show commands and flags.")] = False,
) -> int:
    """List what can be run: the operations of the project's file.

    A project without one has its scripts and executables, and what is built in. FILTERs choose operations whose
    names hold one of them.
    """
    _show(list_operations(current().cwd, everything=all_), filters, details)
    return 0


def models(
    *filters: Annotated[str, Parameter(help="List only models whose names hold one of these.", show=False)],
    all_: Annotated[bool, Parameter(name=("--all", "-a"), help="List hidden models, too.")] = False,
) -> int:
    """List the models of the project's file. FILTERs choose those whose names hold one of them."""
    _show(list_models(current().cwd, everything=all_), filters, details=False)
    return 0


def _show(found: Iterable[Listed], filters: tuple[str, ...], details: bool) -> None:
    chosen = [one for one in found if not filters or any(part in one.name for part in filters)]
    if not details:
        terminal.write(tables.render([one[:2] for one in chosen], width=terminal.width()))
        return
    for one in chosen:
        head = f"{one.name}  {one.description}".rstrip()
        terminal.write(
            "".join(f"{printable(line)}\n" for line in (head, *(f"  {row}" for row in one.details)))
        )
