"""Optimizers by the names that operations give them, and the one that ``--optimize`` stands for."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from orchestra.engine.request import RunRequest
from orchestra.errors import UserError
from orchestra.model.operation import Operation, Optimizer

ALIASES: Final = {"+": "grid", "skopt:random": "random"}
"""Guild's names of expanders that are built in."""
UNNAMED: Final = "gp"
"""What ``--optimize`` stands for where the operation names no optimizer."""


def with_optimizer(request: RunRequest, operation: Operation) -> RunRequest:
    """``request`` with the expander, and its options, that its optimizer stands for.

    Raises:
        UserError: none is named, and the operation does not say which of several it is.
    """
    name = request.expander
    chosen = _default(operation) if request.optimize else None
    if name is not None:
        chosen = next((one for one in operation.optimizers if one.name == name), None)
    if chosen is not None:
        options = {**chosen.flags, **request.expander_options}
        request = structs.replace(request, expander=chosen.algorithm, expander_options=options)
    expander = request.expander
    return request if expander is None else structs.replace(request, expander=ALIASES.get(expander, expander))


def _default(operation: Operation) -> Optimizer:
    known = operation.optimizers
    if not known:
        return Optimizer(name=UNNAMED, algorithm=UNNAMED)
    defaults = [one for one in known if one.default]
    if not defaults and len(known) > 1:
        raise UserError(
            f"no default optimizer defined for {operation.name}",
            f"Specify one of the following with '--optimizer': {', '.join(sorted(one.name for one in known))}",
        )
    return (defaults or list(known))[0]
