"""Who tries a run again that has failed, and what it is until then."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskGroup
from msgspec import structs

from orchestra.engine.control import Control, Wish
from orchestra.engine.judge import settle
from orchestra.engine.rebuild import rebuild_store
from orchestra.engine.session import LEASE
from orchestra.engine.stopping import stop_runs
from orchestra.model.execution import Exit
from orchestra.model.resources import Resources
from orchestra.model.retry import Retry
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch, a_worker
from orchestra.testing.memory_store import MemoryData, MemoryStore
from orchestra.testing.scripted import Script
from tests.engine.workbench import Bench

pytestmark = pytest.mark.anyio

FAILS = Script(exit=Exit(code=75, started=0, stopped=0))


@asynccontextmanager
async def pausing(
    bench: Bench, run: Run, control: Control | None = None
) -> AsyncGenerator[tuple[TaskGroup, list[Run]]]:
    """While ``run`` waits for its second try; with the task that executes it, and what it has come to."""
    ended: list[Run] = []

    async def work() -> None:
        ended.append(await bench.execute(run, control))

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await bench.until(lambda: bench.clock.waiting > 0)
        yield group, ended


async def test_a_run_is_not_over_while_it_waits_for_its_next_try(bench: Bench) -> None:
    run = await bench.make(FAILS, retry=Retry(limit=1, delay=4))
    async with pausing(bench, run) as (_, ended):
        held = bench.data.runs[run.id]
        assert (held.state, held.claimed, held.attempt) == ("pending", True, 2)
        bench.clock.advance(5)

    assert (ended[0].state, ended[0].executions) == ("completed", 2)


async def test_what_follows_a_run_waits_for_its_next_try(bench: Bench) -> None:
    run = await bench.make(FAILS, retry=Retry(limit=1, delay=4))
    after = await bench.make(after=(f"{run.id}:ok",))
    async with pausing(bench, run), bench.a_queue():
        await bench.until(lambda: "queue.blocked" in bench.events or bench.state(after) != "staged")
        assert bench.state(after) == "staged"
        bench.clock.advance(5)
        await bench.until(lambda: bench.state(after) == "completed")


@pytest.mark.parametrize(("state", "left"), [("staged", "error"), ("error", "error"), ("pending", "pending")])
async def test_a_run_whose_watcher_dies_between_two_tries_is_where_it_can_go_on(
    bench: Bench, state: str, left: str
) -> None:
    run = await bench.make(FAILS, state=state, retry=Retry(limit=1, delay=4))
    async with pausing(bench, run) as (group, _):
        held = bench.data.runs[run.id]
        await bench.store.update((structs.replace(held, worker=a_worker()),))
        group.cancel_scope.cancel()

    bench.clock.advance(LEASE + 1)
    settled = await settle(bench.session, await bench.store.get(run.id))

    assert (settled.state, settled.worker) == (left, None)
    assert (settled.exit_code, settled.executions) == (75 if left == "error" else None, 1)


@pytest.mark.parametrize("how", ["cancelled", "wish", "stopped"])
async def test_a_try_that_is_called_off_leaves_no_claim(bench: Bench, how: str) -> None:
    run = await bench.make(FAILS, retry=Retry(limit=1, delay=4))
    control = Control()
    async with pausing(bench, run, control) as (group, ended):
        if how == "cancelled":
            group.cancel_scope.cancel()
        elif how == "wish":
            control.raise_to(Wish.INTERRUPT)
        else:
            await stop_runs(bench.open(), [bench.data.runs[run.id]])
            bench.clock.advance(5)

    left = bench.data.runs[run.id]
    assert (left.state, left.worker, left.exit_code, left.executions) == ("error", None, 75, 1)
    assert [run.state for run in ended] == ([] if how == "cancelled" else ["error"])
    assert len(bench.started) == 1


async def test_trials_are_tried_again_within_the_batch_that_a_queue_runs(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(), retry=Retry(limit=1))
    bench.executor.default = FAILS

    await bench.queue()

    found = bench.trials(batch)
    assert bench.started == [run.id for run in found for _ in range(2)]
    assert {(run.state, run.executions) for run in found} == {("error", 2)}
    assert (bench.state(batch), bench.data.runs[batch.id].executions) == ("completed", 1)


async def test_a_batch_that_fails_with_a_trial_is_not_tried_again(bench: Bench) -> None:
    spec = a_batch(fail_on_trial_error=True)
    batch = await bench.make(kind="batch", flags={}, batch_spec=spec, retry=Retry(limit=1))
    bench.executor.default = FAILS

    await bench.queue()

    assert (bench.state(batch), bench.data.runs[batch.id].executions) == ("error", 1)
    assert bench.trials(batch)[0].executions == 2


async def test_staged_trials_are_tried_again_by_queues(bench: Bench) -> None:
    spec = a_batch(stage_trials=True)
    batch = await bench.make(kind="batch", flags={}, batch_spec=spec, retry=Retry(limit=1))
    bench.executor.default = FAILS

    await bench.execute(batch)
    await bench.queue()

    assert {(run.state, run.executions) for run in bench.trials(batch)} == {("error", 2)}


async def test_a_run_without_its_directory_is_not_tried_again(bench: Bench) -> None:
    run = await bench.make(retry=Retry(limit=1000))
    await bench.remove(run)

    await bench.queue()

    assert (bench.state(run), bench.data.runs[run.id].attempt) == ("lost", 1)


async def test_a_run_whose_directory_goes_while_it_runs_is_not_tried_again(bench: Bench) -> None:
    running = await bench.running(starter="queue", retry=Retry(limit=1000))
    bench.clock.advance(LEASE + 1)
    await bench.remove(running)

    assert (await settle(bench.session, running)).state == "lost"
    assert bench.state(running) == "lost"


async def test_a_try_that_is_due_later_outlives_the_store(bench: Bench) -> None:
    run = await bench.make(FAILS, retry=Retry(limit=1, delay=3600))
    async with bench.a_queue():
        await bench.until(lambda: bool(bench.started) and bench.state(run) == "staged")
    due = bench.data.runs[run.id].not_before
    lost = bench.open(store=MemoryStore(MemoryData(now=bench.clock.now)))

    await rebuild_store(lost)

    found = await lost.store.get(run.id)
    assert (found.state, found.not_before, found.executions) == ("staged", due, 1)


async def test_a_batch_tries_what_it_has_taken_over_again(bench: Bench) -> None:
    spec = a_batch()
    batch = await bench.make(kind="batch", flags={}, batch_spec=spec, retry=Retry(limit=1), state="pending")
    trial = await bench.running(
        Script(exit=Exit(code=75, started=0, stopped=0), after=0.5),
        state="pending",
        batch=batch.id,
        trial=1,
        generation=spec.generation,
        retry=Retry(limit=1),
    )
    bench.clock.advance(LEASE + 1)

    await bench.execute(batch)

    assert (bench.state(trial), bench.data.runs[trial.id].executions) == ("completed", 2)


async def test_a_run_is_not_tried_again_where_the_next_try_would_need_more_than_there_is(
    bench: Bench,
) -> None:
    bench.executor.default = FAILS
    run = await bench.make(retry=Retry(limit=5, scale={"cpus": 100.0}), resources=Resources(cpus=1))

    ended = await bench.execute(run)

    assert (ended.state, ended.exit_code, ended.executions) == ("error", 75, 1)
    assert (bench.state(run), bench.data.runs[run.id].attempt, bench.data.runs[run.id].worker) == (
        "error",
        1,
        None,
    )
    (line,) = [line for line in bench.lines if "is not tried again" in line]
    assert "the next try would need 100 CPU(s), of which there are " in line
