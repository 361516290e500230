"""Coroutines without an event loop: driven by hand where that does, in a loop where it must be."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from orchestra.cli.context import Suspended, complete, drive, in_event_loop
from tests.cli.conftest import Call


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


LOOKS = (
    *(
        "runs",
        "runs --json",
        "runs info",
        "runs --deleted",
        "select -A",
        "compare --csv -",
        "tag -l",
        "ls",
        "cat -O",
    ),
    *("diff", "comment --list", "check --runs", "queue status", "watch", "archive", "api runs", "export out"),
)
CHANGES = (
    "label -s x -y",
    "tag -a x -y",
    "runs rm -y",
    "stop -y",
    "queue pause",
    "run --restart 1",
    "runs purge -y",
)


@pytest.mark.parametrize("command", (*LOOKS, *CHANGES))
def test_a_home_that_was_named_and_is_not_there_is_refused_and_not_made(
    call: Call, tmp_path: Path, command: str
) -> None:
    refused = call("-H", "slip", *command.split())

    assert refused.code == 1
    assert f"there is no home '{tmp_path}/slip'" in refused.error
    assert not (tmp_path / "slip").exists()


@pytest.mark.parametrize("command", LOOKS)
def test_who_looks_into_the_home_that_is_the_default_does_not_make_it(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    looked = call(*command.split())

    assert "home" not in looked.error
    assert not home.exists()
    assert os.listdir(tmp_path) == []
    if command == "runs":
        assert (looked.code, looked.output) == (0, "")


def test_the_first_run_makes_the_home(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    assert call("-H", "new", "explain", "train.py").code == 0
    assert not (tmp_path / "new").exists()

    assert call("-H", "new", "run", "train.py", "--stage", "-y").code == 0
    assert len(call("-H", "new", "runs").lines) == 1
