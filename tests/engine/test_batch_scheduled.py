"""Batches whose trials go to a scheduler: it is given them all, and what waits there can be taken back."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from msgspec import structs

from orchestra.contracts import StopHow
from orchestra.engine.control import Control, Wish
from orchestra.engine.execute import execute
from orchestra.engine.session import Session
from orchestra.errors import StoreUnavailable
from orchestra.model.execution import Exit, Handle
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch
from orchestra.testing.scripted import Script
from tests.engine.scheduler import ENDED, WAITS, Scheduler
from tests.engine.workbench import HANGS, Bench

pytestmark = pytest.mark.anyio

FAILS = Script(exit=Exit(code=3, started=0, stopped=0))


@pytest.fixture
def scheduler(bench: Bench) -> Scheduler:
    bench.executor = scheduler = Scheduler()
    # Of each that has ended: else its reason is waited for.
    scheduler.says = ENDED
    return scheduler


def script(scheduler: Scheduler, bench: Bench, *scripts: Script) -> None:
    """Let the trials go by these scripts, in their order."""

    class ByNumber(dict[str, Script]):
        def get(self, job: str, default: Any = None) -> Any:
            return scripts[(bench.data.runs[job.partition(".")[0]].trial or 1) - 1]

    scheduler.scripts = ByNumber()


async def a_batch_run(bench: Bench, **spec: Any) -> Run:
    return await bench.make(kind="batch", flags={}, batch_spec=a_batch(**spec))


async def test_a_scheduler_is_given_all_trials_at_once(bench: Bench, scheduler: Scheduler) -> None:
    batch = await a_batch_run(bench)
    script(scheduler, bench, HANGS, HANGS, FAILS, HANGS)
    ended: list[Run] = []

    async def execute() -> None:
        ended.append(await bench.execute(batch))

    async with anyio.create_task_group() as group:
        group.start_soon(execute)
        await bench.until(lambda: len(scheduler.submitted) == 4)
        await bench.until(lambda: any("exited with an error" in line for line in bench.lines))
        assert not ended
        for job in [job.name for job in scheduler.submitted][:2] + [scheduler.submitted[3].name]:
            scheduler.end(job)

    assert (ended[0].state, ended[0].exit_code) == ("completed", 0)
    assert bench.trial_states(batch) == ["completed", "completed", "error", "completed"]
    assert sum("Submitting trial" in line for line in bench.lines) == 4


@pytest.mark.parametrize(("wish", "code"), [(Wish.INTERRUPT, -2), (Wish.TERMINATE, -15)])
async def test_a_wish_to_stop_ends_the_trials_that_have_begun_and_the_others_wait_for_the_batch_again(
    bench: Bench, scheduler: Scheduler, wish: Wish, code: int
) -> None:
    batch = await a_batch_run(bench)
    stopped = Script(after=math.inf, exit=Exit(code=-15, started=0, stopped=0, stopped_by="TERM"))
    unsubmitted = Script(start=False, exit=None, after=math.inf, submit_delay=1000.0)
    script(scheduler, bench, stopped, WAITS, stopped, unsubmitted)
    control = Control()
    ended: list[Run] = []

    async def execute() -> None:
        ended.append(await bench.execute(batch, control))

    async with anyio.create_task_group() as group:
        group.start_soon(execute)
        await bench.until(lambda: len(scheduler.submitted) == 4)
        await bench.until(lambda: sum(run.handle is not None for run in bench.data.runs.values()) == 3)
        control.raise_to(wish)

    made = bench.trials(batch)
    assert [run.state for run in made] == ["terminated", "pending", "terminated", "pending"]
    assert all(run.worker is None for run in made)
    assert (ended[0].state, ended[0].exit_code) == ("terminated", code)
    assert f"{made[1].id}.1" in [job for job, _ in scheduler.stopped], "its job still waits"
    assert sum("Stopping batch" in line for line in bench.lines) == 1
    assert sum("Stopping trial" in line for line in bench.lines) == 2

    scheduler.scripts, scheduler.default = {}, Script()
    again = await bench.begin(restart=batch.id)
    assert again.run is not None
    await bench.execute(again.run)
    assert bench.trial_states(batch).count("completed") == 2


async def test_a_wish_to_stop_reaches_the_trials_that_have_begun_though_the_scheduler_is_slow_to_drop_the_others(
    bench: Bench, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await a_batch_run(bench)
    stopped = Script(after=math.inf, exit=Exit(code=-15, started=0, stopped=0, stopped_by="TERM"))
    script(scheduler, bench, WAITS, stopped, WAITS, stopped)
    control, answers = Control(), anyio.Event()
    stop = scheduler.stop

    async def slowly(handle: Handle, how: StopHow) -> bool:
        if bench.data.runs[handle.job.partition(".")[0]].trial in (1, 3):
            await answers.wait()
        return await stop(handle, how)

    monkeypatch.setattr(scheduler, "stop", slowly)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch, control)
        await bench.until(lambda: sum(run.handle is not None for run in bench.data.runs.values()) == 4)
        control.raise_to(Wish.TERMINATE)
        await bench.until(lambda: [run.state for run in bench.data.runs.values()].count("terminated") == 2)
        answers.set()

    assert bench.trial_states(batch) == ["pending", "terminated", "pending", "terminated"]
    assert len(scheduler.stopped) == 4


@pytest.mark.parametrize("at_once", [True, False])
async def test_trials_whose_watches_fail_keep_no_other_from_being_judged(
    bench: Bench, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    batch = await a_batch_run(bench)
    fails = Script(after=math.inf, exit=Exit(code=3, started=0, stopped=0))
    script(scheduler, bench, HANGS, HANGS, fails, HANGS)

    async def fail(session: Session, trial: Run, **how: Any) -> Run:
        ended = await execute(session, trial, **how)
        if trial.trial in (1, 2):
            raise StoreUnavailable(f"trial {trial.trial} can't be written down")
        return ended

    monkeypatch.setattr("orchestra.engine.batch.execute", fail)
    ended: list[Run] = []

    async def execute_batch() -> None:
        ended.append(await bench.execute(batch))

    async with anyio.create_task_group() as group:
        group.start_soon(execute_batch)
        await bench.until(lambda: [run.state for run in bench.data.runs.values()].count("running") == 5)
        jobs = [f"{trial.id}.{trial.attempt}" for trial in bench.trials(batch)]
        for job in jobs[:3]:
            scheduler.end(job)
            if not at_once:
                await bench.until(lambda job=job: bench.data.runs[job.partition(".")[0]].state != "running")
        await bench.until(lambda: any("exited with an error (3)" in line for line in bench.lines))
        assert not ended, "a trial goes on"
        scheduler.end(jobs[3])

    assert (ended[0].state, ended[0].exit_code) == ("error", 1)
    assert (ended[0].reason or "").endswith("can't be written down")
    assert bench.trial_states(batch) == ["completed", "completed", "error", "completed"]


async def test_an_aborted_trial_counts_as_failed(
    bench: Bench, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await a_batch_run(bench, max_fails=2)

    async def abort(session: Session, trial: Run, **how: Any) -> Run:
        return structs.replace(trial, state="aborted", reason="aborted because a run that it follows failed")

    monkeypatch.setattr("orchestra.engine.batch.execute", abort)
    ended = await bench.execute(batch)

    assert (ended.state, ended.exit_code) == ("error", 1)
    assert any("was aborted: a run that it follows failed" in line for line in bench.lines)
    assert any("Stopping batch because 2 trials failed" in line for line in bench.lines)


async def test_a_trial_that_fails_a_batch_takes_back_those_that_wait_and_lets_those_go_on_that_have_begun(
    bench: Bench, scheduler: Scheduler
) -> None:
    batch = await a_batch_run(bench, fail_on_trial_error=True)
    fails = Script(after=0.1, exit=Exit(code=3, started=0, stopped=0))
    script(scheduler, bench, fails, Script(after=0.4), WAITS, WAITS)

    ended = await bench.execute(batch)

    assert (ended.state, ended.exit_code) == ("error", 3)
    assert bench.trial_states(batch) == ["error", "completed", "pending", "pending"]
    assert sum("Stopping batch because a trial failed" in line for line in bench.lines) == 1


async def test_a_queue_that_is_ended_tells_of_the_trials_of_its_batch_that_go_on(
    bench: Bench, scheduler: Scheduler
) -> None:
    batch = await a_batch_run(bench)
    script(scheduler, bench, HANGS, WAITS, WAITS, HANGS)
    async with bench.a_queue():
        await bench.until(lambda: sum(run.handle is not None for run in bench.data.runs.values()) == 4)

    made = [run.id for run in bench.trials(batch)]
    told = {line.rpartition(": ")[0]: line.rpartition(": ")[2] for line in bench.lines if "Leaving" in line}
    assert set(told["WARNING: [queue] Leaving runs running"].split(", ")) == {made[0], made[3]}
    assert set(told["WARNING: [queue] Leaving runs to their scheduler"].split(", ")) == {made[1], made[2]}


async def test_trials_that_wait_when_their_batch_is_killed_are_gone_on_with_when_it_is_started_again(
    bench: Bench, scheduler: Scheduler
) -> None:
    batch = await a_batch_run(bench)
    script(scheduler, bench, WAITS, WAITS, HANGS, HANGS)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        await bench.until(lambda: sum(run.handle is not None for run in bench.data.runs.values()) == 4)
        group.cancel_scope.cancel()
    made = bench.trials(batch)
    assert [run.state for run in made] == ["pending", "pending", "running", "running"]
    bench.clock.advance(60)
    jobs = [job.name for job in scheduler.submitted]
    ended: list[Run] = []

    async def execute(run: Run) -> None:
        ended.append(await bench.execute(run))

    again = await bench.begin(restart=batch.id)
    assert again.run is not None
    async with anyio.create_task_group() as group:
        group.start_soon(execute, again.run)
        await bench.until(lambda: sum("Going on with" in line for line in bench.lines) == 4)
        for job in jobs[:2]:
            scheduler.begin(job)
        for job in jobs:
            scheduler.end(job)

    assert ended[0].state == "completed"
    assert bench.trial_states(batch) == ["completed"] * 4
    assert [job.name for job in scheduler.submitted] == jobs, "something was submitted twice"
