"""How a batch proposes, executes, resumes and stops: with scripted trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from orchestra.engine import batch as batches
from orchestra.engine.control import Control, Wish
from orchestra.engine.execute import execute
from orchestra.engine.judge import settle
from orchestra.engine.launch import Launch, launch, make_ready_ahead
from orchestra.errors import StoreUnavailable
from orchestra.model.batch import Choices
from orchestra.model.events import Event
from orchestra.model.execution import Exit, Handle, Job
from orchestra.model.filters import Wanted
from orchestra.model.marks import MARK
from orchestra.model.operation import Requirement
from orchestra.model.resources import parse_resources
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch, a_run, a_worker
from orchestra.testing.scripted import NAME, Script, ScriptedExecutor
from orchestra.workspace import records
from orchestra.workspace.orders import read_orders
from tests.engine.workbench import HANGS, Bench

pytestmark = pytest.mark.anyio

FAILS = Script(exit=Exit(code=3, started=0, stopped=0))
POINTS = [{"epochs": epochs, "lr": lr} for epochs in (3, 5) for lr in (0.01, 0.1)]
"""What the batch of the builders proposes, in its order."""


async def a_batch_run(bench: Bench, **spec: Any) -> Run:
    return await bench.make(kind="batch", flags={}, batch_spec=a_batch(**spec))


class Scripts(dict[str, Script]):
    """A script for the trials that have certain flags, whose ids nobody knows beforehand."""

    def __init__(self, bench: Bench, wanted: dict[int, Script]) -> None:
        super().__init__()
        self.bench = bench
        self.wanted = wanted

    def get(self, job: str, default: Any = None) -> Any:
        run = self.bench.data.runs[job.partition(".")[0]]
        return self.wanted.get((run.trial or 0), default)


def script_trials(bench: Bench, **wanted: Script) -> None:
    """Let the trials ``first``, ``second``, ... go by scripts of their own."""
    numbers = {"first": 1, "second": 2, "third": 3, "fourth": 4}
    bench.executor.scripts = Scripts(bench, {numbers[name]: script for name, script in wanted.items()})


async def test_trials_are_proposed_and_executed_in_order_one_after_the_other(bench: Bench) -> None:
    batch = await a_batch_run(bench)

    ended = await bench.execute(batch)

    made = bench.trials(batch)
    assert (ended.state, ended.exit_code) == ("completed", 0)
    assert [run.flags for run in made] == POINTS
    assert [(run.trial, run.generation, run.state) for run in made] == [
        (n, 1, "completed") for n in (1, 2, 3, 4)
    ]
    assert bench.started == [run.id for run in made]
    assert bench.lines == [
        f"INFO: [orchestra] Running trial {run.id}: train.py (epochs={run.flags['epochs']}, lr={run.flags['lr']})"
        for run in made
    ]


async def test_trials_begin_while_those_after_the_next_are_still_being_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await a_batch_run(bench)
    make = batches.make_runs

    async def slowly(session: Any, runs: Sequence[Run], selection: Any) -> tuple[Run, ...]:
        if any(run.trial == 4 for run in runs):
            while len(bench.started) < 3:  # noqa: ASYNC110  whoever starts them tells nobody
                await anyio.sleep(0.001)
        return await make(session, runs, selection)

    monkeypatch.setattr(batches, "make_runs", slowly)
    with anyio.fail_after(10):
        ended = await bench.execute(batch)

    assert (ended.state, len(bench.trials(batch))) == ("completed", 4)


async def test_trials_take_over_what_the_batch_was_given(bench: Bench) -> None:
    batch = await bench.make(
        kind="batch",
        flags={},
        batch_spec=a_batch(),
        trial_tags=("t",),
        label_template="is ${lr}",
        environment={"A": "1"},
    )

    await bench.execute(batch)

    trial = bench.trials(batch)[0]
    assert (trial.tags, trial.label, trial.environment) == (("t",), "is 0.01", {"A": "1"})
    assert (trial.random_seed, trial.executor) == (1, "scripted")


async def test_a_batch_goes_on_when_a_trial_fails(bench: Bench) -> None:
    batch = await a_batch_run(bench)
    script_trials(bench, second=FAILS)

    ended = await bench.execute(batch)

    made = bench.trials(batch)
    assert (ended.state, [run.state for run in made]) == (
        "completed",
        ["completed", "error", "completed", "completed"],
    )
    line = f"ERROR: [orchestra] Trial {made[1].id} exited with an error (3) - see log for details"
    assert line in bench.lines


async def test_a_trial_that_could_not_be_started_tells_the_reason(bench: Bench) -> None:
    batch = await a_batch_run(bench)
    script_trials(bench, first=Script(refuse="no licence"))

    await bench.execute(batch)

    first = bench.trials(batch)[0]
    assert f"ERROR: [orchestra] Trial {first.id} exited with an error: (1) no licence" in bench.lines


async def test_fail_on_trial_error_ends_the_batch_with_the_code_of_the_trial(bench: Bench) -> None:
    batch = await a_batch_run(bench, fail_on_trial_error=True)
    script_trials(bench, second=FAILS)

    ended = await bench.execute(batch)

    assert (ended.state, ended.exit_code) == ("error", 3)
    assert bench.trial_states(batch) == ["completed", "error", "pending", "pending"]
    assert bench.lines[-1] == (
        "ERROR: [orchestra] Stopping batch because a trial failed (pending trials can be started as needed)"
    )


@pytest.mark.parametrize(("wish", "code"), [(Wish.INTERRUPT, -2), (Wish.TERMINATE, -15)])
async def test_a_batch_that_is_stopped_ends_its_trial_and_leaves_the_others_pending(
    bench: Bench, wish: Wish, code: int
) -> None:
    batch = await a_batch_run(bench)
    script_trials(bench, second=Script(after=math.inf, exit=Exit(code=code, started=0, stopped=0)))
    control = Control()
    ended: list[Run] = []
    async with anyio.create_task_group() as group:

        async def work() -> None:
            ended.append(await bench.execute(batch, control))

        group.start_soon(work)
        await bench.until(lambda: len(bench.started) == 2)
        control.raise_to(wish)

    assert (ended[0].state, ended[0].exit_code) == ("terminated", code)
    made = bench.trials(batch)
    assert [run.state for run in made] == ["completed", "terminated", "pending", "pending"]
    assert bench.lines[-2:] == [
        f"INFO: [orchestra] Stopping trial {made[1].id}",
        "INFO: [orchestra] Stopping batch (pending trials can be started as needed)",
    ]


async def test_a_batch_that_is_left_leaves_its_trial_running(bench: Bench) -> None:
    batch = await a_batch_run(bench)
    script_trials(bench, first=HANGS)
    control = Control()
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch, control)
        await bench.until(lambda: len(bench.started) == 1)
        control.raise_to(Wish.LEAVE)

    assert bench.trial_states(batch) == ["running", "pending", "pending", "pending"]
    assert bench.executor.stopped == []


async def test_a_cancelled_batch_gives_no_reason_that_a_person_can_not_read(bench: Bench) -> None:
    batch = await a_batch_run(bench)
    script_trials(bench, first=HANGS)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        await bench.until(lambda: len(bench.started) == 1)
        group.cancel_scope.cancel()

    kept = await bench.store.get(batch.id)
    assert (kept.state, kept.exit_code, kept.reason) == ("terminated", -15, None)


async def interrupted(bench: Bench, after: int, **spec: Any) -> Run:
    """A batch that was stopped while its trial number ``after`` + 1 ran, which was terminated."""
    batch = await a_batch_run(bench, **spec)
    bench.executor.scripts = Scripts(
        bench, {after + 1: Script(after=math.inf, exit=Exit(code=-15, started=0, stopped=0))}
    )
    control = Control()
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch, control)
        await bench.until(lambda: len(bench.started) == after + 1)
        control.raise_to(Wish.TERMINATE)
    bench.executor.scripts = {}
    return await bench.store.get(batch.id)


async def restarted(bench: Bench, batch: Run, **request: Any) -> Run:
    begun = await bench.begin(restart=batch.id, **request)
    assert begun.run is not None
    return await bench.execute(begun.run)


async def test_a_batch_that_was_stopped_goes_on_with_its_own_trials(bench: Bench) -> None:
    batch = await interrupted(bench, 1)
    before = [run.id for run in bench.trials(batch)]

    ended = await restarted(bench, batch)

    made = bench.trials(batch)
    assert (ended.state, ended.batch_spec.generation) == ("completed", 1)  # pyright: ignore[reportOptionalMemberAccess]
    assert [run.id for run in made] == before
    assert [run.state for run in made] == ["completed", "terminated", "completed", "completed"]
    assert bench.started[2:] == before[2:]


async def test_what_is_proposed_in_parts_is_proposed_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra.engine.proposing.PROPOSAL_LIMIT", 3)
    batch = await interrupted(bench, 1)
    assert bench.trial_states(batch) == ["completed", "terminated", "pending"]

    await restarted(bench, batch)

    assert [run.flags for run in bench.trials(batch)] == POINTS


@pytest.mark.parametrize("spec", [{}, {"max_trials": 3}])
async def test_a_batch_that_completed_proposes_anew(bench: Bench, spec: dict[str, Any]) -> None:
    batch = await a_batch_run(bench, **spec)
    await bench.execute(batch)
    first = bench.trials(batch)

    ended = await restarted(bench, await bench.store.get(batch.id))

    second = bench.trials(batch, 2)
    assert ended.state == "completed"
    assert [run.flags for run in second] == [run.flags for run in first]
    assert not {run.id for run in first} & {run.id for run in second}


async def test_a_batch_that_is_restarted_with_flags_proposes_anew(bench: Bench) -> None:
    batch = await interrupted(bench, 1)

    ended = await restarted(bench, batch, flags={"lr": [0.5, 0.6]})

    assert ended.batch_spec is not None
    assert ended.batch_spec.space["lr"] == Choices(values=(0.5, 0.6))
    assert bench.trial_states(batch) == ["completed", "terminated", "pending", "pending"]
    new = bench.trials(batch, 2)
    assert [(run.flags["lr"], run.state) for run in new] == [(lr, "completed") for lr in (0.5, 0.6)] * 2


async def test_a_staged_batch_that_gets_flags_has_no_generation_before(bench: Bench) -> None:
    batch = await a_batch_run(bench)

    ended = await restarted(bench, batch, flags={"lr": [0.5]})

    assert ended.batch_spec is not None
    assert ended.batch_spec.generation == 1


async def test_a_trial_that_a_dead_batch_left_running_is_watched_on(bench: Bench) -> None:
    batch = await a_batch_run(bench)
    script_trials(bench, first=HANGS)
    control = Control()
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch, control)
        await bench.until(lambda: len(bench.started) == 1)
        control.raise_to(Wish.LEAVE)
    (trial, *_) = bench.trials(batch)
    (trial,) = await bench.store.update((structs.replace(trial, worker=a_worker(starter="batch")),))
    bench.clock.advance(20)

    async with anyio.create_task_group() as group:
        group.start_soon(restarted, bench, batch)
        await bench.until(lambda: any("Going on with trial" in line for line in bench.lines))
        with bench.writer(trial) as writer:
            writer.write(0, b"still here\n")
        await bench.until(lambda: "still here" in bench.lines)
        assert len(bench.started) == 1
        bench.end(trial)

    assert bench.trial_states(batch) == ["completed"] * 4


async def test_a_trial_whose_start_was_cancelled_is_executed_when_the_batch_goes_on(bench: Bench) -> None:
    batch = await a_batch_run(bench)
    script_trials(bench, first=Script(submit_delay=math.inf))
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        await bench.until(lambda: len(bench.started) == 1)
        group.cancel_scope.cancel()
    bench.executor.scripts = {}

    assert (await restarted(bench, batch)).state == "completed"

    assert bench.trial_states(batch) == ["completed"] * 4


@pytest.mark.parametrize("starts", [True, False])
async def test_a_trial_that_somebody_else_holds_is_waited_for(bench: Bench, starts: bool) -> None:
    batch = await interrupted(bench, 1)
    held = bench.trials(batch)[2]
    other = bench.open()
    held = await bench.claim(held, other)
    async with anyio.create_task_group() as group:
        group.start_soon(restarted, bench, batch)
        await bench.until(lambda: any("Waiting for trial" in line for line in bench.lines))
        assert bench.state(batch) == "running"
        if starts:
            await execute(other, held, console=bench.console)
        else:
            await settle(other, held, given_up=True)

    assert bench.state(batch) == "completed"
    assert bench.trial_states(batch) == ["completed", "terminated", "completed", "completed"]
    assert bench.started.count(held.id) == 1


async def test_staged_trials_are_announced_and_not_started(bench: Bench) -> None:
    batch = await a_batch_run(bench, stage_trials=True, max_trials=None, space={"lr": a_batch().space["lr"]})

    ended = await bench.execute(batch)

    made = bench.trials(batch)
    assert (ended.state, [run.state for run in made], bench.started) == ("completed", ["staged"] * 2, [])
    assert bench.lines == [
        line
        for run in made
        for line in (
            f"INFO: [orchestra] Staging trial {run.id}: train.py (lr={run.flags['lr']})",
            f"train.py staged as {run.id}",
            f"To start the operation, use 'orchestra run --start {run.id}'",
        )
    ]
    assert (bench.session.directory(made[0]) / ".orchestra" / "ENV").exists()


async def test_pending_trials_are_staged_when_the_batch_is_restarted_for_that(bench: Bench) -> None:
    batch = await interrupted(bench, 1)

    await restarted(bench, batch, stage_trials=True)

    assert bench.trial_states(batch) == ["completed", "terminated", "staged", "staged"]
    assert len(bench.started) == 2


async def test_a_search_that_can_not_be_made_fails_the_batch_with_the_reason(bench: Bench) -> None:
    batch = await a_batch_run(bench, expander="nowhere")

    ended = await bench.execute(batch)

    assert (ended.state, ended.exit_code, ended.reason) == ("error", 1, "there is no expander 'nowhere'")
    assert bench.lines == ["ERROR: [orchestra] there is no expander 'nowhere'"]


async def test_a_damaged_trial_does_not_stop_the_others(bench: Bench) -> None:
    batch = await a_batch_run(bench)
    script_trials(bench, first=HANGS)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        await bench.until(lambda: len(bench.started) == 1)
        (first, *_) = bench.trials(batch)
        await bench.until(lambda: bench.state(first) == "running")
        (bench.session.attempt_directory(first) / "exit").write_bytes(b"{torn")

    assert bench.trial_states(batch) == ["broken", "completed", "completed", "completed"]
    assert (await bench.store.get(batch.id)).state == "completed"


async def test_pending_trials_go_to_the_executor_that_the_batch_is_given_now(bench: Bench) -> None:
    batch = await a_batch_run(bench, max_trials=1)
    await bench.make(batch=batch.id, trial=1, generation=1, state="pending", executor="nowhere")

    await bench.execute(batch)

    assert [(run.state, run.executor) for run in bench.trials(batch)] == [("completed", "scripted")]


async def test_what_a_batch_prints_is_its_output(bench: Bench) -> None:
    batch = await a_batch_run(bench, space={"lr": Choices(values=(1,))})
    bench.executor.default = Script(output=b"from the trial\n")

    ended = await bench.execute(batch)

    text = (bench.session.attempt_directory(ended) / "output").read_text()
    assert text.splitlines() == bench.lines
    assert "from the trial" in bench.lines


async def test_trials_that_were_made_and_never_entered_are_not_made_again(bench: Bench) -> None:
    batch = await bench.make(
        kind="batch", flags={}, batch_spec=a_batch(), state="lost", attempt=1, executions=1
    )
    fields: dict[str, Any] = {"executor": NAME, "batch": batch.id, "generation": 1, "state": "pending"}
    orphans = [a_run(trial=n, flags=flags, **fields) for n, flags in enumerate(POINTS[:2], 1)]
    for run in orphans:
        records.write_run(bench.session.directory(run), run, fsync=False)

    assert (await bench.execute(batch)).state == "completed"

    made = bench.trials(batch)
    assert [run.id for run in made[:2]] == [run.id for run in orphans]
    assert [run.flags for run in made] == POINTS
    assert bench.started == [run.id for run in made]


async def test_a_batch_that_is_told_to_stop_while_it_makes_trials_makes_no_more(bench: Bench) -> None:
    space = {"epochs": Choices(values=tuple(range(3 * batches.CHUNK)))}
    batch = await a_batch_run(bench, space=space, stage_trials=True)
    control = Control()

    def stop(event: Event) -> None:
        if event.name == "run.staged" and event.batch == batch.id:
            control.raise_to(Wish.TERMINATE)

    bench.session.sinks.append(stop)
    ended = await bench.execute(batch, control)

    assert (ended.state, ended.exit_code) == ("terminated", -15)
    assert [run.trial for run in bench.trials(batch)] == list(range(1, batches.CHUNK + 1))

    assert (await bench.execute(ended)).state == "completed"

    made = bench.trials(batch)
    assert [run.flags["epochs"] for run in made] == list(range(3 * batches.CHUNK))


class Foretelling(ScriptedExecutor):
    """Foretells a good end and keeps the record back until ``release``."""

    def __init__(self) -> None:
        super().__init__(default=HANGS)
        self.well: set[str] = set()
        self.news = anyio.Event()

    async def progress(self, handle: Handle, size: int) -> None:
        with anyio.move_on_after(0.01):
            await self.news.wait()
        self.news = anyio.Event()

    def ended_well(self, handle: Handle) -> bool:
        return handle.job in self.well

    def foretell(self, run: str) -> None:
        self.well.add(f"{run}.1")
        self.news.set()


def running_trials(bench: Bench, batch: Run) -> int:
    return sum(run.batch == batch.id and run.state == "running" for run in bench.data.runs.values())


async def test_the_next_trial_starts_while_the_record_of_the_last_is_written(bench: Bench) -> None:
    bench.executor = executor = Foretelling()
    batch = await a_batch_run(bench)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        for number in range(4):
            await bench.until(lambda number=number: running_trials(bench, batch) == number + 1)
            executor.foretell(bench.started[-1])
        await anyio.sleep(0.05)
        assert bench.state(batch) == "running"
        for run in bench.started:
            executor.end(f"{run}.1")

    assert bench.trial_states(batch) == ["completed"] * 4
    assert bench.state(batch) == "completed"


async def test_a_record_that_fails_after_all_fails_the_batch_that_was_told_to(bench: Bench) -> None:
    bench.executor = executor = Foretelling()
    executor.default = structs.replace(HANGS, exit=Exit(code=3, started=0, stopped=0))
    batch = await a_batch_run(bench, fail_on_trial_error=True)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        for number in range(4):
            await bench.until(lambda number=number: running_trials(bench, batch) == number + 1)
            executor.foretell(bench.started[-1])
        for run in bench.started:
            executor.end(f"{run}.1")

    assert (bench.data.runs[batch.id].state, bench.data.runs[batch.id].exit_code) == ("error", 3)


async def test_the_first_trial_starts_before_the_others_are_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await a_batch_run(bench)
    create, may_go_on = bench.store.create, anyio.Event()

    async def create_later(runs: Sequence[Run], **more: Any) -> tuple[Run, ...]:
        if any((run.trial or 0) > 1 for run in runs):
            await may_go_on.wait()
        return await create(runs, **more)

    monkeypatch.setattr(bench.store, "create", create_later)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        await bench.until(lambda: len(bench.started) == 1)
        assert [run.trial for run in bench.trials(batch)] == [1]
        may_go_on.set()

    assert bench.trial_states(batch) == ["completed"] * 4


async def test_what_keeps_later_trials_from_being_made_ends_the_batch_after_those_that_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await a_batch_run(bench)
    create = bench.store.create

    async def create_one(runs: Sequence[Run], **more: Any) -> tuple[Run, ...]:
        if any((run.trial or 0) > 1 for run in runs):
            raise StoreUnavailable("no room for more")
        return await create(runs, **more)

    monkeypatch.setattr(bench.store, "create", create_one)

    ended = await bench.execute(batch)

    assert (ended.state, ended.exit_code, ended.reason) == ("error", 1, "no room for more")
    assert bench.trial_states(batch) == ["completed"]


async def test_a_batch_whose_end_the_store_does_not_learn_of_has_ended_as_its_exit_record_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await a_batch_run(bench)
    update = bench.store.update

    async def fail_at_the_end(runs: Sequence[Run]) -> tuple[Run, ...]:
        if any(run.id == batch.id and run.state == "completed" for run in runs):
            raise StoreUnavailable("the store is away")
        return await update(runs)

    monkeypatch.setattr(bench.store, "update", fail_at_the_end)

    ended = await bench.execute(batch)

    assert (ended.state, bench.state(batch), bench.session.unsettled) == ("completed", "running", {batch.id})
    assert "the store is away. What becomes of run" in bench.lines[-1]
    monkeypatch.undo()
    assert (await settle(bench.open(), await bench.store.get(batch.id))).state == "completed"


class Preparing(ScriptedExecutor):
    """Notes which jobs it was to make ready for, and lets something happen then.

    It starts nothing before all trials are made: none is made ready that is not there.
    """

    def __init__(self, bench: Bench) -> None:
        super().__init__(default=Script())
        self.bench = bench
        self.prepared: list[Job] = []
        self.then: Callable[[Job], object] = lambda job: None

    async def submit(self, job: Job) -> Handle:
        await self.bench.until(lambda: self._count() in (0, 4))
        return await super().submit(job)

    def _count(self) -> int:
        return sum(run.batch is not None for run in self.bench.data.runs.values())

    def prepare(self, job: Job, orders: str) -> None:
        assert (Path(job.directory) / orders).exists()
        self.prepared.append(job)
        self.then(job)


async def test_each_trial_after_a_quick_one_is_made_ready_while_that_runs(bench: Bench) -> None:
    bench.executor = executor = Preparing(bench)
    batch = await a_batch_run(bench)
    await bench.execute(batch)

    assert executor.prepared == executor.submitted[2:]
    assert bench.trial_states(batch) == ["completed"] * 4


async def test_nothing_is_made_ready_after_a_trial_that_took_its_time(bench: Bench) -> None:
    bench.executor = executor = Preparing(bench)
    executor.default = HANGS
    batch = await a_batch_run(bench)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        for number in range(1, 5):
            await bench.until(
                lambda number=number: running_trials(bench, batch) == 1 and len(bench.started) == number
            )
            bench.clock.advance(batches.SHORT + 1)
            executor.end(executor.submitted[-1].name)

    assert (len(executor.submitted), executor.prepared) == (4, [])


async def test_a_trial_that_is_changed_after_it_was_made_ready_is_started_as_it_is_now(bench: Bench) -> None:
    bench.executor = executor = Preparing(bench)
    batch = await a_batch_run(bench)

    def change(job: Job) -> None:
        run = bench.data.runs[job.name.partition(".")[0]]
        flags = {**run.flags, "lr": 0.5}
        bench.data.runs[run.id] = structs.replace(run, revision=run.revision + 1, flags=flags)

    executor.then = change
    await bench.execute(batch)

    assert [job.name for job in executor.prepared] == [job.name for job in executor.submitted[2:]]
    assert not set(map(str, executor.prepared)) & set(map(str, executor.submitted))
    for job in executor.prepared:
        orders = read_orders(Path(job.directory))
        assert orders is not None and orders.environment["FLAG_LR"] == "0.5"


async def test_what_was_made_ready_when_a_batch_is_stopped_is_left_as_it_was(bench: Bench) -> None:
    bench.executor = executor = Preparing(bench)
    batch = await a_batch_run(bench)
    control = Control()
    executor.then = lambda job: control.raise_to(Wish.TERMINATE)
    await bench.execute(batch, control=control)

    assert bench.trial_states(batch) == ["completed", "completed", "pending", "pending"]
    (job,) = executor.prepared
    third = bench.data.runs[job.name.partition(".")[0]]
    assert (third.attempt, third.worker) == (0, None)
    await restarted(bench, bench.data.runs[batch.id])
    assert bench.trial_states(batch) == ["completed"] * 4
    assert [run.attempt for run in bench.trials(batch)] == [1] * 4


@pytest.mark.parametrize(
    "unlike",
    [
        {"state": "completed"},
        {"worker": a_worker()},
        {"resources": parse_resources("cpus=1")},
        {"sources": ("file:data.csv",)},
        {"python_requires": ">=3.8"},
        {"requires": (Requirement(name="data"),)},
        {"flags_dest": "config:config.yml"},
        {"flags": {"lr": MARK}},
    ],
    ids=lambda unlike: next(iter(unlike)),
)
async def test_nothing_is_made_ready_for_a_run_that_takes_more_than_a_process(
    bench: Bench, unlike: dict[str, Any]
) -> None:
    bench.executor = executor = Preparing(bench)
    run = await bench.make(state="pending")
    own = {
        name: value for name, value in unlike.items() if name in ("python_requires", "requires", "flags_dest")
    }
    rest = {name: value for name, value in unlike.items() if name not in own}
    other = structs.replace(run, operation=structs.replace(run.operation, **own), **rest)

    assert await make_ready_ahead(bench.session, other, Launch()) is None
    assert executor.prepared == []
    assert await make_ready_ahead(bench.session, run, Launch()) is not None
    assert len(executor.prepared) == 1


async def test_what_is_made_ready_touches_nothing_of_a_run_that_somebody_else_has_started(
    bench: Bench,
) -> None:
    bench.executor = executor = Preparing(bench)
    executor.default = HANGS
    run = await bench.make(state="pending")
    other = bench.open()
    (claimed,) = await bench.store.claim(
        other.worker, 60, 1, Wanted(ids=(run.id,), states=frozenset(("pending",)))
    )
    await launch(other, claimed, Launch())
    await other.finish_afterwards()
    folder = bench.session.attempt_directory(claimed)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    await make_ready_ahead(bench.session, run, Launch())

    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: data for name, data in after.items() if not name.endswith(".tmp")} == before
