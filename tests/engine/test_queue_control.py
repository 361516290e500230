"""What is told to all queues: pause, limits, order; and what they tell of themselves."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestra.contracts import Page
from orchestra.engine.control import Wish
from orchestra.engine.queue_control import (
    WAIT_POLL,
    Queues,
    move,
    set_group,
    set_priority,
    wait_for,
)
from orchestra.engine.queue_state import queue_status
from orchestra.errors import UserError
from orchestra.model.filters import RunQuery
from orchestra.model.resources import Resources
from orchestra.model.run import Run
from orchestra.model.term_words import HIGHEST_PRIORITY
from orchestra.testing.builders import a_batch, an_exit
from orchestra.testing.scripted import Script
from orchestra.workspace import records
from tests.engine.workbench import HANGS, Bench

pytestmark = pytest.mark.anyio


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(bench: Bench) -> None:
    running, waiting = await bench.make(HANGS), await bench.make()
    async with bench.a_queue(jobs=2):
        await bench.until(lambda: bench.state(running) == "running")
        await bench.until(lambda: bench.state(waiting) == "completed")
        await set_group(bench.session, paused=True)
        late = await bench.make()
        await anyio.sleep(0.05)
        assert (bench.state(running), bench.state(late)) == ("running", "staged")
        await set_group(bench.session, paused=False)
        await bench.until(lambda: bench.state(late) == "completed")
        bench.end(running)
        await bench.until(lambda: bench.state(running) == "completed")


async def test_a_queue_that_runs_once_goes_on_after_a_pause_amid_its_work(bench: Bench) -> None:
    running, waiting = await bench.make(HANGS), await bench.make()
    async with bench.a_queue(run_once=True):
        await bench.until(lambda: bench.state(running) == "running")
        await set_group(bench.session, paused=True)
        bench.end(running)
        await bench.until(lambda: any("Paused: nothing is started until" in line for line in bench.lines))
        assert bench.state(waiting) == "staged"
        await set_group(bench.session, paused=False)
        await bench.until(lambda: bench.state(waiting) == "completed")


async def test_a_batch_that_is_waited_for_has_ended_when_the_trials_that_it_gets_have(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(stage_trials=True))
    ended: list[Run] = []
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            ended.extend(await wait_for(bench.session, [batch.id], timeout=60))

        group.start_soon(wait)
        bench.executor.default = Script(exit=an_exit(code=1))
        await bench.queue()
        bench.clock.advance(1)

    assert [run.state for run in ended] == ["completed", *["error"] * 4]


async def test_trials_that_a_stopped_batch_has_left_and_those_of_its_past_are_not_waited_for(
    bench: Bench,
) -> None:
    spec = a_batch(generation=2)
    batch = await bench.make(kind="batch", flags={}, batch_spec=spec, state="terminated")
    past = await bench.make(batch=batch.id, generation=1)
    await bench.make(batch=batch.id, generation=2, state="pending")

    ended = await wait_for(bench.session, [batch.id], timeout=60)

    assert bench.state(past) == "staged"
    assert [run.id for run in ended] == [batch.id]


async def test_a_new_limit_of_runs_at_once_counts_in_queues_that_are_at_work(bench: Bench) -> None:
    runs = [await bench.make(HANGS) for _ in range(3)]
    async with bench.a_queue():
        await bench.until(lambda: [bench.state(run) for run in runs] == ["running", "staged", "staged"])
        await set_group(bench.session, limit=3)
        await bench.until(lambda: [bench.state(run) for run in runs] == ["running"] * 3)
        await set_group(bench.session, limit=0)
        more = await bench.make(HANGS)
        bench.end(runs[0])
        bench.end(runs[1])
        await bench.until(lambda: bench.state(runs[1]) == "completed")
        await anyio.sleep(0.05)
        assert bench.state(more) == "staged"
        bench.end(runs[2])
        await bench.until(lambda: bench.state(more) == "running")


async def test_runs_that_are_moved_come_where_they_were_put(bench: Bench) -> None:
    a, b, c, d = [await bench.make() for _ in range(4)]

    await move(bench.session, (c, d), first=True)
    await move(bench.session, (await bench.store.get(a.id),))
    await move(bench.session, (await bench.store.get(d.id),), before=await bench.store.get(b.id))
    await bench.queue()

    assert bench.started == [c.id, d.id, b.id, a.id]


async def test_a_run_between_neighbours_of_one_moment_is_put_there_all_the_same(bench: Bench) -> None:
    now = bench.clock.now()
    first, second, third = [await bench.make(staged=now) for _ in range(3)]

    await move(bench.session, (third,), before=second)
    await bench.queue()

    assert bench.started == [first.id, third.id, second.id]


async def test_a_priority_is_given_to_what_waits_only(bench: Bench) -> None:
    first, second = await bench.make(), await bench.make()
    done = await bench.execute(await bench.make())

    await set_priority(bench.session, (second,), 7)
    await bench.queue()

    assert bench.started[1:] == [second.id, first.id]
    with pytest.raises(UserError, match="waits for no queue"):
        await set_priority(bench.session, (done,), 1)


async def test_turns_and_priorities_outlive_the_store(bench: Bench) -> None:
    now = bench.clock.now()
    runs = [await bench.make(staged=now) for _ in range(4)]
    first, second, third, fourth = runs
    # No room between them: the second is changed, too.
    await move(bench.session, (third,), before=second)
    await set_priority(bench.session, (fourth,), 3)

    recorded = [records.read_run(bench.session.directory(run)) for run in runs]

    assert recorded[1:] == [await bench.store.get(run.id) for run in runs[1:]]
    assert [run.id for run in sorted(recorded, key=lambda run: run.turn)] == [
        run.id for run in (fourth, first, third, second)
    ]


async def test_waiting_looks_only_at_what_has_not_ended_and_tells_all_at_last(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [await bench.execute(await bench.make()) for _ in range(3)]
    running = await bench.make(HANGS)
    asked: list[set[str]] = []
    query = bench.store.query

    async def watched(wanted: RunQuery) -> Page:
        if wanted.ids is not None:
            asked.append(set(wanted.ids))
        return await query(wanted)

    async with bench.a_queue():
        await bench.until(lambda: bench.state(running) == "running")
        ids = [run.id for run in (*done, running)]
        monkeypatch.setattr(bench.store, "query", watched)
        ended: list[Run] = []

        async def wait() -> None:
            ended.extend(await wait_for(bench.session, ids))

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await bench.until(lambda: asked == [set(ids)])
            await bench.pass_time(WAIT_POLL)
            await bench.until(lambda: asked == [set(ids), {running.id}])
            bench.end(running)
            await bench.until(lambda: bench.state(running) == "completed")
            await bench.pass_time(WAIT_POLL)

    assert {run.id: run.state for run in ended} == dict.fromkeys(ids, "completed")
    assert asked[-1] == set(ids)


async def test_a_run_does_not_come_before_itself(bench: Bench) -> None:
    first, second = await bench.make(), await bench.make()

    with pytest.raises(UserError, match="it is one of them"):
        await move(bench.session, (second, first), before=first)
    assert [await bench.store.get(run.id) for run in (first, second)] == [first, second]


async def test_a_priority_that_no_run_can_have_is_refused(bench: Bench) -> None:
    run = await bench.make()

    for priority in (HIGHEST_PRIORITY + 1, -(10**20)):
        with pytest.raises(UserError, match="invalid priority"):
            await set_priority(bench.session, (run,), priority)
    await set_priority(bench.session, (run,), -HIGHEST_PRIORITY)


async def test_the_status_tells_why_each_staged_run_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0")
    running = await bench.make(HANGS, resources=Resources(gpus=1))
    async with bench.a_queue():
        await bench.until(lambda: bench.state(running) == "running")
        gpu, plain = await bench.make(resources=Resources(gpus=1)), await bench.make()
        after, never = await bench.make(after=(f"{running.id}:ok",)), await bench.make(after=("gone:ok",))

        status = await queue_status(bench.session)

        assert [run.id for run in status.running] == [running.id]
        assert [run.id for run in status.staged] == [gpu.id, plain.id, after.id, never.id]
        assert status.waits == {
            gpu.id: "1 GPU(s), of which 0 are free",
            plain.id: "a free slot",
            after.id: f"run(s) to end: {running.short_id}",
            never.id: "never: run gone, which it was to follow, was deleted",
        }
        assert len(status.queues) == 1
        bench.end(running)
        await bench.until(lambda: bench.state(plain) == "completed")


async def test_the_status_tells_what_each_queue_does(bench: Bench) -> None:
    async def doing() -> str:
        (told,) = (await queue_status(bench.session)).doing.values()
        return told

    async with bench.a_queue() as control:
        await bench.until(lambda: "queue.waiting" in bench.events)
        assert await doing() == "waits for staged runs"
        await set_group(bench.session, paused=True)
        assert await doing() == "paused"
        await set_group(bench.session, paused=False)
        run = await bench.make(HANGS)
        await bench.until(lambda: bench.state(run) == "running")
        assert await doing() == "1 running"

        control.raise_to(Wish.DRAIN)
        await bench.until(lambda: "queue.stopping" in bench.events)
        status = await queue_status(bench.session)
        assert list(status.doing.values()) == [f"stopping: waits for run {run.short_id} to end"]
        assert status.stopping == {queue.id for queue in status.queues}
        waiting = await bench.make()
        assert (await queue_status(bench.session)).waits == {waiting.id: "a queue"}
        bench.end(run)


async def test_without_a_queue_what_is_staged_waits_for_one(bench: Bench) -> None:
    run = await bench.make()

    assert (await queue_status(bench.session)).waits == {run.id: "a queue"}


async def test_settings_that_can_not_be_read_end_no_queue(bench: Bench) -> None:
    run = await bench.make()
    (bench.layout.home / "queue.json").write_text("{torn")

    await bench.queue()

    assert bench.state(run) == "completed"
    told = [line for line in bench.lines if "What is set for all queues can't be read" in line]
    assert len(told) == 1


async def test_a_run_whose_directory_goes_while_it_is_claimed_ends_no_queue(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0,1")
    gone, good = [await bench.make(resources=Resources(gpus=1)) for _ in range(2)]
    await bench.remove(gone)

    await bench.queue(jobs=2)

    assert bench.state(good) == "completed"
    assert bench.state(gone) not in ("staged", "pending", "running")


@pytest.mark.parametrize("limit", ["x", True, 1.5, -1, 9999])
async def test_what_is_no_number_of_runs_is_refused_also_from_a_program(bench: Bench, limit: Any) -> None:
    with pytest.raises(UserError, match=f"invalid number of runs {limit}"):
        await Queues(bench.session).parallel(limit)


async def test_waiting_for_a_batch_is_waiting_for_its_trials(bench: Bench) -> None:
    batch = await bench.make(kind="batch", state="completed", exit_code=0)
    trial = await bench.make(batch=batch.id, trial=1)

    left = await Queues(bench.session).wait([batch.id], timeout=0)

    assert {run.id for run in left} == {batch.id, trial.id}
