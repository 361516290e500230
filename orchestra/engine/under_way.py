"""The trials of a batch that are under way at once.

One is executed at a time, while the records of those before it that ended well are still being written. Where their
executor is a scheduler, it has all of them, and decides which run at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from orchestra.console import Console
from orchestra.engine.control import Control, Wish
from orchestra.engine.judge import settle_or_spoil
from orchestra.engine.lines import LineConsole
from orchestra.engine.session import Session
from orchestra.engine.trial_watch import TrialExecution, drop_jobs, keep_from_starting, take_back
from orchestra.engine.verdicts import Verdicts
from orchestra.errors import RunBroken
from orchestra.model.run import Run


class UnderWay:
    """What is under way of one batch. Where it says whether the batch goes on, it is the verdict that counts."""

    def __init__(
        self, session: Session, console: Console, control: Control, verdicts: Verdicts, group: TaskGroup
    ) -> None:
        self._session = session
        self._console = console
        self._control = control
        self._verdicts = verdicts
        self._group = group
        self.is_placed = False
        """Whether the executor of the trials is a scheduler."""
        self.error: Exception | None = None
        """What ends the batch, and is to be raised once nothing is under way any more."""
        self._watches: list[TrialExecution] = []
        self._news = anyio.Event()
        """Set when the execution of a trial has ended."""

    def new_watch(self, trial: Run) -> TrialExecution:
        """How a trial is to be executed."""
        if not self.is_placed:
            return TrialExecution(trial, self._console, self._control)
        # Lines stay whole where those of others come between them.
        return TrialExecution(trial, LineConsole(self._console), Control(owned=self._control.owned))

    async def add(self, watch: TrialExecution, work: Coroutine[Any, Any, Run]) -> bool:
        """Execute a trial, by ``work``, until the next may begin; False if the batch is to end here."""
        self._group.start_soon(self._watch, watch, work)
        if self.is_placed:
            self._watches.append(watch)
            # A wish that came since the trial was claimed has not reached it.
            self.heed()
            await anyio.lowlevel.checkpoint()
            return await self._settle_ended()
        await watch.over.wait()
        if watch.ended.is_set():
            return self._verdicts.judge(await watch.result())
        self._watches.append(watch)
        return True

    async def settle(self) -> bool:
        """Wait until nothing is under way any more; False if what became of a trial ends the batch."""
        while True:
            self._news = anyio.Event()
            await self._settle_ended()
            if self._verdicts.ends_here and self.is_placed:
                await take_back(self._session, self._watches)
            if not self._watches:
                break
            if not any(watch.ended.is_set() for watch in self._watches):
                await self._news.wait()
        if self.is_placed and self._control.wish >= Wish.LEAVE:
            return self._verdicts.stopped()
        return not self._verdicts.ends_here

    def end_with(self, error: Exception) -> None:
        """Go on with nothing new: ``error`` is to be raised once all that is under way has ended."""
        self.error = self.error or error
        self._verdicts.ends_here = True

    def heed(self) -> None:
        """Pass on what is wished of the batch, where the trials are not told of it themselves."""
        if self.is_placed and self._control.wish >= Wish.LEAVE:
            self._group.start_soon(self._pass_on_wish)

    async def _pass_on_wish(self) -> None:
        """Tell the trials that have begun; of the others none will, unless they are to be left."""
        waiting: list[TrialExecution] = []
        if self._control.wish > Wish.LEAVE:
            waiting = await keep_from_starting(self._session, self._watches)
        for watch in self._watches:
            if not watch.withdrawn:
                watch.control.interrupted = self._control.interrupted
                watch.control.raise_to(self._control.wish)
        # Last: a scheduler may take long to answer.
        await drop_jobs(self._session, waiting)

    async def _watch(self, watch: TrialExecution, work: Coroutine[Any, Any, Run]) -> None:
        try:
            with watch.scope:
                watch.trial = await self._whole(watch.trial, work)
                if isinstance(watch.console, LineConsole):
                    await watch.console.flush()
        except Exception as error:
            watch.error = error
        finally:
            # It may have been cancelled before it was begun.
            work.close()
            watch.ended.set()
            watch.over.set()
            self._news.set()

    async def _whole(self, trial: Run, work: Awaitable[Run]) -> Run:
        """What ``work`` makes of a trial; one whose records turn out to be damaged is ``broken``."""
        try:
            return await work
        except RunBroken:
            current = await self._session.store.get(trial.id)
            return await settle_or_spoil(self._session, current, console=self._console) or trial

    async def _settle_ended(self) -> bool:
        """Judge the trials that have ended; False if the batch is to end here."""
        ended = [watch for watch in self._watches if watch.ended.is_set()]
        self._watches = [watch for watch in self._watches if not watch.ended.is_set()]
        verdicts = self._verdicts
        for watch in ended:
            if watch.withdrawn:
                continue
            if watch.error is not None:
                self.end_with(watch.error)
                continue
            goes_on = (verdicts.judge if self.is_placed else verdicts.judge_recorded)(watch.trial)
            verdicts.ends_here = verdicts.ends_here or not goes_on
        return not verdicts.ends_here
