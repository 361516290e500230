"""What an optimizer searches beyond what is given: flags of which the operation says which values they may have."""

from __future__ import annotations

import math

from orchestra.engine.request import RunRequest
from orchestra.model.batch import Interval
from orchestra.model.decoding import Decoded
from orchestra.model.operation import FlagDef, FlagValue, Operation


def search_dimensions(
    operation: Operation, request: RunRequest, rows: tuple[dict[str, FlagValue], ...] = ()
) -> dict[str, Decoded]:
    """The choices or range of each flag that is not given, where an optimizer is asked for by name.

    What ``rows`` of a batch file have is given, too.

    A switch is not searched: that it has two values says nothing of whether anybody wants to try both.
    """
    name = (request.expander or "").partition(" ")[0]
    if name in ("", "grid"):
        return {}
    given = {*request.flags, *(each for row in rows for each in row)}
    found: dict[str, Decoded] = {}
    for flag in operation.flags:
        if flag.name in given or flag.alias in given or isinstance(flag.default, list):
            continue
        if flag.choices and not flag.allow_other and flag.type != "boolean":
            found[flag.name] = [choice.value for choice in flag.choices]
        elif flag.min is not None and flag.max is not None and flag.min < flag.max and not flag.choices:
            found[flag.name] = _interval(flag, flag.min, flag.max)
    return found


def _interval(flag: FlagDef, low: float, high: float) -> Interval:
    if flag.type == "int":
        low, high = math.ceil(low), math.floor(high)
    whole = isinstance(low, int) and isinstance(high, int) and flag.type != "float"
    if not whole:
        # So that it reads as one of floats where it is shown.
        low, high = float(low), float(high)
    value = flag.default
    kinds = int if whole else (int, float)
    fits = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
    return Interval(
        low=low,
        high=high,
        log=flag.distribution == "log-uniform" and low > 0,
        integer=whole,
        initial=value if fits else None,
    )
