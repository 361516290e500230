"""The terms on which a run is started: what it needs, when its turn comes, how long and how often it may try."""

from __future__ import annotations

import math
from typing import Any

from orchestra.engine.limits import parse_warning
from orchestra.engine.request import RunRequest
from orchestra.errors import UserError
from orchestra.model.resources import checked
from orchestra.model.run import RunKind

TERMS = ("resources", "priority", "group", "after", "retry", "time_limit", "warning")
"""Fields of a request, and of a run."""
HIGHEST_PRIORITY = 1_000_000


def given_terms(request: RunRequest) -> dict[str, Any]:
    """Those that the request names."""
    return {name: value for name in TERMS if (value := getattr(request, name)) not in (None, ())}


def check_terms(kind: RunKind, request: RunRequest) -> None:
    """Refuse terms that can't be kept.

    Raises:
        UserError: names the option.
    """
    given = given_terms(request)
    if kind in ("queue", "steps") and given:
        option = next(iter(given)).replace("_", "-")
        what = "queue" if kind == "queue" else "pipeline"
        raise UserError(
            f"--{option} can't be used with a {what}", "Give it to the runs that it is meant for."
        )
    if request.resources is not None:
        checked(request.resources)
    if request.priority is not None and abs(request.priority) > HIGHEST_PRIORITY:
        raise UserError(f"invalid priority {request.priority}", f"Give at most {HIGHEST_PRIORITY}.")
    if request.group is not None and not request.group.strip():
        raise UserError("invalid name '' of a group", "Give the group a name.")
    if request.time_limit is not None and not 0 < request.time_limit < math.inf:
        raise UserError(f"invalid time limit {request.time_limit:g}", "Give a time, more than 0.")
    if request.warning is not None:
        parse_warning(request.warning)
        if request.time_limit is None:
            raise UserError("a warning needs a time limit that it comes before", "Give --time-limit, too.")
