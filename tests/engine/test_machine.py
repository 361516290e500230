"""What a computer has, and what of it is left by others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestra.child.supervisor import COOKIE
from orchestra.engine import machine
from orchestra.engine.machine import ThisMachine
from orchestra.errors import UserError
from orchestra.testing.builders import a_run


class FakeGpus:
    """Two devices, with the processes that compute on them."""

    count = 2

    def __init__(self, *pids: list[int] | None) -> None:
        self._pids = list(pids)

    def pids(self) -> list[list[int] | None]:
        return self._pids


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (machine.DEVICES, machine.VISIBLE):
        monkeypatch.delenv(name, raising=False)


def with_gpus(monkeypatch: pytest.MonkeyPatch, *pids: list[int] | None) -> ThisMachine:
    monkeypatch.setattr(machine, "_open_gpus", lambda: FakeGpus(*pids))
    return ThisMachine()


@pytest.mark.parametrize(
    ("gpus", "orchestra_gpus", "visible", "devices"),
    [
        (None, None, None, ("0", "1")),
        ("5", "1,2", "3", ("5",)),
        (None, "1,2", "3", ("1", "2")),
        (None, "", "3", ()),
        (None, None, "GPU-8f, 3", ("GPU-8f", "3")),
        (None, None, "", ()),
        ("", None, None, ()),
    ],
)
def test_devices_are_those_named_before_those_found(
    monkeypatch: pytest.MonkeyPatch,
    gpus: str | None,
    orchestra_gpus: str | None,
    visible: str | None,
    devices: tuple[str, ...],
) -> None:
    for name, value in ((machine.DEVICES, orchestra_gpus), (machine.VISIBLE, visible)):
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(machine, "_open_gpus", lambda: FakeGpus([], []))

    assert ThisMachine(gpus).machine.devices == devices


def test_without_gpus_there_are_none() -> None:
    assert ThisMachine().machine.devices == ()


def test_a_device_that_is_named_twice_is_refused() -> None:
    with pytest.raises(UserError, match="named twice"):
        ThisMachine("0,1,0")


def test_a_device_on_which_somebody_else_computes_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_gpus(monkeypatch, [os.getpid()], None)

    assert found.busy(()) == ("0",)


def test_our_own_runs_are_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(state="running", devices=("1",))
    child: Any = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        env={**os.environ, COOKIE: f"{run.id}.1.abc"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    try:
        found = with_gpus(monkeypatch, [], [child.pid])
        assert (found.busy((run,)), found.busy(())) == ((), ("1",))
    finally:
        child.communicate(b"\n")


def test_a_process_that_can_not_be_seen_counts_for_the_run_that_was_given_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = a_run(state="running", devices=("0:0.5",))
    found = with_gpus(monkeypatch, [2**22 + 7], [2**22 + 8])

    assert found.busy((run,)) == ("1",)


def test_the_limits_of_a_container_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("1048576\n")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)

    found = ThisMachine().machine

    assert (found.cpus, found.memory) == (min(1.5, os.cpu_count() or 9), 1 << 20)


def test_no_limit_is_no_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)

    found = ThisMachine().machine

    assert found.cpus is not None and found.cpus >= 1
    assert found.memory is not None and found.memory > 1 << 24
