"""The programmatic API: stage, start, run, restart, queue, list, follow, stop, on asyncio and trio."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar, Unpack, cast

import anyio
from anyio.abc import TaskGroup
from msgspec import ValidationError, convert, structs

from orchestra.console import Console, SilentConsole
from orchestra.engine import annotating
from orchestra.engine.begin import Begun, begin, prepare
from orchestra.engine.comparing import compare_request, make_comparison, subjects_of
from orchestra.engine.control import Control, Wish
from orchestra.engine.execute import execute
from orchestra.engine.following import follow_attempt
from orchestra.engine.hosting import plugin_host
from orchestra.engine.ignored_options import ignored_options
from orchestra.engine.judge import settle, settle_active
from orchestra.engine.launch import Launch, launch
from orchestra.engine.off_loop import off_loop
from orchestra.engine.queue_control import Queues
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import find_run
from orchestra.engine.results import column_value, results_of
from orchestra.engine.runs import delete_runs, select_runs, stop_runs
from orchestra.engine.search import without_results
from orchestra.engine.series import series_of
from orchestra.engine.session import Session, open_session
from orchestra.engine.stopping import not_stopped
from orchestra.engine.supervise import keep_leases, supervise
from orchestra.engine.trashing import (
    Deleted,
    DeletedRuns,
    deleted_runs,
    purge_runs,
    restore_runs,
    select_deleted,
)
from orchestra.errors import OrchestraError, RunBusy, UserError
from orchestra.model.columns import parse_column
from orchestra.model.comparison import Comparison
from orchestra.model.differences import Differences, Section
from orchestra.model.duration import parse_duration
from orchestra.model.events import Event
from orchestra.model.filters import RunQuery
from orchestra.model.label_edits import LabelEdit
from orchestra.model.narrowing import Filters, narrowed, narrowing_of
from orchestra.model.operation import FlagValue
from orchestra.model.resources import Resources, parse_resources
from orchestra.model.retry import Retry, parse_retry
from orchestra.model.run import FINAL, Run
from orchestra.model.series import MOST_POINTS, Series
from orchestra.project.project_settings import project_settings
from orchestra.settings import find_home, load_settings
from orchestra.workspace.output import read_output
from orchestra.workspace.results import Results

T = TypeVar("T")

EVENT_BUFFER = 10_000
"""Events that a slow reader may be behind; further ones are dropped."""


STOP_TIMEOUT = 30.0
"""Seconds that a run is waited for that was told to stop."""


def _typed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ``RunRequest`` from what a caller may give for them: one text for several, a text for a path."""
    typed = dict(options)
    for name in ("after", "batch_files", "batch_tags", "redo", "sources", "tags"):
        if name in typed:
            given: Any = typed[name] or ()
            is_single = isinstance(given, str) or hasattr(given, "__fspath__")
            several: Any = (given,) if is_single else given
            typed[name] = tuple(str(one) for one in several)
    if typed.get("run_dir") is not None:
        typed["run_dir"] = Path(typed["run_dir"])
    return {**typed, **_typed_terms(typed)}


def _several(given: Sequence[str]) -> tuple[str, ...]:
    """A text alone is one of several."""
    return (given,) if isinstance(given, str) else tuple(given)


async def _named_among(found: DeletedRuns, runs: Sequence[str] | None) -> list[Deleted]:
    """Those of the trash that are named; all of them for None."""
    specs = () if runs is None else _several(runs)
    return await select_deleted(found, specs, default="all" if runs is None else "none")


_TERM_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "group": (str,),
    "priority": (int,),
    "resources": (Resources, Mapping, str),
    "retry": (Retry, Mapping, int),
    "time_limit": (int, float, str),
    "warning": (str,),
}


def _typed_terms(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same of the terms of a run: texts as on the command line, a number of retries, a mapping."""
    typed: dict[str, Any] = {}
    for name, kind in _TERM_TYPES.items():
        given = options.get(name)
        if given is not None and (not isinstance(given, kind) or isinstance(given, bool)):
            wanted = " or ".join(sorted({"text" if one is str else one.__name__ for one in kind}))
            raise UserError(f"invalid value {given!r} for {name}", f"Give a {wanted}.")
    resources, retry, limit = (options.get(name) for name in ("resources", "retry", "time_limit"))
    if isinstance(resources, str):
        typed["resources"] = parse_resources(resources)
    elif isinstance(resources, Mapping):
        typed["resources"] = _converted("resources", resources, Resources)
    if isinstance(retry, int):
        typed["retry"] = parse_retry(retry)
    elif isinstance(retry, Mapping):
        typed["retry"] = _converted("retry", retry, Retry)
    if isinstance(limit, str):
        typed["time_limit"] = parse_duration(limit)
    return typed


def _converted(name: str, given: Any, kind: type[T]) -> T:
    try:
        return convert(given, kind)
    except ValidationError as error:
        raise UserError(f"invalid value {given!r} for {name}: {error}") from None


class StartedRun:
    """A run that :meth:`Orchestra.start` began. It belongs to nobody: it goes on whatever becomes of us."""

    def __init__(self, orchestra: Orchestra, run: Run) -> None:
        self._orchestra = orchestra
        self.record = run
        """The run as last seen."""
        self.control = Control()
        """What stops it."""
        self.ended = anyio.Event()
        self.error: Exception | None = None

    @property
    def id(self) -> str:
        """The run's id."""
        return self.record.id

    async def wait(self) -> Run:
        """Wait for the end and return the run in its final state. Cancelling only stops the waiting.

        Raises:
            RunBusy: the ``Orchestra`` was closed, and the run goes on.
        """
        await self.ended.wait()
        if self.error is not None:
            raise self.error
        return self.record

    def stop(self) -> None:
        """Tell the run to stop; :meth:`wait` tells when it has."""
        self.control.raise_to(Wish.TERMINATE)

    def output(self) -> AsyncIterator[bytes]:
        """The run's output as it is written, to its end."""
        return self._orchestra.output(self.id, follow=True)


class Orchestra:
    """One home, open for use::

    async with Orchestra(home="~/runs") as orch:
        run = await orch.run("train.py", {"lr": 0.1})
        print(run.state, run.exit_code)

    ``await orch.run(...)`` owns its run: cancelling stops it. ``await orch.start(...)`` doesn't.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        cwd: str | os.PathLike[str] | None = None,
        console: Console | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._cwd = Path(cwd or os.getcwd()).absolute()
        self._home = find_home(home, os.environ, self._cwd)
        self._settings = dict(settings or {})
        self._console = console or SilentConsole()
        self._stack: AsyncExitStack | None = None
        self._session: Session | None = None
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> Orchestra:
        stack = AsyncExitStack()
        settings = load_settings(self._home, self._settings, project=project_settings(self._cwd))
        self._session = await stack.enter_async_context(
            open_session(self._home, settings, console=self._console)
        )
        await stack.enter_async_context(plugin_host(self._session))
        self._group = await anyio.create_task_group().__aenter__()
        stack.push_async_exit(self._end_watches)
        self._group.start_soon(keep_leases, self._session)
        self._stack = stack
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._stack is not None
        return await self._stack.__aexit__(kind, error, trace)

    async def _end_watches(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """What was started goes on; only our watch of it ends."""
        assert self._group is not None
        self._group.cancel_scope.cancel()
        if error is None or isinstance(error, anyio.get_cancelled_exc_class()):
            return await self._group.__aexit__(kind, error, trace)
        # A task group would wrap what the caller's own block has raised.
        await self._group.__aexit__(None, None, None)
        return None

    @property
    def home(self) -> Path:
        """Where the runs are."""
        return self._home

    @property
    def session(self) -> Session:
        """The open session, for what this class does not offer."""
        if self._session is None:
            raise RuntimeError("use 'async with Orchestra(...) as orch' to open it first")
        return self._session

    @property
    def queues(self) -> Queues:
        """The queues of this home: their status, order and limits."""
        return Queues(self.session)

    def _request(
        self, operation: str | None, flags: Mapping[str, FlagValue] | None, options: Any
    ) -> RunRequest:
        from orchestra.model.flags import typed_from_api

        given = {name: typed_from_api(value) for name, value in (flags or {}).items()}
        cwd = Path(options.pop("cwd", None) or self._cwd)
        return RunRequest(operation=operation, flags=given, cwd=cwd, **_typed(options))

    async def stage(
        self, operation: str | None = None, flags: Mapping[str, FlagValue] | None = None, **options: Any
    ) -> Run:
        """Stage a run, or a batch if a flag has a list of values. ``options``: fields of ``RunRequest``."""
        request = self._request(operation, flags, {**options, "stage": True})
        run = (await self._begin(request)).run
        assert run is not None
        return run

    async def run(
        self,
        operation: str | None = None,
        flags: Mapping[str, FlagValue] | None = None,
        *,
        console: Console | None = None,
        **options: Any,
    ) -> Run | None:
        """Run to the end and return the run; None if it was skipped (``needed=True``).

        A list of values makes a batch; ``restart=RUN`` starts a run that is there (with ``redo=["failed"]``,
        ``"missing"`` or ``"lost"`` a batch for such trials alone); ``operation="queue"`` works as a queue.
        Cancelling stops the operation.
        """
        return (await self.carry_out(operation, flags, console=console, **options)).run

    async def carry_out(
        self,
        operation: str | None = None,
        flags: Mapping[str, FlagValue] | None = None,
        *,
        console: Console | None = None,
        **options: Any,
    ) -> Begun:
        """As :meth:`run`, and tell what became of the request: of a skipped one, which runs match."""
        begun = await self._begin(self._request(operation, flags, options), console)
        if begun.run is None or begun.what != "claimed":
            return begun
        control = Control(owned=True)
        ended = await execute(self.session, begun.run, console=console or self._console, control=control)
        return structs.replace(begun, run=ended)

    async def start(
        self, operation: str | None = None, flags: Mapping[str, FlagValue] | None = None, **options: Any
    ) -> StartedRun:
        """Start a run and return. It goes on if the caller is cancelled then, or this object is closed.

        A batch or a queue executes in this object: closing it ends them, and leaves their runs running.
        """
        begun = await self._begin(self._request(operation, flags, options))
        run = begun.run
        if run is None or begun.what != "claimed":
            raise OrchestraError(f"the run was {begun.what}: there is nothing to start")
        if run.kind == "run":
            run = await launch(self.session, run, Launch())
        started = StartedRun(self, run)
        assert self._group is not None
        self._group.start_soon(self._watch, started)
        return started

    async def _watch(self, started: StartedRun) -> None:
        try:
            work = supervise if started.record.kind == "run" else execute
            started.record = await work(
                self.session, started.record, console=self._console, control=started.control
            )
        except Exception as error:
            # Raised by ``wait()``: what goes wrong with one run must not end the caller's whole block.
            started.error = error
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._leave(started)
            raise
        finally:
            started.ended.set()

    async def _leave(self, started: StartedRun) -> None:
        """Whoever waits for a run must not take one for ended that only our watch has left."""
        try:
            started.record = await settle(self.session, await self.session.store.get(started.id))
        except OrchestraError as error:
            started.error = error
            return
        if started.record.state not in FINAL:
            started.error = RunBusy(
                f"run {started.id} is {started.record.state}: it goes on, but is no longer watched",
                "It can be waited for only while the Orchestra that started it is open.",
            )

    async def restart(
        self, run: str, flags: Mapping[str, FlagValue] | None = None, **options: Any
    ) -> Run | None:
        """Start a run that is there (again), with the flags that are given replaced, and wait for its end."""
        return await self.run(None, flags, restart=run, **options)

    async def extend(
        self, batch: str, flags: Mapping[str, FlagValue] | None = None, **options: Any
    ) -> Run | None:
        """Give a batch more values, or more trials (``max_trials=N``), and return it.

        One that runs, here or elsewhere, goes on with them, and one that is staged stays so. One that has ended
        is started again for them, and waited for.
        """
        return await self.run(None, flags, extend=batch, **options)

    async def queue(self, *, run_once: bool = True, jobs: int = 1, **flags: FlagValue) -> Run:
        """Work through the staged runs as a queue; with ``run_once=False`` until cancelled."""
        given = {"run-once": run_once, **({"jobs": jobs} if jobs != 1 else {})}
        given |= {name.replace("_", "-"): value for name, value in flags.items()}
        run = await self.run("queue", given)
        assert run is not None
        return run

    async def _begin(self, request: RunRequest, console: Console | None = None) -> Begun:
        prepared = await prepare(self.session, request)
        for message in ignored_options(request, prepared):
            self.session.emit(
                "log.message", level="warning", message=message, console=console or self._console, logger=""
            )
        return await begin(self.session, request, prepared, console=console or self._console)

    async def get(self, run: str) -> Run:
        """The run with this id or beginning of one, in its true state.

        Raises:
            RunNotFound: none matches, or several do.
        """
        return await settle(self.session, await find_run(self.session, run, cwd=self._cwd))

    async def list(self, query: RunQuery | None = None, **filters: Unpack[Filters]) -> tuple[Run, ...]:
        """The runs that match, newest first, in their true states.

        ``filters`` are those of the command line: ``expr="loss < 0.1"``, ``ops="train"``, ``tags=["a", "b"]``,
        ``started="last 2 hours"``, ``error=True``, ``not_staged=True``, ...

        Raises:
            UserError: a filter has no meaning.
        """
        await settle_active(self.session)
        asked = narrowed(query or RunQuery(), narrowing_of(filters), self.session.clock.now())
        return (await self.session.store.query(await without_results(self.session, asked))).runs

    async def results(self, run: str) -> Results:
        """The scalars and attributes of a run's newest attempt, as far as it has come."""
        record = await self.get(run)
        return await off_loop(lambda: results_of(self.session, record))

    async def series(
        self, run: str, names: str | Sequence[str], *, most: int = MOST_POINTS
    ) -> dict[str, Series]:
        """The values over steps of scalars of a run's newest attempt; what it has not is left out.

        Of more than ``most`` points those are kept that a curve of them shows: of each stretch the least and the
        greatest.
        """
        wanted = (names,) if isinstance(names, str) else tuple(names)
        record = await self.get(run)
        return await off_loop(lambda: series_of(self.session, record, wanted, most=most))

    async def value(self, run: str, column: str) -> FlagValue:
        """What a run has in a column, such as ``min loss``, ``loss step``, ``=lr`` or ``.label``; None if nothing.

        Raises:
            UserError: it is no column.
        """
        wanted = parse_column(column)
        record = await self.get(run)
        return await off_loop(lambda: column_value(self.session, record, wanted))

    async def compare(
        self, runs: Sequence[str] = (), *, query: RunQuery | None = None, **options: Any
    ) -> Comparison:
        """What runs were given and what they came to, as a table: of all runs, or those that are named or match.

        ``options`` are those of :func:`~orchestra.engine.comparing.compare_request`: ``cols="min loss as best"``,
        ``strict_cols``, ``min="loss"``, ``top=10``, ``repeats=True``, ``group_by="lr"``, ``agg="mean,std,n"``, ...;
        and the filters of :meth:`list`.

        Raises:
            RunNotFound: one that is named is not there.
            UserError: a column or a filter has no meaning, or no run has anything in a column.
        """
        names = Filters.__annotations__.keys() & options
        filters = cast("Filters", {name: options.pop(name) for name in names})
        asked = narrowed(query or RunQuery(), narrowing_of(filters), self.session.clock.now())
        # Who says which states are wanted wants them as repeats, too.
        options.setdefault("only_completed", asked.states is None)
        request = compare_request(**options)
        await settle_active(self.session)
        chosen = await select_runs(self.session, runs, query=asked, default="all")
        subjects = await subjects_of(self.session, chosen, self._cwd, include_batch=request.include_batch)
        return make_comparison(subjects, request)

    async def diff(
        self,
        before: str,
        after: str | None = None,
        *,
        sections: Collection[Section] = (),
        paths: Sequence[str] = (),
        folder: str | os.PathLike[str] | None = None,
    ) -> Differences:
        """How the run ``after`` differs from the run ``before``, in all, or in ``sections`` and the files ``paths``.

        Without ``after``: how the source, or ``paths``, in ``folder`` differ from those of the run; by default in its
        project as it is now.

        Raises:
            UserError: there is nothing to compare, or a path leads out of the run.
        """
        from orchestra.engine.differences import differences, differences_from_folder, project_of

        one = await self.get(before)
        if after is None:
            if unfit := [section for section in sections if section != "source"]:
                raise UserError(f"a folder has no {unfit[0]} to compare", "Name two runs.")
            place = project_of(one) if folder is None else self._cwd / folder
            is_project = folder is None
            return await off_loop(
                lambda: differences_from_folder(self.session, one, place, is_project=is_project, paths=paths)
            )
        if folder is not None:
            raise UserError("two runs and a folder cannot be compared", "Leave out one of them.")
        other = await self.get(after)
        return await off_loop(lambda: differences(self.session, one, other, sections=sections, paths=paths))

    async def label(
        self,
        runs: Sequence[str],
        *,
        set: str | None = None,
        append: str | None = None,
        prepend: str | None = None,
        remove: Sequence[str] = (),
        clear: bool = False,
    ) -> tuple[Run, ...]:
        """Change the labels of runs, as ``orchestra label`` does, and return the runs."""
        edit = LabelEdit(
            set=set,
            append=() if append is None else (append,),
            prepend=() if prepend is None else (prepend,),
            remove=_several(remove),
            clear=clear,
        )
        return await annotating.label_runs(self.session, await self._named(runs), edit)

    async def tag(
        self,
        runs: Sequence[str],
        *,
        add: Sequence[str] = (),
        delete: Sequence[str] = (),
        clear: bool = False,
        sync_labels: bool = False,
    ) -> tuple[Run, ...]:
        """Take tags from runs, then add some, and return the runs."""
        return await annotating.tag_runs(
            self.session,
            await self._named(runs),
            add=_several(add),
            delete=_several(delete),
            clear=clear,
            sync_labels=sync_labels,
        )

    async def comment(
        self,
        runs: Sequence[str],
        text: str | None = None,
        *,
        by: str | None = None,
        delete: int | None = None,
        clear: bool = False,
    ) -> tuple[Run, ...]:
        """Add a comment to runs, by ``USER`` or ``USER@HOST``; or ``delete`` the one of that number, from 1, or all.

        Raises:
            UserError: it is empty, or there is no such comment.
        """
        found = await self._named(runs)
        if clear:
            return await annotating.clear_comments(self.session, found)
        if delete is not None:
            return await annotating.delete_comment(self.session, found, delete)
        return await annotating.add_comment(self.session, found, text or "", by=by)

    async def mark(self, runs: Sequence[str], *, clear: bool = False) -> tuple[Run, ...]:
        """Mark runs, or take their marks away, and return the runs."""
        return await annotating.mark_runs(self.session, await self._named(runs), marked=not clear)

    async def _named(self, runs: Sequence[str]) -> tuple[Run, ...]:
        return tuple([await self.get(run) for run in _several(runs)])

    async def delete(self, runs: Sequence[str], *, stop: bool = False, permanent: bool = False) -> int:
        """Move runs into the trash, or delete them for good, and return how many there were.

        Running ones only with ``stop``.
        """
        return await delete_runs(self.session, await self._named(runs), stop=stop, permanent=permanent)

    async def deleted(self, query: RunQuery | None = None, **filters: Unpack[Filters]) -> tuple[Run, ...]:
        """The runs in the trash that match, as of :meth:`list`. The directory of each is where it is now."""
        asked = narrowed(query or RunQuery(), narrowing_of(filters), self.session.clock.now())
        return (await (await deleted_runs(self.session)).query(asked)).runs

    async def restore(self, runs: Sequence[str] | None = None) -> tuple[Run, ...]:
        """Take runs (all of them, if none are named) out of the trash, and return them.

        Raises:
            IdTaken: there is a run with the same id.
            RunNotFound: one of them is not in the trash.
        """
        found = await deleted_runs(self.session)
        return await restore_runs(self.session, await _named_among(found, runs))

    async def purge(self, runs: Sequence[str] | None = None, *, older_than: float | str | None = None) -> int:
        """Delete runs that are in the trash (all of them, if none are named) for good; return how many there were.

        ``older_than``: only those that were deleted so many seconds ago, or so long (``"30d"``).

        Raises:
            RunNotFound: one of them is not in the trash.
        """
        age = parse_duration(older_than) if isinstance(older_than, str) else older_than
        found = await deleted_runs(self.session, older_than=age)
        return await purge_runs(self.session, await _named_among(found, runs))

    async def export_runs(
        self,
        location: str | os.PathLike[str],
        runs: Sequence[str] | None = None,
        *,
        move: bool = False,
        copy_resources: bool = False,
        environment: bool = False,
        force: bool = False,
    ) -> tuple[Run, ...]:
        """Export runs (None: all) to a directory, or to a file that ends with ``.zip``, ``.tar.gz`` or the like.

        A batch that is named brings its trials, a pipeline its steps. Returns those that were exported: others were
        there already.

        Raises:
            UserError: nothing can be exported there, or a run can't.
            RunBusy: a run that is running is to be moved.
        """
        from orchestra.engine.export_target import export_target
        from orchestra.engine.exporting import How, export_runs
        from orchestra.engine.runs import with_members

        target = export_target(self.session, os.fspath(location), self._cwd, force=force)
        found = await self.list() if runs is None else tuple([await self.get(run) for run in runs])
        how = How(move=move, copy_resources=copy_resources, environment=environment, force=force)
        return (await export_runs(self.session, await with_members(self.session, found), target, how)).runs

    async def import_runs(
        self,
        source: str | os.PathLike[str],
        runs: Sequence[str] | None = None,
        *,
        move: bool = False,
        copy_resources: bool = False,
        new_id: bool = False,
        allow_damaged: bool = False,
    ) -> tuple[Run, ...]:
        """Import runs (None: all) from a directory, a zip or tar file, another home, or an archive of this home.

        ``runs`` are ids, or beginnings of such, of the source. Returns those that were imported: others were here
        already.

        Raises:
            UserError: the source is damaged or hostile, or another run has the id of one of them.
        """
        from orchestra.engine.archived import find_archive
        from orchestra.engine.importing import import_runs, named_runs
        from orchestra.engine.incoming import Importing

        archive = find_archive(self.session.layout, os.fspath(source), self._cwd)
        ids = None if runs is None else await named_runs(self.session, archive, runs)
        how = Importing(move=move, copy_resources=copy_resources, new_id=new_id, allow_damaged=allow_damaged)
        return (await import_runs(self.session, archive, ids, how)).runs

    async def stop(self, run: str) -> Run:
        """Stop a run, its whole tree of processes included, and return it when it has ended.

        Raises:
            RunBusy: it has not ended after ``STOP_TIMEOUT``, or runs on another host and can't be told.
        """
        return await self._stop(await self.get(run))

    async def _stop(self, run: Run) -> Run:
        report = await stop_runs(self.session, (run,), timeout=STOP_TIMEOUT)
        if not report.done:
            raise RunBusy(not_stopped(report))
        return await settle(self.session, await self.session.store.get(run.id))

    async def output(self, run: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """The output of a run's newest attempt in chunks; with ``follow``, as it is written, to the end."""
        record = await self.get(run)
        if not follow:
            for chunk in read_output(self.session.attempt_directory(record)):
                yield chunk
            return
        async for _, _, data in follow_attempt(self.session, record):
            if data:
                yield data

    @asynccontextmanager
    async def events(self, *, output: bool = False) -> AsyncGenerator[AsyncIterator[Event]]:
        """While open, the events of this session; with ``output``, what operations print, too.

        A reader that falls more than ``EVENT_BUFFER`` events behind misses the newest.
        """
        send, receive = anyio.create_memory_object_stream[Event](EVENT_BUFFER)

        def sink(event: Event) -> None:
            try:
                send.send_nowait(event)
            except anyio.WouldBlock:
                pass

        session = self.session
        session.sinks.append(sink)
        session.sinks.output_readers += output
        try:
            async with send, receive:
                yield receive
        finally:
            session.sinks.remove(sink)
            session.sinks.output_readers -= output
