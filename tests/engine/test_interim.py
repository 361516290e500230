"""``interim: delete``: batch and queue runs that completed are deleted, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.engine.control import Control
from orchestra.engine.execute import execute
from orchestra.model.execution import Exit
from orchestra.model.run import Run
from orchestra.settings import Settings, load_settings
from orchestra.testing.builders import a_batch
from orchestra.testing.scripted import Script
from tests.engine.workbench import Bench


async def worked(bench: Bench, *, keep: bool = False, fail: bool = False) -> tuple[Run, Run]:
    """A batch of two trials and the queue that executed it, with ``interim: delete``."""
    spec = a_batch(space={"lr": a_batch().space["lr"]}, fixed={"epochs": 3}, fail_on_trial_error=True)
    if fail:
        bench.executor.default = Script(exit=Exit(code=1, started=0, stopped=0))
    batch = await bench.make(kind="batch", flags={}, batch_spec=spec)
    settings = Settings(executor="scripted", durability="fast", interim="delete")
    session = bench.open(settings=settings)
    begun = await bench.begin(session, operation="queue", flags={"run-once": True})
    assert begun.run is not None
    queue = await execute(session, begun.run, console=bench.console, control=Control(), keep=keep)
    return batch, queue


@pytest.mark.anyio
async def test_a_batch_and_a_queue_that_completed_are_deleted_with_a_line(bench: Bench) -> None:
    batch, queue = await worked(bench)

    assert (bench.state(batch), bench.state(queue), queue.state) == ("gone", "gone", "completed")
    assert not bench.session.directory(batch).exists()
    assert not bench.session.directory(queue).exists()
    trials = [run for run in bench.data.runs.values() if run.batch == batch.id]
    assert [run.state for run in trials] == ["completed"] * 2
    assert [line for line in bench.lines if "Deleting" in line] == [
        f"INFO: [orchestra] Deleting interim run {run.id} ('{name}' is configured for deletion on success)"
        for run, name in ((batch, "train.py+"), (queue, "queue"))
    ]


@pytest.mark.anyio
async def test_what_failed_is_kept(bench: Bench) -> None:
    batch, queue = await worked(bench, fail=True)

    assert (bench.state(batch), bench.state(queue)) == ("error", "gone")


@pytest.mark.anyio
async def test_keep_keeps_the_run_that_it_was_asked_for(bench: Bench) -> None:
    batch, queue = await worked(bench, keep=True)

    assert (bench.state(batch), bench.state(queue)) == ("gone", "completed")


@pytest.mark.anyio
async def test_by_default_all_are_kept(bench: Bench) -> None:
    queue = await bench.queue()

    assert bench.state(queue) == "completed"
    assert load_settings(bench.layout.home, env={}).interim == "keep"


def test_the_environment_sets_it(home: Path) -> None:
    assert load_settings(home, env={"ORCHESTRA_INTERIM": "delete"}).interim == "delete"
