"""Batches that a queue executes itself: left to the next queue when theirs ends, and stopped without it."""

from __future__ import annotations

import math
import os

import pytest

from orchestra.engine.queue_hand_over import hand_over_guests
from orchestra.engine.queue_state import queue_status
from orchestra.engine.stopping import stop_runs
from orchestra.model.resources import Resources
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch, an_exit
from orchestra.testing.scripted import Script
from orchestra.workspace import records
from tests.engine.workbench import HANGS, Bench

pytestmark = pytest.mark.anyio


async def staged_batch(bench: Bench) -> Run:
    return await bench.make(kind="batch", flags={}, batch_spec=a_batch())


def trials(bench: Bench, batch: Run) -> list[Run]:
    found = [run for run in bench.data.runs.values() if run.batch == batch.id]
    return sorted(found, key=lambda run: run.trial or 0)


async def test_the_next_queue_goes_on_with_a_batch_whose_queue_was_told_to_end(bench: Bench) -> None:
    batch = await staged_batch(bench)
    later = await bench.make()
    bench.executor.default = HANGS
    async with bench.a_queue():
        await bench.until(lambda: len(bench.started) == 1)

    first, *others = trials(bench, batch)
    assert (bench.state(batch), bench.state(first)) == ("staged", "running")
    assert [trial.state for trial in others] == ["pending"] * 3
    assert records.read_run(bench.session.directory(batch)).state == "staged"
    (told,) = [line for line in bench.lines if f"Staging batch {batch.id} again" in line]
    assert told.endswith("for the next queue to go on with it")
    assert any(line.endswith(f"Leaving runs running: {first.id}") for line in bench.lines)

    bench.executor.default = Script()
    bench.end(first)
    await bench.queue()

    # In its turn: before what was staged after it.
    assert bench.started == [*(trial.id for trial in trials(bench, batch)), later.id]
    assert [trial.state for trial in trials(bench, batch)] == ["completed"] * 4
    assert (bench.state(batch), bench.data.runs[batch.id].attempt) == ("completed", 2)


async def test_a_batch_is_stopped_without_the_queue_that_executes_it(bench: Bench) -> None:
    batch = await staged_batch(bench)
    bench.executor.default = Script(after=math.inf, exit=an_exit(code=-15, stopped_by="TERM"))
    async with bench.a_queue():
        await bench.until(lambda: len(bench.started) == 1)
        lines: list[str] = []
        report = await stop_runs(bench.session, (bench.data.runs[batch.id],), timeout=5, tell=lines.append)

        assert (report.done, bench.state(batch)) == (True, "terminated")
        assert lines == [f"Stopping {batch.id} (in pid {os.getpid()}, which goes on)"]
        assert [trial.state for trial in trials(bench, batch)] == ["terminated", *["pending"] * 3]
        bench.executor.default = Script()
        later = await bench.make()
        await bench.until(lambda: bench.state(later) == "completed")
    assert bench.state(batch) == "terminated"


async def test_a_pipeline_that_ended_with_its_queue_is_left_to_a_person(bench: Bench) -> None:
    pipeline = await bench.make(kind="steps", state="terminated", attempt=1)

    await hand_over_guests(bench.session, (pipeline,), bench.console)

    assert bench.state(pipeline) == "terminated"
    assert bench.lines[-1].endswith(
        f"Pipeline {pipeline.id} ends with its queue: 'orchestra run --restart {pipeline.short_id}' starts it again"
    )


async def test_a_trial_that_runs_on_without_its_batch_keeps_the_device_that_the_batch_was_given(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0")
    gpu = Resources(gpus=1)
    await bench.make(kind="batch", flags={}, batch_spec=a_batch(), resources=gpu)
    other = await bench.make(resources=gpu)
    bench.executor.default = HANGS
    async with bench.a_queue():
        await bench.until(lambda: len(bench.started) == 1)

    async with bench.a_queue(jobs=2):
        await bench.until(
            lambda: any(f"{other.short_id}" in line or "GPU(s)" in line for line in bench.lines)
        )
        assert (await queue_status(bench.session)).waits[other.id] == "1 GPU(s), of which 0 are free"
        assert len(bench.started) == 1
        bench.end(bench.data.runs[bench.started[0]])
        await bench.until(lambda: len(bench.started) == 2)
