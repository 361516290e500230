"""From the flags of a request to those of its operation: checked, with paths as seen from the caller's directory."""

from __future__ import annotations

import os
from collections.abc import Mapping

from orchestra.engine.queue_settings import EXECUTOR, MAX_FAILS
from orchestra.engine.request import RunRequest
from orchestra.model import flags as flag_rules
from orchestra.model.arguments import check_variable, shadowed
from orchestra.model.operation import FlagValue, Operation


def settled_flags(
    operation: Operation,
    request: RunRequest,
    stored: Mapping[str, FlagValue] | None = None,
    varied: frozenset[str] = frozenset(),
) -> dict[str, FlagValue]:
    """Every flag of the operation with its value.

    Args:
        operation: whose flags they are.
        request: what was given.
        stored: the flags of an earlier start of the run.
        varied: the flags that batch files set.

    Raises:
        FlagError: a flag is unknown or missing, or has a value that it can't have.
    """
    for definition in operation.flags:
        check_variable(definition)
    given = request.flags
    if operation.kind == "queue" and request.max_fails is not None:
        given = {**given, MAX_FAILS: request.max_fails}
    if operation.kind == "queue" and request.executor is not None:
        # Its own process is not given to one: what is meant is what it starts.
        given = {**given, EXECUTOR: request.executor}
    place = flag_rules.PathBase(os.path.abspath(request.cwd), os.path.exists)
    return flag_rules.check(operation, given, request.force_flags, stored, place=place, varied=varied)


def shadowed_flags(operation: Operation, flags: Mapping[str, FlagValue]) -> list[str]:
    """Warnings of flags that are not passed because the operation's own command has their options.

    None of those that the command refers to: it passes them itself.
    """
    command = " ".join((*operation.main_args, *operation.exec))
    return [
        f"ignoring flag '{name}={flag_rules.encode(flags[name])}' because it's shadowed in the operation cmd "
        f"as {option}"
        for name, option in shadowed(operation, flags).items()
        if f"${{{name}}}" not in command
    ]
