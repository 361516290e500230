"""Look at the steps of a pipeline before the first of them runs: a misspelt one at the end may cost a day."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from orchestra.engine.off_loop import off_loop
from orchestra.engine.request import RunRequest
from orchestra.engine.session import Session
from orchestra.engine.stage import Plan, new_run, wanted_operation
from orchestra.engine.step_request import bare_request_of_step, request_of_step
from orchestra.errors import UserError
from orchestra.model import flags as flag_rules
from orchestra.model.operation import Operation, Step
from orchestra.model.run import Run

MOST_LEVELS = 32
"""So deep pipelines may run pipelines."""


async def check_planned(session: Session, request: RunRequest, planned: Plan) -> None:
    """Refuse a pipeline that can't come to its end, before anything is made of it: as :func:`check_ahead` of all steps.

    The steps' own pipelines must have their operations, too, and none may come to itself. Which flags the trials of a
    batch will have is not known.

    Raises:
        UserError: names the step and what is wrong with it, or the way from a pipeline to itself.
    """
    run = structs.replace(new_run(session, request, planned, state="pending"), flags=planned.flags)
    descent = _Descent(session, has_flags=planned.batch is None)
    await off_loop(lambda: descent.check(run, (planned.operation.name,)))


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


def _check(session: Session, pipeline: Run, step: Step) -> Operation:
    request = request_of_step(pipeline, step, _say_nothing)
    operation = wanted_operation(session, request, _say_nothing)
    flag_rules.check_given(operation, request.flags, request.force_flags)
    return operation


class _Descent:
    """Looks at the steps of a pipeline, at those of the pipelines among them, and so on."""

    def __init__(self, session: Session, *, has_flags: bool) -> None:
        self._session = session
        self._has_flags = has_flags
        """Whether it is known which flags the first pipeline gives its steps."""
        self._seen: set[str] = set()
        """Pipelines that all is well with."""

    def check(self, pipeline: Run, way: tuple[str, ...]) -> None:
        """``way``: the names of the pipelines that led here, this one last."""
        for step in pipeline.operation.steps:
            operation = self._operation(pipeline, step, way)
            if operation.kind != "steps" or operation.name in self._seen:
                continue
            further = (*way, operation.name)
            if operation.name in way:
                raise comes_to_itself(further)
            if len(way) >= MOST_LEVELS:
                raise too_deep(further)
            self.check(structs.replace(pipeline, operation=operation), further)
        self._seen.add(way[-1])

    def _operation(self, pipeline: Run, step: Step, way: tuple[str, ...]) -> Operation:
        try:
            if self._has_flags and len(way) == 1:
                return _check(self._session, pipeline, step)
            return wanted_operation(self._session, bare_request_of_step(pipeline, step), _say_nothing)
        except UserError as error:
            whose = f" of '{way[-1]}'" if len(way) > 1 else ""
            raise UserError(f"step '{step.name}'{whose} can't be run: {error.message}", error.hint) from error


def comes_to_itself(way: Sequence[str]) -> UserError:
    """The error that the pipeline at the end of ``way`` stands earlier in it, too."""
    return UserError(f"the steps of operation '{way[-1]}' come to the operation itself: {' -> '.join(way)}")


def too_deep(way: Sequence[str]) -> UserError:
    """The error that ``way`` is longer than :data:`MOST_LEVELS`."""
    return UserError(f"pipelines run pipelines more than {MOST_LEVELS} deep: {' -> '.join(way[-4:])}")


def _say_nothing(_: str) -> None:
    """It is said when the step runs."""
