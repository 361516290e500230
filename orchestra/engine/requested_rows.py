"""The batch files of a request: the trials that they list, as far as its own flags leave them."""

from __future__ import annotations

import os
from collections.abc import Iterable

from msgspec import structs

from orchestra.engine.request import RunRequest
from orchestra.errors import FlagError, UserError
from orchestra.model import flags as flag_rules
from orchestra.model.batch import Interval
from orchestra.model.decoding import Decoded
from orchestra.model.operation import FlagValue, Operation
from orchestra.project.batch_files import Row, read_batch_file


def take_rows(
    operation: Operation, request: RunRequest
) -> tuple[RunRequest, tuple[dict[str, FlagValue], ...]]:
    """The request and the rows of its batch files; a single row becomes a part of the request's flags.

    A flag that is given on its own wins over those in the rows.

    Raises:
        UserError: a file can't be read, or a queue was given one.
        FlagError: a row has a flag or value that the operation can't have; says in which row.
    """
    if not request.batch_files:
        return request, ()
    if operation.kind == "queue":
        raise UserError("a queue takes no batch file")
    rows: list[Row] = []
    for name in request.batch_files:
        rows += read_batch_file(request.cwd / os.path.expanduser(name), name)
    settled = [_settled(operation, request, row) for row in rows]
    if len(rows) == 1:
        return structs.replace(request, flags={**settled[0], **request.flags}, batch_files=()), ()
    if not request.force_flags:
        _check_required(operation, request, zip(rows, settled, strict=True))
    return request, tuple(settled)


def _settled(operation: Operation, request: RunRequest, row: Row) -> dict[str, FlagValue]:
    place = flag_rules.PathBase(os.path.abspath(request.cwd), os.path.exists)
    try:
        values = flag_rules.check_given(operation, row.values, request.force_flags, place=place)
    except FlagError as error:
        raise FlagError(f"{row.place}: {error.message}", error.hint) from None
    for name, value in values.items():
        if isinstance(value, Interval):
            raise FlagError(
                f"{row.place}: flag '{name}' can't have a search in a batch file",
                f"Give '{name}={flag_rules.encode(value)}' beside the file.",
            )
    return {name: value for name, value in values.items() if name not in _given(operation, request.flags)}


def _given(operation: Operation, flags: Iterable[str]) -> set[str]:
    aliases = {flag.alias: flag.name for flag in operation.flags if flag.alias}
    return {aliases.get(name, name) for name in flags}


def _check_required(
    operation: Operation, request: RunRequest, rows: Iterable[tuple[Row, dict[str, Decoded]]]
) -> None:
    given = _given(operation, request.flags)
    required = [
        flag.name
        for flag in operation.flags
        if flag.required and flag.default in (None, "") and flag.name not in given
    ]
    for row, values in rows if required else ():
        for name in required:
            if values.get(name) in (None, ""):
                raise FlagError(f"{row.place}: the operation requires flag '{name}', which is missing")
