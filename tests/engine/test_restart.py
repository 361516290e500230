"""Starting a run that is there: what it is started with, and when it can't be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import structs

from orchestra.child import supervisor
from orchestra.engine.annotating import label_runs, tag_runs
from orchestra.engine.control import Control
from orchestra.engine.launch import fail_to_start
from orchestra.errors import (
    ExecutorError,
    FlagError,
    HomeError,
    RunBusy,
    RunNotFound,
    StoreUnavailable,
    UserError,
)
from orchestra.model.batch import Choices
from orchestra.model.encoding import encode
from orchestra.model.execution import Exit, Handle, Identity, Job
from orchestra.model.label_edits import LabelEdit
from orchestra.model.run import Run, State
from orchestra.project.find import queue_operation
from orchestra.testing.builders import a_batch, a_fence, a_worker
from orchestra.testing.scripted import Script
from orchestra.workspace import records
from tests.engine.workbench import HANGS, Bench

pytestmark = pytest.mark.anyio


async def ended(bench: Bench, script: Script | None = None, **fields: Any) -> Run:
    """A run that was executed once."""
    return await bench.execute(await bench.make(script, **fields))


async def restarted(bench: Bench, run: Run, **request: Any) -> Run:
    begun = await bench.begin(restart=run.id, **request)
    assert begun.run is not None
    assert begun.what == "claimed"
    return await bench.execute(begun.run)


async def test_a_restart_keeps_the_flags_but_for_those_that_are_given(bench: Bench) -> None:
    run = await ended(bench)

    again = await restarted(bench, run, flags={"lr": 0.5})

    assert (again.id, again.flags, again.attempt, again.executions) == (
        run.id,
        {"epochs": 3, "lr": 0.5},
        2,
        2,
    )
    assert (await restarted(bench, run)).flags == {"epochs": 3, "lr": 0.5}
    assert records.read_run(bench.session.directory(run)).flags == {"epochs": 3, "lr": 0.5}


async def test_label_tags_executor_and_environment_are_carried_over_and_replaced(bench: Bench) -> None:
    run = await ended(bench, label_template="is ${lr}", label="is 0.1", tags=("a",), environment={"A": "1"})

    again = await restarted(bench, run, flags={"lr": 2}, environment={"B": "2"})
    assert (again.label, again.tags, again.environment) == ("is 2", ("a",), {"A": "1", "B": "2"})

    again = await restarted(bench, run, label="now ${epochs}", tags=("b",))
    assert (again.label, again.tags) == ("now 3", ("b",))


async def test_only_a_run_that_was_started_before_is_announced_as_restarted(bench: Bench) -> None:
    run = await bench.make()

    await restarted(bench, run)
    assert bench.lines == []
    await restarted(bench, run)

    assert bench.lines == [f"Restarting {run.id}"]


async def test_unknown_flags_and_lists_are_refused_and_nothing_is_changed(bench: Bench) -> None:
    run = await ended(bench)

    for flags in ({"none": 1}, {"lr": [1, 2]}):
        with pytest.raises(FlagError):
            await bench.begin(restart=run.id, flags=flags)

    assert await bench.store.get(run.id) == run


async def test_force_flags_lets_a_restart_have_any(bench: Bench) -> None:
    run = await ended(bench)

    assert (await restarted(bench, run, flags={"none": 1}, force_flags=True)).flags["none"] == 1


@pytest.mark.parametrize(
    ("script", "skipped"),
    [
        (Script(), True),
        (Script(exit=None), False),
        (Script(refuse="no licence"), False),
    ],
)
async def test_needed_skips_a_restart_that_would_change_nothing(
    bench: Bench, script: Script, skipped: bool
) -> None:
    run = await ended(bench, script)
    assert run.state == {True: "completed", False: run.state}[skipped]

    begun = await bench.begin(restart=run.id, needed=True)

    assert (begun.what == "skipped") is skipped
    line = "Skipping run because flags have not changed (--needed specified)"
    assert (line in bench.lines) is skipped


@pytest.mark.parametrize(
    ("state", "skipped"),
    [("staged", False), ("pending", False), ("error", False), ("aborted", False), ("terminated", True)],
)
async def test_needed_asks_for_the_state_too(bench: Bench, state: State, skipped: bool) -> None:
    run = await bench.make(state=state)

    assert ((await bench.begin(restart=run.id, needed=True)).what == "skipped") is skipped


async def test_needed_starts_again_what_has_other_flags(bench: Bench) -> None:
    run = await ended(bench)

    assert (await bench.begin(restart=run.id, needed=True, flags={"lr": 0.1})).what == "skipped"
    assert (await bench.begin(restart=run.id, needed=True, flags={"lr": 0.2})).what == "claimed"


async def test_needed_looks_at_what_a_batch_searches(bench: Bench) -> None:
    batch = await ended(bench, kind="batch", flags={}, batch_spec=a_batch())

    assert (await bench.begin(restart=batch.id, needed=True)).what == "skipped"
    assert (await bench.begin(restart=batch.id, needed=True, flags={"lr": [1, 2]})).what == "claimed"


async def test_a_running_run_is_not_restarted(bench: Bench) -> None:
    run = await bench.running()

    with pytest.raises(RunBusy, match="because it's running"):
        await bench.begin(restart=run.id)


async def test_a_run_that_is_being_started_is_not_started_again(bench: Bench) -> None:
    run = await bench.make()
    await bench.claim(run, worker=a_worker())

    with pytest.raises(RunBusy, match="is already being started by host-a"):
        await bench.begin(restart=run.id)


async def test_a_claim_whose_worker_is_gone_does_not_keep_a_run_from_being_started(bench: Bench) -> None:
    run = await bench.make()
    await bench.claim(run, worker=a_worker())
    bench.clock.advance(20)

    assert (await restarted(bench, run)).state == "completed"


async def test_one_of_two_who_were_ready_to_start_it_does(bench: Bench) -> None:
    from pathlib import Path

    from orchestra.engine.begin import begin, prepare
    from orchestra.engine.request import RunRequest

    run = await bench.make()
    request = RunRequest(restart=run.id, cwd=Path("/"))
    other = bench.open()
    here, there = await prepare(bench.session, request), await prepare(other, request)
    await begin(other, request, there, console=bench.console)

    with pytest.raises(RunBusy, match="being started"):
        await begin(bench.session, request, here, console=bench.console)
    staging = RunRequest(restart=run.id, cwd=Path("/"), stage=True)
    with pytest.raises(RunBusy, match="being started"):
        await begin(bench.session, staging, here, console=bench.console)


async def test_a_broken_run_is_not_started(bench: Bench) -> None:
    run = await bench.make(state="broken", reason="it is torn")

    with pytest.raises(UserError, match="can't be read: it is torn"):
        await bench.begin(restart=run.id)


async def test_an_ended_run_is_staged_again_with_its_new_flags(bench: Bench) -> None:
    run = await ended(bench, Script(exit=None))

    begun = await bench.begin(restart=run.id, stage=True, flags={"lr": 1})

    assert begun.what == "staged"
    kept = await bench.store.get(run.id)
    assert (kept.state, kept.flags["lr"], kept.stopped, kept.reason) == ("staged", 1, None, None)
    assert bench.lines[-2:] == [
        f"train.py staged as {run.id}",
        f"To start the operation, use 'orchestra run --start {run.id}'",
    ]
    assert (await bench.queue()).state == "completed"
    assert bench.state(run) == "completed"


async def test_a_queue_gets_a_restaged_run_with_its_new_flags_or_not_at_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await ended(bench)
    seen: list[Run] = []
    update = bench.store.update

    async def watched(runs: Sequence[Run]) -> tuple[Run, ...]:
        kept = await update(runs)
        seen.extend(kept)
        return kept

    monkeypatch.setattr(bench.store, "update", watched)
    await bench.begin(restart=run.id, stage=True, flags={"lr": 7})

    assert [(one.flags["lr"], one.attempt) for one in seen if one.state == "staged"] == [(7, 1)]
    assert records.read_run(bench.session.directory(run)).state == "staged"


async def test_a_restart_that_can_not_be_kept_leaves_the_run_as_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await ended(bench, Script(exit=Exit(code=3, started=1, stopped=2)))

    def refuse(*_: object, **__: object) -> None:
        raise StoreUnavailable("no space")

    monkeypatch.setattr(records, "write_run", refuse)
    with pytest.raises(StoreUnavailable):
        await bench.begin(restart=run.id, flags={"lr": 7})

    kept = await bench.store.get(run.id)
    assert kept == structs.replace(run, revision=kept.revision)
    assert bench.events[-1] == "run.released"


@pytest.mark.parametrize("error", [HomeError("no room"), StoreUnavailable("away"), RuntimeError("a bug")])
async def test_a_launch_that_fails_gives_its_claim_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("orchestra.engine.launch.write_config", refuse)
    run = await bench.make()

    with pytest.raises(type(error)):
        await bench.execute(run)

    kept = await bench.store.get(run.id)
    assert (kept.state, kept.worker) == ("staged", None)


async def test_an_operation_whose_submission_is_cancelled_is_stopped_for_who_owns_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await bench.make(HANGS)
    submit = bench.executor.submit
    told: list[int] = []

    def end(pid: int, start: int, number: int) -> bool:
        told.append(number)
        bench.executor._scripted[f"{run.id}.1"].end()
        return True

    monkeypatch.setattr(supervisor, "send_signal", end)
    with anyio.CancelScope() as scope:

        async def cancelled(job: Job) -> Handle:
            handle = await submit(job)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
            return handle

        monkeypatch.setattr(bench.executor, "submit", cancelled)
        await bench.execute(run, Control(owned=True))

    assert told == [signal.SIGTERM, signal.SIGCONT]
    assert (await bench.store.get(run.id)).state == "completed"


async def test_what_somebody_changes_while_a_run_is_launched_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await bench.make()
    submit = bench.executor.submit

    async def relabelled(job: Job) -> Handle:
        kept = structs.replace(await bench.store.get(run.id), label="mine", flags={"lr": 8})
        await bench.store.update((kept,))
        return await submit(job)

    monkeypatch.setattr(bench.executor, "submit", relabelled)
    done = await bench.execute(run)

    assert (done.state, done.label, done.flags) == ("completed", "mine", {"lr": 8})


async def test_a_start_that_fails_leaves_the_flags_that_were_given(bench: Bench) -> None:
    run = await ended(bench)
    begun = await bench.begin(restart=run.id, flags={"lr": 9})
    assert begun.run is not None

    failed = await fail_to_start(bench.session, begun.run, ExecutorError("no licence"))

    assert (failed.state, failed.flags["lr"], failed.reason) == ("error", 9, "no licence")


async def test_a_run_is_named_by_id_beginning_or_directory(bench: Bench) -> None:
    for run_id in ("ab", "abc1", "abc2"):
        await bench.make(id=run_id, state="completed")
    directory = bench.layout.runs_dir / "abc2"

    for spec, wanted in (("ab", "ab"), ("abc1", "abc1"), (str(directory), "abc2")):
        begun = await bench.begin(restart=spec)
        assert begun.run is not None
        assert begun.run.id == wanted
    for spec, message in (
        ("abc", "multiple runs: abc2, abc1"),
        ("x", "could not find"),
        ("", "could not find"),
    ):
        with pytest.raises(RunNotFound, match=message):
            await bench.begin(restart=spec)
    with pytest.raises(RunNotFound, match="is not the directory of a run"):
        await bench.begin(restart=str(bench.layout.home))


async def test_a_whole_id_is_found_however_many_begin_with_it(bench: Bench) -> None:
    for run_id in ("a", *(f"a{n}" for n in range(12))):
        await bench.make(id=run_id, state="completed")

    begun = await bench.begin(restart="a")

    assert begun.run is not None
    assert begun.run.id == "a"


async def test_a_batch_takes_over_what_only_batches_have(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())

    begun = await bench.begin(
        restart=batch.id,
        flags={"lr": [1, 2, 3]},
        max_trials=2,
        random_seed=77,
        stage_trials=True,
        fail_on_trial_error=True,
    )

    assert begun.run is not None
    spec = begun.run.batch_spec
    assert spec is not None
    assert spec.space == {"epochs": Choices(values=(3, 5)), "lr": Choices(values=(1, 2, 3))}
    assert (spec.max_trials, spec.seed, spec.stage_trials, spec.fail_on_trial_error) == (2, 77, True, True)
    assert spec.generation == 1


async def test_a_queue_is_restarted_with_flags_that_make_sense_alone(bench: Bench) -> None:
    queue = await bench.make(
        kind="queue", operation=queue_operation(), flags={"run-once": True}, state="completed"
    )

    with pytest.raises(FlagError, match="poll-interval"):
        await bench.begin(restart=queue.id, flags={"poll-interval": 0})

    assert (await bench.store.get(queue.id)).worker is None


async def test_a_lost_run_is_not_started_again_while_processes_of_it_live(bench: Bench) -> None:
    run = await bench.make(state="lost", attempt=1, executions=1)
    folder = bench.session.attempt_directory(run)
    folder.mkdir(parents=True)
    identity = Identity(**supervisor.own_identity())
    (folder / "fence").write_bytes(encode(a_fence(nonce="n", identity=identity)))
    command = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"]
    environment = {**os.environ, "ORCHESTRA_ATTEMPT": f"{run.id}.1.n"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        process.stdout.readline()
        try:
            with pytest.raises(RunBusy, match=f"processes of it go on: {process.pid}$"):
                await restarted(bench, run)
        finally:
            process.kill()

    assert (await restarted(bench, run)).state == "completed"


async def test_what_somebody_says_of_a_run_while_a_restart_waits_for_an_answer_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await ended(bench, label="old", tags=("old",))
    claim = bench.store.claim

    async def late(*wanted: Any) -> tuple[Run, ...]:
        monkeypatch.setattr(bench.store, "claim", claim)
        await label_runs(bench.session, [run], LabelEdit(set="mine"))
        await tag_runs(bench.session, [run], add=("mine",))
        return await claim(*wanted)

    monkeypatch.setattr(bench.store, "claim", late)
    again = await restarted(bench, run, environment={"A": "1"})

    assert (again.label, again.tags, again.environment) == ("mine", ("mine", "old"), {"A": "1"})
