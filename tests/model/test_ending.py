"""Why runs and attempts ended as they did."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from orchestra.model import lifecycle
from orchestra.model.ending import Ending, ending_of, ending_of_exit, signal_name
from orchestra.testing.builders import a_run, an_exit

ENDS: list[tuple[dict[str, Any], Ending]] = [
    ({"code": 0}, Ending()),
    ({"code": 0, "stopped_by": "TERM"}, Ending()),
    ({"code": 3}, Ending(cause="exit", reason="it exited with code 3")),
    ({"code": -11}, Ending(cause="signal", signal="SIGSEGV", reason="SIGSEGV ended it")),
    (
        {"code": -15, "stopped_by": "TERM"},
        Ending(cause="stopped", signal="SIGTERM", reason="it was stopped by SIGTERM"),
    ),
    (
        {"code": 4, "stopped_by": "INT"},
        Ending(cause="stopped", reason="it was told to stop, and exited with code 4"),
    ),
    (
        {"code": -9, "cause": "oom", "reason": "no memory"},
        Ending(cause="oom", signal="SIGKILL", reason="no memory"),
    ),
    (
        {"code": -15, "cause": "timeout", "reason": "late"},
        Ending(cause="timeout", signal="SIGTERM", reason="late"),
    ),
    (
        {"code": 127, "cause": "not_started", "reason": "no file"},
        Ending(cause="not_started", reason="no file"),
    ),
]


@pytest.mark.parametrize(("fields", "expected"), ENDS)
def test_a_run_and_its_attempt_have_the_same_reason(fields: dict[str, Any], expected: Ending) -> None:
    exit_record = an_exit(**fields)

    assert ending_of_exit(exit_record) == expected
    assert ending_of(lifecycle.finish(a_run(state="running"), exit_record)) == expected


def test_ends_without_an_exit_have_reasons_too() -> None:
    lost = lifecycle.lose(a_run(state="running"), 1, "its supervisor died")
    assert ending_of(lost) == Ending(cause="lost", reason="its supervisor died")
    aborted = lifecycle.abort(a_run(state="staged"), 1, "aborted because")
    assert ending_of(aborted) == Ending(cause="dependency", reason="aborted because")
    never = a_run(state="aborted", reason="its starter ended before it was started")
    assert ending_of(never).cause == "not_started"
    assert ending_of(a_run(state="running")) == Ending()


def test_a_run_that_could_not_be_started_is_tried_again_by_its_exit_code_alone() -> None:
    run = lifecycle.finish(a_run(state="running"), an_exit(code=127, cause="not_started"))

    assert lifecycle.causes(run) == ("exit:127",)


def test_signals_without_a_name_have_their_number() -> None:
    assert (signal_name(9), signal_name(63)) == ("SIGKILL", "signal 63")
    assert signal_name(signal.SIGRTMAX) == "SIGRTMAX"
