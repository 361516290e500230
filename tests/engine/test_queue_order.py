"""In which order and on which terms a queue starts what is staged, and what it tries again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from orchestra.child import supervisor
from orchestra.engine.rebuild import rebuild_store
from orchestra.engine.stopping import stop_runs
from orchestra.errors import ResolveError, UserError
from orchestra.model.execution import Exit, Identity
from orchestra.model.filters import Wanted
from orchestra.model.resources import Resources
from orchestra.model.retry import Retry
from orchestra.model.run import Run
from orchestra.model.scheduling import Group
from orchestra.testing.builders import a_batch, a_worker, an_exit
from orchestra.testing.scripted import Script
from orchestra.workspace.queue_groups import GroupsFile
from tests.engine.workbench import HANGS, Bench

pytestmark = pytest.mark.anyio

ONE_GPU = Resources(gpus=1)
HERE = Identity(host=supervisor.host_id(), boot=supervisor.boot_id(), pid=2**22 + 3, start=1)
"""A process of this computer that has ended."""


def fails(code: int = 75) -> Script:
    return Script(exit=Exit(code=code, started=0, stopped=0))


def devices(bench: Bench, run: Run) -> str | None:
    """What the newest attempt's operation finds as its devices."""
    from orchestra.workspace.orders import read_orders

    orders = read_orders(bench.session.attempt_directory(bench.data.runs[run.id]))
    assert orders is not None
    return orders.environment.get("CUDA_VISIBLE_DEVICES")


async def test_runs_of_higher_priority_are_started_first(bench: Bench) -> None:
    plain, urgent, late = [await bench.make(priority=priority) for priority in (0, 5, -1)]

    await bench.queue()

    assert bench.started == [urgent.id, plain.id, late.id]


async def test_a_priority_that_is_raised_meanwhile_counts(bench: Bench) -> None:
    first, second, third = await bench.make(HANGS), await bench.make(), await bench.make()
    async with bench.a_queue():
        await bench.until(lambda: bench.state(first) == "running")
        await bench.store.update((structs.replace(await bench.store.get(third.id), priority=1),))
        bench.end(first)
        await bench.until(lambda: bench.state(second) == "completed")

    assert bench.started == [first.id, third.id, second.id]


async def test_each_run_gets_devices_of_its_own_and_the_rest_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "2,7")
    runs = [await bench.make(HANGS, resources=ONE_GPU) for _ in range(3)]
    async with bench.a_queue(jobs=3):
        await bench.until(lambda: [bench.state(run) for run in runs] == ["running", "running", "staged"])
        assert [devices(bench, run) for run in runs[:2]] == ["2", "7"]
        bench.end(runs[0])
        await bench.until(lambda: bench.state(runs[2]) == "running")
        assert devices(bench, runs[2]) == "2"


async def test_two_queues_never_give_one_device_to_two_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0,1")
    runs = [await bench.make(HANGS, resources=ONE_GPU) for _ in range(6)]
    async with bench.a_queue(jobs=6), bench.a_queue(jobs=6):
        for done in range(0, 6, 2):
            await bench.until(
                lambda done=done: sum(bench.state(run) == "running" for run in runs) == min(2, 6 - done)
            )
            await anyio.sleep(0.02)
            running = [run for run in runs if bench.state(run) == "running"]
            assert sorted(devices(bench, run) or "" for run in running) == ["0", "1"]
            for run in running:
                bench.end(run)
            await bench.until(
                lambda done=done: sum(bench.state(run) == "completed" for run in runs) == done + 2
            )
    assert {bench.state(run) for run in runs} == {"completed"}


async def test_a_queue_gives_out_the_devices_that_are_its_own(bench: Bench) -> None:
    asking, plain = await bench.make(resources=ONE_GPU), await bench.make()

    await bench.queue(gpus="4,5")

    assert (devices(bench, asking), devices(bench, plain)) == ("4", "4,5")


async def test_a_run_that_asks_for_more_than_there_is_waits_and_holds_nobody_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0")
    big, small = await bench.make(resources=Resources(gpus=2)), await bench.make(resources=ONE_GPU)

    await bench.queue()

    assert (bench.state(big), bench.state(small)) == ("staged", "completed")


async def test_what_a_run_was_given_is_not_kept_for_its_next_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0")
    run = await bench.make(resources=ONE_GPU)
    await bench.queue()
    assert bench.data.runs[run.id].devices == ("0",)

    assert (await bench.claim(bench.data.runs[run.id])).devices == ()


async def test_a_run_that_nobody_queues_takes_what_is_free(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0,1")
    queued, mine = await bench.make(HANGS, resources=ONE_GPU), await bench.make(resources=ONE_GPU)
    claimed = await bench.claim(mine)
    async with bench.a_queue(ignore_running=True):
        await bench.until(lambda: bench.state(queued) == "running")
        await bench.execute(claimed)
        assert (devices(bench, queued), devices(bench, mine)) == ("0", "1")
        bench.end(queued)
        await bench.until(lambda: bench.state(queued) == "completed")


async def test_a_run_that_nobody_queues_waits_for_what_it_needs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0")
    queued, mine = await bench.make(HANGS, resources=ONE_GPU), await bench.make(resources=ONE_GPU)
    claimed = await bench.claim(mine)
    async with bench.a_queue(ignore_running=True), anyio.create_task_group() as group:
        await bench.until(lambda: bench.state(queued) == "running")
        group.start_soon(bench.execute, claimed)
        await bench.until(
            lambda: any("Waiting for 1 GPU(s), of which 0 are free" in line for line in bench.lines)
        )
        bench.end(queued)
        await bench.until(lambda: bench.state(queued) == "completed")
        await bench.until(lambda: 0.5 in bench.clock.sleeping)
        await bench.pass_time(1)
    assert bench.state(mine) == "completed"


async def test_a_run_that_can_never_have_what_it_needs_says_so(bench: Bench) -> None:
    run = await bench.make(resources=ONE_GPU)

    ended = await bench.execute(run)

    assert (ended.state, ended.reason) == ("error", "it needs 1 GPU(s), of which there are 0 here")


@pytest.mark.parametrize(
    "request_",
    [{"restart": "staged"}, {"operation": "job.py"}, {"operation": "job.py", "flags": {"n": [1, 2]}}],
)
async def test_what_can_never_have_what_it_needs_is_refused_before_anything_is_changed(
    bench: Bench, tmp_path: Path, request_: dict[str, Any]
) -> None:
    (tmp_path / "job.py").write_text("n = 1\n")
    staged = await bench.make(id="staged", resources=ONE_GPU)
    before = bench.data.runs[staged.id]

    with pytest.raises(UserError, match=r"can't be started here: it needs 1 GPU\(s\), of which there are 0"):
        await bench.begin(cwd=tmp_path, resources=ONE_GPU, **request_)

    assert bench.data.runs == {staged.id: before}


@pytest.mark.parametrize("flags", [{"n": 1}, {"n": [1, 2]}])
async def test_staging_warns_of_what_no_queue_here_can_ever_start(
    bench: Bench, tmp_path: Path, flags: dict[str, Any]
) -> None:
    (tmp_path / "job.py").write_text("n = 1\n")

    begun = await bench.begin(
        cwd=tmp_path, operation="job.py", flags=flags, resources=ONE_GPU, stage_trials=True
    )

    assert begun.run is not None
    warning = (
        "WARNING: No queue on this machine that is not told which devices it has (gpus=IDS) can ever start it: "
        "it needs 1 GPU(s), of which there are 0"
    )
    assert bench.lines.count(warning) == 1


async def test_no_more_runs_of_a_group_run_at_once_than_its_limit_in_all_queues(bench: Bench) -> None:
    GroupsFile(bench.layout.home).write({"db": Group(limit=1)})
    runs = [await bench.make(HANGS, group="db") for _ in range(3)]
    other = await bench.make(HANGS)
    async with bench.a_queue(jobs=4), bench.a_queue(jobs=4):
        await bench.until(lambda: [bench.state(run) for run in (runs[0], other)] == ["running", "running"])
        await anyio.sleep(0.05)
        assert [bench.state(run) for run in runs] == ["running", "staged", "staged"]
        for run in runs:
            await bench.until(lambda run=run: bench.state(run) == "running")
            bench.end(run)
        bench.end(other)
        await bench.until(lambda: bench.state(runs[2]) == bench.state(other) == "completed")


async def test_a_run_starts_after_the_one_that_it_follows(bench: Bench) -> None:
    first = await bench.make(HANGS, priority=-5)
    second = await bench.make(after=(f"{first.id}:ok",))
    async with bench.a_queue(jobs=2):
        await bench.until(lambda: bench.state(first) == "running")
        await anyio.sleep(0.05)
        assert bench.state(second) == "staged"
        bench.end(first)
        await bench.until(lambda: bench.state(second) == "completed")


async def test_a_run_whose_forerunner_failed_is_aborted_unless_any_end_will_do(bench: Bench) -> None:
    first = await bench.make(fails(3))
    needing = await bench.make(after=(f"{first.id}:ok",))
    further = await bench.make(after=(f"{needing.id}:ok",))
    anyway = await bench.make(after=(f"{first.id}:any",))

    await bench.queue()

    assert [bench.state(run) for run in (needing, further, anyway)] == ["aborted", "aborted", "completed"]
    assert bench.data.runs[needing.id].reason == (
        f"aborted because run {first.id}, which it was to follow, ended as error"
    )


async def test_a_batch_has_ended_when_all_its_trials_have(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(stage_trials=True))
    after = await bench.make(after=(f"{batch.id}:ok",))

    await bench.queue()

    assert bench.state(after) == "completed"
    assert bench.started[-1] == after.id
    assert len(bench.started) == 5


async def test_what_follows_a_batch_names_the_trial_that_failed_and_asks_for_no_trial_of_its_past(
    bench: Bench,
) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(generation=2), state="completed")
    past, failed = [await bench.make(fails(), batch=batch.id, generation=generation) for generation in (1, 2)]
    await bench.queue()
    after = await bench.make(after=(f"{batch.id}:ok",))
    await bench.queue()

    assert (bench.state(batch), bench.state(past), bench.state(failed)) == ("completed", "error", "error")
    assert bench.data.runs[after.id].reason == (
        f"aborted because trial {failed.id} of batch {batch.id}, which it was to follow, ended as error"
    )


async def test_a_run_that_failed_for_a_cause_that_was_named_is_tried_again_as_often(bench: Bench) -> None:
    run = await bench.make(retry=Retry(limit=2, on=("exit:75",)))
    bench.executor.default = fails()

    await bench.queue()

    ended = bench.data.runs[run.id]
    assert (ended.state, ended.exit_code, ended.executions, ended.attempt) == ("error", 75, 3, 3)
    assert bench.started == [run.id] * 3
    assert bench.events.count("run.retrying") == 2
    assert (
        f"WARNING: [queue] {run.id} failed with exit code 75 and is tried again (try 2 of 3)" in bench.lines
    )


async def test_a_run_that_failed_for_another_cause_is_not_tried_again(bench: Bench) -> None:
    run = await bench.make(fails(1), retry=Retry(limit=2, on=("exit:75", "oom", "lost")))

    await bench.queue()

    assert (bench.state(run), bench.data.runs[run.id].executions) == ("error", 1)


async def test_a_retry_keeps_its_place_and_waits_for_its_time(bench: Bench) -> None:
    first = await bench.make(fails(), retry=Retry(limit=1, delay=30))
    second = await bench.make(HANGS)
    async with bench.a_queue():
        await bench.until(lambda: bench.state(second) == "running")
        assert bench.state(first) == "staged"
        third = await bench.make()
        bench.end(second)
        await bench.until(lambda: bench.state(third) == "completed")
        assert bench.state(first) == "staged"
        # The poll interval, in which nothing else wakes the queue.
        await bench.until(lambda: 10 in bench.clock.sleeping)
        await bench.pass_time(31)
        await bench.until(lambda: bench.state(first) == "completed")


async def test_run_once_waits_for_retries_that_are_due_later(bench: Bench) -> None:
    run = await bench.make(fails(), retry=Retry(limit=1, delay=4.2))
    async with anyio.create_task_group() as group:
        group.start_soon(bench.queue)
        await bench.until(lambda: bool(bench.started) and bench.state(run) == "staged")
        await bench.until(lambda: any(4 < seconds <= 4.2 for seconds in bench.clock.sleeping))
        await bench.pass_time(6)
    assert bench.state(run) == "completed"


async def test_what_somebody_stopped_is_not_tried_again(bench: Bench) -> None:
    stopped = Script(exit=Exit(code=-15, started=0, stopped=0, stopped_by="TERM"))
    run = await bench.make(stopped, retry=Retry(limit=3))

    await bench.queue()

    assert (bench.state(run), bench.data.runs[run.id].executions) == ("terminated", 1)


@pytest.mark.parametrize("cause", ["timeout", "oom"])
async def test_the_cause_that_the_exit_record_names_counts(bench: Bench, cause: str) -> None:
    ends = Script(exit=Exit(code=-9, started=0, stopped=0, cause=cause))
    run = await bench.make(ends, retry=Retry(limit=1, on=(cause,)))

    await bench.queue()

    assert (bench.state(run), bench.data.runs[run.id].executions) == ("completed", 2)


async def test_a_further_try_asks_for_more(bench: Bench) -> None:
    run = await bench.make(
        Script(exit=Exit(code=-9, started=0, stopped=0, cause="oom")),
        resources=Resources(cpus=1, memory=1 << 20),
        retry=Retry(limit=1, on=("oom",), scale={"memory": 3}),
    )
    await bench.claim(run)
    assert bench.data.runs[run.id].needs.memory == 1 << 20

    again = structs.replace(bench.data.runs[run.id], executions=1)
    assert again.needs == Resources(cpus=1, memory=3 << 20)


async def test_a_run_that_no_queue_started_is_tried_again_by_its_starter(bench: Bench) -> None:
    run = await bench.make(fails(), retry=Retry(limit=1))

    ended = await bench.execute(run)

    assert (ended.state, ended.executions, ended.attempt) == ("completed", 2, 2)
    told = f"WARNING: [orchestra] {run.id} failed with exit code 75 and is tried again (try 2 of 2)"
    assert told in bench.lines


async def test_trials_of_a_batch_are_tried_again(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(), retry=Retry(limit=1))
    bench.executor.default = fails()

    await bench.execute(batch)

    trials = [run for run in bench.data.runs.values() if run.batch == batch.id]
    assert [run.executions for run in trials] == [2, 2, 2, 2]


async def test_trials_that_are_staged_take_over_the_terms_of_their_batch(bench: Bench) -> None:
    terms: dict[str, Any] = {"priority": 2, "group": "g", "resources": Resources(cpus=1), "time_limit": 9.0}
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(stage_trials=True), **terms)

    await bench.execute(batch)

    trials = [run for run in bench.data.runs.values() if run.batch == batch.id]
    assert all({name: getattr(run, name) for name in terms} == terms for run in trials)


@pytest.mark.parametrize(
    "request_",
    [
        {"time_limit": -1.0},
        {"time_limit": math.inf},
        {"warning": "USR1@5"},
        {"warning": "NOPE@5", "time_limit": 9.0},
        {"priority": 10_000_000},
        {"group": " "},
        {"resources": Resources(gpus=1.5)},
        {"after": ("nosuchrun",)},
    ],
)
async def test_terms_that_cannot_be_kept_are_refused_before_anything_is_made(
    bench: Bench, request_: dict[str, Any]
) -> None:
    (bench.layout.home.parent / "op.sh").write_text("#!/bin/sh\n")
    (bench.layout.home.parent / "op.sh").chmod(0o755)
    with pytest.raises((UserError, ResolveError)):
        await bench.begin(operation="op.sh", stage=True, **request_)
    assert not bench.data.runs


async def test_what_a_run_is_to_follow_is_named_as_runs_are(bench: Bench) -> None:
    (bench.layout.home.parent / "op.sh").write_text("#!/bin/sh\n")
    (bench.layout.home.parent / "op.sh").chmod(0o755)
    first = await bench.make()

    begun = await bench.begin(operation="op.sh", stage=True, after=(first.id[:8], f"{first.id[:9]}:any"))

    assert begun.run is not None
    assert begun.run.after == (f"{first.id}:ok", f"{first.id}:any")


async def test_a_queue_of_automatic_size_runs_as_many_as_there_are_processors(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra.engine.machine._cpus", lambda: 4.0)
    runs = [await bench.make(HANGS) for _ in range(3)]
    big = await bench.make(HANGS, resources=Resources(cpus=3), priority=1)
    async with bench.a_queue(jobs="auto"):
        await bench.until(lambda: bench.state(big) == bench.state(runs[0]) == "running")
        await anyio.sleep(0.05)
        assert [bench.state(run) for run in runs] == ["running", "staged", "staged"]
        bench.end(big)
        await bench.until(lambda: [bench.state(run) for run in runs] == ["running"] * 3)
        for run in runs:
            bench.end(run)
        await bench.until(lambda: bench.state(runs[2]) == "completed")


async def test_a_queue_that_others_outrun_looks_for_more_before_it_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [await bench.make() for _ in range(12)]
    claim, tries = bench.store.claim, 0

    async def claim_late(worker: Any, lease: float, limit: int, wanted: Wanted) -> Any:
        nonlocal tries
        tries += wanted.states == frozenset(("staged",)) and not wanted.expired
        if tries == 1 and wanted.ids is not None:
            # Somebody else claims all that we had in mind, and will not start any of it.
            for run_id in wanted.ids:
                await claim(a_worker(), lease, 1, Wanted(ids=(run_id,)))
        return await claim(worker, lease, limit, wanted)

    monkeypatch.setattr(bench.store, "claim", claim_late)
    await bench.queue(ignore_running=True)

    assert bench.started
    assert not [run for run in runs if bench.state(run) == "staged"]


async def test_a_run_that_can_not_be_claimed_does_not_keep_a_queue_busy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = await bench.make(), await bench.make()
    claim = bench.store.claim

    async def claim_others(worker: Any, lease: float, limit: int, wanted: Wanted) -> Any:
        return await claim(worker, lease, limit, structs.replace(wanted, excluded=(stuck.id,)))

    monkeypatch.setattr(bench.store, "claim", claim_others)
    await bench.queue()

    assert (bench.state(stuck), bench.state(other)) == ("staged", "completed")


async def test_runs_that_wait_for_resources_do_not_keep_each_other_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra.engine.machine._cpus", lambda: 2.0)
    runs = [await bench.make(HANGS, resources=Resources(cpus=2)) for _ in range(3)]
    async with anyio.create_task_group() as group:
        for run in runs:
            group.start_soon(bench.execute, await bench.claim(run))
        for done in range(3):
            await bench.until(lambda done=done: sum(bench.state(run) == "running" for run in runs) == 1)
            bench.end(next(run for run in runs if bench.state(run) == "running"))
            await bench.until(
                lambda done=done: sum(bench.state(run) == "completed" for run in runs) == done + 1
            )
            bench.clock.advance(1)


async def test_a_run_that_waits_sees_the_end_of_one_whose_watcher_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0")
    holder = await bench.running(resources=ONE_GPU)
    held = structs.replace(await bench.store.get(holder.id), devices=("0",), granted=True)
    await bench.store.update((structs.replace(held, worker=structs.replace(held.worker, identity=HERE)),))
    waiting = await bench.make(resources=ONE_GPU)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, await bench.claim(waiting))
        await bench.until(lambda: any("Waiting for 1 GPU(s)" in line for line in bench.lines))
        bench.end(holder)
        await bench.until(lambda: 0.5 in bench.clock.sleeping)
        bench.executor._scripted[f"{holder.id}.1"].end()
        bench.clock.advance(20)
        await bench.until(lambda: bench.state(waiting) == "completed")
    assert bench.state(holder) == "completed"


async def test_a_retry_that_was_due_long_ago_keeps_no_full_queue_busy(bench: Bench) -> None:
    again, long = await bench.make(fails(), retry=Retry(limit=1, delay=1)), await bench.make(HANGS)
    async with bench.a_queue():
        await bench.until(lambda: bench.state(long) == "running")
        assert bench.state(again) == "staged"
        await bench.pass_time(5)
        polls = bench.events.count("queue.polled")
        await anyio.sleep(0.1)
        assert bench.events.count("queue.polled") - polls < 3
        assert 10 in bench.clock.sleeping
        bench.end(long)
        await bench.until(lambda: bench.state(again) == "completed")


async def test_what_an_adopted_run_holds_is_no_free_slot(bench: Bench) -> None:
    orphan = await bench.running(starter="queue")
    waiting = await bench.make()
    bench.clock.advance(20)
    async with bench.a_queue():
        await bench.until(lambda: "run.adopted" in bench.events)
        await anyio.sleep(0.05)
        assert bench.state(waiting) == "staged"
        bench.end(orphan)
        await bench.until(lambda: bench.state(waiting) == "completed")


async def test_a_lost_store_gives_no_device_away_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0")
    holder, waiting = await bench.make(HANGS, resources=ONE_GPU), await bench.make(resources=ONE_GPU)
    async with bench.a_queue():
        await bench.until(lambda: bench.state(holder) == "running")
        before = bench.data.runs[holder.id]
        bench.data.runs.clear()
        await rebuild_store(bench.session)
        found = bench.data.runs[holder.id]
        assert (found.devices, found.granted, found.starter) == (before.devices, True, "queue")
        bench.end(holder)
        await bench.until(lambda: bench.state(waiting) == "completed")


async def test_run_once_stays_while_runs_of_others_hold_what_its_runs_wait_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_GPUS", "0")
    first, second = await bench.make(HANGS, resources=ONE_GPU), await bench.make(resources=ONE_GPU)
    never = await bench.make(resources=Resources(gpus=8))
    async with bench.a_queue():
        await bench.until(lambda: bench.state(first) == "running")
        async with anyio.create_task_group() as group:
            group.start_soon(bench.queue)
            await anyio.sleep(0.05)
            bench.end(first)
            await bench.until(lambda: bench.state(second) == "completed")

    told = f"INFO: [queue] Leaving staged run {never.id}: it waits for 8 GPU(s), of which there are 1"
    assert bench.state(never) == "staged"
    assert told in bench.lines


async def test_each_end_that_is_none_to_be_glad_of_is_told_by_the_queue(bench: Bench) -> None:
    killed = await bench.make(Script(exit=Exit(code=-9, started=0, stopped=0)))
    stopped = await bench.make(Script(exit=Exit(code=-15, started=0, stopped=0, stopped_by="TERM")))
    lost = await bench.make(Script(exit=None))
    after = await bench.make(after=(f"{killed.id}:ok",))

    await bench.queue()

    assert f"ERROR: [queue] {killed.id} was ended by signal 9" in bench.lines
    assert f"INFO: [queue] {stopped.id} was stopped" in bench.lines
    assert any(f"ERROR: [queue] {lost.id} is lost: " in line for line in bench.lines)
    reason = f"run {killed.id}, which it was to follow, ended as terminated"
    assert f"WARNING: [queue] {after.id} was aborted because {reason}" in bench.lines


async def test_a_reason_of_two_lines_is_told_in_one(bench: Bench) -> None:
    run = await bench.make(Script(exit=an_exit(code=1, reason="no such flag\nTry --help-op.")))

    await bench.queue()

    assert f"ERROR: [queue] {run.id} failed with exit code 1: no such flag Try --help-op." in bench.lines


async def test_a_run_that_waits_for_its_next_try_can_be_stopped(bench: Bench) -> None:
    run = await bench.make(fails(), retry=Retry(limit=3, delay=60))
    async with bench.a_queue():
        await bench.until(lambda: bool(bench.started) and bench.state(run) == "staged")
        lines: list[str] = []
        report = await stop_runs(bench.session, (await bench.store.get(run.id),), tell=lines.append)

        assert (report.done, bench.state(run)) == (True, "aborted")
        assert lines == [f"Run {run.id} will not be tried again"]
        assert bench.data.runs[run.id].reason == "aborted because it was stopped before its next try"
