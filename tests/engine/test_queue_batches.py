"""Batches that a queue executes itself: left to the next queue when theirs ends, and stopped without it."""

from __future__ import annotations

import math
import os

import pytest
from msgspec import structs

from orchestra.engine.queue_hand_over import hand_over_guests
from orchestra.engine.queue_state import queue_status
from orchestra.engine.stopping import stop_runs
from orchestra.model.resources import Resources
from orchestra.model.run import Run, State
from orchestra.testing.builders import a_batch, an_exit
from orchestra.testing.scripted import Script
from orchestra.workspace import records
from tests.engine.workbench import HANGS, Bench, SilentStore

pytestmark = pytest.mark.anyio


async def staged_batch(bench: Bench) -> Run:
    return await bench.make(kind="batch", flags={}, batch_spec=a_batch())


async def test_the_next_queue_goes_on_with_a_batch_whose_queue_was_told_to_end(bench: Bench) -> None:
    batch = await staged_batch(bench)
    later = await bench.make()
    bench.executor.default = HANGS
    async with bench.a_queue():
        await bench.until(lambda: len(bench.started) == 1 and len(bench.trials(batch)) == 4)

    first, *others = bench.trials(batch)
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
    assert bench.started == [*(trial.id for trial in bench.trials(batch)), later.id]
    assert bench.trial_states(batch) == ["completed"] * 4
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
        assert bench.trial_states(batch) == ["terminated", *["pending"] * 3]
        bench.executor.default = Script()
        later = await bench.make()
        await bench.until(lambda: bench.state(later) == "completed")
    assert bench.state(batch) == "terminated"


@pytest.mark.parametrize("state", ["terminated", "completed"])
async def test_a_pipeline_that_ended_with_its_queue_is_left_to_a_person(bench: Bench, state: State) -> None:
    pipeline = await bench.make(kind="steps", state=state, attempt=1)

    await hand_over_guests(bench.session, (pipeline,), bench.console, 5)

    assert bench.state(pipeline) == state
    again = f"'orchestra run --restart {pipeline.short_id}' starts it again"
    told = [line.partition("Z ")[2] or line for line in bench.lines]
    # One that was complete by then has not ended with the queue.
    assert [line.endswith(f"Pipeline {pipeline.id} ends with its queue: {again}") for line in told] == (
        [True] if state == "terminated" else []
    )


async def test_a_batch_that_has_not_ended_with_its_queue_is_told_of_and_not_staged(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(), state="error", attempt=1)

    await hand_over_guests(bench.session, (batch,), bench.console, 5)

    assert bench.state(batch) == "error"
    assert bench.lines[-1].endswith(f"Batch {batch.id} is not staged again: it is error")


async def test_a_batch_that_can_not_be_handed_over_in_time_is_told_of(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(), state="terminated", attempt=1)
    store = SilentStore(bench.data)
    store.is_silent = True

    await hand_over_guests(bench.open(store=store), (batch,), bench.console, 0.01)

    assert bench.state(batch) == "terminated"
    (told,) = bench.lines
    assert f"Batch {batch.id} may stay terminated, for the store does not answer in time" in told


async def test_a_batch_whose_end_the_store_did_not_learn_of_is_handed_over_once_it_answers(
    bench: Bench,
) -> None:
    batch = await bench.execute(
        await bench.make(kind="batch", flags={}, batch_spec=a_batch(), state="staged")
    )
    unknown = structs.replace(bench.data.runs[batch.id], state="running", worker=bench.session.worker)
    bench.data.runs[batch.id] = unknown
    directory = bench.session.attempt_directory(unknown)
    (directory / records.EXIT).unlink()
    records.write_exit(directory, an_exit(code=-15, stopped_by="TERM"), fsync=False)

    await hand_over_guests(bench.session, (unknown,), bench.console, 5)

    assert bench.state(batch) == "staged"


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
