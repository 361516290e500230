"""A batch gets more values or more trials: running, staged, stopped or completed; no trial is run twice."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from msgspec import structs

from orchestra.builtin.expander_random import RandomExpander
from orchestra.engine.begin import begin, prepare
from orchestra.engine.request import RunRequest
from orchestra.errors import FlagError, UserError
from orchestra.model.batch import Choices, Interval
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch
from orchestra.workspace import records
from tests.engine.sweeps import FAILS, POINTS, end_trial, interrupted, script, started_again, swept
from tests.engine.workbench import HANGS, Bench

pytestmark = pytest.mark.anyio


def sorted_points(runs: list[Run]) -> list[tuple[Any, ...]]:
    return sorted((run.flags["lr"], run.flags["epochs"]) for run in runs)


async def test_a_batch_that_has_ended_is_started_again_for_the_new_combinations(bench: Bench) -> None:
    batch = await swept(bench, {2: FAILS})
    before = bench.trials(batch)

    ended = await started_again(bench, extend=batch.id, flags={"lr": [0.1, 0.3, 0.4]})

    after = bench.trials(batch)
    assert after[:4] == before
    assert sorted_points(after[4:]) == [(0.3, 3), (0.3, 5), (0.4, 3), (0.4, 5)]
    assert [(run.trial, run.state, run.generation) for run in after[4:]] == [
        (number, "completed", 1) for number in (5, 6, 7, 8)
    ]
    assert (ended.id, ended.state, ended.attempt) == (batch.id, "completed", 2)


async def test_it_can_be_extended_again_and_again(bench: Bench) -> None:
    batch = await swept(bench, {})

    await started_again(bench, extend=batch.id, flags={"epochs": 9})
    await started_again(bench, extend=batch.id, flags={"lr": 0.3})
    await started_again(bench, extend=batch.id, flags={"epochs": 1, "lr": 0.7})

    points = sorted_points(bench.trials(batch))
    assert points == sorted((lr, epochs) for lr in (0.01, 0.1, 0.3, 0.7) for epochs in (1, 3, 5, 9))


async def test_a_batch_that_was_stopped_goes_on_with_its_own_trials_and_the_new_ones(bench: Bench) -> None:
    batch = await interrupted(bench, {}, 2)

    await started_again(bench, extend=batch.id, flags={"lr": 0.3})

    assert bench.trial_states(batch) == ["completed", "terminated", *["completed"] * 4]


async def test_a_batch_that_runs_goes_on_with_what_another_process_gave_it(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())
    script(bench, {4: HANGS})
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        await bench.until(lambda: len(bench.started) == 4)

        begun = await bench.begin(session=bench.open(), extend=batch.id, flags={"lr": [0.3, 0.4]})

        assert (begun.what, bench.lines[-1]) == ("extended", f"Extended batch {batch.id}, which is running")
        kept = records.read_run(bench.session.directory(batch))
        assert kept.batch_spec is not None
        assert kept.batch_spec.extended
        await end_trial(bench, batch, 4)

    made = bench.trials(batch)
    assert bench.state(batch) == "completed"
    assert [run.flags for run in made[:4]] == POINTS
    assert sorted_points(made[4:]) == [(0.3, 3), (0.3, 5), (0.4, 3), (0.4, 5)]
    assert [run.attempt for run in made] == [1] * 8


async def test_a_batch_that_is_being_finished_goes_on_with_all(bench: Bench) -> None:
    batch = await interrupted(bench, {1: FAILS}, 2)
    script(bench, {1: HANGS})
    begun = await bench.begin(restart=batch.id, redo=("failed",))
    assert begun.run is not None
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, begun.run)
        await bench.until(lambda: len(bench.started) == 3)

        await bench.begin(session=bench.open(), extend=batch.id, flags={"lr": 0.3})
        await end_trial(bench, batch, 1)

    assert bench.trial_states(batch) == ["completed"] * 6
    assert [run.attempt for run in bench.trials(batch)] == [2, 2, 1, 1, 1, 1]


async def test_a_batch_that_has_closed_is_waited_for_and_started_again(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())
    script(bench, {4: HANGS})
    request: dict[str, Any] = {"extend": batch.id, "flags": {"lr": 0.3}}
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        await bench.until(lambda: len(bench.started) == 4)
        running = await bench.store.get(batch.id)
        # As if it had looked for the last time whether there is more to do.
        await bench.store.update((structs.replace(running, closed=running.attempt),))

        async def extend() -> None:
            begun = await bench.begin(session=bench.open(), **request)
            assert begun.what == "claimed"
            assert begun.run is not None
            await bench.execute(begun.run)

        group.start_soon(extend)
        await bench.until(lambda: bool(bench.clock.sleeping))
        await end_trial(bench, batch, 4)
        await bench.until(lambda: bench.state(batch) == "completed")
        bench.clock.advance(1)

    assert bench.trial_states(batch) == ["completed"] * 6
    assert (await bench.store.get(batch.id)).attempt == 2


async def test_a_batch_that_ends_between_plan_and_change_is_started_again(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())
    script(bench, {4: HANGS})
    request = RunRequest(cwd=bench.layout.home.parent, extend=batch.id, flags={"lr": 0.3})
    session = bench.open()
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        await bench.until(lambda: len(bench.started) == 4)
        prepared = await prepare(session, request)
        await end_trial(bench, batch, 4)

    begun = await begin(session, request, prepared, console=bench.console)

    assert begun.what == "claimed"


async def test_two_extensions_of_a_running_batch_are_both_heeded(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())
    script(bench, {1: HANGS})
    async with anyio.create_task_group() as group:
        group.start_soon(bench.execute, batch)
        await bench.until(lambda: len(bench.started) == 1)
        one, other = bench.open(), bench.open()
        requests = [
            RunRequest(cwd=bench.layout.home.parent, extend=batch.id, flags=flags)
            for flags in ({"lr": 0.3}, {"epochs": 9})
        ]
        first, second = await prepare(one, requests[0]), await prepare(other, requests[1])
        await begin(one, requests[0], first, console=bench.console)
        await begin(other, requests[1], second, console=bench.console)
        await end_trial(bench, batch, 1)

    points = sorted_points(bench.trials(batch))
    assert points == sorted((lr, epochs) for lr in (0.01, 0.1, 0.3) for epochs in (3, 5, 9))


async def test_a_staged_batch_stays_staged_with_more_to_do(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())

    begun = await bench.begin(extend=batch.id, flags={"lr": 0.3})

    assert (begun.what, bench.state(batch)) == ("extended", "staged")
    await bench.queue()
    assert bench.trial_states(batch) == ["completed"] * 6


async def test_a_batch_that_has_ended_is_staged_for_a_queue_if_that_is_asked_for(bench: Bench) -> None:
    batch = await swept(bench, {})

    begun = await bench.begin(extend=batch.id, flags={"lr": 0.3}, stage=True)

    assert (begun.what, len(bench.trials(batch))) == ("staged", 4)
    await bench.queue()
    assert bench.trial_states(batch) == ["completed"] * 6


async def test_a_random_search_gets_more_trials(bench: Bench) -> None:
    bench.expanders["random"] = RandomExpander()
    space = {"lr": Interval(low=0.0, high=1.0)}
    batch = await swept(bench, {}, expander="random", space=space, fixed={"epochs": 3}, max_trials=2)
    before = bench.trials(batch)

    await started_again(bench, extend=batch.id, max_trials=5)

    after = bench.trials(batch)
    assert after[:2] == before
    assert len({run.flags["lr"] for run in after}) == 5


async def test_more_values_alone_are_refused_where_no_trial_would_try_them(bench: Bench) -> None:
    batch = await swept(bench, {}, max_trials=2)

    with pytest.raises(UserError) as refused:
        await bench.begin(extend=batch.id, flags={"lr": 0.3})

    assert refused.value.message == f"batch {batch.id} would get no more trials: it has 2 already"
    assert refused.value.hint == "Give --max-trials, too, more than 2."

    await started_again(bench, extend=batch.id, flags={"lr": 0.3}, max_trials=6)

    assert len({tuple(run.flags.items()) for run in bench.trials(batch)}) == 6


async def test_values_that_are_there_are_nothing_to_do(bench: Bench) -> None:
    batch = await swept(bench, {})

    begun = await bench.begin(extend=batch.id, flags={"lr": [0.1, 0.01], "epochs": 3})

    assert (begun.what, begun.matching) == ("skipped", (batch,))
    assert bench.lines[-1] == f"Nothing to do: batch {batch.id} has all of that already"


async def test_what_the_batch_is_started_again_with_may_be_given(bench: Bench) -> None:
    batch = await swept(bench, {})

    ended = await started_again(
        bench, extend=batch.id, flags={"lr": 0.3}, tags=("late",), time_limit=60.0, max_fails=2
    )

    made = bench.trials(batch)
    assert [run.tags for run in made] == [()] * 4 + [("late",)] * 2
    assert [run.time_limit for run in made] == [None] * 4 + [60.0] * 2
    assert ended.batch_spec is not None
    assert (ended.batch_spec.max_fails, ended.batch_spec.generation) == (2, 1)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "there is nothing to extend the batch by"),
        ({"flags": {"lr": 1}, "redo": ("failed",)}, "--failed cannot be used with --extend"),
        ({"flags": {"lr": 1}, "operation": "train.py"}, "an operation cannot be used with --extend"),
        ({"flags": {"lr": 1}, "stage_trials": True}, "--stage-trials cannot be used with --extend"),
        ({"max_trials": 3}, "batch b would get fewer trials: it is to have 4 as it is"),
        (
            {"flags": {"lr": 1}, "tags": ("t",)},
            "batch b is staged: it can be given more values or --max-trials",
        ),
        ({"flags": {"lr": 1}, "extend": "r"}, "run r is not a batch and can't be extended"),
    ],
)
async def test_what_makes_no_sense_is_refused(bench: Bench, request_: dict[str, Any], message: str) -> None:
    batch = await bench.make(id="b", kind="batch", flags={}, batch_spec=a_batch())
    await bench.make(id="r")

    with pytest.raises(UserError) as refused:
        await bench.begin(**{"extend": "b", **request_})

    assert refused.value.message.startswith(message)
    assert await bench.store.get("b") == batch


async def test_an_unknown_flag_is_refused(bench: Bench) -> None:
    batch = await swept(bench, {})

    with pytest.raises(FlagError, match="unsupported flag 'depth'"):
        await bench.begin(extend=batch.id, flags={"depth": 3})


async def test_a_batch_with_a_value_that_equals_nothing_comes_to_its_end(bench: Bench) -> None:
    space = {"lr": Choices(values=(float("nan"), 1.0))}
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(space=space))
    # As a store that decodes what it keeps: another object each time.
    get = bench.store.get

    async def get_anew(run_id: str) -> Run:
        run = await get(run_id)
        spec = run.batch_spec and structs.replace(
            run.batch_spec, space={"lr": Choices(values=(float("nan"), 1.0))}
        )
        return structs.replace(run, batch_spec=spec)

    bench.store.get = get_anew  # pyright: ignore[reportAttributeAccessIssue]

    assert (await bench.execute(batch)).state == "completed"
