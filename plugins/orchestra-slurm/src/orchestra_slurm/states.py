"""The words of Slurm for what a job is doing, and what they mean here."""

from __future__ import annotations

from msgspec import Struct
from orchestra.model.execution import JobCause, JobStatus

_WAITING = frozenset(("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"))
_ENDS: dict[str, tuple[JobCause | None, str]] = {
    "COMPLETED": (None, "has ended"),
    "FAILED": (None, "has failed"),
    "CANCELLED": ("stopped", "was cancelled"),
    "TIMEOUT": ("timeout", "was ended at its time limit"),
    "DEADLINE": ("timeout", "was ended at its deadline"),
    "OUT_OF_MEMORY": ("oom", "was ended, for its memory was used up"),
    "PREEMPTED": ("preempted", "had to give its place to another job"),
    "NODE_FAIL": ("lost", "has lost its node"),
    "BOOT_FAIL": ("lost", "has lost its node, which did not boot"),
    "REVOKED": (None, "was taken over by another cluster"),
}


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """What a listing says of a job."""

    state: str
    """``PENDING``, ``RUNNING``, ...; without what may follow (``CANCELLED by 0``)."""
    reason: str = ""
    nodes: str = ""
    name: str = ""


def status_of(job: str, entry: Entry) -> JobStatus:
    """What an entry means. A state that is not known here is taken for one in which the job goes on."""
    if entry.state in _WAITING:
        why = f" ({entry.reason})" if entry.reason and entry.reason != "None" else ""
        return JobStatus(phase="waiting", reason=f"waiting in Slurm as job {job}{why}")
    if entry.state not in _ENDS:
        return JobStatus(
            phase="running", reason=f"Slurm job {job} on {entry.nodes or 'a node'} ({entry.state})"
        )
    cause, what = _ENDS[entry.state]
    return JobStatus(phase="ended", reason=f"Slurm job {job} {what} ({entry.state})", cause=cause)
