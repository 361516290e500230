"""Records and functions that the tests of this folder share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from orchestra.model.batch import Batch, Choices, Interval
from orchestra.model.execution import Exit, Fence, Handle, Identity
from orchestra.model.operation import FlagDef, Operation, choices_of
from orchestra.model.run import ResolvedSource, Run, Worker

IDENTITY = Identity(host="other/0123", boot="b", pid=7, start=8)


def a_run(**changes: Any) -> Run:
    """A staged run of a script."""
    fields: dict[str, Any] = {
        "id": "ab" * 16,
        "operation": Operation(name="say.py", kind="script", main="say.py"),
        "state": "staged",
    }
    return Run(**{**fields, **changes})


def a_full_run() -> Run:
    """A run that has a value in nearly every field."""
    return a_run(
        kind="batch",
        flags={"lr": 0.1, "name": "é\n", "none": None, "deep": {"a": [1, True, -0.5]}},
        operation=Operation(
            name="train.py",
            kind="script",
            source="/p",
            flags=(FlagDef(name="lr", default=0.1, choices=choices_of(1, 2.5), type="float"),),
            flags_dest="args",
        ),
        label="lr=0.1",
        tags=("a", "b"),
        batch="cd" * 16,
        trial=3,
        batch_spec=Batch(space={"x": Choices(values=(1, "a")), "y": Interval(low=0.5, high=2)}, seed=7),
        state="running",
        attempt=2,
        revision=9,
        worker=Worker(identity=IDENTITY, nonce="n", starter="queue"),
        lease=5,
        handle=Handle(executor="local", job="j", token="1:2"),
        resolved=(ResolvedSource(source="file:x", paths=("x",)),),
        environment={"A": "b"},
        command=("python", "say.py"),
        exit_code=-9,
    )


A_FENCE = Fence(fence="started", nonce="n", identity=IDENTITY, time=12)
AN_EXIT = Exit(code=-15, started=1, stopped=2, size=3, stopped_by="TERM", reason="why", leftovers=(4, 5))


def run_python(code: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter and return what it printed."""
    command = [*options.pop("prefix", ()), sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
