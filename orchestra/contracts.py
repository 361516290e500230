"""The four contracts that plugins keep, and the capabilities that they may add.

An entry point of group ``orchestra.stores``, ``orchestra.executors``, ``orchestra.expanders`` or
``orchestra.resolvers`` names an *opener*: an async context manager function whose one argument is the plugin's
options, a frozen msgspec struct that refuses unknown fields. It owns set-up and clean-up, and yields the plugin::

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        partition: str = "debug"

    @asynccontextmanager
    async def open_executor(options: Options) -> AsyncIterator[Executor]: ...

A field of the options that is called ``home`` and was not given is filled in with the home's directory.

The group says which version of its kind's contract a plugin was written for, so that one for another version can be
refused without importing it: ``orchestra.executors`` means version 1, ``orchestra.executors.v2`` version 2,
``orchestra.executors.v2_1`` at least 2.1. A distribution may declare a name in the groups of several versions; the
newest that is kept here is used. The versions of here are :data:`CONTRACT_VERSIONS`.

Duties that hold for all: raise errors of :mod:`orchestra.errors` alone (translate foreign ones), never swallow
cancellation, never block the event loop for long, work on asyncio and trio alike. What a contract means is tested by
the kits in :mod:`orchestra.testing`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from orchestra.model.batch import Batch, Proposal, TrialResult
from orchestra.model.execution import Handle, Hint, Job, JobStatus
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run, Worker

Kind: TypeAlias = Literal["store", "executor", "expander", "resolver"]
KINDS: tuple[Kind, ...] = ("executor", "expander", "resolver", "store")

ContractVersion: TypeAlias = tuple[int, int]
CONTRACT_VERSIONS: dict[Kind, ContractVersion] = {
    "executor": (1, 0),
    "expander": (1, 0),
    "resolver": (1, 0),
    "store": (1, 0),
}
"""Major and minor version of each contract. The major one grows when a contract changes in a way that an older plugin
does not survive, the minor one when a plugin may rely on something more."""

Opener: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]
StopHow: TypeAlias = Literal["interrupt", "terminate", "kill"]


class Page(Struct, frozen=True, kw_only=True):
    """The runs that a query found, and how many there are without its limit and offset, if it is ``counted``."""

    runs: tuple[Run, ...]
    total: int

    @classmethod
    def of(cls, query: RunQuery, runs: Iterable[Run]) -> Page:
        """What ``query`` finds among ``runs``, which come in the order of their creation."""
        found = sorted(filter(query.matches, runs), key=query.sort_key)
        return cls(runs=tuple(found[query.window]), total=len(found))


class Store(Protocol):
    """Arbitrates claims and answers queries. The run directories remain the records: a store can be rebuilt.

    Leases end by the store's own clock, and are told (:attr:`Run.lease`) by that of the computer that asks.
    """

    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        """Keep new runs, all or none, and return them at revision ``max(1, run.revision)``.

        Those that come with a worker are claimed already: their lease ends ``lease`` seconds from now.

        Raises:
            IdTaken: a run with such an id is there.
            StoreUnavailable: locked for too long, out of space, away.
        """
        ...

    async def get(self, run_id: str) -> Run:
        """The run with exactly this id.

        Raises:
            RunNotFound: there is none.
        """
        ...

    async def query(self, query: RunQuery) -> Page:
        """The runs that match (:meth:`RunQuery.matches`), in its order and within its limit."""
        ...

    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        """Replace runs, all or none, and return them at their next revision.

        Compare-and-set: each ``run.revision`` must be the one that is kept. A run's lease stays as it is while
        its worker stays the same, and is dropped when it has none.

        Raises:
            RevisionConflict: one of them has changed since it was read.
            RunNotFound: one of them is gone.
        """
        ...

    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        """Claim up to ``limit`` runs that match ``wanted``, sorted by :attr:`Run.turn`, as one indivisible
        step.

        Each is moved by :func:`orchestra.model.lifecycle.claim` (or ``watch`` when ``wanted.expired``) and is at its
        next revision. The lease ends ``lease`` seconds from now by the store's own clock. However many workers
        ask at once, each run goes to one of them.
        """
        ...

    async def renew(self, worker: Worker, lease: float) -> frozenset[str]:
        """Let the leases of all runs that ``worker`` holds end ``lease`` seconds from now; return their ids.

        A lease is no part of a run's revision: renewing one conflicts with nothing.
        """
        ...

    async def delete(self, run_ids: Sequence[str]) -> int:
        """Forget these runs and return how many there were."""
        ...


@runtime_checkable
class Watchable(Protocol):
    """Capability of a store: it can wake those who wait for changes."""

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """While open, an iterator that yields soon after any process changed the store (and now and then without
        cause). A change after the context was entered is never missed."""
        ...


Mark: TypeAlias = tuple[str, int, int]
"""Id, revision and :attr:`Run.time` of a run: when nothing of it has changed, these have not."""


@runtime_checkable
class Marking(Protocol):
    """Capability of a store: it tells of many runs whether they have changed, without their records."""

    async def marks(self, query: RunQuery) -> Sequence[Mark]:
        """The marks of the runs that :meth:`Store.query` would give."""
        ...


@runtime_checkable
class Enduring(Protocol):
    """Capability of a store: it tells when it may have forgotten something. Of one without it that is supposed when
    the computer was started anew."""

    def incarnation(self) -> str:
        """A word that is the same, on every host, until the store may lack runs that it was given: because it was made
        anew, a backup took its place, or a loss of power took the last of its changes."""
        ...


class Executor(Protocol):
    """Runs jobs. Knows nothing of flags, output or exit records: the supervised command writes them."""

    async def submit(self, job: Job) -> Handle:
        """Start ``job``, or queue it, and return a handle that another process can use.

        Submitting a job of the same name again must not start it twice where the executor can know.

        Raises:
            ExecutorError: the job could not be taken.
        """
        ...

    async def wait(self, handle: Handle) -> Hint:
        """Wait until the job has ended, as far as the executor can tell. Cancelling only stops the waiting.

        ``unknown`` (it can't be reached) changes nothing and is asked again later; ``gone`` lets the engine look
        for the exit record for a while before it calls the run lost.
        """
        ...

    async def stop(self, handle: Handle, how: StopHow) -> bool:
        """Tell the job to stop; True if it could be told. Never signals what it can't prove to be the job."""
        ...


@runtime_checkable
class Hinting(Protocol):
    """Capability of an executor: it learns of output as it is written."""

    async def progress(self, handle: Handle, size: int) -> None:
        """Return when the job may have written more than ``size`` bytes of output, or has ended."""
        ...


@runtime_checkable
class Foretelling(Protocol):
    """Capability of a :class:`Hinting` executor: it learns that an operation has ended well before the record of
    that has reached the disk. What comes next may begin meanwhile."""

    def ended_well(self, handle: Handle) -> bool:
        """Whether the job's operation, and all that it left, ended with 0, unasked, and all its output is there to
        be read. Once it is so, ``progress`` returns once more. False as long as nothing is known."""
        ...


@runtime_checkable
class Warming(Protocol):
    """Capability of an executor whose first job costs more than those after it: it can begin with that early."""

    def warm_up(self) -> None:
        """Jobs that are not attached will come: begin with what the first of them would wait for.

        Returns at once and never fails; what goes wrong shows when a job is submitted.
        """
        ...


@runtime_checkable
class Preparing(Protocol):
    """Capability of an executor: it can make ready for a job that will probably be the next to be submitted."""

    def prepare(self, job: Job, orders: str) -> None:
        """Make ready for ``job`` without starting or deciding anything of it.

        Its orders are in the file of its directory that is called ``orders``; they get their name just before it is
        submitted, which may be sooner than they could be read by this one.

        Submitting that very job starts it, sooner than otherwise. What was made ready for a job that is not
        submitted comes to nothing: at most one is ready at a time, and none outlives the executor. Returns at once
        and never fails; what goes wrong shows when the job is submitted.
        """
        ...


@runtime_checkable
class Scheduling(Protocol):
    """Capability of an executor: it is a scheduler of its own. Its jobs wait in it, it chooses where they run, and
    what it was given outlives all who gave it.

    Nothing of this computer is reserved for a job's ``resources``, and nothing is concluded about a job that nobody
    watches before this was asked.
    """

    async def find(self, job: Job) -> Handle | None:
        """The handle of a job that somebody may have submitted; None if it was never taken.

        Raises:
            ExecutorError: that can't be known now.
        """
        ...

    async def status(self, handles: Sequence[Handle]) -> Sequence[JobStatus]:
        """What there is to say of each job, in their order. However often it is called, and for however many jobs, the
        scheduler is asked about once a second for all of them. Never fails: then all are ``unknown``.
        """
        ...


@runtime_checkable
class Persisting(Protocol):
    """Capability of an executor: what could not take a job yet is asked again and again, which may take long."""

    def obstacle(self, job: Job) -> str:
        """What has kept a job from being taken that is being submitted, and until when that is tried: a sentence for
        people, the same until it changes. Empty for any other job, and while nothing is in the way. Never fails."""
        ...


class BatchExpander(Protocol):
    """Turns a batch into trials. A pure function of its inputs, so that a batch resumes after a crash."""

    async def propose(self, batch: Batch, history: Sequence[TrialResult], limit: int) -> Proposal:
        """The next trials, at most ``limit``. ``history`` is every trial proposed so far, in order.

        Same inputs, same proposal. Exhausted once nothing will follow; then also when asked again. That of an
        extended batch (``batch.extended``) may hold trials that were proposed for a smaller space or number.

        Raises:
            ExpandError: this expander can't search such a batch.
        """
        ...


@runtime_checkable
class Counting(Protocol):
    """Capability of an expander: it knows the number of trials without making them."""

    def count(self, batch: Batch) -> int:
        """How many trials the batch will have in all."""
        ...


class Source(Struct, frozen=True, kw_only=True):
    """What a resolver is given. Asked for as ``SCHEME:VALUE``."""

    scheme: str
    value: str
    base: Path
    """The project's directory, for relative paths."""
    by_link: bool = False
    """Links to what it is are enough: who asked selects of it, unpacks it and copies what is wanted. A resolver that
    has the files somewhere may save a copy."""
    selective: bool = False
    """Who asked selects of it: all that there is may be wanted, not only what is usually provided."""
    sha256: str | None = None
    """What a file's digest must be. Who asked checks it, too."""
    pipeline: str | None = None
    """Only runs of this pipeline (the id of its run) may be used."""
    params: dict[str, FlagValue] = {}
    """Of a configuration file: values that replace those in it."""
    flags: dict[str, FlagValue] = {}
    """The run's, of a configuration file."""
    python: str | None = None
    """The interpreter that the operation is run by, where that is known."""


class Resolved(Struct, frozen=True, kw_only=True):
    """What a resolver provided."""

    paths: tuple[str, ...]
    """Relative to ``into``."""
    origin: str = ""
    digest: str | None = None
    target: Literal["copy", "link"] | None = None
    """How links that it provided end up in the run's directory unless the project says otherwise; None: as links."""
    root: str | None = None
    """The folder (relative to ``into``; ``""``: that itself) whose files can be selected; None: the folder that it
    provided, or ``into`` if that is not one folder."""
    warnings: tuple[str, ...] = ()
    """What a person should know of what was provided, each in a line: it is there, but may not be what was meant."""


class RunReader(Protocol):
    """What a resolver may know of other runs."""

    async def query(self, query: RunQuery) -> Page:
        """As of :meth:`Store.query`."""
        ...

    def directory(self, run: Run) -> Path:
        """Where a run's files are."""
        ...

    def source_files(self, run: Run) -> frozenset[str]:
        """Which files of a run's directory are its source: they were there before it was started."""
        ...


class Resolver(Protocol):
    """Makes a source available in a run's directory."""

    async def resolve(self, source: Source, into: Path, runs: RunReader) -> Resolved:
        """Provide ``source`` below ``into``, and nowhere else. Doing it again gives the same and breaks nothing.

        Raises:
            ResolveError: it is not there, or not to be had.
        """
        ...


CONTRACTS: dict[Kind, type] = {
    "executor": Executor,
    "expander": BatchExpander,
    "resolver": Resolver,
    "store": Store,
}
