"""Batches of scripted trials that end in all ways, for tests of what finishes them."""

from __future__ import annotations

from typing import Any

import anyio

from orchestra.engine.control import Control, Wish
from orchestra.model.execution import Exit
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch
from orchestra.testing.scripted import Script
from tests.engine.test_batch import Scripts
from tests.engine.workbench import Bench

FAILS = Script(exit=Exit(code=3, started=0, stopped=0))
KILLED = Script(exit=Exit(code=-9, started=0, stopped=0))
VANISHES = Script(exit=None)
POINTS = [{"epochs": epochs, "lr": lr} for epochs in (3, 5) for lr in (0.01, 0.1)]
"""What the batch of the builders proposes, in its order."""


def script(bench: Bench, scripts: dict[int, Script]) -> None:
    """Let the trials with these numbers go by scripts of their own, from now on."""
    bench.executor.scripts = Scripts(bench, scripts)


async def swept(bench: Bench, scripts: dict[int, Script], *, fields: Any = None, **spec: Any) -> Run:
    """A batch that has come to its end, its trials as they were scripted; those to come succeed."""
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(**spec), **(fields or {}))
    script(bench, scripts)
    ended = await bench.execute(batch)
    script(bench, {})
    return ended


async def interrupted(bench: Bench, scripts: dict[int, Script], after: int, **spec: Any) -> Run:
    """A batch that was told to stop when the trial with the number ``after`` was running: that is terminated."""
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(**spec))
    hangs = Script(after=60, exit=Exit(code=-15, started=0, stopped=0, stopped_by="TERM"))
    script(bench, {**scripts, after: hangs})
    control = Control()
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch, control)
        await bench.until(lambda: len(bench.started) == after)
        control.raise_to(Wish.TERMINATE)
    script(bench, {})
    return await bench.store.get(batch.id)


async def started_again(bench: Bench, **request: Any) -> Run:
    """The batch at its end, after a request that starts it."""
    begun = await bench.begin(**request)
    assert begun.run is not None
    assert begun.what == "claimed"
    return await bench.execute(begun.run)


async def end_trial(bench: Bench, batch: Run, number: int) -> None:
    """Let the trial with this number come to its end, once it runs."""

    def running() -> list[Run]:
        return [
            run
            for run in bench.data.runs.values()
            if (run.batch, run.trial, run.state) == (batch.id, number, "running")
        ]

    await bench.until(lambda: bool(running()))
    bench.end(running()[0])
