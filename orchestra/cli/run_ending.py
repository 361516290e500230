"""What ``runs info`` tells of how a run ended, and of its attempts."""

from __future__ import annotations

from typing import Any

from orchestra.cli import run_text
from orchestra.console import printable
from orchestra.engine.attempts import Attempt, attempts_of, traceback_of
from orchestra.engine.session import Session
from orchestra.model.ending import Ending, ending_of
from orchestra.model.run import Run


def ending_fields(session: Session, run: Run) -> dict[str, Any]:
    """Why it ended as it did, with the traceback that it printed at last, and what became of each attempt."""
    fields: dict[str, Any] = _ending(ending_of(run))
    if traceback := traceback_of(session, run):
        fields["traceback"] = "\n".join(map(printable, traceback.split("\n")))
    if attempts := attempts_of(session, run):
        if attempts[-1].number == run.attempt and attempts[-1].leftovers:
            fields["leftovers"] = list(attempts[-1].leftovers)
        fields["attempts"] = [_attempt(attempt) for attempt in attempts]
    return fields


def attempt_lines(attempts: list[dict[str, Any]]) -> dict[str, str]:
    """Each attempt in a line, by its number. Of a run that was executed once all is said already."""
    return {str(one["attempt"]): _line(one) for one in attempts} if len(attempts) > 1 else {}


def _line(attempt: dict[str, Any]) -> str:
    when = " to ".join(
        run_text.format_time(attempt[name]) for name in ("started", "stopped") if attempt[name]
    )
    reason = f" ({one_line(attempt['reason'])})" if "reason" in attempt else ""
    return ", ".join(filter(None, (attempt["status"] + reason, when)))


def one_line(reason: str) -> str:
    """A reason whose second sentence, on a line of its own, says what to do."""
    return " ".join(reason.split("\n"))


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.number,
        "status": attempt.state,
        "exit_status": attempt.exit_code,
        "started": attempt.started,
        "stopped": attempt.stopped,
        **_ending(attempt.ending),
        **({"leftovers": list(attempt.leftovers)} if attempt.leftovers else {}),
    }


def _ending(ending: Ending) -> dict[str, Any]:
    told = {"reason": ending.reason, "cause": ending.cause, "signal": ending.signal}
    return {name: value for name, value in told.items() if value}
