"""What a queue claims, starts, waits for and leaves behind: with scripted jobs, in no time."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from orchestra.child import supervisor
from orchestra.contracts import Page
from orchestra.engine.control import Control, Wish
from orchestra.engine.judge import settle
from orchestra.engine.queue_control import set_group
from orchestra.engine.session import LEASE
from orchestra.errors import StoreUnavailable
from orchestra.model.execution import Exit, Handle, Identity, Job
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.resources import Resources
from orchestra.model.run import Run, RunKind, Worker
from orchestra.project.find import queue_operation
from orchestra.testing.builders import a_batch, a_worker
from orchestra.testing.memory_store import MemoryStore
from orchestra.testing.scripted import NAME, Script
from orchestra.workspace import records
from tests.engine.workbench import HANGS, Bench, SilentStore

IMPOSSIBLE = {"epochs": 3, "lr": "a\0b"}
"""Flags that make no command line."""

pytestmark = pytest.mark.anyio


async def test_staged_runs_are_started_oldest_stage_time_first(bench: Bench) -> None:
    now = bench.clock.now()
    late, early, middle = [await bench.make(staged=now + offset) for offset in (3000, 1000, 2000)]

    await bench.queue()

    assert bench.started == [early.id, middle.id, late.id]
    assert await bench.states(kinds=frozenset(("run",))) == ["completed"] * 3


async def test_one_run_has_ended_before_the_next_is_started(bench: Bench) -> None:
    first, second = await bench.make(HANGS), await bench.make()
    async with bench.a_queue():
        await bench.until(lambda: bench.state(first) == "running")
        await anyio.sleep(0.05)
        assert bench.state(second) == "staged"

        bench.end(first)
        await bench.until(lambda: bench.state(second) == "completed")


async def test_a_queue_starts_as_many_at_once_as_it_has_jobs(bench: Bench) -> None:
    runs = [await bench.make(HANGS) for _ in range(3)]
    async with bench.a_queue(jobs=2):
        await bench.until(lambda: [bench.state(run) for run in runs] == ["running", "running", "staged"])
        await anyio.sleep(0.05)
        assert bench.state(runs[2]) == "staged"

        bench.end(runs[1])
        await bench.until(lambda: [bench.state(run) for run in runs] == ["running", "completed", "running"])


async def test_runs_at_once_are_shown_in_whole_lines(bench: Bench) -> None:
    one, two = await bench.make(HANGS), await bench.make(HANGS)
    async with bench.a_queue(jobs=2):
        await bench.until(lambda: bench.state(one) == bench.state(two) == "running")
        with bench.writer(one) as first, bench.writer(two) as second:
            first.write(0, b"one ")
            second.write(0, b"two ")
            await anyio.sleep(0.05)
            first.write(0, b"is whole\nand ")
            second.write(0, b"is whole\n")
            await bench.until(lambda: "two is whole" in bench.lines)
        bench.end(one)
        bench.end(two)
        await bench.until(lambda: bench.state(one) == bench.state(two) == "completed")
        await bench.until(lambda: "and " in bench.lines)

    assert {"one is whole", "two is whole", "and "} <= set(bench.lines)


async def test_run_once_ends_with_the_last_run_and_says_what_it_did(bench: Bench) -> None:
    one = await bench.make(Script(output=b"hello\n"))
    two = await bench.make(Script(exit=Exit(code=3, started=0, stopped=0)))

    queue = await bench.queue()

    assert (queue.state, queue.exit_code, queue.reason) == ("completed", 0, None)
    assert bench.lines == [
        "INFO: [queue] Processing staged runs",
        f"INFO: [queue] Starting staged run {one.id}",
        "hello",
        f"INFO: [queue] Starting staged run {two.id}",
        f"ERROR: [queue] {two.id} failed with exit code 3",
    ]


async def test_run_once_with_nothing_to_do_ends_without_a_word(bench: Bench) -> None:
    assert (await bench.queue()).state == "completed"
    assert bench.lines == []


async def test_run_once_takes_what_is_staged_while_it_works(bench: Bench) -> None:
    first = await bench.make(HANGS)
    async with bench.a_queue(run_once=True):
        await bench.until(lambda: bench.state(first) == "running")
        second = await bench.make()
        bench.end(first)
        await bench.until(lambda: bench.state(second) == "completed")


@pytest.mark.parametrize("starter", ["command", "batch"])
async def test_a_run_that_no_queue_started_holds_a_queue_back_and_is_named_once(
    bench: Bench, starter: str
) -> None:
    blocker = await bench.running(starter=starter)  # pyright: ignore[reportArgumentType]
    staged = await bench.make()
    message = f"INFO: [queue] Found staged run {staged.id} (waiting for runs to finish: {blocker.short_id})"
    async with bench.a_queue():
        await bench.until(lambda: message in bench.lines)
        later = await bench.make()
        await anyio.sleep(0.05)
        assert bench.state(staged) == "staged"

        bench.end(blocker)
        # Whoever watches it will notice; here it is the queue, for the lease of its watcher is over.
        await bench.pass_time(20)
        await bench.until(lambda: bench.state(later) == "completed")

    assert bench.lines.count(message) == 1
    assert bench.started[1:] == [staged.id, later.id]


async def test_a_queue_says_what_it_waits_for_when_that_is_not_staged_runs(bench: Bench) -> None:
    await set_group(bench.session, paused=True)
    adopted = await bench.running(starter="queue")
    bench.clock.advance(LEASE + 1)
    async with bench.a_queue():
        await bench.until(lambda: len(bench.lines) == 1)
        await bench.make(id="first", after=("second:any",))
        await bench.make(id="second")
        await set_group(bench.session, paused=False)
        await bench.until(lambda: len(bench.lines) == 2)
        await set_group(bench.session, limit=2)
        bench.end(adopted)
        await bench.until(lambda: len(bench.lines) == 5)
        await set_group(bench.session, "few", paused=True)
        await bench.make(id="third", group="few")
        await bench.until(lambda: len(bench.lines) == 6)

    assert [line.removeprefix("INFO: [queue] ") for line in bench.lines[:6]] == [
        "Paused: nothing is started until 'orchestra queue resume'",
        f"Waiting for run {adopted.short_id} to end, started by an earlier queue",
        "Starting staged run second",
        "Starting staged run first",
        "Waiting for staged runs",
        "Staged run third waits for group few to be resumed",
    ]


async def test_a_blocked_queue_that_is_to_run_once_ends_well(bench: Bench) -> None:
    blocker = await bench.running()
    staged = await bench.make()

    queue = await bench.queue()

    assert (queue.state, queue.exit_code, bench.state(staged)) == ("completed", 0, "staged")
    assert bench.lines == [
        "INFO: [queue] Processing staged runs",
        f"INFO: [queue] Found staged run {staged.id} (waiting for runs to finish: {blocker.short_id})",
    ]


async def test_a_queue_without_staged_runs_does_not_tell_who_would_block_it(bench: Bench) -> None:
    await bench.running()

    await bench.queue()

    assert bench.lines == []


async def test_what_queues_started_and_queues_themselves_block_nobody(bench: Bench) -> None:
    await bench.running(starter="queue")
    async with bench.a_queue(poll_interval=77):
        staged = await bench.make()
        await bench.until(lambda: bench.state(staged) == "completed")


async def test_ignore_running_starts_beside_what_runs(bench: Bench) -> None:
    await bench.running()
    staged = await bench.make()

    await bench.queue(ignore_running=True)

    assert bench.state(staged) == "completed"


async def test_a_job_that_is_refused_fails_its_run_alone(bench: Bench) -> None:
    bad = await bench.make(Script(refuse="no more licences"))
    good = await bench.make()

    queue = await bench.queue()

    assert queue.state == "completed"
    kept = await bench.store.get(bad.id)
    assert (kept.state, kept.exit_code, kept.reason) == ("error", 1, "no more licences")
    assert f"ERROR: [queue] {bad.id} failed with exit code 1: no more licences" in bench.lines
    assert bench.state(good) == "completed"


async def test_a_run_whose_executor_is_gone_fails_alone(bench: Bench) -> None:
    bad, good = await bench.make(executor="nowhere"), await bench.make()

    await bench.queue()

    kept = await bench.store.get(bad.id)
    assert (kept.state, kept.reason, bench.state(good)) == (
        "error",
        "there is no executor 'nowhere'",
        "completed",
    )


async def test_a_run_that_can_not_be_started_is_set_aside_and_stays_staged(bench: Bench) -> None:
    bad = await bench.make(flags=IMPOSSIBLE)
    good = await bench.make()

    queue = await bench.queue()

    assert queue.state == "completed"
    assert (bench.state(bad), bench.state(good)) == ("staged", "completed")
    assert [line for line in bench.lines if bad.id in line and "ERROR" in line] == [
        f"ERROR: [queue] {bad.id} could not be run: run {bad.id}: a NUL can't be part of an argument"
    ]


async def test_a_run_that_was_set_aside_is_tried_again_when_it_is_staged_again(bench: Bench) -> None:
    bad = await bench.make(flags=IMPOSSIBLE)
    async with bench.a_queue():
        await bench.until(lambda: any("could not be run" in line for line in bench.lines))
        await bench.until(lambda: bench.state(bad) == "staged")

        await bench.begin(restart=bad.id, stage=True, flags={"lr": 0.5})
        await bench.pass_time(2)
        await bench.until(lambda: bench.state(bad) == "completed")


def take_away(bench: Bench, run: Run) -> Path:
    """What is left where the disk of a run's chosen directory was."""
    disk = Path(run.directory or "")
    disk.rename(disk.with_name("away"))
    disk.mkdir()
    return disk


@pytest.mark.parametrize("kind", ["run", "batch"])
async def test_a_staged_run_whose_disk_is_away_is_passed_over_and_the_reason_told(
    bench: Bench, tmp_path: Path, kind: RunKind
) -> None:
    away = await bench.make(kind=kind, directory=str(tmp_path / "disk"), resources=Resources(cpus=1))
    good = await bench.make()
    disk = take_away(bench, away)

    assert (await bench.queue()).state == "completed"

    assert bench.state(good) == "completed"
    assert (bench.state(away), bench.data.runs[away.id].attempt) == ("staged", 0)
    assert list(disk.iterdir()) == []
    reason = f"it waits for its directory '{disk}', of which nothing is there"
    assert any(f"Leaving staged run {away.id}: {reason}" in line for line in bench.lines)


@pytest.mark.parametrize(
    ("kind", "needs"), [("run", Resources()), ("run", Resources(cpus=1)), ("batch", Resources())]
)
async def test_a_run_whose_disk_goes_away_once_it_is_chosen_is_staged_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: RunKind, needs: Resources
) -> None:
    run = await bench.make(kind=kind, directory=str(tmp_path / "disk"), resources=needs, executor="other")
    claim, disks = bench.store.claim, list[Path]()

    async def goes_away(*arguments: Any) -> Any:
        claimed = await claim(*arguments)
        if any(one.id == run.id for one in claimed) and not disks:
            disks.append(take_away(bench, run))
        return claimed

    monkeypatch.setattr(bench.store, "claim", goes_away)
    assert (await bench.queue(max_fails=1, executor=NAME)).state == "completed"

    assert (bench.state(run), bench.data.runs[run.id].attempt) == ("staged", 1)
    assert list(disks[0].iterdir()) == []
    assert not any("WARN" in line or "ERROR" in line for line in bench.lines)


async def test_a_queue_in_a_queue_stays_staged(bench: Bench) -> None:
    inner = await bench.make(kind="queue", operation=queue_operation(), flags={})
    run = await bench.make()

    assert (await bench.queue()).state == "completed"

    assert (bench.state(inner), bench.state(run)) == ("staged", "completed")
    assert bench.started == [run.id]


async def test_a_staged_batch_is_executed_and_its_trials_do_not_block(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())
    after = await bench.make()

    await bench.queue()

    assert (bench.state(batch), bench.state(after)) == ("completed", "completed")
    trials = [run for run in bench.data.runs.values() if run.batch == batch.id]
    assert [(run.state, run.starter) for run in trials] == [("completed", "queue")] * 4
    assert bench.started[-1] == after.id


async def test_a_run_whose_watcher_is_gone_is_watched_to_its_end(bench: Bench) -> None:
    orphan = await bench.running(starter="queue")
    async with bench.a_queue():
        await anyio.sleep(0.03)
        assert (await bench.store.get(orphan.id)).worker == orphan.worker

        await bench.pass_time(20)
        await bench.until(lambda: "run.adopted" in bench.events)
        with bench.writer(orphan) as writer:
            writer.write(0, b"nobody reads this\n")
        bench.end(orphan)
        await bench.until(lambda: bench.state(orphan) == "completed")

    assert "nobody reads this" not in bench.lines


async def test_a_run_whose_queue_was_killed_is_watched_at_once_and_keeps_its_slot(bench: Bench) -> None:
    orphan = await bench.running(starter="queue")
    killed = Identity(host=supervisor.host_id(), boot=supervisor.boot_id(), pid=1 << 29, start=1)
    dead = structs.replace(a_worker(), identity=killed)
    (orphan,) = await bench.store.update((structs.replace(orphan, worker=dead),))
    staged = await bench.make()
    async with bench.a_queue():
        await bench.until(lambda: "run.adopted" in bench.events)
        await anyio.sleep(0.03)
        assert bench.state(staged) == "staged"
        bench.end(orphan)
        await bench.until(lambda: bench.state(staged) == "completed")

    assert bench.state(orphan) == "completed"


async def test_a_claim_whose_worker_is_gone_is_released_and_taken(bench: Bench) -> None:
    staged = await bench.make()
    claimed = await bench.claim(staged, worker=a_worker())
    assert claimed.state == "pending"
    async with bench.a_queue():
        await bench.pass_time(20)
        await bench.until(lambda: bench.state(staged) == "completed")

    assert [job.name for job in bench.executor.submitted] == [f"{staged.id}.2"]


async def test_drain_waits_for_what_runs_and_claims_no_more(bench: Bench) -> None:
    control = Control()
    running, staged = await bench.make(HANGS), await bench.make()
    async with anyio.create_task_group() as group:

        async def work() -> None:
            queue = await bench.queue(control, run_once=False)
            assert (queue.state, queue.exit_code) == ("completed", 0)

        group.start_soon(work)
        await bench.until(lambda: bench.state(running) == "running")
        control.raise_to(Wish.DRAIN)
        await bench.until(lambda: "INFO: [queue] Stopping queue" in bench.lines)
        await anyio.sleep(0.03)
        assert bench.state(running) == "running"
        bench.end(running)

    assert (bench.state(running), bench.state(staged)) == ("completed", "staged")


async def test_leave_ends_at_once_and_gives_up_the_watch_of_what_goes_on(bench: Bench) -> None:
    running = await bench.make(HANGS)
    async with bench.a_queue() as control:
        await bench.until(lambda: bench.state(running) == "running")
        control.raise_to(Wish.LEAVE)

    assert f"WARNING: [queue] Leaving runs running: {running.id}" in bench.lines
    kept = await bench.store.get(running.id)
    assert (kept.state, bench.executor.stopped) == ("running", [])
    assert kept.lease is not None
    assert kept.lease <= bench.clock.now()


async def test_stop_runs_stops_them_and_waits(bench: Bench) -> None:
    running = await bench.make(Script(after=math.inf, exit=Exit(code=-15, started=0, stopped=0)))
    async with bench.a_queue(stop_runs=True) as control:
        await bench.until(lambda: bench.state(running) == "running")
        control.raise_to(Wish.DRAIN)
        await bench.until(lambda: bench.state(running) == "terminated")

    assert bench.executor.stopped == [(f"{running.id}.1", "terminate")]


async def test_a_claim_that_came_to_no_start_is_given_back_at_the_end(bench: Bench) -> None:
    slow = await bench.make(Script(submit_delay=math.inf))
    async with bench.a_queue() as control:
        await bench.until(lambda: bench.started == [slow.id])
        assert bench.state(slow) == "pending"
        control.raise_to(Wish.LEAVE)

    kept = await bench.store.get(slow.id)
    assert (kept.state, kept.worker) == ("staged", None)


async def test_one_run_with_a_damaged_record_does_not_stop_the_others(bench: Bench) -> None:
    bad, good = await bench.make(HANGS), await bench.make(HANGS)
    async with bench.a_queue(jobs=2):
        await bench.until(lambda: bench.state(bad) == bench.state(good) == "running")
        (bench.session.attempt_directory(bench.data.runs[bad.id]) / "exit").write_bytes(b"{torn")
        await bench.until(lambda: any(bad.id in line and "could not be run" in line for line in bench.lines))
        for _ in range(3):
            await bench.pass_time(2)
            await anyio.sleep(0.03)
        third = await bench.make()
        bench.end(good)
        await bench.until(lambda: bench.state(good) == bench.state(third) == "completed")
        await bench.until(lambda: bench.state(bad) == "broken")


@pytest.mark.parametrize("fields", [{}, {"kind": "batch", "flags": {}, "batch_spec": a_batch()}])
async def test_a_staged_run_with_a_damaged_record_is_not_started(
    bench: Bench, fields: dict[str, Any]
) -> None:
    bad, good = await bench.make(**fields), await bench.make()
    record = bench.session.directory(bad) / ".orchestra" / "run.json"
    record.write_bytes(b"{torn")

    await bench.queue()

    assert (bench.state(bad), bench.state(good)) == ("broken", "completed")
    assert bench.started == [good.id]
    assert str(record) in (bench.data.runs[bad.id].reason or "")
    assert any(f"{bad.id} could not be run: " in line and str(record) in line for line in bench.lines)


class _LockedStore(MemoryStore):
    """Can't be used for the first claims."""

    locked = 3

    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        if self.locked:
            self.locked -= 1
            raise StoreUnavailable("the store is locked")
        return await super().claim(worker, lease, limit, wanted)


async def test_a_store_that_is_away_for_a_while_is_waited_for(bench: Bench) -> None:
    run = await bench.make()
    session = bench.open(store=_LockedStore(bench.data))
    async with anyio.create_task_group() as group:

        async def advance() -> None:
            while bench.state(run) != "completed":
                await anyio.sleep(0.01)
                bench.clock.advance(10)

        group.start_soon(advance)
        queue = await bench.queue(session=session)

    assert queue.state == "completed"
    assert bench.lines[0] == "WARNING: [queue] The store can't be used: the store is locked"


@pytest.mark.parametrize("does", ["nothing", "a start", "a run", "a batch"])
async def test_a_queue_that_is_told_to_end_does_not_stay_with_a_store_that_says_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    for patience in (
        "giving_up.TOLD_PATIENCE",
        "inprocess.TOLD_PATIENCE",
        "queue.TOLD_PATIENCE",
        "queue.HAND_OVER_PATIENCE",
    ):
        monkeypatch.setattr(f"orchestra.engine.{patience}", 0.02)
    store, control = SilentStore(bench.data), Control()
    session = bench.open(store=store)
    bench.executor.default = HANGS
    batch = {"kind": "batch", "flags": {}, "batch_spec": a_batch()}
    run = None if does == "nothing" else await bench.make(**(batch if does == "a batch" else {}))
    submitting = anyio.Event()

    async def submit(job: Job) -> Handle:
        submitting.set()
        await anyio.sleep_forever()
        raise AssertionError

    if does == "a start":
        monkeypatch.setattr(bench.executor, "submit", submit)
    ended: list[Run] = []
    async with anyio.create_task_group() as group:

        async def work() -> None:
            ended.append(await bench.queue(control, session=session, run_once=False))

        group.start_soon(work)
        if run is None:
            await bench.until(lambda: "INFO: [queue] Waiting for staged runs" in bench.lines)
        elif does == "a start":
            await bench.until(lambda: submitting.is_set())
        else:
            await bench.until(lambda: len(bench.started) == 1)
            await bench.until(lambda: bench.data.runs[bench.started[0]].state == "running")
        store.is_silent = True
        await bench.make()
        await anyio.sleep(0.02)
        control.raise_to(Wish.DRAIN if run is None else Wish.LEAVE)
        with anyio.fail_after(2):
            while not ended:  # noqa: ASYNC110
                await anyio.sleep(0.01)

    assert ended[0].state == "completed"
    assert bench.state(ended[0]) == "running"
    told = "\n".join(bench.lines)
    assert ("others can have it in 15 seconds" in told, "could not be run" in told) == (True, False)
    if run is not None:
        assert f"Leaving runs: {run.id}" in told
    assert (f"Batch {does == 'a batch' and run and run.id} may stay terminated" in told) == (
        does == "a batch"
    )
    # Their exit records tell whoever looks next.
    store.is_silent = False
    assert (await settle(bench.open(), await bench.store.get(ended[0].id))).state == "completed"
    if run is not None:
        left = await settle(bench.open(), await bench.store.get(run.id))
        assert left.state == {"a start": "pending", "a run": "running", "a batch": "terminated"}[does]


class _Asked(MemoryStore):
    """Notes what is asked for."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.data)
        self.queries: list[RunQuery] = []

    async def query(self, query: RunQuery) -> Page:
        self.queries.append(query)
        return await super().query(query)


async def test_a_queue_with_devices_never_reads_all_that_is_staged_and_tells_of_what_it_passes_over(
    bench: Bench,
) -> None:
    store = _Asked(bench)
    others = [await bench.make(gpus="1") for _ in range(3)]
    mine = [await bench.make(gpus="0") for _ in range(3)]

    await bench.queue(session=bench.open(store=store), gpus="0")

    assert [bench.state(run) for run in (*others, *mine)] == ["staged"] * 3 + ["completed"] * 3
    told = [line for line in bench.lines if "Ignorning staged run" in line]
    assert [next(run.id for run in others if run.id in line) for line in told] == [run.id for run in others]
    assert all(query.limit is not None for query in store.queries if query.states == {"staged"})


async def test_an_idle_queue_looks_again_when_the_poll_interval_is_over(bench: Bench) -> None:
    async with bench.a_queue(poll_interval=77):
        await bench.until(lambda: "INFO: [queue] Waiting for staged runs" in bench.lines)
        await bench.until(lambda: 77 in bench.clock.sleeping)


async def test_a_queue_gives_its_devices_and_its_executor_to_what_it_starts(bench: Bench) -> None:
    run = await bench.make(executor="nowhere")

    await bench.queue(gpus="0,1", executor="scripted")

    kept = await bench.store.get(run.id)
    assert (kept.state, kept.executor) == ("completed", "scripted")
    orders = (bench.session.attempt_directory(kept) / "orders").read_bytes().split(b"\0")
    assert b"env=CUDA_VISIBLE_DEVICES=0,1" in orders


async def test_a_queue_gives_its_devices_and_its_executor_to_the_trials_of_a_batch(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(), executor="nowhere")

    await bench.queue(gpus="3", executor="scripted")

    trials = [run for run in bench.data.runs.values() if run.batch == batch.id]
    assert [(run.state, run.executor) for run in trials] == [("completed", "scripted")] * 4
    kept = [records.read_run(bench.session.directory(run)).executor for run in (batch, *trials)]
    assert kept == ["scripted"] * 5
    for trial in trials:
        orders = (bench.session.attempt_directory(trial) / "orders").read_bytes().split(b"\0")
        assert b"env=CUDA_VISIBLE_DEVICES=3" in orders


async def test_queues_and_batches_show_other_hosts_that_they_live(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())
    bench.executor.default = HANGS
    async with bench.a_queue():
        await bench.until(lambda: len(bench.started) == 1)
        own = [run for run in bench.data.runs.values() if run.kind != "run"]
        assert batch.id in {run.id for run in own} and len(own) == 2
        fences = [bench.session.attempt_directory(run) / "fence" for run in own]
        for fence in fences:
            os.utime(fence, (1, 1))

        await bench.until(lambda: 5 in bench.clock.sleeping)
        await bench.pass_time(5)
        await bench.until(lambda: all(fence.stat().st_mtime > 1 for fence in fences))


async def test_two_queues_start_each_run_once(bench: Bench) -> None:
    runs = [await bench.make() for _ in range(8)]
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(bench.queue)

    assert sorted(bench.started) == sorted(run.id for run in runs)
    assert {bench.state(run) for run in runs} == {"completed"}


async def test_a_queue_keeps_no_file_open_of_runs_that_have_ended(bench: Bench) -> None:
    talkative = Script(output=b"something\n")
    async with bench.a_queue(jobs=2):
        first = await bench.make(talkative)
        await bench.until(lambda: bench.state(first) == "completed")
        before = len(os.listdir("/proc/self/fd"))

        runs = [await bench.make(talkative) for _ in range(10)]

        await bench.until(lambda: all(bench.state(run) == "completed" for run in runs))
        assert len(os.listdir("/proc/self/fd")) <= before + 2


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_is_set_starts_nothing_twice_and_loses_nothing(bench: Bench, hours: int) -> None:
    runs = [await bench.make(HANGS) for _ in range(2)]
    async with bench.a_queue(), bench.a_queue():
        await bench.until(lambda: all(bench.state(run) == "running" for run in runs))

        bench.clock.set_forward(hours * 3600)

        for _ in range(30):
            bench.clock.advance(0.5)
            await anyio.sleep(0.005)
        assert [bench.state(run) for run in runs] == ["running"] * 2
        for run in runs:
            bench.end(run)
        later = await bench.make()
        await bench.until(lambda: all(bench.state(run) == "completed" for run in (*runs, later)))
    assert sorted(bench.started) == sorted(run.id for run in (*runs, later))
    assert not {"run.lost", "run.released", "run.aborted"} & set(bench.events)
