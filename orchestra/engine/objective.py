"""The objective of a search: which column it is about, and what its trials have in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestra.engine.off_loop import off_loop
from orchestra.engine.request import RunRequest
from orchestra.engine.results import column_value, like_column
from orchestra.engine.session import Session
from orchestra.errors import UsageError, UserError
from orchestra.model.columns import Column, as_number, parse_column
from orchestra.model.run import Run

GREATEST = "-"
"""Before a column: its greatest values are searched."""


def wanted_objective(request: RunRequest, default: str | None) -> str | None:
    """The objective that is asked for, as a batch keeps it; ``default`` if nothing was said.

    Raises:
        UsageError: both kinds were asked for.
        UserError: it is no column.
    """
    if request.minimize is not None and request.maximize is not None:
        raise UsageError("--minimize and --maximize cannot both be used")
    objective = default
    if request.maximize is not None:
        objective = f"{GREATEST}{request.maximize}"
    elif request.minimize is not None:
        objective = request.minimize
        if objective.startswith(GREATEST):
            raise UserError(
                f"invalid column '{objective}' to minimize", "Use --maximize to look for the greatest value."
            )
    if objective is not None:
        split_objective(objective)
    return objective


def split_objective(objective: str) -> tuple[Column, float]:
    """The column that a search is about, and what its values are multiplied by so that less is better.

    Raises:
        UserError: it is no column.
    """
    if objective.startswith(GREATEST):
        return parse_column(objective[len(GREATEST) :]), -1.0
    return parse_column(objective), 1.0


async def objectives_of(
    session: Session, trials: Sequence[Run], objective: str, known: dict[tuple[str, int], float | None]
) -> None:
    """Enter into ``known`` the value that the search minimises of each completed trial that is not in it yet.

    None for a trial that has none, or nan.

    Raises:
        UserError: the objective is no column.
    """
    column, sign = split_objective(objective)
    new = [run for run in trials if run.state == "completed" and (run.id, run.attempt) not in known]

    def read() -> None:
        for run in new:
            value = as_number(column_value(session, run, column))
            known[run.id, run.attempt] = None if value is None else sign * value

    if new:
        await off_loop(read)


def missing_objective(
    session: Session, trials: Sequence[Run], objective: str, known: Mapping[tuple[str, int], float | None]
) -> str | None:
    """What to tell of a search none of whose completed trials has the objective; None if one has, or none has ended."""
    ended = [run for run in trials if (run.id, run.attempt) in known]
    if not ended or any(known[run.id, run.attempt] is not None for run in ended):
        return None
    column, sign = split_objective(objective)
    verb = "minimize" if sign > 0 else "maximize"
    hint = like_column(session, ended, column)
    return f"no trial has '{column.name}' to {verb} so far" + (f"\n{hint}" if hint else "")
