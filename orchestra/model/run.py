"""A run: one intended execution of an operation with fixed flags. This struct is also its record on disk."""

from __future__ import annotations

import posixpath
from typing import Final, Literal, TypeAlias

from msgspec import Struct, structs

from orchestra.model import versions
from orchestra.model.batch import Batch
from orchestra.model.execution import Handle, Identity
from orchestra.model.ids import short_id
from orchestra.model.operation import FlagValue, Operation
from orchestra.model.resources import Resources
from orchestra.model.retry import Retry

State: TypeAlias = Literal[
    "staged",
    "pending",
    "running",
    "completed",
    "error",
    "terminated",
    "lost",
    "pruned",
    "skipped",
    "aborted",
    "broken",
]
FINAL: frozenset[State] = frozenset(
    ("completed", "error", "terminated", "lost", "pruned", "skipped", "aborted", "broken")
)
"""The states that a run leaves only by being started again."""

FAILED: frozenset[State] = frozenset(("error", "lost", "aborted", "broken"))
"""The final states of what has failed; so has what was killed (:func:`~orchestra.model.lifecycle.has_failed`)."""

ACTIVE: frozenset[State] = frozenset(("pending", "running"))

RunKind: TypeAlias = Literal["run", "batch", "queue", "steps"]
"""``steps``: a pipeline, whose steps are runs of their own."""

Starter: TypeAlias = Literal["command", "queue", "batch"]
"""Who claimed a run for its start. What a queue started never holds another queue back."""


OWN_ATTRIBUTES: Final = frozenset(
    (
        *(
            "run",
            "short_id",
            "operation",
            "op",
            "op_model",
            "status",
            "time",
            "exit_status",
            "run_dir",
            "from",
        ),
        "sourcecode",
    )
)
"""What is known of every run beyond the fields of its record."""


class Worker(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A process that claims runs; ``nonce`` tells two workers of one process apart."""

    identity: Identity
    nonce: str
    starter: Starter
    queue: str | None = None
    """Id of the queue that it works as."""

    @property
    def name(self) -> str:
        """How logs name the worker."""
        return f"{self.identity.host}:{self.identity.pid}:{self.nonce}"


class ResolvedSource(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What became of one source that a run needs."""

    source: str
    """As asked for: ``SCHEME:REST``, or the name that the project gives it."""
    resource: str = ""
    """The requirement that it is of."""
    paths: tuple[str, ...] = ()
    """Relative to the run's directory."""
    origin: str = ""
    """Where it came from (absolute path, URL, run id)."""
    digest: str | None = None


class Comment(Struct, frozen=True, kw_only=True, gc=False):
    """What somebody has said of a run."""

    body: str
    user: str
    host: str
    time: int
    """Microseconds since the epoch."""


class Imported(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """That a run was made elsewhere: what it says of itself was never checked, and nobody starts it by himself."""

    source: str
    """The archive."""
    time: int
    """Microseconds since the epoch."""
    id: str | None = None
    """What its id was there, where it is another one here."""


class Run(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One intended execution. Times are microseconds since the epoch."""

    schema: int = versions.FIRST
    """The version of the record. A reader ignores fields that it doesn't know."""
    id: str
    kind: RunKind = "run"
    operation: Operation
    flags: dict[str, FlagValue] = {}
    """Typed values, of every flag (a batch has none: see ``batch_spec``)."""
    label: str | None = None
    label_template: str | None = None
    """As the user gave it; None: the default label."""
    tags: tuple[str, ...] = ()
    comments: tuple[Comment, ...] = ()
    marked: bool = False
    """Somebody holds it to be better than others of its operation."""
    annotated: int = 0
    """When label, tags, comments or mark were last changed: of two copies of a run the later word holds."""
    trial_tags: tuple[str, ...] = ()
    """Of a batch: what its trials get."""
    trial_comments: tuple[Comment, ...] = ()
    directory: str | None = None
    """Absolute; None: ``<home>/runs/<id>``."""

    batch: str | None = None
    """Id of the batch that proposed this run."""
    trial: int | None = None
    """1-based number among the trials of its batch and generation."""
    generation: int | None = None
    batch_spec: Batch | None = None
    """Of a batch: what it searches."""
    closed: int = 0
    """Of a batch: the attempt that has looked for the last time whether it has been extended."""

    parent: str | None = None
    """Id of the pipeline that this run is a step of, or a trial of such a step."""
    isolate_runs: bool = True
    """Of a step: its dependencies are met by runs of its pipeline only."""
    needed: bool = False
    """Of a pipeline: steps that completed are started again only if their flags have changed."""

    state: State
    revision: int = 0
    """Grows by one with each change in the store."""
    attempt: int = 0
    """Number of the newest claim: the fencing token, and the name of the attempt's folder."""
    rest: State = "aborted"
    """Where the run goes when its claim is revoked before it was started."""
    worker: Worker | None = None
    """Who watches: it claimed the run and renews the lease."""
    lease: int | None = None
    """End of the lease. Its end means 'look', never 'run again'."""
    starter: Starter | None = None
    """Who claimed the newest attempt."""
    queue: str | None = None
    """Id of the queue that did."""
    handle: Handle | None = None
    executor: str = "local"
    """The executor plugin's name (with options) that starts are given to."""

    created: int = 0
    staged: int | None = None
    started: int | None = None
    stopped: int | None = None
    exit_code: int | None = None
    cause: str | None = None
    """``timeout``, ``oom``, ``preempted``, ``not_started``, ``stopped`` (somebody wished it) or ``dependency`` (what it
    was to follow failed), where that is why it ended."""
    reason: str | None = None
    """Why the run ended as it did, where the exit code does not say it."""
    executions: int = 0
    """How often the run was started (fences won)."""
    executions_before: int = 0
    """How many of these were before somebody started or staged it the last time: retries begin anew with that."""

    sources: tuple[str, ...] = ()
    """What resolvers must provide: ``SCHEME:REST``."""
    resolved: tuple[ResolvedSource, ...] = ()
    force_deps: bool = False
    """A dependency that can't be met is but a warning."""
    environment: dict[str, str] = {}
    """Variables that were asked for when the run was made."""
    sourcecode_digest: str | None = None
    vcs_commit: str | None = None
    """Of the project when the run was made: ``git:SHA``, with ``*`` at its end where something differed from it."""
    stop_after: float | None = None
    """Minutes after which the operation is stopped."""
    gpus: str | None = None
    """The devices that it was given, as ``CUDA_VISIBLE_DEVICES``; empty: none; None: nothing was said."""
    random_seed: int | None = None
    priority: int = 0
    """Queues take runs of higher priority first."""
    queued: int | None = None
    """What stands for the stage time in the order of queues, of a run that was moved."""
    group: str | None = None
    """Whose limit of runs at once it counts for."""
    after: tuple[str, ...] = ()
    """What must have ended before a queue starts it: ``ID:ok`` (and well), ``ID:any``."""
    resources: Resources = Resources()
    """What its first execution asks for."""
    devices: tuple[str, ...] = ()
    """What the newest attempt was given: ``ID`` of a device, or ``ID:SHARE``."""
    granted: bool = False
    """Whether all that it needs was given to the newest attempt: then it is nobody else's."""
    retry: Retry | None = None
    not_before: int | None = None
    """When a queue may start it again."""
    time_limit: float | None = None
    """Seconds after which an attempt is ended."""
    warning: str | None = None
    """The signal that the operation gets ahead of that: ``NAME@SECONDS``."""
    command: tuple[str, ...] = ()
    """The command line of the newest start, or that a start would have."""
    user: str = ""
    host: str = ""
    imported: Imported | None = None

    @property
    def short_id(self) -> str:
        """The first 8 characters of the id."""
        return short_id(self.id)

    @property
    def operation_name(self) -> str:
        """As listings show it: a batch is ``OP+``, with its expander's name unless that is the grid."""
        if self.batch_spec is None:
            return self.operation.name
        expander = self.batch_spec.expander
        return f"{self.operation.name}+{'' if expander == 'grid' else expander}"

    def is_of(self, operation: str) -> bool:
        """Whether a person means the operation of this run, with its model or folder or without."""
        return not _names(operation).isdisjoint(_names(self.operation.name) | _names(self.operation_name))

    @property
    def needs(self) -> Resources:
        """What the present execution, or the next one, asks for.

        A batch that executes its trials asks for what they need, one after the other; one that stages them for
        nothing.
        """
        if self.batch_spec is not None and self.batch_spec.stage_trials:
            return Resources()
        if self.retry is None or not self.resources:
            return self.resources
        number = self.tries if self.state == "running" else self.tries + 1
        return self.resources.times(self.retry.scale, number)

    @property
    def tries(self) -> int:
        """How often it was started since somebody wished for that: once, and once for each retry."""
        return self.executions - self.executions_before

    @property
    def turn(self) -> tuple[int, int]:
        """What claims sort by: the highest priority first, then the earliest stage time, unless it was moved."""
        return -self.priority, self.queued or self.staged or self.created

    @property
    def claimed(self) -> bool:
        """True between a claim and the start (shown as ``pending``)."""
        return self.state == "pending" and self.worker is not None

    @property
    def submitted(self) -> bool:
        """True from when its executor has been given it until the start."""
        return self.claimed and self.handle is not None

    @property
    def busy(self) -> bool:
        """True from a claim to the end."""
        return self.state in ACTIVE and self.worker is not None

    @property
    def time(self) -> int:
        """What listings sort by: the start, else the stage time, else the creation.

        A run that was staged again waits for its next start: its stage time counts.
        """
        if self.state == "staged" and self.staged is not None:
            return self.staged
        return self.started or self.staged or self.created

    def get(self, name: str, default: FlagValue = None) -> FlagValue:
        """The attribute ``name``; ``flags`` is a plain dict, ``comments`` a list of such."""
        value = getattr(self, name, default)
        if name in ("comments", "trial_comments"):
            return [structs.asdict(comment) for comment in value]
        return dict(value) if name in ("flags", "environment") else value


UNREADABLE = Operation(name="?", kind="executable")
"""What a run whose record can't be read is listed as."""


def unreadable_run(run_id: str, reason: str, time: int) -> Run:
    """All that there is to say of a run whose record can't be read; ``reason`` names the file."""
    return Run(id=run_id, operation=UNREADABLE, state="broken", reason=reason, created=time)


def _names(operation: str) -> set[str]:
    return {operation, posixpath.basename(operation), operation.rpartition(":")[2]}
