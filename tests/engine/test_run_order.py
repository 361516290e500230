"""What a run is to follow: it has to wait for it, and not for itself."""

from __future__ import annotations

import pytest

from orchestra.errors import UsageError, UserError
from orchestra.testing.builders import a_batch
from tests.engine.workbench import Bench

pytestmark = pytest.mark.anyio


async def test_a_run_that_would_follow_itself_is_not_staged(bench: Bench) -> None:
    run = await bench.make()

    with pytest.raises(UserError, match=f"would wait for itself: {run.short_id} after {run.short_id}$"):
        await bench.begin(restart=run.id, stage=True, after=(run.id,))
    assert await bench.store.get(run.id) == run


async def test_runs_that_would_follow_each_other_in_a_circle_are_named(bench: Bench) -> None:
    first = await bench.make()
    second = await bench.make(after=(f"{first.id}:ok",))
    third = await bench.make(after=(f"{second.id}:any", f"{first.id}:ok"))
    circle = " after ".join(run.short_id for run in (first, third, second, first))

    with pytest.raises(
        UserError, match=f"{circle}$|{first.short_id} after {third.short_id} after {first.short_id}$"
    ):
        await bench.begin(restart=first.id, stage=True, after=(third.id,))
    staged = await bench.begin(restart=third.id, stage=True, after=(first.id,))
    assert staged.run is not None


async def test_a_circle_of_what_was_to_be_followed_before_is_found_at_the_next_staging(bench: Bench) -> None:
    first = await bench.execute(await bench.make())
    second = await bench.execute(await bench.make(after=(f"{first.id}:ok",)))
    # It has ended: nobody waits for it.
    staged = await bench.begin(restart=first.id, stage=True, after=(second.id,))
    assert staged.run is not None

    with pytest.raises(UserError, match="would wait for itself"):
        await bench.begin(restart=second.id, stage=True)


async def test_a_trial_does_not_follow_its_own_batch(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(stage_trials=True))
    trial = await bench.make(batch=batch.id, generation=1, trial=1)

    with pytest.raises(UserError, match="whose trial it is"):
        await bench.begin(restart=trial.id, stage=True, after=(batch.id,))


async def test_what_is_started_at_once_follows_nothing(bench: Bench) -> None:
    (bench.layout.home.parent / "op.sh").write_text("#!/bin/sh\n")
    (bench.layout.home.parent / "op.sh").chmod(0o755)
    first, second = await bench.make(), await bench.make()

    for request in ({"operation": "op.sh"}, {"restart": second.id}):
        with pytest.raises(UsageError, match="--after needs --stage"):
            await bench.begin(**request, after=(first.id,))
    assert await bench.states() == ["staged", "staged"]


async def test_the_staged_trials_of_a_batch_follow_though_it_starts_at_once(bench: Bench) -> None:
    first = await bench.make()
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(stage_trials=True))

    begun = await bench.begin(restart=batch.id, after=(first.id,))

    assert begun.run is not None
    assert (begun.what, begun.run.after) == ("claimed", (f"{first.id}:ok",))
