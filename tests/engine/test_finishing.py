"""A sweep is finished: failed, lost and missing trials are run under their ids, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from msgspec import structs

from orchestra.child import supervisor
from orchestra.errors import UserError
from orchestra.model.run import FINAL, Run
from orchestra.testing.builders import a_batch
from orchestra.workspace import records
from tests.engine.sweeps import (
    FAILS,
    KILLED,
    POINTS,
    VANISHES,
    end_trial,
    interrupted,
    script,
    started_again,
    swept,
)
from tests.engine.workbench import HANGS, Bench

pytestmark = pytest.mark.anyio


async def ended_in_all_ways(bench: Bench) -> Run:
    batch = await swept(bench, {1: FAILS, 2: KILLED, 3: VANISHES})
    assert bench.trial_states(batch) == ["error", "terminated", "lost", "completed"]
    return batch


@pytest.mark.parametrize(
    ("redo", "numbers"),
    [(("failed",), [1, 2]), (("lost",), [3]), (("failed", "lost"), [1, 2, 3]), (("missing", "lost"), [3])],
)
async def test_the_trials_that_are_named_are_run_again_and_no_others(
    bench: Bench, redo: tuple[str, ...], numbers: list[int]
) -> None:
    batch = await ended_in_all_ways(bench)
    before = bench.trials(batch)

    ended = await started_again(bench, restart=batch.id, redo=redo)

    after = bench.trials(batch)
    assert ended.state == "completed"
    assert bench.started[4:] == [before[number - 1].id for number in numbers]
    for was, now in zip(before, after, strict=True):
        assert (now.id, now.flags, now.label, now.generation) == (was.id, was.flags, was.label, 1)
        if was.trial in numbers:
            assert (now.state, now.attempt, now.executions) == ("completed", was.attempt + 1, 2)
        else:
            assert now == was


async def test_the_record_of_an_earlier_attempt_stays(bench: Bench) -> None:
    batch = await swept(bench, {1: FAILS})
    (trial, *_) = bench.trials(batch)

    await started_again(bench, restart=batch.id, redo=("failed",))

    directory = bench.session.directory(trial)
    kept = records.read_exit(bench.layout.attempt_directory(directory, 1))
    newest = records.read_exit(bench.layout.attempt_directory(directory, 2))
    assert kept is not None
    assert newest is not None
    assert (kept.code, newest.code) == (3, 0)


async def test_what_fails_again_is_run_once(bench: Bench) -> None:
    batch = await swept(bench, {1: FAILS})
    script(bench, {1: FAILS})

    ended = await started_again(bench, restart=batch.id, redo=("failed", "missing"))

    (trial, *_) = bench.trials(batch)
    assert (ended.state, trial.state, trial.attempt) == ("completed", "error", 2)


async def test_failed_trials_alone_leave_pending_and_unproposed_ones(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra.engine.proposing.PROPOSAL_LIMIT", 3)
    batch = await interrupted(bench, {1: FAILS}, 2)
    assert bench.trial_states(batch) == ["error", "terminated", "pending"]

    ended = await started_again(bench, restart=batch.id, redo=("failed",))

    assert bench.trial_states(batch) == ["completed", "completed", "pending"]
    assert ended.state == "completed"
    assert ended.batch_spec is not None
    assert ended.batch_spec.unfinished

    finished = await started_again(bench, restart=batch.id)

    assert bench.trial_states(batch) == ["completed"] * 4
    assert [run.flags for run in bench.trials(batch)] == POINTS
    assert finished.batch_spec is not None
    assert (finished.batch_spec.generation, finished.batch_spec.unfinished) == (1, False)


async def test_missing_trials_are_the_pending_ones_and_those_that_were_not_proposed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra.engine.proposing.PROPOSAL_LIMIT", 3)
    batch = await interrupted(bench, {1: FAILS}, 2)

    ended = await started_again(bench, restart=batch.id, redo=("missing",))

    assert ended.state == "completed"
    assert bench.trial_states(batch) == ["error", "terminated", "completed", "completed"]


async def test_a_trial_that_was_deleted_is_missing_and_no_other_is_run_twice(bench: Bench) -> None:
    batch = await swept(bench, {})
    (_, second, *_) = bench.trials(batch)
    await bench.store.delete([second.id])
    await bench.remove(second)

    await started_again(bench, restart=batch.id, redo=("missing",))

    made = bench.trials(batch)
    assert [run.flags for run in made] == [POINTS[0], POINTS[2], POINTS[3], POINTS[1]]
    assert [run.trial for run in made] == [1, 3, 4, 5]


@pytest.mark.parametrize("redo", [("failed",), ("lost",), ("missing",), ("failed", "missing", "lost")])
async def test_where_there_is_nothing_to_do_that_is_said_and_nothing_is_changed(
    bench: Bench, redo: tuple[str, ...]
) -> None:
    batch = await swept(bench, {})

    begun = await bench.begin(restart=batch.id, redo=redo)

    *others, last = redo
    words = f"{', '.join(others)} or {last}" if others else last
    assert (begun.what, begun.run, begun.matching[0].id) == ("skipped", None, batch.id)
    assert bench.lines[-1] == f"Nothing to do: batch {batch.id} has no {words} trial"
    assert await bench.store.get(batch.id) == batch


async def test_what_is_staged_is_told_where_there_is_nothing_to_do(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(stage_trials=True))
    await bench.begin(restart=batch.id, redo=("failed",))
    assert bench.lines == [
        f"Nothing to do: batch {batch.id} has no failed trial",
        f"It is staged: a queue starts it, or 'orchestra run --start {batch.short_id}'.",
    ]
    await bench.execute(batch)

    begun = await bench.begin(restart=batch.id, redo=("failed", "missing"))

    assert begun.what == "skipped"
    assert bench.lines[-1] == "Trials are staged (4): a queue starts them."


async def test_a_batch_that_stages_its_trials_waits_for_none_that_a_queue_runs(bench: Bench) -> None:
    batch = await swept(bench, {}, stage_trials=True)
    script(bench, {1: HANGS, 2: FAILS})
    async with bench.a_queue(jobs=2):
        await bench.until(lambda: sum(run.state in FINAL for run in bench.data.runs.values()) == 4)
        assert bench.trial_states(batch) == ["running", "error", "completed", "completed"]

        with anyio.fail_after(5):
            await started_again(bench, restart=batch.id, redo=("failed",))
            await started_again(bench, extend=batch.id, flags={"lr": [0.01, 0.1, 0.3]})

        assert bench.trial_states(batch)[0] == "running"
        assert len(bench.trials(batch)) == 6
        await end_trial(bench, batch, 1)


async def test_a_batch_that_has_only_pending_trials_says_so_when_it_is_asked_for_failed_ones(
    bench: Bench,
) -> None:
    batch = await interrupted(bench, {}, 1)
    await started_again(bench, restart=batch.id, redo=("failed",))

    await bench.begin(restart=batch.id, redo=("failed",))

    assert bench.lines[-1] == "Trials that were not started are left as they are (3): see --missing."


async def test_a_trial_that_is_broken_is_left_and_told(bench: Bench) -> None:
    batch = await swept(bench, {2: FAILS})
    (first, *_) = bench.trials(batch)
    await bench.store.update((structs.replace(first, state="broken", reason="run.json can't be read"),))

    ended = await started_again(bench, restart=batch.id, redo=("failed",))

    assert bench.trial_states(batch) == ["broken", *["completed"] * 3]
    assert ended.state == "completed"
    assert f"ERROR: [orchestra] run {first.id} can't be read: run.json can't be read" in bench.lines

    begun = await bench.begin(restart=batch.id, redo=("failed",))

    assert begun.what == "skipped"
    assert bench.lines[-1].startswith(f"Trials can't be read: {first.short_id}.")


async def test_a_lost_trial_of_which_processes_live_is_left_and_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await swept(bench, {1: VANISHES, 2: VANISHES})
    (first, *_) = bench.trials(batch)
    monkeypatch.setattr(
        supervisor, "tree_of", lambda cookie: [(77, 0)] if cookie.startswith(first.id) else []
    )

    await started_again(bench, restart=batch.id, redo=("lost",))

    assert bench.trial_states(batch)[:2] == ["lost", "completed"]
    assert any(f"cannot restart run {first.id} because processes of it go on: 77" in x for x in bench.lines)


async def test_a_staged_batch_is_finished_by_a_queue(bench: Bench) -> None:
    batch = await ended_in_all_ways(bench)

    begun = await bench.begin(restart=batch.id, redo=("failed",), stage=True)

    assert begun.what == "staged"
    assert bench.trial_states(batch) == ["error", "terminated", "lost", "completed"]
    await bench.queue()
    assert bench.trial_states(batch) == ["completed", "completed", "lost", "completed"]
    assert (await bench.store.get(batch.id)).state == "completed"


async def test_a_batch_that_is_staged_to_be_finished_may_be_started_by_hand(bench: Bench) -> None:
    batch = await ended_in_all_ways(bench)
    await bench.begin(restart=batch.id, redo=("lost",), stage=True)

    await started_again(bench, restart=batch.id)

    assert bench.trial_states(batch) == ["error", "terminated", "completed", "completed"]


async def test_a_batch_that_stages_its_trials_stages_them_again(bench: Bench) -> None:
    batch = await swept(bench, {}, stage_trials=True)
    script(bench, {1: FAILS, 3: VANISHES})
    await bench.queue()
    script(bench, {})
    assert bench.trial_states(batch) == ["error", "completed", "lost", "completed"]

    ended = await started_again(bench, restart=batch.id, redo=("failed",))

    assert ended.state == "completed"
    assert bench.trial_states(batch) == ["staged", "completed", "lost", "completed"]
    await bench.queue()
    made = bench.trials(batch)
    assert [run.state for run in made] == ["completed", "completed", "lost", "completed"]
    assert [run.attempt for run in made] == [2, 1, 1, 1]


async def test_a_batch_that_is_to_fail_with_its_trials_does_when_it_is_finished(bench: Bench) -> None:
    batch = await swept(bench, {1: FAILS, 2: FAILS})
    script(bench, {1: FAILS})

    ended = await started_again(bench, restart=batch.id, redo=("failed",), fail_on_trial_error=True)

    assert (ended.state, ended.exit_code) == ("error", 3)
    assert [run.attempt for run in bench.trials(batch)] == [2, 1, 1, 1]


async def test_trials_are_run_again_on_the_terms_that_the_batch_has_now(bench: Bench) -> None:
    batch = await swept(bench, {1: FAILS}, fields={"environment": {"A": "1"}})

    await started_again(bench, restart=batch.id, redo=("failed",), time_limit=60.0, environment={"B": "2"})

    first, second, *_ = bench.trials(batch)
    assert (first.time_limit, first.environment) == (60.0, {"A": "1", "B": "2"})
    assert (second.time_limit, second.environment) == (None, {"A": "1"})
    kept = records.read_run(bench.session.directory(first))
    assert (kept.time_limit, kept.environment) == (60.0, {"A": "1", "B": "2"})


async def test_trials_of_an_earlier_generation_are_left(bench: Bench) -> None:
    batch = await swept(bench, {1: FAILS})
    await started_again(bench, restart=batch.id)

    begun = await bench.begin(restart=batch.id, redo=("failed",))

    assert begun.what == "skipped"
    assert bench.trial_states(batch) == ["error", *["completed"] * 3]


async def test_a_batch_that_was_complete_begins_anew_when_it_is_restarted_after_that(bench: Bench) -> None:
    batch = await swept(bench, {1: FAILS})
    await started_again(bench, restart=batch.id, redo=("failed",))

    await started_again(bench, restart=batch.id)

    assert bench.trial_states(batch, 2) == ["completed"] * 4


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"redo": ("failed",)}, "--failed can only be used with --restart"),
        ({"redo": ("faild",), "restart": "b"}, "invalid value 'faild' for redo"),
        ({"redo": ("lost",), "restart": "b", "flags": {"lr": 1}}, "--lost runs trials again with the flags"),
        ({"redo": ("lost",), "restart": "b", "max_trials": 3}, "--max-trials cannot be used with --lost"),
        ({"redo": ("missing",), "restart": "b", "needed": True}, "--needed cannot be used with --missing"),
        ({"redo": ("failed",), "restart": "r"}, "run r is not a batch: --failed is about the trials"),
    ],
)
async def test_what_makes_no_sense_is_refused(bench: Bench, request_: dict[str, Any], message: str) -> None:
    await bench.make(id="b", kind="batch", flags={}, batch_spec=a_batch())
    await bench.make(id="r")

    with pytest.raises(UserError) as refused:
        await bench.begin(**request_)

    assert refused.value.message.startswith(message)
    assert await bench.states() == ["staged", "staged"]
