"""Look at the steps of a pipeline before the first of them runs: a misspelt one at the end may cost a day."""

from __future__ import annotations

from collections.abc import Sequence

from orchestra.engine.off_loop import off_loop
from orchestra.engine.session import Session
from orchestra.engine.stage import wanted_operation
from orchestra.engine.step_request import request_of_step
from orchestra.errors import UserError
from orchestra.model import flags as flag_rules
from orchestra.model.operation import Step
from orchestra.model.run import Run


async def check_ahead(session: Session, pipeline: Run, steps: Sequence[Step]) -> None:
    """Refuse steps whose operation or main file is missing, and flags that it can't have.

    Files that flags or dependencies name are not looked for: an earlier step may make them.

    Raises:
        UserError: names the step and what is wrong with it.
    """
    for step in steps:
        try:
            await off_loop(lambda step=step: _check(session, pipeline, step))
        except UserError as error:
            raise UserError(f"step '{step.name}' can't be run: {error.message}", error.hint) from error


def _check(session: Session, pipeline: Run, step: Step) -> None:
    request = request_of_step(pipeline, step, _say_nothing)
    operation = wanted_operation(session, request, _say_nothing)
    flag_rules.check_given(operation, request.flags, request.force_flags)


def _say_nothing(_: str) -> None:
    """It is said when the step runs."""
