"""``orchestra watch`` and ``orchestra queue follow``: what runs print, as they print it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from orchestra.cli import terminal
from orchestra.cli.context import current, in_event_loop
from orchestra.cli.options import whole
from orchestra.cli.prefixing import PrefixedOutput
from orchestra.cli.selection import FILTERS, Filters, chosen
from orchestra.engine.by_process import run_of_process
from orchestra.engine.following import (
    UNFINISHED,
    News,
    as_recorded,
    attempts_since,
    follow_attempt,
    follow_many,
    until_started,
)
from orchestra.engine.judge import settle_active
from orchestra.engine.runs import select_runs
from orchestra.engine.session import Session
from orchestra.engine.supervise import emit_output
from orchestra.errors import RunNotFound, UsageError, UserError
from orchestra.model.filters import RunQuery
from orchestra.model.progress import present_trials
from orchestra.model.run import FINAL, Run, State
from orchestra.workspace.tail import offset_of_last

_HINT = "Try 'orchestra runs list' for a list of runs."
_RUNNING: frozenset[State] = frozenset(("running",))

Lines = Annotated[int | None, Parameter(converter=whole, name=("--lines", "-n"))]
FromStart = Annotated[bool, Parameter(name="--from-start")]


def watch(
    run: str | None = None,
    /,
    *,
    filters: Filters = FILTERS,
    pid: Annotated[str | None, Parameter(name=("--pid", "-p"))] = None,
    lines: Lines = None,
    from_start: FromStart = False,
) -> int:
    """Show what a run has printed and prints, until it has ended; of the latest that is running by default.

    Of a batch, the trials are shown side by side, of a queue the runs that it starts: each line with its run. What
    is watched doesn't notice; Ctrl-C ends only the watching.

    Parameters
    ----------
    run
        Which run, batch or queue: its index in the listing, its id, or the beginning of its id.
    pid
        The run of this process, or of the one whose pid is in this file.
    lines
        Begin with so many of the last lines that were printed; 0: only what is printed from now on.
    from_start
        Of a batch or a queue: begin with what runs have printed that have ended before.
    """
    _check(lines, from_start)
    if pid is not None and (run is not None or filters is not FILTERS):
        raise UsageError("give a run, or a process with --pid, not both")
    watching = _Watch(lines, from_start)
    return _until_interrupted(watching, lambda: watching.one(run, pid, filters))


def follow(*queues: str, lines: Lines = None, from_start: FromStart = False) -> int:
    """Show what the runs print that queues start, each line with its run, until the queues have ended.

    Parameters
    ----------
    queues
        Which queues: indexes of 'orchestra runs', ids or beginnings of ids; all that are at work by default.
    lines
        Begin with so many of the last lines of each run that is running; 0: only what is printed from now on.
    from_start
        Begin with what runs have printed that have ended before.
    """
    _check(lines, from_start)
    watching = _Watch(lines, from_start)
    return _until_interrupted(watching, lambda: watching.queues(queues))


def _check(lines: int | None, from_start: bool) -> None:
    if lines is not None and lines < 0:
        raise UsageError(f"invalid value {lines} for --lines: give 0 or more")
    if lines is not None and from_start:
        raise UsageError("--lines and --from-start cannot both be used")


def _until_interrupted(watching: _Watch, work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    try:
        in_event_loop(work)
    except KeyboardInterrupt:
        if watching.watched:
            os.write(2, f"\nStopped watching {watching.watched}, which goes on\n".encode())
        raise
    return 0


class _Watch:
    def __init__(self, lines: int | None, from_start: bool) -> None:
        self._lines = lines
        self._from_start = from_start
        self.watched = ""
        """What is being watched, as a person is told."""

    async def one(self, spec: str | None, pid: str | None, filters: Filters) -> None:
        """Watch one run, whatever it is."""
        async with current().session(looking=True) as session:
            run = await (_of_process(session, pid) if pid is not None else _chosen(session, spec, filters))
            await settle_active(session)
            if run.kind in ("batch", "queue"):
                await self._many(session, (await session.store.get(run.id),))
            else:
                await self._run(session, run)

    async def queues(self, specs: Sequence[str]) -> None:
        """Watch queues, all of them as one."""
        async with current().session(looking=True) as session:
            await settle_active(session)
            query = RunQuery(states=_RUNNING, kinds=frozenset(("queue",)))
            chosen = await select_runs(session, specs) if specs else (await session.store.query(query)).runs
            for run in chosen:
                if run.kind != "queue":
                    raise UsageError(f"run {run.short_id} is no queue: use 'orchestra watch {run.short_id}'")
            if not chosen:
                _tell(session, None, "No queue is at work.")
                return
            await self._many(session, chosen)

    async def _run(self, session: Session, run: Run) -> None:
        self.watched = f"run {run.id}"
        _tell(session, run, f"Watching run {_with_attempt(run)}")
        output, told = _Output(session), run.attempt
        seen = run.attempt - (not _waits(run))
        try:
            while True:
                if _waits(run):
                    _tell(session, run, f"Run {run.id} is {run.state} and not started yet")
                run = await until_started(session, run)
                if run.attempt == seen and run.state in FINAL:
                    _tell_end(session, run)
                # Some may have come and gone meanwhile.
                for one in attempts_since(run, seen):
                    if 1 < one.attempt != told:
                        _tell(session, run, f"Run {_with_attempt(one)}")
                    await self._attempt(session, one, output)
                seen = run.attempt
                run = as_recorded(session, await session.store.get(run.id))
                # One that is to be tried again has ended, but not for good.
                if (run.state not in UNFINISHED and run.attempt <= seen) or output.is_closed:
                    return
        except RunNotFound:
            await output.end_line()
            _tell(session, run, f"Run {run.id} was deleted")

    async def _attempt(self, session: Session, run: Run, output: _Output) -> None:
        # What goes on may draw on the terminal as it would without us; what is over is only looked at.
        output.guarded = run.state in FINAL
        offset = 0
        if self._lines is not None:
            offset, self._lines = offset_of_last(session.attempt_directory(run), self._lines), None
        async for seen, stream, data in follow_attempt(session, run, offset=offset):
            run = seen
            await output.show(run, stream, data)
            if output.is_closed:
                return
        if run.state in FINAL:
            await output.end_line()
            _tell_end(session, run)

    async def _many(self, session: Session, of: Sequence[Run]) -> None:
        names = ", ".join(run.id for run in of)
        self.watched = f"run{'s' if len(of) > 1 else ''} {names}"
        for run in of:
            what = f"queue {run.id} for the runs that it starts" if run.kind == "queue" else f"run {run.id}"
            _tell(session, run, f"Watching {what}")
        # Of what has ended nothing else is left to be seen.
        everything = self._from_start or all(run.state in FINAL for run in of)
        began = min((run.started or 0 for run in of), default=0) if of[0].kind == "queue" else 0
        since = began if everything else session.clock.now()
        output = PrefixedOutput(session)
        async for news in follow_many(session, of, since=since, lines=self._lines):
            await _show_news(session, output, news)
            if _is_closed(session):
                return
        for run in (await session.store.query(RunQuery(ids=tuple(run.id for run in of)))).runs:
            if run.kind == "batch":
                await _tell_trials(session, run)
            _tell_end(session, as_recorded(session, run))


async def _chosen(session: Session, spec: str | None, filters: Filters) -> Run:
    if spec is not None:
        found = await chosen(session, (spec,), filters, default="none")
        if len(found) != 1:
            raise UserError(f"'{spec}' stands for {len(found)} runs, and one at a time is watched", _HINT)
        return found[0]
    running = await chosen(session, (), filters, default="all", base=RunQuery(states=_RUNNING))
    ids = {run.id for run in running}
    parts = [run for run in running if run.kind != "queue" and ids.isdisjoint((run.batch, run.parent))]
    if not running:
        raise RunNotFound("no run is running", "Name a run: orchestra watch RUN.")
    return (parts or running)[0]


async def _of_process(session: Session, pid: str) -> Run:
    text = pid
    if not pid.isdecimal():
        try:
            text = Path(pid).read_text(encoding="utf-8", errors="replace").strip()
        except OSError as error:
            raise UserError(f"pid file '{pid}' can't be read: {error.strerror}") from error
        if not text.isdecimal():
            raise UserError(f"pid file '{pid}' has no pid in it")
    await settle_active(session)
    return await run_of_process(session, int(text[:18]))


async def _show_news(session: Session, output: PrefixedOutput, news: News) -> None:
    if news.what == "printed":
        emit_output(session, news.run, news.stream, news.data, console=session.console)
        await output.show(news.run, news.stream, news.data)
        return
    if news.what == "began":
        label = f" ({news.run.label})" if news.run.label else ""
        _tell(session, news.run, f"Watching run {_with_attempt(news.run)}: {news.run.operation_name}{label}")
        return
    await output.finish(news.run)
    if news.what == "left":
        _tell(session, news.run, f"Run {news.run.id} goes on")
    elif news.run.state in FINAL:
        _tell_end(session, news.run)
    else:
        _tell(
            session,
            news.run,
            f"Run {news.run.id} is no longer watched: {news.run.reason or 'it was not started'}",
        )


async def _tell_trials(session: Session, batch: Run) -> None:
    trials = (await session.store.query(RunQuery(batch=batch.id))).runs
    generation = present_trials(batch, trials)
    counts = Counter(run.state for run in generation)
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    states = ", ".join(f"{count} {state}" for state, count in ordered)
    _tell(session, batch, f"{len(generation)} trial(s): {states}" if generation else "No trials")


def _waits(run: Run) -> bool:
    return run.state in UNFINISHED and run.worker is None


def _with_attempt(run: Run) -> str:
    """The id, and which attempt it is of one that was tried before."""
    return f"{run.id}, attempt {run.attempt}" if run.attempt > 1 else run.id


def _tell_end(session: Session, run: Run) -> None:
    _tell(session, run, f"Run {run.id} stopped with a status of '{run.state}'")


def _tell(session: Session, run: Run | None, message: str) -> None:
    session.emit("log.message", run, level="info", message=message, logger="")


def _is_closed(session: Session) -> bool:
    """Whether nobody reads what we print any more (``| head``)."""
    return bool(getattr(session.console, "broken_pipe", False))


class _Output:
    """What one run prints, as it is."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last = b"\n"
        self.guarded = False
        """Whether a terminal gets nothing that could drive it, but for colours."""
        self._guards: dict[int, Callable[[bytes], None]] = {}
        self._harmless: list[bytes] = []

    @property
    def is_closed(self) -> bool:
        return _is_closed(self._session)

    async def show(self, run: Run, stream: int, data: bytes) -> None:
        if data:
            self._last = data[-1:]
            shown = (
                self._guarded(stream, data) if self.guarded and os.isatty(2 if stream == 1 else 1) else data
            )
            await self._session.console.output(stream, shown)
            emit_output(self._session, run, stream, data, console=self._session.console)

    def _guarded(self, stream: int, data: bytes) -> bytes:
        if stream not in self._guards:
            self._guards[stream] = terminal.shower(self._harmless.append)
        self._harmless.clear()
        self._guards[stream](data)
        return b"".join(self._harmless)

    async def end_line(self) -> None:
        """Let what we say begin a line."""
        if self._last != b"\n":
            self._last = b"\n"
            await self._session.console.output(1, b"\n")
