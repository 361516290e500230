"""Why a run, or one of its attempts, ended as it did: in a word for programs, in a sentence for people."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from msgspec import Struct

from orchestra.model.execution import Exit
from orchestra.model.lifecycle import outcome
from orchestra.model.run import Run

MOST_NAMED = 5
"""Processes whose pids are told to people."""


class Ending(Struct, frozen=True, kw_only=True, gc=False):
    """The reason of an end. What ended well, or goes on, has none."""

    cause: str | None = None
    """``exit``, ``signal``, ``oom``, ``timeout``, ``preempted``, ``stopped``, ``lost``, ``dependency`` or
    ``not_started``."""
    signal: str | None = None
    """The name of the signal that ended it: ``SIGKILL``."""
    reason: str | None = None


def ending_of(run: Run) -> Ending:
    """Why ``run`` ended as it did."""
    match run.state:
        case "lost":
            return Ending(cause="lost", reason=run.reason)
        case "aborted":
            return Ending(cause=run.cause or "not_started", reason=run.reason)
        case "error" | "terminated":
            return _failed(run.exit_code, run.cause, run.reason)
        case _:
            return Ending(reason=run.reason)


def ending_of_exit(exit: Exit) -> Ending:
    """Why the attempt that left ``exit`` behind ended as it did."""
    if outcome(exit) == "completed":
        return Ending(reason=exit.reason)
    return _failed(exit.code, exit.cause or ("stopped" if exit.stopped_by is not None else None), exit.reason)


def leftovers_text(pids: Sequence[int]) -> str:
    """What an operation left running, as is told after "left"."""
    some = "a process" if len(pids) == 1 else f"{len(pids)} processes"
    named = " ".join(map(str, pids[:MOST_NAMED])) + (" ..." if len(pids) > MOST_NAMED else "")
    return f"{some} running, now ended (pid {named})"


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; a signal without a name has its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _failed(code: int | None, cause: str | None, reason: str | None) -> Ending:
    if code is None:
        return Ending(cause=cause, reason=reason)
    name = signal_name(-code) if code < 0 else None
    if cause == "stopped":
        said = f"it was stopped by {name}" if name else f"it was told to stop, and exited with code {code}"
    else:
        said = f"{name} ended it" if name else f"it exited with code {code}"
    return Ending(cause=cause or ("signal" if name else "exit"), signal=name, reason=reason or said)
