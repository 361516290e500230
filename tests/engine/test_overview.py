"""What is shown of queues at work: looked up again and again, without a run that is missed."""

from __future__ import annotations

import time

import pytest

from orchestra.engine import overview
from orchestra.engine.overview import Overseer
from orchestra.model.batch import Choices
from orchestra.model.execution import Exit
from orchestra.model.filters import RunQuery
from orchestra.testing.builders import a_batch
from orchestra.testing.scripted import Script
from tests.engine.workbench import HANGS, Bench

pytestmark = pytest.mark.anyio


def ends(code: int = 0) -> Script:
    now = time.time_ns() // 1000
    return Script(exit=Exit(code=code, started=now, stopped=now + 60_000_000))


async def test_running_runs_are_told_with_their_newest_line_and_scalars(bench: Bench) -> None:
    run = await bench.running()
    with bench.writer(run) as writer:
        writer.write(0, b"step: 7\nloss: 0.25\n")
        writer.write(1, b" 10%\r 20%")

    view = await Overseer(bench.session).look(5)

    (activity,) = view.activities
    assert (activity.run.id, activity.last_line) == (run.id, "20%")
    assert (dict(activity.scalars)["loss"], activity.step) == (0.25, 7)
    assert view.is_at_work


async def test_what_more_runs_do_than_are_shown_is_not_looked_up(bench: Bench) -> None:
    for _ in range(2):
        run = await bench.running()
        with bench.writer(run) as writer:
            writer.write(0, b"line\n")

    view = await Overseer(bench.session).look(1)

    assert [one.last_line for one in view.activities] == ["line", ""]
    assert not (bench.session.directory(run) / ".orchestra" / "scalars.json").exists()


async def test_each_end_is_told_once_also_of_runs_that_were_never_seen_running(bench: Bench) -> None:
    overseer = Overseer(bench.session)
    slow = await bench.running(HANGS, starter="queue")
    before = await bench.make(ends())
    await bench.queue()
    first = await overseer.look(5)
    quick = await bench.make(ends(code=3))
    await bench.queue()

    second, third = await overseer.look(5), await overseer.look(5)

    assert bench.state(before) == "completed"
    assert [one.run.id for one in first.activities] == [slow.id]
    assert first.ended == ()
    assert [(run.id, run.state) for run in second.ended] == [(quick.id, "error")]
    assert third.ended == ()


async def test_what_has_ended_long_ago_is_kept_no_longer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "PAGE", 2)
    monkeypatch.setattr(overview, "MOST_BATCHES", 3)
    overseer = Overseer(bench.session)
    await overseer.look(5)
    told: list[str] = []
    runs: list[str] = []
    for _ in range(5):
        batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(stage_trials=True))
        bench.executor.default = ends()
        await bench.execute(batch)
        await overseer.look(5)
        await bench.queue(jobs=2)
        runs += [run.id for run in (await bench.store.query(RunQuery(batch=batch.id))).runs]
        told += [run.id for run in (await overseer.look(5)).ended]
    await overseer.look(5)

    assert len(told) == len(set(told)) and set(told) <= set(runs)
    assert (len(overseer._told), overseer._planned, len(overseer._over)) == (2, {}, 3)


async def test_a_batch_is_counted_until_its_last_trial_was_seen_to_end_and_stays_in_view(
    bench: Bench,
) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(stage_trials=True))
    bench.executor.default = ends()
    await bench.execute(batch)
    overseer = Overseer(bench.session)
    staged = await overseer.look(5)
    await bench.queue()

    ended, over = await overseer.look(5), await overseer.look(5)

    assert [(one.batch.id, one.ended, one.planned) for one in staged.batches] == [(batch.id, 0, 4)]
    assert [(one.batch.id, one.ended, one.planned) for one in ended.batches] == [(batch.id, 4, 4)]
    assert (over.batches, over.is_at_work) == (ended.batches, False)
    assert (staged.batches[0].is_over, over.batches[0].is_over) == (False, True)


async def test_of_a_batch_that_is_running_the_trials_to_come_are_counted(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())
    bench.data.runs[batch.id] = await bench.claim(batch)

    (found,) = (await Overseer(bench.session).look(5)).batches

    assert (found.ended, found.planned, found.seconds_left) == (0, 4, None)


async def test_the_flags_that_vary_in_a_batch_stay_known_when_it_is_no_longer_counted(bench: Bench) -> None:
    spec = a_batch(space={"epochs": Choices(values=(3, 5)), "lr": Choices(values=(0.1,))}, stage_trials=True)
    batch = await bench.make(kind="batch", flags={}, batch_spec=spec)
    bench.executor.default = ends()
    await bench.execute(batch)
    overseer = Overseer(bench.session)
    await overseer.look(5)
    await bench.queue()

    views = [await overseer.look(5) for _ in range(2)]

    assert views[-1].varying == {batch.id: frozenset(("epochs",))}


async def test_a_batch_whose_expander_is_not_there_is_counted_by_its_trials(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(expander="missing"))
    bench.data.runs[batch.id] = await bench.claim(batch)
    await bench.make(HANGS, batch=batch.id, generation=1, trial=1)

    (found,) = (await Overseer(bench.session).look(5)).batches

    assert found.planned == 1
