"""What becomes of a run, judged by its records alone."""

from __future__ import annotations

import math
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from orchestra.child import supervisor
from orchestra.engine.judge import settle, settle_active, settle_or_spoil
from orchestra.errors import RunBroken
from orchestra.model.execution import Identity
from orchestra.model.run import Run, State
from orchestra.testing.builders import a_worker, an_exit
from orchestra.testing.scripted import Script
from orchestra.workspace import durable, records
from orchestra.workspace.fence import Probe, probe
from tests.engine.workbench import HANGS, Bench

pytestmark = pytest.mark.anyio


async def claimed(bench: Bench, state: State = "staged", **worker: object) -> Run:
    """A claimed run whose worker lives on another host, by default."""
    return await bench.claim(await bench.make(state=state), worker=a_worker(**worker))


def attempt(bench: Bench, run: Run) -> Path:
    directory = bench.session.attempt_directory(run)
    durable.make_dirs(directory)
    return directory


@pytest.mark.parametrize(
    ("state", "rest"), [("staged", "staged"), ("pending", "pending"), ("completed", "aborted")]
)
async def test_a_claim_that_nobody_will_use_goes_back_to_where_the_run_rested(
    bench: Bench, state: State, rest: str
) -> None:
    run = await claimed(bench, state)
    bench.clock.advance(20)

    settled = await settle(bench.session, run)

    assert (settled.state, settled.worker, settled.attempt) == (rest, None, 1)
    fence = records.read_fence(attempt(bench, run))
    assert fence is not None
    assert fence.fence == "revoked"


async def test_a_claim_whose_worker_lives_is_left_alone(bench: Bench) -> None:
    here, there = await bench.claim(await bench.make()), await claimed(bench)
    bench.clock.advance(14)

    assert await settle(bench.session, here) is here
    assert await settle(bench.session, there) is there


async def test_a_worker_of_this_host_that_is_dead_is_not_waited_for(bench: Bench) -> None:
    dead = Identity(**{**supervisor.own_identity(), "start": 1})
    run = await claimed(bench, identity=dead)

    assert (await settle(bench.session, run)).state == "staged"


async def test_a_worker_in_another_container_of_this_host_is_not_taken_for_dead(bench: Bench) -> None:
    # Its pid is somebody else's here, or nobody's.
    other = Identity(**{**supervisor.own_identity(), "pid": 2**22 + 7, "namespace": "pid:[7]"})
    run = await claimed(bench, identity=other)

    assert await settle(bench.session, run) is run
    bench.clock.advance(20)
    assert (await settle(bench.session, run)).state == "staged"


async def test_a_worker_that_noted_no_container_is_looked_for_by_its_pid(bench: Bench) -> None:
    earlier = Identity(**{**supervisor.own_identity(), "start": 1, "namespace": ""})
    run = await claimed(bench, identity=earlier)

    assert (await settle(bench.session, run)).state == "staged"


async def test_our_own_claim_is_released_when_we_give_it_up(bench: Bench) -> None:
    run = await bench.claim(await bench.make())

    assert (await settle(bench.session, run, given_up=True)).state == "staged"


async def test_nobody_gives_up_the_claim_of_another(bench: Bench) -> None:
    run = await claimed(bench)

    assert await settle(bench.session, run, given_up=True) is run


async def test_a_start_that_was_not_noted_is_seen(bench: Bench) -> None:
    run = await claimed(bench)
    with records.hold(attempt(bench, run), "n", fsync=False):
        settled = await settle(bench.session, run)

    assert (settled.state, settled.executions) == ("running", 1)


async def test_a_running_run_without_a_living_process_is_lost(bench: Bench) -> None:
    run = await claimed(bench)
    with records.hold(attempt(bench, run), "n", fsync=False):
        run = await settle(bench.session, run)

    settled = await settle(bench.session, run)

    assert (settled.state, settled.reason, settled.exit_code) == ("lost", "its process died", None)


async def test_a_start_that_nobody_noted_counts_when_its_run_is_lost(bench: Bench) -> None:
    run = await claimed(bench)
    with records.hold(attempt(bench, run), "n", fsync=False):
        pass

    settled = await settle(bench.session, run)

    assert (settled.state, settled.executions) == ("lost", 1)


async def test_the_end_that_is_recorded_while_we_look_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await claimed(bench)
    directory = attempt(bench, run)
    fence = records.hold(directory, "n", fsync=False)

    def probe_late(path: Path) -> Probe | None:
        # It ends after we looked for its exit record and before we look whether it lives.
        records.write_exit(directory, an_exit(code=0), fsync=False)
        fence.close()
        return probe(path)

    monkeypatch.setattr(records, "probe", probe_late)

    assert (await settle(bench.session, run)).state == "completed"


async def test_what_runs_on_another_host_can_not_be_judged(bench: Bench) -> None:
    run = await claimed(bench)
    identity = structs.replace(Identity(**supervisor.own_identity()), host="far-away", boot="another")
    fields = {"fence": "started", "nonce": "n", "identity": identity, "time": 1, "kind": "supervisor"}
    durable.write_atomic(
        attempt(bench, run) / "fence",
        supervisor.to_json({**fields, "identity": structs.asdict(identity)}).encode(),
        fsync=False,
    )
    bench.clock.advance(10_000)

    assert (await settle(bench.session, run)).state == "running"


async def test_a_claimed_run_without_its_directory_is_lost(bench: Bench) -> None:
    run = await claimed(bench)
    await bench.remove(run)
    bench.clock.advance(20)

    settled = await settle(bench.session, run)

    assert (settled.state, settled.reason) == ("lost", "its directory is gone")


async def test_many_who_judge_at_once_agree_and_tell_it_once(bench: Bench) -> None:
    run = await bench.running(Script(exit=None, after=math.inf))
    bench.end(run)
    await bench.executor.wait(run.handle)  # pyright: ignore[reportArgumentType]
    bench.events.clear()
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(settle, bench.open(), run)

    assert bench.events.count("run.lost") == 1
    history = [event["event"] for event in records.read_events(bench.session.directory(run))]
    assert history.count("run.lost") == 1


async def test_one_damaged_record_keeps_no_other_run_from_being_judged(bench: Bench) -> None:
    bad, good = await claimed(bench), await claimed(bench)
    (attempt(bench, bad) / "fence").write_bytes(b"{")
    bench.clock.advance(20)
    with pytest.raises(RunBroken, match="fence' is damaged"):
        await settle(bench.session, bad)

    assert await settle_active(bench.session) == ()

    assert (bench.state(bad), bench.state(good)) == ("broken", "staged")
    assert "fence' is damaged" in str((await bench.store.get(bad.id)).reason)


async def test_active_runs_are_those_that_somebody_watches_or_that_wait(bench: Bench) -> None:
    waiting = await bench.make(state="pending")
    running = await bench.running(HANGS)
    await bench.make(state="completed")

    active = await settle_active(bench.session)

    assert {run.id for run in active} == {waiting.id, running.id}


async def test_a_run_that_is_deleted_meanwhile_is_none(bench: Bench) -> None:
    run = await claimed(bench)
    await bench.store.delete((run.id,))
    bench.clock.advance(20)

    assert await settle_or_spoil(bench.session, run) is None
