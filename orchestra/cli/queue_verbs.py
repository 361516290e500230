"""``orchestra queue VERB``: what is told to all queues of a home, and what they tell."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from orchestra.cli import run_text, tables, terminal
from orchestra.cli.context import complete, current, in_event_loop
from orchestra.console import printable
from orchestra.engine import queue_control
from orchestra.engine.queue_control import QueueStatus
from orchestra.engine.queue_settings import QueueSettings
from orchestra.engine.runs import select_runs
from orchestra.engine.session import Session
from orchestra.engine.stopping import TIMEOUT, not_stopped, stop_runs
from orchestra.errors import UsageError
from orchestra.model.duration import format_duration, parse_duration
from orchestra.model.filters import RunQuery
from orchestra.model.run import FINAL, Run
from orchestra.model.scheduling import Group, device_shares

_QUEUES = RunQuery(states=frozenset(("running", "pending")), kinds=frozenset(("queue",)))

GroupName = Annotated[str, Parameter(name=("--group", "-g"))]
Runs = Annotated[tuple[str, ...], Parameter(name="RUN")]


def status(*, json: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """Show what queues are at work, what they run, and why each staged run waits.

    Parameters
    ----------
    json
        Print it as JSON.
    """
    found, session_text = complete(_status)
    if json:
        terminal.write_json(_as_json(found))
        return 0
    terminal.write(session_text)
    return 0


async def _status() -> tuple[QueueStatus, str]:
    context = current()
    async with context.session() as session:
        found = await queue_control.queue_status(session)
        return found, _shown(session, found, str(context.cwd))


def _shown(session: Session, found: QueueStatus, here: str) -> str:
    parts: list[str] = []
    if found.paused:
        parts.append("Paused: no queue starts anything. Use 'orchestra queue resume' to go on.\n")
    groups = {name: group for name, group in found.groups.items() if name}
    limit = found.groups.get("", Group()).limit
    if limit is not None:
        parts.append(f"At most {limit} run(s) at once in each queue.\n")
    for name, group in sorted(groups.items()):
        words = ["paused"] if group.paused else []
        words += [f"at most {group.limit} run(s) at once"] if group.limit is not None else []
        parts.append(f"Group {name}: {', '.join(words)}.\n")
    if found.busy:
        parts.append(f"GPU {', '.join(found.busy)}: used by others, and left alone.\n")
    parts.append(_section("queue(s) at work", [_queue_row(run, found.now) for run in found.queues]))
    parts.append(_section("running", [_running_row(run, here, found.now) for run in found.running]))
    staged = [_staged_row(run, here, found) for run in found.staged]
    parts.append(_section("staged", staged))
    return "".join(parts)


def _section(title: str, rows: Sequence[tuple[str, ...]]) -> str:
    head = f"{len(rows) or 'no'} {title}\n"
    return head + tables.render(rows, indent="  ", width=terminal.width())


def _queue_row(run: Run, now: int) -> tuple[str, ...]:
    settings = QueueSettings.from_flags(run.flags)
    worker = run.worker
    where = "" if worker is None else f"pid {worker.identity.pid} on {run.host}"
    return f"[{run.short_id}]", _since(run.started, now), f"{settings.jobs or 'auto'} job(s)", where


def _running_row(run: Run, here: str, now: int) -> tuple[str, ...]:
    devices = ",".join(device_shares(run.devices))
    return (
        f"[{run.short_id}]",
        run_text.operation(run, here),
        "starting" if run.claimed else _since(run.started, now),
        f"gpu {devices}" if devices else "",
        run.label or "",
    )


def _staged_row(run: Run, here: str, found: QueueStatus) -> tuple[str, ...]:
    return (
        f"[{run.short_id}]",
        run_text.operation(run, here),
        f"priority {run.priority}" if run.priority else "",
        f"waits for {_reason(found, run)}",
        run.label or "",
    )


def _reason(found: QueueStatus, run: Run) -> str:
    reason = found.waits.get(run.id, "a free slot")
    if run.not_before is not None and run.not_before > found.now:
        return f"its next try in {format_duration((run.not_before - found.now) / 1e6)}"
    return reason


def _since(start: int | None, now: int) -> str:
    return "" if start is None else f"for {format_duration(max(0, now - start) / 1e6)}"


def _as_json(found: QueueStatus) -> dict[str, Any]:
    def one(run: Run) -> dict[str, Any]:
        return {
            "id": run.id,
            "operation": run.operation_name,
            "status": "pending" if run.claimed else run.state,
            "label": run.label,
            "priority": run.priority,
            "group": run.group,
            "staged": run.staged,
            "started": run.started if run.state == "running" else None,
            "devices": list(device_shares(run.devices)),
            "batch": run.batch,
        }

    groups = {
        name: {"limit": group.limit, "paused": group.paused} for name, group in found.groups.items() if name
    }
    return {
        "paused": found.paused,
        "parallel": found.groups.get("", Group()).limit,
        "groups": groups,
        "gpus": list(found.machine.devices),
        "gpus_used_by_others": list(found.busy),
        "queues": [{**one(run), "flags": run.flags} for run in found.queues],
        "running": [one(run) for run in found.running],
        "staged": [{**one(run), "waits_for": _reason(found, run)} for run in found.staged],
    }


def pause(*, group: GroupName = "") -> int:
    """Let no queue start anything until 'queue resume'. What runs goes on.

    Parameters
    ----------
    group
        Only runs of this group (run --group).
    """
    _set(lambda session: queue_control.set_group(session, group, paused=True))
    _say(f"Paused {_what(group)}")
    return 0


def resume(*, group: GroupName = "") -> int:
    """Let queues go on after 'queue pause'.

    Parameters
    ----------
    group
        The group that was paused.
    """
    _set(lambda session: queue_control.set_group(session, group, paused=False))
    _say(f"Resumed {_what(group)}")
    return 0


def parallel(number: Annotated[int, Parameter(name="N")], /, *, group: GroupName = "") -> int:
    """Let each queue run N runs at once, or all queues together N of a group; 0: as each queue was told.

    Parameters
    ----------
    number
        Runs at once.
    group
        The group that the limit is for.
    """
    _set(lambda session: queue_control.set_group(session, group, limit=number))
    limit = f"at most {number} run(s) at once" if number else "no limit"
    _say(f"{limit[:1].upper()}{limit[1:]} {'in each queue' if not group else f'of group {group}'}")
    return 0


def priority(*words: Annotated[str, Parameter(name="RUN... N")]) -> int:
    """Give staged runs another priority: queues take higher ones first. The last word is the priority.

    Parameters
    ----------
    words
        Which runs, and the priority.
    """
    *specs, last = words or ("",)
    if not specs or not last.lstrip("-").isdecimal():
        raise UsageError("give runs and their priority: orchestra queue priority RUN... N")
    changed = complete(
        lambda: _change(specs, lambda session, runs: queue_control.set_priority(session, runs, int(last)))
    )
    _say(f"Priority {int(last)} for {len(changed)} run(s)")
    return 0


def move(
    *runs: str,
    first: Annotated[bool, Parameter(name="--first")] = False,
    last: Annotated[bool, Parameter(name="--last")] = False,
    before: Annotated[str | None, Parameter(name="--before")] = None,
) -> int:
    """Change the turn of staged runs.

    Parameters
    ----------
    runs
        Which runs, in the order in which they are to be started.
    first
        They are the next.
    last
        They are the last.
    before
        They come right before this one.
    """
    if not runs:
        raise UsageError("give the runs that are to be moved: orchestra queue move RUN... --first")
    if first + last + (before is not None) != 1:
        raise UsageError("say where they are to be: --first, --last or --before RUN")

    async def moved(session: Session, chosen: tuple[Run, ...]) -> tuple[Run, ...]:
        other = None if before is None else (await select_runs(session, (before,)))[0]
        return await queue_control.move(session, chosen, first=first, before=other)

    changed = complete(lambda: _change(runs, moved))
    _say(f"Moved {len(changed)} run(s)")
    return 0


def wait(*runs: str, timeout: Annotated[str | None, Parameter(name="--timeout")] = None) -> int:
    """Wait until runs have ended; all that are staged or running unless told otherwise.

    The exit code is 0 if they all ended well, 1 if one did not, 75 if the time was over first.

    Parameters
    ----------
    runs
        Which runs: indexes, ids or beginnings of ids. A batch that stages its trials has ended when they have.
    timeout
        Give up after so long, e.g. 2h.
    """
    limit = None if timeout is None else parse_duration(timeout)
    ended = in_event_loop(lambda: _wait(runs, limit))
    left = [run for run in ended if run.state not in FINAL]
    failed = [run for run in ended if run.state not in ("completed", "skipped", *(one.state for one in left))]
    for run in failed:
        _say(f"{run.id} ended as {run.state}{f': {run.reason}' if run.reason else ''}")
    if left:
        _say(f"{len(left)} run(s) have not ended yet")
        return 75
    return int(bool(failed))


async def _wait(specs: tuple[str, ...], limit: float | None) -> tuple[Run, ...]:
    async with current().session() as session:
        ids = None
        if specs:
            chosen = await select_runs(session, specs)
            ids = [run.id for run in chosen]
            for run in chosen:
                if run.kind == "batch":
                    ids += [trial.id for trial in (await session.store.query(RunQuery(batch=run.id))).runs]
        return await queue_control.wait_for(session, ids, timeout=limit)


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
        Stop the runs that they have started, too.
    """
    report = in_event_loop(lambda: _stop(queues, stop_running))
    if report.left:
        _say(not_stopped(report))
    return 0 if report.done else 1


async def _stop(specs: tuple[str, ...], stop_running: bool) -> Any:
    async with current().session() as session:
        chosen = await select_runs(session, specs) if specs else (await session.store.query(_QUEUES)).runs
        for run in chosen:
            if run.kind != "queue":
                raise UsageError(f"run {run.short_id} is no queue: use 'orchestra stop {run.short_id}'")
        if not chosen:
            _say("No queue is at work.")
        report = await stop_runs(session, chosen, timeout=TIMEOUT, tell=_say)
        if stop_running:
            active = (await session.store.query(RunQuery(states=frozenset(("running", "pending"))))).runs
            started = [run for run in active if run.starter == "queue" and run.worker is not None]
            return await stop_runs(session, started, timeout=TIMEOUT, tell=_say)
        return report


def _set(how: Callable[[Session], Awaitable[Group]]) -> Group:
    async def work() -> Group:
        async with current().session() as session:
            return await how(session)

    return complete(work)


async def _change(
    specs: Sequence[str], how: Callable[[Session, tuple[Run, ...]], Awaitable[tuple[Run, ...]]]
) -> tuple[Run, ...]:
    async with current().session() as session:
        return await how(session, await select_runs(session, specs, default="none"))


def _what(group: str) -> str:
    return f"group {group}" if group else "all queues"


def _say(text: str) -> None:
    os.write(2, (printable(text) + "\n").encode(errors="backslashreplace"))
