"""Check what a run is to follow: it can be kept, and ends in no circle."""

from __future__ import annotations

from orchestra.engine.ignored_options import starts_at_once
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart
from orchestra.engine.session import Session
from orchestra.engine.stage import Plan
from orchestra.errors import UsageError, UserError
from orchestra.model.filters import RunQuery
from orchestra.model.run import FINAL, Run


async def check_order(session: Session, request: RunRequest, prepared: Plan | Restart) -> None:
    """Refuse a run that is to follow others and is started at once, or would wait for itself.

    Raises:
        UsageError: nobody would wait.
        UserError: names the runs of the circle.
    """
    if starts_at_once(request, prepared):
        if request.after:
            raise UsageError("--after needs --stage: what is started at once follows no other run")
    elif isinstance(prepared, Restart):
        await _check_circle(session, prepared.run)


async def _check_circle(session: Session, run: Run) -> None:
    # A batch ends when its trials have ended: a trial that follows its batch follows itself.
    goals = {run.id, run.batch} - {None}
    seen: set[str] = set()
    paths: list[tuple[Run, ...]] = [(run,)]
    while paths:
        path = paths.pop()
        targets = [condition.partition(":")[0] for condition in path[-1].after]
        for target in targets:
            if target in goals:
                raise _circle(path, target)
        found = await session.store.query(RunQuery(ids=tuple(set(targets) - seen)))
        seen.update(targets)
        paths += [(*path, one) for one in found.runs if one.state not in FINAL]


def _circle(path: tuple[Run, ...], target: str) -> UserError:
    run = path[0]
    last = run.short_id if target == run.id else f"{target[:8]}, whose trial it is"
    circle = " after ".join((*(one.short_id for one in path), last))
    return UserError(
        f"run {run.short_id} would wait for itself: {circle}",
        "Name other runs with --after, or leave --stage out.",
    )
