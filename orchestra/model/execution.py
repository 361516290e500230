"""What crosses the executor's contract, and the records that an attempt leaves behind."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct


class Identity(Struct, frozen=True, kw_only=True, gc=False):
    """A process, proven: a bare pid says nothing, for pids are used again."""

    host: str
    """The host's name and a digest of its machine id."""
    boot: str
    """The kernel's boot id: another boot is another life of all pids."""
    pid: int
    start: int
    """Start time in clock ticks since boot (field 22 of ``/proc/PID/stat``); 0 where it can't be read."""
    namespace: str = ""
    """Within what the pid means something (the link ``/proc/PID/ns/pid``); empty where it can't be read."""


class Job(Struct, frozen=True, kw_only=True, gc=False):
    """What an executor is given. ``argv`` is already the supervised command: run it as an opaque program."""

    name: str
    """``RUN.ATTEMPT``: unique, and the same when a submission is repeated."""
    argv: tuple[str, ...]
    directory: str
    """The attempt's directory (absolute). The supervised command reads its orders there."""
    environment: dict[str, str] = {}
    """Variables to add to the executor's own environment before ``argv`` is started."""
    attached: bool = False
    """The job shares the standard input of the submitting process (a foreground run)."""
    resources: dict[str, str | int | float] = {}
    """What the run asks for, each only where it does: ``cpus`` (a number, perhaps with a fraction), ``memory`` (bytes),
    ``gpus`` (whole devices, or less than 1: that share of one) and ``time`` (seconds after which the supervised command
    will have ended the operation by itself). An executor that places jobs reserves them; others may ignore them."""


class Handle(Struct, frozen=True, kw_only=True, gc=False):
    """An executor's own note of a submitted job: enough to find it again from another process."""

    executor: str
    """The executor plugin's name."""
    job: str
    """The job's name."""
    token: str
    """Opaque to everyone but the executor (a pid and start time, a scheduler's job id, ...)."""


JobPhase: TypeAlias = Literal["waiting", "running", "ended", "gone", "unknown"]
"""As of :data:`Hint`; ``waiting``: nothing of it was started; ``running``: it has a place, or is being put there."""

JobCause: TypeAlias = Literal["timeout", "oom", "preempted", "stopped", "lost"]


class JobStatus(Struct, frozen=True, kw_only=True, gc=False):
    """What a scheduler says of a job. A hint: the exit record is the truth."""

    phase: JobPhase
    reason: str = ""
    """For people, naming the scheduler: what the job waits for, how it ended, since when nobody can say."""
    cause: JobCause | None = None
    """Why the scheduler ended it: its time was over, its memory used up, its place was wanted for another job,
    somebody cancelled it there, or its place is no more (``lost``). None: it did not, as far as it knows."""


Hint: TypeAlias = Literal["ended", "gone", "unknown"]
"""``ended``: the job finished; ``gone``: the executor no longer knows it; ``unknown``: it can't say now."""


FenceKind: TypeAlias = Literal["supervisor", "engine", "guest"]


class Fence(Struct, frozen=True, kw_only=True, gc=False):
    """The record that decides an attempt: created once by link(2), by whoever starts or revokes it."""

    fence: Literal["started", "revoked"]
    nonce: str
    """Of the attempt's orders (started), or of the revoker."""
    identity: Identity
    time: int
    """Microseconds since the epoch."""
    kind: FenceKind = "supervisor"
    """``engine``: a queue or batch, which executes in the orchestra process itself. ``guest``: one in a process that
    does other things, too (a queue with this batch, a program of somebody): a signal would end all of that."""


class Exit(Struct, frozen=True, kw_only=True, gc=False):
    """The record of an attempt's end."""

    code: int
    """The exit status; -N when signal N ended it."""
    started: int
    stopped: int
    """Microseconds since the epoch."""
    size: int = 0
    """Bytes of output when the record was written: a viewer prints up to here before it reports the end."""
    stopped_by: str | None = None
    """The signal of a stop that was asked for, e.g. ``TERM``."""
    stopped_early: int | None = None
    """Pid of the operation that was stopped because its time was over."""
    cause: str | None = None
    """``timeout``: its time limit was over; ``oom``: the kernel wanted its memory; ``preempted``: its scheduler gave
    its place to another job; ``stopped``: somebody cancelled it there; ``lost``: its scheduler ended it with the node
    that it was on; ``not_started``: it never began."""
    reason: str | None = None
    """Why it could not be started, or what we had to do."""
    leftovers: tuple[int, ...] = ()
    """Pids of descendants that outlived the main process and were ended."""
    cpu: float = 0.0
    """User and system time of the tree, in seconds."""
    max_rss: int = 0
    """Peak resident memory of the largest process, in KiB."""
