"""Batches and queues that stop when too much fails."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from orchestra.errors import FlagError, UserError
from orchestra.model.filters import RunQuery
from orchestra.testing.builders import a_batch, an_exit
from tests.engine.sweeps import FAILS, KILLED, VANISHES, started_again, swept
from tests.engine.workbench import Bench

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("limit", "states"), [(1, 2), (2, 4)])
async def test_a_batch_stops_when_so_many_trials_have_failed(bench: Bench, limit: int, states: int) -> None:
    batch = await swept(bench, {2: FAILS, 4: FAILS}, max_fails=limit, space={"lr": a_batch().space["lr"]})
    assert batch.state == "error" if limit == 1 else "completed"

    stopped = structs.replace(KILLED, exit=an_exit(code=-9, stopped_by="KILL"))
    batch = await swept(bench, {2: FAILS, 4: VANISHES, 3: stopped}, max_fails=limit)

    assert (batch.state, batch.exit_code) == ("error", 3 if limit == 1 else 1)
    ended = ["completed", "error", "terminated", "lost"]
    assert bench.trial_states(batch) == [*ended[:states], *["pending"] * (4 - states)]
    said = "1 trial" if limit == 1 else "2 trials"
    line = (
        f"ERROR: [orchestra] Stopping batch because {said} failed (pending trials can be started as needed)"
    )
    assert bench.lines[-1] == line
    lost = [
        entry
        for entry in bench.lines
        if " is lost: its executor" in entry or " is lost: its supervisor" in entry
    ]
    assert len(lost) == (limit == 2)


@pytest.mark.parametrize("options", [{"max_fails": 1}, {"fail_on_trial_error": True}])
async def test_a_trial_that_is_killed_though_nobody_stopped_it_has_failed(
    bench: Bench, options: dict[str, Any]
) -> None:
    batch = await swept(bench, {2: KILLED}, **options)

    assert (batch.state, batch.exit_code) == ("error", 1)
    assert bench.trial_states(batch) == ["completed", "terminated", "pending", "pending"]
    assert any(line.endswith(" was terminated: SIGKILL ended it") for line in bench.lines)


async def test_the_failures_before_a_restart_do_not_count(bench: Bench) -> None:
    batch = await swept(bench, {1: FAILS}, max_fails=1)

    ended = await started_again(bench, restart=batch.id)

    assert ended.state == "completed"
    assert bench.trial_states(batch) == ["error", "completed", "completed", "completed"]


async def test_a_queue_claims_no_more_when_so_many_runs_have_failed(bench: Bench) -> None:
    runs = [await bench.make(FAILS if number != 1 else None) for number in range(4)]

    ended = await bench.queue(max_fails=2)

    assert [bench.state(run) for run in runs] == ["error", "completed", "error", "staged"]
    assert (ended.state, ended.exit_code, ended.flags["max-fails"]) == ("error", 1, 2)
    assert "ERROR: [queue] Stopping queue because 2 runs failed (max-fails is 2)" in bench.lines


async def test_a_queue_that_stops_for_failures_waits_for_what_runs(bench: Bench) -> None:
    failing = await bench.make(FAILS)
    other = await bench.make(structs.replace(FAILS, after=0.2, exit=None))

    await bench.queue(max_fails=1, jobs=2)

    assert [bench.state(failing), bench.state(other)] == ["error", "lost"]


async def test_queues_have_no_such_flag_unless_it_is_given(bench: Bench) -> None:
    await bench.queue()

    (queue,) = (await bench.store.query(RunQuery(kinds=frozenset(("queue",))))).runs
    assert "max-fails" not in queue.flags


@pytest.mark.parametrize("number", [0, -1, 1.5, "x"])
async def test_a_queue_refuses_a_number_that_is_none(bench: Bench, number: object) -> None:
    with pytest.raises(FlagError, match="max-fails"):
        await bench.begin(operation="queue", flags={"max-fails": number})


async def test_the_option_is_the_flag_of_a_queue_that_is_started_and_restarted(bench: Bench) -> None:
    begun = await bench.begin(operation="queue", max_fails=3, stage=True)
    assert begun.run is not None
    assert begun.run.flags["max-fails"] == 3

    again = await bench.begin(restart=begun.run.id, max_fails=4)

    assert again.run is not None
    assert again.run.flags["max-fails"] == 4


@pytest.mark.parametrize("request_", [{"max_fails": 0}, {"max_fails": 2, "stage_trials": True}])
async def test_a_batch_refuses_a_number_that_it_can_not_heed(
    bench: Bench, request_: dict[str, object]
) -> None:
    batch = await swept(bench, {})

    with pytest.raises(UserError, match="--max-fails"):
        await bench.begin(restart=batch.id, **request_)
