"""``orchestra queue VERB``: what is told to all queues of a home, and what they tell."""

from __future__ import annotations

import os
import shlex
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli.context import complete, current, in_event_loop
from orchestra.cli.options import whole
from orchestra.cli.run_ending import one_line
from orchestra.cli.selection import FILTERS, Filters, chosen
from orchestra.console import printable
from orchestra.engine import queue_control
from orchestra.engine.choosing import STAGED
from orchestra.engine.queue_state import EVERYTHING
from orchestra.engine.queue_stopping import stop_queues
from orchestra.engine.session import Session
from orchestra.engine.stopping import StopReport, not_stopped
from orchestra.errors import UsageError, UserError
from orchestra.model.duration import parse_duration
from orchestra.model.filters import RunQuery
from orchestra.model.run import FINAL, Run
from orchestra.model.scheduling import Group
from orchestra.model.term_words import check_group

_AHEAD = RunQuery(states=frozenset(("staged", "running", "pending")))
_QUEUES = RunQuery(states=frozenset(("running", "pending")), kinds=frozenset(("queue",)))

GroupName = Annotated[str | None, Parameter(name=("--group", "-g"))]
Runs = Annotated[tuple[str, ...], Parameter(name="RUN")]


def pause(*, group: GroupName = None) -> int:
    """Let no queue start anything until 'queue resume'. What runs goes on.

    Parameters
    ----------
    group
        Only runs of this group (run --group).
    """
    _set(group, lambda session, name: queue_control.set_group(session, name, paused=True))
    _say(f"Paused {_what(group)}")
    return 0


def resume(*, group: GroupName = None) -> int:
    """Let queues go on after 'queue pause'.

    Parameters
    ----------
    group
        The group that was paused.
    """
    groups = _set(group, lambda session, name: queue_control.set_group(session, name, paused=False))
    _say(f"Resumed {_what(group)}{_still_paused(group, groups)}")
    return 0


def parallel(
    number: Annotated[int, Parameter(converter=whole, name="N")], /, *, group: GroupName = None
) -> int:
    """Let each queue run N runs at once, whatever its --jobs, or all queues together N of a group.

    With 0 each queue runs as many as it was told by --jobs, or any number of the group.

    Parameters
    ----------
    number
        Runs at once.
    group
        The group that the limit is for.
    """
    _set(group, lambda session, name: queue_control.set_group(session, name, limit=number), ahead=True)
    if group:
        _say(f"{f'At most {number} run(s) at once' if number else 'No limit'} of group {group}")
    else:
        _say(
            f"{number} run(s) at once in each queue"
            if number
            else "As many runs at once as each queue was told"
        )
    return 0


def priority(*words: Annotated[str, Parameter(name="RUN... N")], filters: Filters = FILTERS) -> int:
    """Give staged runs another priority: queues take higher ones first. The last word is the priority.

    Parameters
    ----------
    words
        Which runs (all that are staged, where filters are given), and the priority. A batch stands for its staged
        trials.
    """
    *specs, last = words or ("",)
    try:
        wanted = int(last)
    except ValueError:
        wanted = None
    if not (specs or filters is not FILTERS) or wanted is None:
        raise UsageError("give runs and their priority: orchestra queue priority RUN... N")
    changed = complete(
        lambda: _change(
            specs, filters, lambda session, runs: queue_control.set_priority(session, runs, wanted)
        )
    )
    _say(f"Priority {wanted} for {len(changed)} run(s)")
    return 0


def move(
    *runs: str,
    filters: Filters = FILTERS,
    first: Annotated[bool, Parameter(name="--first")] = False,
    last: Annotated[bool, Parameter(name="--last")] = False,
    before: Annotated[str | None, Parameter(name="--before")] = None,
) -> int:
    """Change the turn of staged runs.

    Parameters
    ----------
    runs
        Which runs, in the order in which they are to be started (all that are staged, where filters are given). A batch
        stands for its staged trials.
    first
        They are the next.
    last
        They are the last.
    before
        They come right before this one, or the first staged trial of this batch.
    """
    if not runs and filters is FILTERS:
        raise UsageError("give the runs that are to be moved: orchestra queue move RUN... --first")
    if first + last + (before is not None) != 1:
        raise UsageError("say where they are to be: --first, --last or --before RUN")

    async def moved(session: Session, found: tuple[Run, ...]) -> tuple[Run, ...]:
        other = None if before is None else (await chosen(session, (before,), default="none"))[0]
        return await queue_control.move(session, found, first=first, before=other)

    changed = complete(lambda: _change(runs, filters, moved))
    _say(f"Moved {len(changed)} run(s)")
    return 0


def wait(
    *runs: str,
    filters: Filters = FILTERS,
    timeout: Annotated[str | None, Parameter(name="--timeout")] = None,
) -> int:
    """Wait until runs have ended; all that are staged or running unless told otherwise.

    The exit code is 0 if they all ended well, 1 if one did not or was deleted, 75 if the time was over first.

    Parameters
    ----------
    runs
        Which runs: indexes, ids or beginnings of ids. A batch has ended when its trials have.
    timeout
        Give up after so long, e.g. 2h.
    """
    try:
        limit = None if timeout is None else parse_duration(timeout)
    except UserError as error:
        raise UsageError(f"--timeout: {error.message}", error.hint) from error
    ended, deleted = in_event_loop(lambda: _wait(runs, filters, limit))
    left = [run for run in ended if run.state not in FINAL]
    failed = [run for run in ended if run.state not in ("completed", "skipped", *(one.state for one in left))]
    for run in failed:
        _say(f"{run.id} ended as {run.state}{f': {one_line(run.reason)}' if run.reason else ''}")
    for run_id in deleted:
        _say(f"{run_id} was deleted")
    if left:
        _say(f"{len(left)} run(s) have not ended yet")
        return 75
    return int(bool(failed or deleted))


async def _wait(
    specs: tuple[str, ...], filters: Filters, limit: float | None
) -> tuple[tuple[Run, ...], list[str]]:
    """The runs that were waited for, and the ids of those that were deleted meanwhile."""
    async with current().session() as session:
        ids = None
        if specs or filters is not FILTERS:
            base = RunQuery() if specs else _AHEAD
            found = await chosen(session, specs, filters, default="all", base=base)
            ids = [run.id for run in found]
        ended = await queue_control.wait_for(session, ids, timeout=limit)
    there = {run.id for run in ended}
    return ended, [run_id for run_id in ids or () if run_id not in there]


def stop(
    *queues: str,
    stop_running: Annotated[bool, Parameter(name="--stop-runs")] = False,
) -> int:
    """End queues; their runs go on, and the next queue watches them.

    Parameters
    ----------
    queues
        Which queues: indexes of 'orchestra runs', ids or beginnings of ids; all that are at work by default.
    stop_running
        Stop the runs that they have started or taken over, too.
    """
    report = in_event_loop(lambda: _stop(queues, stop_running))
    if report.left:
        _say(not_stopped(report))
    return 0 if report.done else 1


async def _stop(specs: tuple[str, ...], stop_running: bool) -> StopReport:
    async with current().session() as session:
        if specs:
            found = await chosen(session, specs, default="none")
        else:
            found = (await session.store.query(_QUEUES)).runs
        for run in found:
            if run.kind != "queue":
                raise UsageError(f"run {run.short_id} is no queue: use 'orchestra stop {run.short_id}'")
        if not found:
            _say("No queue is at work.")
        return await stop_queues(session, found, and_runs=stop_running, tell=_say)


def _set(
    group: str | None, how: Callable[[Session, str], Awaitable[Group]], *, ahead: bool = False
) -> Mapping[str, Group]:
    """Do ``how`` to a group, or to all queues, and return what is set of all groups then."""
    if group is not None:
        # Of a variable that is not set: all queues are meant by leaving the option out.
        check_group(group)
    name = group or EVERYTHING

    async def work() -> Mapping[str, Group]:
        # A limit is set before there are runs that it is for, in a home that is yet to be made.
        async with current().session(absent="make" if ahead else "refuse") as session:
            known = await queue_control.groups_in_use(session) if name else frozenset((name,))
            await how(session, name)
            groups = queue_control.groups_set(session)
        if name not in known:
            from orchestra.project.documents import did_you_mean

            hint = did_you_mean(name, known)
            if hint is not None or not ahead:
                _say(f"No run of group '{name}' is staged or running. {hint or _there_are(known)}")
        return groups

    return complete(work)


async def _change(
    specs: Sequence[str],
    filters: Filters,
    how: Callable[[Session, tuple[Run, ...]], Awaitable[tuple[Run, ...]]],
) -> tuple[Run, ...]:
    async with current().session() as session:
        base = RunQuery() if specs else RunQuery(states=STAGED, claim_order=True)
        found = await chosen(session, specs, filters, default="all", base=base)
        return await how(session, tuple(run for run in found if specs or run.kind != "queue"))


def _still_paused(group: str | None, groups: Mapping[str, Group]) -> str:
    """What keeps runs from being started all the same now that ``group``, or all queues, were resumed."""
    if group is not None:
        everything = groups.get(EVERYTHING, Group()).paused
        return ", but all queues are paused: use 'orchestra queue resume', too" if everything else ""
    paused = sorted(name for name, one in groups.items() if one.paused)
    if not paused:
        return ""
    names = f"group{'' if len(paused) == 1 else 's'} {', '.join(paused)}"
    stay = "stays" if len(paused) == 1 else "stay"
    return f", but {names} {stay} paused: use 'orchestra queue resume --group {shlex.quote(paused[0])}'"


def _there_are(groups: Iterable[str]) -> str:
    names = sorted(groups)
    return f"Groups in use: {', '.join(names)}." if names else "No other has a group, either."


def _what(group: str | None) -> str:
    return f"group {group}" if group else "all queues"


def _say(text: str) -> None:
    os.write(2, (printable(text) + "\n").encode(errors="backslashreplace"))
