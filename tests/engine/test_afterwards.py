"""What is done beside the runs: whatever goes wrong with it is a warning, not a traceback of a thread."""

from __future__ import annotations

import threading

import pytest

from orchestra.engine.afterwards import Afterwards
from orchestra.errors import HomeError


@pytest.mark.parametrize(
    ("error", "warning"),
    [
        (HomeError("no room", "make some"), "no room"),
        (OSError("gone"), "gone"),
        (ValueError("odd"), "internal error beside the run: ValueError: odd"),
    ],
)
def test_what_goes_wrong_beside_a_run_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, error: Exception, warning: str
) -> None:
    uncaught: list[object] = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)

    def work() -> str | None:
        raise error

    afterwards = Afterwards()
    afterwards.do(work)
    assert afterwards.finish() == (warning,)
    afterwards.do_now(work)

    assert afterwards.finish() == (warning,)
    assert uncaught == []


def test_a_thread_is_waited_for_only_once_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    afterwards = Afterwards()
    start = threading.Thread.start
    waiter = threading.Thread(target=afterwards.finish)

    def started(thread: threading.Thread) -> None:
        # Another thread comes to wait just now.
        if thread is not waiter and not waiter.ident:
            start(waiter)
            waiter.join(0.05)
        start(thread)

    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    monkeypatch.setattr(threading.Thread, "start", started)
    afterwards.do(lambda: None)
    waiter.join()
    afterwards.finish()

    assert raised == []
