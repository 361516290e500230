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
    json: Annotated[bool, Parameter(name="--json", help="Print JSON.")] = False,
) -> int:
    """List what can be run: the operations of the project's file.

    A project without one has its scripts and executables, and what is built in. FILTERs choose operations whose
    names hold one of them. With --json an array is printed; each operation has name, description and details: its
    command and its flags as lines.
    """
    found = _chosen(list_operations(current().cwd, everything=all_), filters)
    if json:
        terminal.write_json([one._asdict() for one in found])
    else:
        _show(found, details, "operations")
    return 0


def models(
    *filters: Annotated[str, Parameter(help="List only models whose names hold one of these.", show=False)],
    all_: Annotated[bool, Parameter(name=("--all", "-a"), help="List hidden models, too.")] = False,
    json: Annotated[bool, Parameter(name="--json", help="Print JSON.")] = False,
) -> int:
    """List the models of the project's file. FILTERs choose those whose names hold one of them.

    With --json an array is printed; each model has name and description.
    """
    found = _chosen(list_models(current().cwd, everything=all_), filters)
    if json:
        terminal.write_json([{"name": one.name, "description": one.description} for one in found])
    else:
        _show(found, False, "models")
    return 0


def _chosen(found: Iterable[Listed], filters: tuple[str, ...]) -> list[Listed]:
    return [one for one in found if not filters or any(part in one.name for part in filters)]


def _show(found: list[Listed], details: bool, what: str) -> None:
    if not found:
        terminal.hint(f"There are no such {what} in '{current().cwd}'.")
    if not details:
        terminal.write(tables.render([one[:2] for one in found], width=terminal.width()))
        return
    for one in found:
        head = f"{one.name}  {one.description}".rstrip()
        terminal.write(
            "".join(f"{printable(line)}\n" for line in (head, *(f"  {row}" for row in one.details)))
        )
