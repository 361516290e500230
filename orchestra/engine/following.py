"""Follow from any process what runs print, as it is written: one attempt, or all runs of a batch or of queues.

Only files are read, and the store; the runs and those who watch over them do not notice.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Sequence
from typing import Literal

import anyio
import anyio.lowlevel
from msgspec import Struct, structs

from orchestra.engine.judge import settle_or_spoil
from orchestra.engine.lines import WholeCharacters
from orchestra.engine.session import Session
from orchestra.engine.supervise import LONGEST_POLL, SHORTEST_POLL
from orchestra.errors import OrchestraError, RunNotFound
from orchestra.model import lifecycle
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, FINAL, Run, State
from orchestra.workspace import records
from orchestra.workspace.output import OutputFollower
from orchestra.workspace.tail import offset_of_last

PAGE = 50
"""Runs that are asked for at once when it is looked for new ones."""
SLACK = 30_000_000
"""Microseconds that a start may reach the store after it has happened."""
SHARE = 10
"""The looks at the store take less than one part in so many of the time."""
UNFINISHED: frozenset[State] = frozenset((*ACTIVE, "staged"))


class AttemptFollower:
    """The output of the newest attempt of ``run``, from ``offset`` on, to its recorded end."""

    def __init__(self, session: Session, run: Run, offset: int = 0) -> None:
        self.run = run
        """As last seen; as the attempt has ended once :attr:`ended`, whatever has become of the run since."""
        self.ended = False
        """Whether all was read, and nothing more will come."""
        self._session = session
        self._directory = session.attempt_directory(run)
        self._exit = os.path.join(self._directory, records.EXIT)
        self._output = OutputFollower(self._directory, offset)
        self._characters = WholeCharacters()
        self._over = run.state not in ACTIVE
        self._look_at = 0.0

    @property
    def has_end(self) -> bool:
        """Whether the attempt's end was recorded: no more will be written."""
        return self._over or os.path.exists(self._exit)

    async def read(self) -> list[tuple[int, bytes]]:
        """What was written since the last call, as (stream, bytes): whole characters.

        Raises:
            RunNotFound: the run was deleted.
            HomeError, StoreUnavailable: the output can't be read.
        """
        if self.ended:
            return []
        if not self._over:
            # First: what was written before the end is read below.
            await self._judge()
        chunks = self._output.read_new()
        if chunks or not self._over:
            return [
                (stream, whole) for stream, data in chunks if (whole := self._characters.feed(stream, data))
            ]
        self.ended = True
        self.close()
        return self._characters.finish()

    def close(self) -> None:
        """Close the file."""
        self._output.close()

    async def _judge(self) -> None:
        now = time.monotonic()
        if now < self._look_at and not os.path.exists(self._exit):
            return
        self._look_at = now + LONGEST_POLL
        run = await settle_or_spoil(self._session, await self._session.store.get(self.run.id))
        if run is None:
            raise RunNotFound(f"run {self.run.id} was deleted")
        run = as_recorded(self._session, run)
        if run.attempt == self.run.attempt and run.state in ACTIVE:
            self.run = run
            return
        self._over = True
        self.run = self._as_it_ended(run)

    def _as_it_ended(self, run: Run) -> Run:
        """``run`` may have been started, or staged, again meanwhile."""
        if run.attempt == self.run.attempt and run.state in FINAL:
            return run
        ended = as_recorded(self._session, structs.replace(self.run, state="running"))
        return ended if ended.state in FINAL else structs.replace(run, attempt=self.run.attempt)


def as_recorded(session: Session, run: Run) -> Run:
    """An active run as the exit record of its attempt says that it has ended, be it that the store can't be told."""
    if run.state not in ACTIVE:
        return run
    exit_record = records.read_exit(session.attempt_directory(run))
    if exit_record is None:
        return run
    state = lifecycle.outcome(exit_record)
    return structs.replace(run, state=state, exit_code=exit_record.code, stopped=exit_record.stopped)


async def follow_attempt(
    session: Session, run: Run, *, offset: int = 0
) -> AsyncIterator[tuple[Run, int, bytes]]:
    """The output of the newest attempt of ``run`` as it is written, to its end: (run, stream, bytes).

    The last is empty, and comes with the run as it has ended.

    Raises:
        RunNotFound: the run was deleted.
    """
    follower = AttemptFollower(session, run, offset)
    pause = SHORTEST_POLL
    try:
        while not follower.ended:
            chunks = await follower.read()
            for stream, data in chunks:
                yield follower.run, stream, data
            pause = SHORTEST_POLL if chunks else min(pause * 1.5, LONGEST_POLL)
            if not chunks and not follower.ended:
                await anyio.sleep(pause)
    finally:
        follower.close()
    yield follower.run, 0, b""


def attempts_since(run: Run, seen: int) -> list[Run]:
    """``run`` as of each of its attempts after the one with the number ``seen``, the newest as it is."""
    before = [
        structs.replace(run, attempt=number, state="running") for number in range(seen + 1, run.attempt)
    ]
    return [*before, run] if run.attempt > seen else before


async def until_started(session: Session, run: Run) -> Run:
    """Wait until somebody has claimed ``run``, and return it; at once if it is active, or has ended.

    Raises:
        RunNotFound: the run was deleted.
    """
    while run.state in UNFINISHED and run.worker is None:
        await anyio.sleep(LONGEST_POLL)
        run = await session.store.get(run.id)
    return run


class News(Struct, frozen=True):
    """What has happened to one of several runs that are followed."""

    run: Run
    what: Literal["began", "printed", "ended", "left"]
    """``left``: it goes on, and nobody follows it any more."""
    stream: int = 0
    data: bytes = b""


async def follow_many(
    session: Session, of: Sequence[Run], *, since: int, lines: int | None = None
) -> AsyncIterator[News]:
    """What the trials of one batch, or the runs of queues, print as they come and go, until ``of`` have ended.

    Runs that had ended by ``since`` (microseconds since the epoch) are passed over; of those that run already only the
    last ``lines`` are told of what they have printed so far. A batch that stages its trials has ended when they have.
    The runs of a queue may go on without it.
    """
    members = _Members(session, of, since)
    followers: list[AttemptFollower] = []
    pause, look_at = SHORTEST_POLL, 0.0
    over = False
    try:
        while not over:
            moved = False
            before = time.monotonic()
            if before >= look_at:
                # First: what was begun before the end is found below.
                over = await members.are_over()
                new = await members.look()
                look_at = time.monotonic() + max(LONGEST_POLL, SHARE * (time.monotonic() - before))
                for run in new:
                    yield News(run, "began")
                    offset = 0 if lines is None else offset_of_last(session.attempt_directory(run), lines)
                    followers.append(AttemptFollower(session, run, offset))
                    if followers[-1].has_end:
                        # Of many that have ended no more than one file is open at a time.
                        async for news in _told(followers.pop()):
                            yield news
                lines, moved = None, bool(new)
            over = over and (members.may_leave or not followers)
            for follower in tuple(followers):
                async for news in _told(follower):
                    moved = True
                    yield news
                if follower.ended:
                    followers.remove(follower)
            if not over:
                await anyio.sleep(SHORTEST_POLL if moved else pause)
            pause = SHORTEST_POLL if moved else min(pause * 1.5, LONGEST_POLL)
        for follower in followers:
            yield News(follower.run, "left")
    finally:
        for follower in followers:
            follower.close()


async def _told(follower: AttemptFollower) -> AsyncIterator[News]:
    """What one of many has printed, and that it has ended. What is wrong with it must not end the watch of all."""
    to_the_end = follower.has_end
    try:
        while True:
            for stream, data in await follower.read():
                yield News(follower.run, "printed", stream, data)
            if follower.ended or not to_the_end:
                break
            await anyio.lowlevel.checkpoint()
    except OrchestraError as error:
        follower.ended = True
        follower.close()
        follower.run = structs.replace(follower.run, reason=error.message)
    if follower.ended:
        yield News(follower.run, "ended")


class _Members:
    """The runs of a batch or of queues: found soon after they were started, each attempt once."""

    def __init__(self, session: Session, of: Sequence[Run], since: int) -> None:
        self._session = session
        self._of = tuple(of)
        self._batch = of[0].id if of[0].kind == "batch" else None
        self.may_leave = self._batch is None
        self._ids = frozenset(run.id for run in of)
        self._since = since
        self._horizon = since
        self._newest: dict[str, int] = {}
        """The newest attempt of each run that was found."""

    async def are_over(self) -> bool:
        """Whether those whose runs they are have ended."""
        page = await self._session.store.query(RunQuery(ids=tuple(self._ids)))
        for run in page.runs:
            settled = await settle_or_spoil(self._session, run)
            if settled is not None and as_recorded(self._session, settled).state in UNFINISHED:
                return False
        spec = self._of[0].batch_spec
        if spec is None or not spec.stage_trials:
            return True
        page = await self._session.store.query(RunQuery(batch=self._batch, states=UNFINISHED, limit=1))
        return not page.runs

    async def look(self) -> list[Run]:
        """Those that were started since the last look, oldest first, each as of an attempt."""
        horizon = self._session.clock.now()
        store = self._session.store
        found = {run.id: run for run in (await store.query(RunQuery(batch=self._batch, states=ACTIVE))).runs}
        offset = 0
        while True:
            page = await store.query(RunQuery(batch=self._batch, limit=PAGE, offset=offset))
            found.update((run.id, run) for run in page.runs)
            if len(page.runs) < PAGE or page.runs[-1].time < self._horizon - SLACK:
                break
            offset += PAGE
        self._horizon = horizon
        new = [run for one in found.values() if self._is_one(one) for run in self._new_attempts(one)]
        return sorted(new, key=lambda run: (run.started or run.created, run.attempt))

    def _is_one(self, run: Run) -> bool:
        if self._batch is not None:
            return True
        # The output of batches and pipelines is that of their runs, which the queue has claimed, too.
        return run.queue in self._ids and run.kind == "run"

    def _new_attempts(self, run: Run) -> list[Run]:
        before = self._newest.get(run.id)
        if not run.attempt or (before is not None and before >= run.attempt):
            return []
        self._newest[run.id] = run.attempt
        # Of those before, and of one that is to be tried again, it is still to be found how they ended.
        last = run.attempt + (run.state == "staged")
        attempts = [
            structs.replace(run, attempt=number, state="running") for number in range((before or 0) + 1, last)
        ]
        attempts = [one for one in attempts if self._ended_since(one)]
        if run.state == "staged" or (run.state in FINAL and (run.stopped or 0) < self._since):
            return attempts
        return [*attempts, run]

    def _ended_since(self, run: Run) -> bool:
        try:
            exit_record = records.read_exit(self._session.attempt_directory(run))
        except OrchestraError:
            return False
        return exit_record is not None and exit_record.stopped >= self._since
