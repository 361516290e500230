"""The attempts of a run, one after the other, as their records have them."""

from __future__ import annotations

from msgspec import Struct

from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model.ending import Ending, ending_of, ending_of_exit
from orchestra.model.execution import Fence
from orchestra.model.lifecycle import outcome
from orchestra.model.marks import bears_marks
from orchestra.model.run import Run, State
from orchestra.workspace import records
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.tracebacks import last_traceback

UNTOLD = "how it ended was not recorded"
FAILED: frozenset[State] = frozenset(("error", "terminated", "lost"))


class Attempt(Struct, frozen=True, kw_only=True):
    """One execution of a run."""

    number: int
    state: State
    exit_code: int | None = None
    started: int | None = None
    stopped: int | None = None
    ending: Ending = Ending()
    leftovers: tuple[int, ...] = ()
    """The processes that outlived the main one, and were ended."""


def attempts_of(session: Session, run: Run) -> list[Attempt]:
    """The attempts of ``run`` that have left something behind, the first one first."""
    directory = session.directory(run)
    return [_attempt(session, run, number) for number in records.attempts(directory) if number <= run.attempt]


def traceback_of(session: Session, run: Run) -> str | None:
    """The traceback at the end of what a run that failed has printed. (That of a batch is its trials'.)

    Raises:
        HomeError, StoreUnavailable: the output can't be read.
    """
    if run.kind != "run" or run.state not in FAILED:
        return None
    found = last_traceback(session.attempt_directory(run))
    if found is None or not bears_marks(run):
        return found
    # What the operation prints of its secrets is its own affair; what we take out of that to show it is ours.
    return session.vault.concealed_texts(run, (found,))[0]


def _attempt(session: Session, run: Run, number: int) -> Attempt:
    directory = attempt_directory(session.directory(run), number)
    try:
        exit_record, fence = records.read_exit(directory), records.read_fence(directory)
    except OrchestraError as error:
        return Attempt(number=number, state="broken", ending=Ending(reason=error.message))
    if exit_record is not None:
        return Attempt(
            number=number,
            state=outcome(exit_record),
            exit_code=exit_record.code,
            started=exit_record.started,
            stopped=exit_record.stopped,
            ending=ending_of_exit(exit_record),
            leftovers=exit_record.leftovers,
        )
    if fence is None or fence.fence == "revoked":
        if number == run.attempt and run.worker is not None:
            return Attempt(number=number, state="pending")
        never = Ending(cause="not_started", reason="its starter ended before it was started")
        return Attempt(number=number, state="aborted", ending=never)
    if number == run.attempt and run.state in ("running", "lost", "broken", "pending"):
        state: State = "running" if run.state == "pending" else run.state
        return Attempt(
            number=number, state=state, started=fence.time, stopped=run.stopped, ending=ending_of(run)
        )
    return _lost(session, run, number, fence)


def _lost(session: Session, run: Run, number: int, fence: Fence) -> Attempt:
    """An attempt without a record of its end: what was found out then is in the run's history, if anywhere."""
    stopped, reason = None, UNTOLD
    for event in records.read_events(session.directory(run)):
        match event:
            case {"event": "run.lost", "attempt": int(lost), "time": int(time), "reason": str(said)}:
                stopped, reason = (time, said) if lost == number else (stopped, reason)
            case _:
                pass
    ending = Ending(cause="lost", reason=reason)
    return Attempt(number=number, state="lost", started=fence.time, stopped=stopped, ending=ending)
