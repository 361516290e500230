"""``orchestra queue status``: what the queues of a home do, and why staged runs wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from orchestra.cli import run_text, tables, terminal
from orchestra.cli.context import complete, current
from orchestra.engine.queue_settings import QueueSettings
from orchestra.engine.queue_state import QueueStatus, queue_status
from orchestra.errors import UsageError
from orchestra.model.duration import format_duration
from orchestra.model.run import Run
from orchestra.model.scheduling import Group, device_shares


def status(
    *,
    json: Annotated[bool, Parameter(name="--json")] = False,
    live: Annotated[bool, Parameter(name="--live")] = False,
) -> int:
    """Show what queues are at work, what they run, and why each staged run waits.

    Parameters
    ----------
    json
        Print it as JSON.
    live
        Go on showing it, with the progress of batches and what runs do, until the queues have ended and nothing runs;
        without a queue, until nothing is staged or runs any more; or Ctrl-C. Where that is no terminal, a line for
        each change. The exit code is that of the queues.
    """
    if live:
        if json:
            raise UsageError("--live and --json cannot both be used")
        from orchestra.cli.live import show_live

        return show_live()
    found = complete(_status)
    if json:
        terminal.write_json(_as_json(found))
        return 0
    terminal.write(_shown(found, str(current().cwd)))
    return 0


async def _status() -> QueueStatus:
    async with current().session(looking=True) as session:
        return await queue_status(session)


def _shown(found: QueueStatus, here: str) -> str:
    parts = [f"{notice}\n" for notice in notices(found)]
    if not (found.queues or found.running or found.staged):
        return "".join((*parts, "No queue is at work, and no run is running or staged.\n"))
    parts.append(_section("queue(s) at work", [_queue_row(run, found) for run in found.queues]))
    parts.append(_section("running", [_running_row(run, here, found) for run in found.running]))
    staged = [staged_row(run, run_text.label_or_space(run), here, found) for run in found.staged]
    parts.append(_section("staged", staged))
    return "".join(parts)


def notices(found: QueueStatus) -> list[str]:
    """What holds all queues back, each in a sentence."""
    told: list[str] = []
    if found.paused:
        told.append("Paused: no queue starts anything. Use 'orchestra queue resume' to go on.")
    groups = {name: group for name, group in found.groups.items() if name}
    limit = found.groups.get("", Group()).limit
    if limit is not None:
        told.append(f"{limit} run(s) at once in each queue, as 'orchestra queue parallel' has set.")
    for name, group in sorted(groups.items()):
        words = ["paused"] if group.paused else []
        words += [f"at most {group.limit} run(s) at once"] if group.limit is not None else []
        told.append(f"Group {name}: {', '.join(words)}.")
    if found.busy:
        told.append(f"GPU {', '.join(found.busy)}: used by others, and left alone.")
    return told


def _section(title: str, rows: Sequence[tuple[str, ...]]) -> str:
    head = f"{len(rows) or 'no'} {title}\n"
    return head + tables.render(rows, indent="  ", width=terminal.width())


def _queue_row(run: Run, found: QueueStatus) -> tuple[str, ...]:
    jobs = found.groups.get("", Group()).limit or QueueSettings.from_flags(run.flags).jobs
    worker = run.worker
    where = "" if worker is None else f"pid {worker.identity.pid} on {run.host}"
    told = _since(run.started, found.now), f"{jobs or 'auto'} job(s)", where, found.doing[run.id]
    return f"[{run.short_id}]", *told


def _running_row(run: Run, here: str, found: QueueStatus) -> tuple[str, ...]:
    devices = ",".join(device_shares(run.devices))
    return (
        f"[{run.short_id}]",
        run_text.operation(run, here),
        run_text.with_try(
            found.jobs.get(run.id, "starting") if run.claimed else _since(run.started, found.now), run
        ),
        f"gpu {devices}" if devices else "",
        run_text.label_or_space(run),
    )


def staged_row(run: Run, label: str, here: str, found: QueueStatus) -> tuple[str, ...]:
    """A staged run, and what it waits for."""
    return (
        f"[{run.short_id}]",
        run_text.operation(run, here),
        f"priority {run.priority}" if run.priority else "",
        _waits(found, run),
        label,
    )


def _waits(found: QueueStatus, run: Run) -> str:
    reason = _reason(found, run)
    hopeless = reason.removeprefix("never: ")
    return f"waits for {reason}" if hopeless == reason else f"can't be started: {hopeless}"


def _reason(found: QueueStatus, run: Run) -> str:
    reason = found.waits.get(run.id, "a free slot")
    if run.not_before is not None and run.not_before > found.now:
        number = "" if run.retry is None else f" ({run.tries + 1} of {run.retry.limit + 1})"
        return f"its next try{number} in {format_duration((run.not_before - found.now) / 1e6)}"
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
        "queues": [
            {
                **one(run),
                "flags": run.flags,
                "pid": None if run.worker is None else run.worker.identity.pid,
                "host": run.host,
                "stopping": run.id in found.stopping,
                "doing": found.doing[run.id],
            }
            for run in found.queues
        ],
        "running": [{**one(run), "job": found.jobs.get(run.id)} for run in found.running],
        "staged": [{**one(run), "waits_for": _reason(found, run)} for run in found.staged],
    }
