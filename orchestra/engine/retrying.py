"""Further tries of a run that has failed under its watcher's eyes. What queues take is staged again instead."""

from __future__ import annotations

from collections.abc import Callable

from orchestra.console import Console
from orchestra.engine.changes import change
from orchestra.engine.control import Control, Wish
from orchestra.engine.launch import Launch, launch
from orchestra.engine.off_loop import shielded
from orchestra.engine.session import LEASE, Session
from orchestra.engine.supervise import supervise_attempt
from orchestra.errors import OrchestraError, RunNotFound
from orchestra.model import lifecycle
from orchestra.model.duration import format_duration
from orchestra.model.run import Run
from orchestra.workspace import records

LOOK = 5.0
"""Seconds of a pause between looks whether somebody has stopped the run meanwhile."""


async def supervise_tries(
    session: Session,
    run: Run,
    *,
    console: Console,
    control: Control,
    how: Launch,
    foretold: Callable[[], object] | None,
) -> Run:
    """Follow a submitted run through all its tries, each an attempt of its own, and return it as it has ended.

    It stays claimed from one try to the next: nobody takes it for ended in the pause, and a claim that its
    holder's death ends leads back to how the run had ended.
    """
    try:
        while True:
            ended = await supervise_attempt(
                session, run, console=console, control=control, retrying=True, foretold=foretold
            )
            lacking = await _lacking(session, ended)
            if lacking is not None:
                _tell_hopeless(session, ended, lacking, console)
                await _let_go(session, ended)
                return ended
            held = await _held(session, ended, control)
            if held is None:
                return ended
            _announce(session, ended, console)
            if not await _paused(session, held, control):
                await _let_go(session, ended)
                return ended
            run = await launch(session, held, how, console=console, control=control)
    except BaseException:
        await shielded(lambda: _let_go(session, run))
        raise


async def _lacking(session: Session, ended: Run) -> str | None:
    """What this computer has too little of for the next try, which asks for more than the last one."""
    # A trial that waits for its batch has what the batch was given.
    grows = ended.retry is not None and bool(ended.retry.scale) and ended.rest != "pending"
    if not grows or not _goes_on_here(ended):
        return None
    from orchestra.engine.capacity import lacking_here

    return await lacking_here(session, ended.needs, ended.executor)


def _tell_hopeless(session: Session, ended: Run, lacking: str, console: Console) -> None:
    how = failure_text(ended).partition(" and is tried again")[0]
    message = f"{how} and is not tried again: the next try would need {lacking}"
    session.emit("log.message", ended, level="warning", message=message, console=console)


def _goes_on_here(ended: Run) -> bool:
    return lifecycle.wants_again(ended) and not lifecycle.is_left_to_queues(ended)


async def _held(session: Session, ended: Run, control: Control) -> Run | None:
    """The run as we hold it for its next try; None if there is none."""
    if not _goes_on_here(ended):
        return None
    if not session.directory(ended).is_dir():
        return None
    lease = session.clock.now() + round(LEASE * 1e6)

    def claimed(current: Run) -> Run:
        # Who looked before us may have seen the end, and could not know that there is somebody to go on.
        is_as_it_ended = (current.attempt, current.state) == (ended.attempt, ended.state)
        if not is_as_it_ended or control.wish != Wish.NONE:
            return current
        return lifecycle.claim_again(current, session.worker, lease) or current

    try:
        current = await session.store.get(ended.id)
        held = await change(session, current, claimed)
    except RunNotFound:
        return None
    return held if _is_ours(session, held) and held.attempt == ended.attempt + 1 else None


def _is_ours(session: Session, run: Run) -> bool:
    return run.claimed and run.worker == session.worker


def _announce(session: Session, ended: Run, console: Console) -> None:
    assert ended.retry is not None
    causes, pause = lifecycle.causes(ended), ended.retry.pause(ended.tries)
    session.emit(
        "run.retrying",
        ended,
        level="warning",
        message=failure_text(ended),
        console=console,
        data={"causes": causes, "pause": pause},
    )


def failure_text(ended: Run) -> str:
    """How a run has failed, and its next try if there is to be one: the same whoever has watched it."""
    if ended.state == "lost":
        how = "is lost"
    else:
        code = 1 if ended.exit_code is None else ended.exit_code
        how = f"failed with exit code {code}" if code >= 0 else f"was ended by signal {-code}"
    # What to do about it, which some reasons say on a line of their own, stays in the line.
    reason = f": {' '.join(ended.reason.splitlines())}" if ended.reason else ""
    if ended.retry is None or not lifecycle.wants_again(ended):
        return f"{ended.id} {how}{reason}"
    pause = ended.retry.pause(ended.tries)
    when = f" in {format_duration(pause)}" if round(pause) else ""
    number = f"try {ended.tries + 1} of {ended.retry.limit + 1}"
    return f"{ended.id} {how} and is tried again{when} ({number}){reason}"


async def _paused(session: Session, held: Run, control: Control) -> bool:
    """Wait until the next try is due; False if somebody wished for something meanwhile, or has stopped the run."""
    import anyio

    assert held.retry is not None
    left = held.retry.pause(held.tries)
    wished = anyio.Event()
    with control.calling(wished.set):
        while left > 0 and control.wish == Wish.NONE:
            await session.clock.wait(wished, min(left, LOOK))
            left -= LOOK
            try:
                current = await session.store.get(held.id)
            except RunNotFound:
                return False
            if not _is_ours(session, current) or current.attempt != held.attempt:
                return False
    return control.wish == Wish.NONE


async def _let_go(session: Session, run: Run) -> None:
    """End our claim, if there is one, for the try after ``run``, or after the one that it was for."""

    def let_go(current: Run) -> Run:
        fence = records.read_fence(session.attempt_directory(current))
        is_held = _is_ours(session, current) and current.attempt > run.attempt and fence is None
        return lifecycle.forgo(current) if is_held else current

    try:
        await change(session, await session.store.get(run.id), let_go)
    except OrchestraError as error:
        # It was deleted; or the store is away, and the claim runs out like that of somebody who died.
        session.emit("log.message", run, level="warning", message=f"run {run.id}: {error.message}")
