"""``--needed`` of several at once: one of them makes the run, and the others wait for what becomes of it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from orchestra.child.supervisor import COOKIE
from orchestra.console import Console
from orchestra.engine.choosing import STAGED
from orchestra.engine.control import Control, Wish
from orchestra.engine.judge import settle_active
from orchestra.engine.queue_control import WAIT_POLL, wait_for
from orchestra.engine.session import Session
from orchestra.errors import Stopped
from orchestra.model.run import ACTIVE, Run, State
from orchestra.workspace.queue_groups import try_turn

AT_WORK: frozenset[State] = ACTIVE
STAGED_TOO: frozenset[State] = ACTIVE | STAGED
_LOCK = "needed.lock"
_PAUSE = 0.02


@asynccontextmanager
async def decided_alone(session: Session, control: Control | None) -> AsyncGenerator[None]:
    """From the look for a run that makes another one needless until that is made, nobody else may look.

    Raises:
        Stopped: somebody wished for that first.
    """
    while True:
        with try_turn(session.layout.home, _LOCK) as mine:
            if mine:
                yield
                return
        _check(control, "another command with --needed was making its run")
        await session.clock.sleep(_PAUSE)


async def at_work(session: Session, matching: Sequence[Run]) -> tuple[Run, ...]:
    """Those of ``matching`` that somebody starts, watches, or is to start; not what this process is a part of."""
    await settle_active(session)
    own = os.environ.get(COOKIE, "").partition(".")[0]
    found = [await session.store.get(run.id) for run in matching if run.id != own]
    return tuple(run for run in found if run.state == "staged" or run.busy)


async def wait_for_them(
    session: Session, runs: Sequence[Run], *, console: Console, control: Control | None
) -> None:
    """Wait until ``runs`` have ended.

    Raises:
        Stopped: somebody wished for that first.
    """
    names = ", ".join(run.short_id for run in runs)
    console.say(
        f"Waiting for {names}, which {'is' if len(runs) == 1 else 'are'} the same (--needed specified)"
    )
    left: Sequence[Run] = runs
    while left:
        _check(control, f"it waited for {names}")
        ended = await wait_for(session, [run.id for run in left], timeout=WAIT_POLL)
        left = [run for run in ended if run.busy]


def _check(control: Control | None, why: str) -> None:
    if control is not None and control.wish != Wish.NONE:
        raise Stopped(f"stopped while {why}", *control.signal)
