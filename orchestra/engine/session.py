"""The composition root: what every part of the engine is given, opened once and closed in order."""

from __future__ import annotations

import copy
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestra import plugins
from orchestra.child import install, supervisor
from orchestra.console import Console, SilentConsole
from orchestra.contracts import BatchExpander, Enduring, Executor, Kind, Page, Resolver, Store, Warming
from orchestra.engine.afterwards import Afterwards
from orchestra.engine.clock import Clock
from orchestra.engine.off_loop import off_loop, shielded
from orchestra.errors import OrchestraError, StoreCorrupt
from orchestra.model.events import Event, Level
from orchestra.model.execution import Identity
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run, Starter, Worker
from orchestra.settings import Settings
from orchestra.workspace.layout import Layout

if TYPE_CHECKING:
    from orchestra.engine.hosting import PluginHost
    from orchestra.engine.lines import LineConsole
    from orchestra.engine.waits import Waits
    from orchestra.workspace.fence import HeldFence
    from orchestra.workspace.vault import Vault

LEASE = 15.0
"""Seconds that a claim lasts unless it is renewed."""
RENEWAL = 5.0
"""Seconds between renewals."""

Sink = Callable[[Event], None]
OpenPlugin = Callable[..., AbstractAsyncContextManager[Any]]
"""As of :func:`orchestra.plugins.open_plugin`."""


class Sinks(list[Sink]):
    """Who is told of every event, shared by all workers of a session."""

    output_readers = 0
    """How many of them want ``run.output`` events."""

    @property
    def output(self) -> bool:
        """Whether somebody wants ``run.output`` events."""
        return self.output_readers > 0


class Session:
    """One process's access to a home: its store, its plugins, its identity as a worker, its console."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        stack: AsyncExitStack,
        *,
        console: Console,
        sinks: Sequence[Sink] = (),
        starter: Starter = "command",
        one_stream: bool = True,
        read_only: bool = False,
        worker: Worker | None = None,
        clock: Clock | None = None,
        open_plugin: OpenPlugin = plugins.open_plugin,
    ) -> None:
        self.layout = layout
        self.settings = settings
        self.store = store
        self.console = console
        self.clock = clock or Clock()
        self.worker = worker or new_worker(starter)
        self.one_stream = one_stream
        """Whether an operation's two streams end up in the same file, so that one pipe keeps their order."""
        self.read_only = read_only
        """The home may be looked at and nothing else: what is found wrong is left as it is."""
        self.sinks = Sinks(sinks)
        self._vault: Vault | None = None
        self._waits: Waits | None = None
        self.afterwards = Afterwards()
        self.fences: set[HeldFence] = set()
        """Of the attempts that this process executes itself."""
        self.warned: set[str] = set()
        """Warnings of a project that were given: every step of a pipeline would give them again."""
        self.heeds_signals = False
        """Whether this process passes signals on to what it executes first, and does nothing else."""
        self.hosted: set[str] = set()
        """The runs that these attempts are of: queues, batches and pipelines."""
        self.unsettled: set[str] = set()
        """Those of them that have ended without the store knowing: it was away."""
        self.tells_staged = True
        """Whether a person is told of each trial that is staged how to start it."""
        self.prefixed: Callable[[Console, Run], LineConsole] | None = None
        """What shows the output of a run that a queue starts, with the run before each line; None: nothing does."""
        self._stack = stack
        self._open_plugin = open_plugin
        self.host: PluginHost | None = None
        """Who keeps plugins open while several tasks may need them."""
        self._opened: dict[tuple[Kind, str, str], Any] = {}
        self._library: str | None = None
        # Asked for a dozen times a run.
        self._directory_of = lru_cache(maxsize=1024)(layout.directory_of)
        self._attempt_directory_of = lru_cache(maxsize=1024)(layout.attempt_directory)

    @property
    def vault(self) -> Vault:
        """Where the secrets of runs are. Few runs have any."""
        if self._vault is None:
            from orchestra.workspace.vault import Vault

            self._vault = Vault(self.layout.secrets_dir)
        return self._vault

    @property
    def waits(self) -> Waits:
        """What is told of runs that wait in their scheduler."""
        if self._waits is None:
            from orchestra.engine.waits import Waits

            self._waits = Waits()
        return self._waits

    @property
    def fsync(self) -> bool:
        """Whether records survive the loss of power."""
        return self.settings.durability == "full"

    def emit(
        self,
        name: str,
        run: Run | None = None,
        *,
        level: Level = "debug",
        message: str = "",
        console: Console | None = None,
        logger: str = "orchestra",
        data: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Tell the console and every sink what happened."""
        event = Event(
            name=name,
            time=self.clock.now(),
            level=level,
            message=message,
            logger=logger,
            run=run.id if run else None,
            attempt=run.attempt or None if run else None,
            operation=run.operation_name if run else None,
            batch=run.batch if run else None,
            worker=self.worker.name,
            data={**(data or {}), **more},
        )
        (console or self.console).log(event)
        for sink in self.sinks:
            sink(event)

    async def finish_afterwards(self) -> None:
        """Wait for what is done beside the runs, and say what went wrong with it."""
        for warning in await shielded(lambda: off_loop(self.afterwards.finish)):
            self.emit("log.message", level="warning", message=warning, logger="")

    @property
    def library(self) -> str:
        """The folder of this home that holds the supervisor's copy."""
        if self._library is None:
            self._library = install.install(str(self.layout.lib_dir))
        return self._library

    def working_as_queue(self, queue: str) -> Session:
        """The same session as another worker, which claims for the queue with this id."""
        other = copy.copy(self)
        other.worker = new_worker("queue", queue)
        other._waits = None
        return other

    async def executor(self, spec: str) -> Executor:
        """The executor that ``spec`` (a name, with options) stands for, opened once."""
        return await self._open("executor", spec)

    async def warm_up(self, spec: str) -> None:
        """Let an executor that jobs will come to begin with what the first one would wait for.

        Raises:
            PluginError: there is no such executor, or it can't be opened.
        """
        executor = await self.executor(spec)
        if isinstance(executor, Warming):
            executor.warm_up()

    async def expander(self, name: str, options: Mapping[str, Any]) -> BatchExpander:
        """An expander, opened once with ``options`` over those that are set."""
        return await self._open("expander", name, options)

    async def resolver(self, scheme: str) -> Resolver:
        """The resolver for sources of ``scheme``, opened once."""
        return await self._open("resolver", scheme)

    def another_store(self) -> AbstractAsyncContextManager[Store]:
        """The same store, to be opened once more: for another thread's event loop."""
        return self._found("store", self.settings.store, None)

    def require(self, kind: Kind, spec: str, options: Mapping[str, Any] | None = None) -> None:
        """Make sure, before anything is made, that a plugin is there and takes these options.

        Raises:
            PluginError: it isn't, or doesn't.
        """
        self._found(kind, spec, options)

    async def _open(self, kind: Kind, spec: str, options: Mapping[str, Any] | None = None) -> Any:
        key = (kind, spec, repr(sorted((options or {}).items())))
        if key in self._opened:
            return self._opened[key]
        if self.host is None:
            self._opened[key] = await self._stack.enter_async_context(self._found(kind, spec, options))
            return self._opened[key]
        async with self.host.lock:
            if key not in self._opened:
                self._opened[key] = await self.host.open(self._found(kind, spec, options))
        return self._opened[key]

    def _found(
        self, kind: Kind, spec: str, options: Mapping[str, Any] | None
    ) -> AbstractAsyncContextManager[Any]:
        name, configured = self.settings.plugin(kind, spec)
        return self._open_plugin(
            kind,
            name,
            {**configured, **(options or {})},
            home=self.layout.home,
            cache_dir=self.layout.cache_dir,
        )

    async def query(self, query: RunQuery) -> Page:
        """As of the store: what resolvers may read of other runs."""
        return await self.store.query(query)

    def directory(self, run: Run) -> Path:
        """Where a run's files are."""
        return Path(run.directory) if run.directory is not None else self._directory_of(run.id)

    def source_files(self, run: Run) -> frozenset[str]:
        """Which files of a run's directory are its source: they were there before it was started."""
        from orchestra.workspace.manifest import SOURCE, read_manifest

        return frozenset(entry.path for entry in read_manifest(self.directory(run)) if entry.kind == SOURCE)

    def attempt_directory(self, run: Run) -> Path:
        """Where the records of a run's newest attempt are."""
        return self._attempt_directory_of(self.directory(run), run.attempt)


def new_worker(starter: Starter, queue: str | None = None) -> Worker:
    """This process as a worker of its own."""
    identity = Identity(**supervisor.own_identity())
    return Worker(identity=identity, nonce=os.urandom(6).hex(), starter=starter, queue=queue)


def hostname() -> str:
    """This host's name, as records carry it."""
    return os.uname().nodename


@asynccontextmanager
async def open_session(
    home: Path,
    settings: Settings,
    *,
    console: Console | None = None,
    sinks: Sequence[Sink] = (),
    starter: Starter = "command",
    one_stream: bool = True,
    looking: bool = False,
    layout: Layout | None = None,
) -> AsyncGenerator[Session]:
    """Open the home and its store. Suspends nowhere while the store is a local, uncontended one.

    Who is only ``looking`` may do so in a home that can't be written. ``layout``: where its folders are, if not where
    those of a home are.

    Raises:
        HomeError: the home can't be used.
        PluginError: the store plugin can't be used.
    """
    layout = layout or Layout(home)
    read_only = looking and layout.is_read_only
    if not read_only:
        layout.ensure_home()

    async def begin(stack: AsyncExitStack, recover: bool) -> Session:
        name, options = settings.plugin("store", settings.store)
        if recover:
            options["recover"] = True
        opener = plugins.open_plugin("store", name, options, home=home, cache_dir=layout.cache_dir)
        session = Session(
            layout,
            settings,
            await stack.enter_async_context(opener),
            stack,
            console=console or SilentConsole(),
            sinks=sinks,
            starter=starter,
            one_stream=one_stream,
            read_only=read_only,
        )
        if not read_only:
            await _reconcile(session)
        return session

    try:
        async with AsyncExitStack() as stack:
            try:
                session = await begin(stack, recover=False)
            except StoreCorrupt:
                if read_only:
                    raise
                await stack.aclose()
                session = await begin(stack, recover=True)
            # Also when what was begun ends with an error.
            stack.push_async_callback(session.finish_afterwards)
            yield session
            if not read_only and not session.unsettled:
                with suppress(OrchestraError):
                    await _note_total(session)
    except StoreCorrupt as error:
        if read_only:
            raise
        # Damage that opening did not meet: the next command is to find a store that is whole.
        async with AsyncExitStack() as stack:
            await begin(stack, recover=True)
        hint = "It was made anew from the records of the runs: give the command again."
        raise StoreCorrupt(error.message, hint) from error


async def _reconcile(session: Session) -> None:
    """Enter the runs that the store does not know, when it may be older than their directories.

    That is so when it is empty, has lost runs since we looked last, or may have: it was replaced, or the computer that
    keeps it was started since.
    """
    if os.path.lexists(session.layout.restoring_mark):
        from orchestra.engine.trashing import finish_restoring

        await finish_restoring(session)
    total = await _total(session)
    note = _Note(session, total)
    before = note.read()
    if total and before == note.fields:
        return
    if not total:
        if _has_entries(session):
            from orchestra.engine.rebuild import rebuild_store

            await rebuild_store(session)
    elif before[0] != note.fields[0] or (
        before[1] > total and len(os.listdir(session.layout.runs_dir)) != total
    ):
        from orchestra.engine.rebuild import adopt_unknown

        entered = len(await adopt_unknown(session))
        if entered:
            message = f"Entered {entered} run{'' if entered == 1 else 's'} that the store did not know"
            session.emit("store.rebuilt", level="info", message=message, count=entered)
    await _note_total(session)


async def _note_total(session: Session) -> None:
    note = _Note(session, await _total(session))
    if note.read() != note.fields:
        note.write()


async def _total(session: Session) -> int:
    # Of no run the record is asked for: what reads one is made when the first is read, which takes 3 ms.
    return (await session.store.query(RunQuery(limit=0))).total


def _has_entries(session: Session) -> bool:
    with os.scandir(session.layout.runs_dir) as entries:
        return any(entries)


class _Note:
    """What the store was like when it was last known to be complete: its incarnation, and the number of runs."""

    def __init__(self, session: Session, total: int) -> None:
        self._path = os.path.join(session.layout.cache_dir, "reconciled")
        store = session.store
        incarnation = store.incarnation() if isinstance(store, Enduring) else supervisor.boot_id()
        self.fields = (incarnation, total)

    def read(self) -> tuple[str, int]:
        try:
            with open(self._path, encoding="utf-8") as file:
                incarnation, total = file.read().split(" ")
            return incarnation, int(total)
        except (OSError, ValueError):
            return "", -1

    def write(self) -> None:
        """Torn or not written it only costs another look."""
        incarnation, total = self.fields
        with suppress(OSError), open(self._path, "w", encoding="utf-8", opener=_private) as file:
            file.write(f"{incarnation} {total}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
