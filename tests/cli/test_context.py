"""Coroutines without an event loop: driven by hand where that does, in a loop where it must be."""

from __future__ import annotations

import asyncio
import logging

import anyio
import anyio.to_thread
import pytest

from orchestra.cli.context import Suspended, complete, drive, in_event_loop


async def at_once() -> int:
    return 7


def test_a_coroutine_that_never_waits_needs_no_event_loop() -> None:
    assert drive(at_once()) == 7
    assert complete(at_once) == 7


def test_a_coroutine_that_waits_after_all_is_closed_and_said_to_wait() -> None:
    closed: list[bool] = []

    class Wait:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield

    async def waits() -> None:
        try:
            await Wait()
        finally:
            closed.append(True)

    with pytest.raises(Suspended):
        drive(waits())
    assert closed == [True]


@pytest.mark.parametrize("way", ["asyncio", "anyio", "thread", "bare", "translated"])
def test_what_needs_an_event_loop_gets_one_from_the_beginning(way: str) -> None:
    started: list[str] = []

    async def work() -> int:
        started.append(way)
        if way == "asyncio":
            await asyncio.sleep(0.001)
        elif way == "anyio":
            await anyio.sleep(0.001)
        elif way == "thread":
            await anyio.to_thread.run_sync(int)
        elif way == "bare":
            await asyncio.sleep(0)
        else:
            try:
                asyncio.get_running_loop()
            except RuntimeError as error:
                raise LookupError("the store is away") from error
        return 7

    assert complete(work) == 7
    assert started == [way, way]


def test_an_error_of_its_own_is_not_tried_again() -> None:
    tries: list[int] = []

    async def fails() -> None:
        tries.append(1)
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        complete(fails)
    assert tries == [1]


@pytest.mark.parametrize(
    ("logger", "shown"),
    [("orchestra.warm", "[orchestra] it is cold\\x1b"), ("urllib3.pool", "[urllib3.pool] it is cold\\x1b")],
)
def test_what_plugins_and_libraries_warn_of_is_shown_as_our_own_warnings_are(
    logger: str, shown: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "lastResort", None)

    async def warn() -> None:
        # The test runner has set up logging, so that the last resort is not asked by itself.
        assert logging.lastResort is not None
        logging.lastResort.handle(
            logging.getLogger(logger).makeRecord(logger, 30, "", 1, "it is %s\x1b", ("cold",), None)
        )

    in_event_loop(warn)

    assert capfd.readouterr().err == f"WARNING: {shown}\n"
