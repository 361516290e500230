"""What is known of every run without its results, by the names that people ask for it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orchestra.model.operation import FlagValue, Operation
from orchestra.model.run import Run


def bare_operation(run: Run) -> str:
    """The operation's name as listings show it, without its model."""
    model = run.operation.model
    return run.operation_name.removeprefix(f"{model}:") if model else run.operation_name


def bare_name(operation: Operation) -> str:
    """The name without the model."""
    model = operation.model
    return operation.name.removeprefix(f"{model}:") if model else operation.name


def duration(run: Run) -> float | None:
    """Seconds between start and end; None if one of them is not known."""
    if run.started is None or run.stopped is None:
        return None
    return (run.stopped - run.started) / 1e6


ATTRIBUTES: Final[dict[str, Callable[[Run], FlagValue]]] = {
    "id": lambda run: run.id,
    "run": lambda run: run.short_id,
    "short_id": lambda run: run.short_id,
    "kind": lambda run: run.kind,
    "operation": lambda run: run.operation_name,
    "op": bare_operation,
    "op_model": lambda run: run.operation.model,
    "from": lambda run: run.operation.source,
    "status": lambda run: run.state,
    "reason": lambda run: run.reason,
    "cause": lambda run: run.cause,
    "exit_status": lambda run: run.exit_code,
    "label": lambda run: run.label or None,
    "tags": lambda run: list(run.tags),
    "marked": lambda run: run.marked,
    "created": lambda run: run.created,
    "staged": lambda run: run.staged,
    "started": lambda run: run.started,
    "stopped": lambda run: run.stopped,
    "time": duration,
    "attempt": lambda run: run.attempt,
    "batch": lambda run: run.batch,
    "trial": lambda run: run.trial,
    "parent": lambda run: run.parent,
    "executor": lambda run: run.executor,
    "queue": lambda run: run.queue,
    "priority": lambda run: run.priority,
    "group": lambda run: run.group,
    "random_seed": lambda run: run.random_seed,
    "sourcecode": lambda run: run.sourcecode_digest or None,
    "sourcecode_digest": lambda run: run.sourcecode_digest or None,
    "vcs_commit": lambda run: run.vcs_commit,
    "user": lambda run: run.user,
    "host": lambda run: run.host,
}

IDS: Final[dict[str, Callable[[Run], str | None]]] = {
    **dict.fromkeys(("id", "run", "short_id"), lambda run: run.id),
    "batch": lambda run: run.batch,
    "parent": lambda run: run.parent,
    "queue": lambda run: run.queue,
}
"""Attributes that name a run, with its whole id."""
MOMENTS: Final = frozenset(("created", "staged", "started", "stopped"))
"""Attributes that are times: microseconds since the epoch."""
NUMBERS: Final = MOMENTS | {"exit_status", "time", "attempt", "trial", "priority", "random_seed"}
"""Attributes that are numbers; the others are texts, even if they look like numbers."""
TRUTHS: Final = frozenset(("marked",))
LISTS: Final = frozenset(("tags",))
