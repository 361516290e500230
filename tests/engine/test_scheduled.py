"""Runs whose executor is a scheduler: it is asked before anything is concluded, and tells why a run ended."""

from __future__ import annotations

import math
import os
from typing import Any, Literal

import anyio
import pytest
from msgspec import structs

from orchestra.engine import giving_up
from orchestra.engine.capacity import require_capacity
from orchestra.engine.control import Control, Wish
from orchestra.engine.judge import settle
from orchestra.engine.queue_state import queue_status
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart
from orchestra.engine.stopping import stop_runs
from orchestra.engine.waits import LOOK
from orchestra.errors import UserError
from orchestra.model import lifecycle
from orchestra.model.encoding import encode
from orchestra.model.execution import Exit, Fence, Identity, JobStatus
from orchestra.model.resources import Resources
from orchestra.model.retry import Retry
from orchestra.model.run import Run
from orchestra.testing.builders import a_worker
from orchestra.testing.scripted import Script
from orchestra.workspace import records
from tests.engine.scheduler import AWAY, CANCELLED, ENDED, GONE, RUNNING, TIMED_OUT, WAITING, WAITS, Scheduler
from tests.engine.workbench import Bench

pytestmark = pytest.mark.anyio


@pytest.fixture
def scheduler(bench: Bench) -> Scheduler:
    bench.executor = scheduler = Scheduler()
    return scheduler


async def submitted(bench: Bench, script: Script = WAITS, **fields: Any) -> Run:
    """A run that a process has submitted which is dead since."""
    run = await bench.make(script, **fields)
    claimed = await bench.claim(run)
    async with anyio.create_task_group() as group:
        group.start_soon(bench._execute, claimed, Control())
        await bench.until(lambda: bench.data.runs[run.id].handle is not None)
        group.cancel_scope.cancel()
    kept = structs.replace(await bench.store.get(run.id), worker=a_worker(), lease=0)
    (kept,) = await bench.store.update((kept,))
    return kept


async def on_a_node(bench: Bench, **fields: Any) -> Run:
    """One that has begun on a node of the cluster, where nobody here can look."""
    run = await submitted(bench, **fields)
    fence = Fence(
        fence="started",
        nonce="n",
        identity=Identity(host="n1/0", boot="b", pid=1, start=1),
        time=bench.clock.now(),
    )
    directory = bench.session.attempt_directory(run)
    (directory / "fence").write_bytes(encode(fence))
    # It was seen last when time began.
    os.utime(directory / "fence", (1, 1))
    return await settle(bench.session, run)


@pytest.mark.parametrize("says", [WAITING, RUNNING, AWAY, GONE], ids=lambda status: status.phase)
async def test_a_run_that_waits_in_its_scheduler_is_left_to_it_when_its_submitter_is_dead(
    bench: Bench, scheduler: Scheduler, says: JobStatus
) -> None:
    run = await submitted(bench)
    # One that it does not know was submitted just now: it may only be on its way.
    scheduler.says = says

    assert await settle(bench.session, run) == run
    assert records.read_fence(bench.session.attempt_directory(run)) is None


async def test_a_run_whose_job_was_cancelled_before_it_began_is_terminated(
    bench: Bench, scheduler: Scheduler
) -> None:
    run = await submitted(bench)
    scheduler.says = CANCELLED

    settled = await settle(bench.session, run)

    assert (settled.state, settled.cause) == ("terminated", "stopped")
    assert settled.reason == "its job ended before it was started: job 7 was cancelled"


@pytest.mark.parametrize(("says", "later"), [(ENDED, 0.0), (GONE, 500.0)])
async def test_a_run_whose_job_is_over_before_it_began_has_failed_to_start(
    bench: Bench, scheduler: Scheduler, says: JobStatus, later: float
) -> None:
    run = await submitted(bench)
    scheduler.says = says
    bench.clock.advance(later)

    settled = await settle(bench.session, run)

    assert (settled.state, settled.cause) == ("error", "not_started")
    assert says.reason in (settled.reason or "")


async def test_a_handle_that_nobody_came_to_note_is_found_by_the_jobs_name(
    bench: Bench, scheduler: Scheduler
) -> None:
    run = await submitted(bench)
    handle = run.handle
    (run,) = await bench.store.update((structs.replace(run, handle=None),))
    scheduler.reachable = False
    assert await settle(bench.session, run) == run
    scheduler.reachable = True

    settled = await settle(bench.session, run)

    assert (settled.state, settled.handle) == ("pending", handle)
    assert "run.released" not in bench.events


async def test_a_claim_whose_job_was_never_taken_is_released(bench: Bench, scheduler: Scheduler) -> None:
    run = await submitted(bench)
    (run,) = await bench.store.update((structs.replace(run, handle=None),))
    scheduler.taken.clear()

    assert (await settle(bench.session, run)).state == "staged"


async def test_a_job_that_waits_is_cancelled_by_a_stop_and_its_run_has_ended_at_once(
    bench: Bench, scheduler: Scheduler
) -> None:
    run = await submitted(bench)

    report = await stop_runs(bench.session, (run,))

    assert [(one.state, one.cause) for one in report.stopped] == [("terminated", "stopped")]
    assert scheduler.stopped == [(f"{run.id}.1", "terminate")]


async def test_a_stop_while_the_job_is_being_submitted_leaves_no_job_behind(
    bench: Bench, scheduler: Scheduler
) -> None:
    run = await bench.make(Script(start=False, exit=None, after=math.inf, submit_delay=0.2))
    claimed = await bench.claim(run)
    async with anyio.create_task_group() as group:
        group.start_soon(bench._execute, claimed, Control())
        await bench.until(lambda: bool(scheduler.submitted))
        await stop_runs(bench.session, (await bench.store.get(run.id),))
        await bench.until(lambda: bool(scheduler.stopped))
        group.cancel_scope.cancel()

    assert bench.data.runs[run.id].state != "running"
    assert scheduler.stopped == [(f"{run.id}.1", "terminate")]


async def test_a_wish_to_stop_ends_a_run_that_waits(bench: Bench, scheduler: Scheduler) -> None:
    run = await bench.make(Script(start=False, exit=None, after=math.inf))
    control = Control()
    ended: list[Run] = []

    async def execute() -> None:
        ended.append(await bench.execute(run, control))

    async with anyio.create_task_group() as group:
        group.start_soon(execute)
        await bench.until(lambda: bool(scheduler.submitted))
        scheduler.says = CANCELLED
        control.raise_to(Wish.TERMINATE)

    assert [(one.state, one.cause) for one in ended] == [("terminated", "stopped")]


@pytest.mark.parametrize("taken", [False, True])
async def test_a_wish_to_stop_is_heeded_while_a_job_can_not_be_submitted_and_what_is_in_the_way_is_said_once(
    bench: Bench, scheduler: Scheduler, taken: bool
) -> None:
    script = Script(start=False, exit=None, after=math.inf, submit_delay=1000.0)
    runs = [await bench.make(script) for _ in range(2)]
    scheduler.obstacles = "the cluster is away until noon"
    control = Control()
    ended: list[Run] = []

    async def execute(run: Run) -> None:
        ended.append(await bench.execute(run, control))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for run in runs:
                group.start_soon(execute, run)
            await bench.until(lambda: "the cluster is away until noon" in bench.stream.getvalue())
            if taken:
                # Whatever became of the call: the job is there, and is told to end as any other.
                scheduler.taken |= {f"{run.id}.1" for run in runs}
                scheduler.says = CANCELLED
            control.raise_to(Wish.INTERRUPT)

    assert [(one.state, one.exit_code) for one in ended] == [("terminated", -2)] * 2
    assert {one.reason for one in ended} == {
        "stopped before it was started" if taken else "stopped before it was submitted"
    }
    assert len(scheduler.stopped) == (2 if taken else 0)
    assert bench.stream.getvalue().count("until noon") == 1


@pytest.mark.parametrize("cause", ["timeout", "oom", "preempted", "lost"])
async def test_the_scheduler_tells_why_it_ended_a_run_and_retries_go_by_that(
    bench: Bench, scheduler: Scheduler, cause: str
) -> None:
    run = await on_a_node(bench, retry=Retry(limit=1, on=(cause,)))
    scheduler.says = structs.replace(TIMED_OUT, cause=cause)
    ended = Exit(code=-15, started=0, stopped=1, stopped_by="TERM")
    records.write_exit(bench.session.attempt_directory(run), ended, fsync=False)

    settled = await settle(bench.session, run)

    assert (settled.state, settled.cause, settled.reason) == ("terminated", cause, TIMED_OUT.reason)
    kept = records.read_exit(bench.session.attempt_directory(run))
    assert kept is not None
    assert (kept.cause, kept.code) == (cause, -15)
    assert lifecycle.wants_again(settled), "its retry does not go by the reason"


@pytest.mark.parametrize("says", [ENDED, AWAY, GONE], ids=lambda status: status.phase)
async def test_where_the_scheduler_knows_no_reason_the_exit_record_stands_as_it_is(
    bench: Bench, scheduler: Scheduler, says: JobStatus
) -> None:
    run = await on_a_node(bench)
    scheduler.says = says
    ended = Exit(code=3, started=0, stopped=1)
    records.write_exit(bench.session.attempt_directory(run), ended, fsync=False)

    settled = await settle(bench.session, run)

    assert (settled.state, settled.exit_code, settled.cause) == ("error", 3, None)


async def test_a_run_that_its_scheduler_has_killed_with_its_supervisor_is_terminated(
    bench: Bench, scheduler: Scheduler
) -> None:
    run = await on_a_node(bench)
    scheduler.says = TIMED_OUT

    settled = await settle(bench.session, run)

    assert (settled.state, settled.cause, settled.exit_code) == ("terminated", "timeout", -9)


@pytest.mark.parametrize("cause", [None, "lost"])
async def test_a_run_whose_job_is_over_without_a_known_reason_or_with_its_node_is_lost(
    bench: Bench, scheduler: Scheduler, cause: Literal["lost"] | None
) -> None:
    run = await on_a_node(bench)
    scheduler.says = structs.replace(ENDED, reason="job 7 has lost its node", cause=cause)

    settled = await settle(bench.session, run)

    assert (settled.state, settled.reason) == ("lost", "job 7 has lost its node")


@pytest.mark.parametrize("says", [RUNNING, AWAY], ids=lambda status: status.phase)
async def test_a_run_on_a_node_goes_on_while_its_scheduler_does_not_say_otherwise(
    bench: Bench, scheduler: Scheduler, says: JobStatus
) -> None:
    run = await on_a_node(bench)
    scheduler.says = says

    assert (await settle(bench.session, run)).state == "running"


async def test_a_queue_starts_what_is_too_big_for_this_computer_and_tells_the_scheduler_its_size(
    bench: Bench, scheduler: Scheduler
) -> None:
    needs = Resources(gpus=64, cpus=4096, memory=1 << 50)
    runs = [await bench.make(WAITS, resources=needs, time_limit=60.0) for _ in range(2)]
    async with bench.a_queue(jobs=2):
        await bench.until(lambda: len(scheduler.submitted) == 2)

    assert sorted(bench.started) == sorted(run.id for run in runs)
    wanted = scheduler.submitted[0].resources
    assert (wanted["gpus"], wanted["cpus"], wanted["memory"]) == (64, 4096, 1 << 50)
    assert float(wanted["time"]) > 60


async def test_a_queue_that_is_ended_says_of_each_run_whether_its_scheduler_has_it(
    bench: Bench, scheduler: Scheduler
) -> None:
    waits, unsubmitted = [
        await bench.make(structs.replace(WAITS, submit_delay=delay)) for delay in (0.0, 1000.0)
    ]
    async with bench.a_queue(jobs=2):
        await bench.until(lambda: bench.data.runs[waits.id].handle is not None)
        await bench.until(lambda: len(scheduler.submitted) == 2)

    assert (bench.state(waits), bench.state(unsubmitted)) == ("pending", "staged")
    assert f"WARNING: [queue] Leaving runs to their scheduler: {waits.id}" in bench.lines
    told = f"WARNING: [queue] Staging runs again that could not be submitted: {unsubmitted.id}"
    assert told in bench.lines
    assert not any("Leaving runs running" in line for line in bench.lines)


async def test_a_queue_ends_soon_though_its_scheduler_does_not_answer(
    bench: Bench, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_up, "ANSWER_PATIENCE", 0.05)
    run = await bench.make(structs.replace(WAITS, submit_delay=1000.0))
    scheduler.answers = False
    with anyio.fail_after(5):
        async with bench.a_queue():
            await bench.until(lambda: len(scheduler.submitted) == 1)

    kept = bench.data.runs[run.id]
    assert kept.claimed
    assert kept.lease is not None
    assert kept.lease <= bench.clock.now(), "others have to wait for it"
    told = f"Leaving runs of which the next queue will see whether they were submitted: {run.id}"
    assert f"WARNING: [queue] {told}" in bench.lines


async def test_a_run_that_a_scheduler_has_placed_elsewhere_holds_no_queue_back(
    bench: Bench, scheduler: Scheduler
) -> None:
    placed = await bench.running()
    staged = await bench.make(Script())
    await bench.queue(run_once=True)

    assert bench.state(staged) == "completed"
    assert bench.state(placed) == "running"


async def test_the_status_of_queues_tells_what_runs_wait_for_in_their_scheduler(
    bench: Bench, scheduler: Scheduler
) -> None:
    run = await submitted(bench)
    scheduler.says = WAITING
    found = await queue_status(bench.session)
    scheduler.says = RUNNING
    later = await queue_status(bench.session)

    assert found.jobs == {run.id: WAITING.reason}
    assert later.jobs == {}


async def test_a_run_in_the_foreground_says_what_it_waits_for_and_again_when_that_changes(
    bench: Bench, scheduler: Scheduler
) -> None:
    run = await bench.make(WAITS)
    control = Control()
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, run, control)
        await bench.until(lambda: LOOK in bench.clock.sleeping)
        assert "aiting" not in bench.stream.getvalue(), "told of what may have a place at once"
        for reason in ("Priority", "Priority", "Resources"):
            scheduler.says = structs.replace(WAITING, reason=f"waiting in the cluster as job 7 ({reason})")
            await _next_look(bench, scheduler)
        scheduler.says = RUNNING
        await _next_look(bench, scheduler)
        scheduler.says = CANCELLED
        control.raise_to(Wish.TERMINATE)

    told = [line for line in bench.lines if "aiting" in line]
    assert told == [f"Waiting in the cluster as job 7 ({reason})" for reason in ("Priority", "Resources")]
    assert bench.events.count("run.waiting") == 2


async def test_a_queue_tells_of_the_run_that_has_waited_longest_and_how_many_more_wait(
    bench: Bench, scheduler: Scheduler
) -> None:
    for _ in range(3):
        await bench.make(WAITS)
    async with bench.a_queue(jobs=3):
        await bench.until(lambda: sum(run.handle is not None for run in bench.data.runs.values()) == 3)
        for _ in range(4):
            await _next_look(bench, scheduler, 3)

    told = [line for line in bench.lines if "waiting in the cluster" in line]
    first = next(line.split()[2].rstrip(":") for line in told)
    assert told == [
        f"INFO: [queue] {first}: {WAITING.reason}",
        f"INFO: [queue] {first}: {WAITING.reason}; 2 more wait, too",
    ]


async def _next_look(bench: Bench, scheduler: Scheduler, runs: int = 1) -> None:
    """Let the time pass until the runs that wait in the scheduler are looked at, and that be done."""
    await bench.until(lambda: bench.clock.sleeping.count(LOOK) == runs)
    looks = scheduler.looks
    bench.clock.advance(LOOK)
    await bench.until(lambda: scheduler.looks == looks + runs)


async def test_a_queue_takes_over_runs_that_wait_in_a_scheduler(bench: Bench, scheduler: Scheduler) -> None:
    run = await submitted(bench)
    async with bench.a_queue():
        await bench.until(lambda: "run.adopted" in bench.events)

    assert bench.state(run) == "pending"
    assert bench.data.runs[run.id].handle is not None


async def test_what_a_scheduler_is_to_place_may_ask_for_more_than_this_computer_has(
    bench: Bench, scheduler: Scheduler
) -> None:
    placed, local = [
        await bench.make(executor=executor, resources=Resources(cpus=100_000))
        for executor in ("scripted", "local")
    ]
    request = RunRequest(cwd=bench.session.layout.home)

    await require_capacity(bench.session, request, Restart(run=placed, before=placed, unchanged=False))
    with pytest.raises(UserError, match="can't be started here"):
        await require_capacity(bench.session, request, Restart(run=local, before=local, unchanged=False))
