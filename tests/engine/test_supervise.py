"""The watch of one run: what hints, records, wishes and cancellation come to."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from msgspec import structs, to_builtins

from orchestra.child import supervisor
from orchestra.console import TextConsole
from orchestra.contracts import StopHow
from orchestra.engine.control import Control, Wish
from orchestra.engine.execute import execute
from orchestra.engine.judge import settle
from orchestra.engine.launch import Launch, launch
from orchestra.engine.session import LEASE, RENEWAL
from orchestra.engine.supervise import keep_leases, supervise
from orchestra.errors import ExecutorError, StoreUnavailable
from orchestra.model.execution import Exit, Handle, Hint
from orchestra.model.run import Run, Worker
from orchestra.testing.builders import an_exit
from orchestra.testing.memory_store import MemoryStore
from orchestra.testing.scripted import Script, ScriptedExecutor
from orchestra.workspace import durable, records
from tests.engine.workbench import HANGS, PATIENCE, Bench

pytestmark = pytest.mark.anyio


async def launched(bench: Bench, script: Script) -> Run:
    run = await bench.claim(await bench.make(script))
    return await launch(bench.session, run, Launch())


async def watch(bench: Bench, run: Run, control: Control | None = None) -> Run:
    with anyio.fail_after(PATIENCE):
        return await supervise(bench.session, run, console=bench.console, control=control)


def elsewhere(bench: Bench, run: Run) -> None:
    """Make the run's fence one of another host, whose locks can't be seen from here."""
    path = bench.session.attempt_directory(run) / "fence"
    fence = records.read_fence(path.parent)
    assert fence is not None
    identity = structs.replace(fence.identity, host="far-away")
    durable.write_atomic(
        path, supervisor.to_json(to_builtins(structs.replace(fence, identity=identity))).encode(), fsync=False
    )


async def test_all_output_is_shown_before_the_end_is_returned(bench: Bench) -> None:
    run = await launched(bench, Script(output=b"a\n" * 100_000, after=0.05))

    ended = await watch(bench, run)

    assert ended.state == "completed"
    assert bench.stream.getvalue() == "a\n" * 100_000


class _Foretelling(ScriptedExecutor):
    """Knows of a good end before there is a record of it."""

    has_ended_well = False

    async def progress(self, handle: Handle, size: int) -> None:
        await anyio.sleep(0.001)

    def ended_well(self, handle: Handle) -> bool:
        return self.has_ended_well


async def test_all_output_is_shown_before_a_good_end_is_foretold(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.executor = executor = _Foretelling()
    run = await launched(bench, HANGS)
    output = bench.session.attempt_directory(run) / "output"
    output.write_bytes(b"first\n")
    show = bench.console.output
    shown: list[str] = []

    async def show_slowly(stream: int, data: bytes) -> None:
        await show(stream, data)
        if not executor.has_ended_well:
            output.write_bytes(b"first\nlast\n")
            executor.has_ended_well = True

    def foretold() -> None:
        shown.append(bench.stream.getvalue())
        executor.end(f"{run.id}.1")

    monkeypatch.setattr(bench.console, "output", show_slowly)
    with anyio.fail_after(PATIENCE):
        await supervise(bench.session, run, console=bench.console, foretold=foretold)

    assert shown == ["first\nlast\n"]


@pytest.mark.parametrize(
    ("exit", "state"),
    [
        (Exit(code=0, started=0, stopped=0), "completed"),
        (Exit(code=3, started=0, stopped=0), "error"),
        (Exit(code=-9, started=0, stopped=0), "terminated"),
        (Exit(code=1, started=0, stopped=0, stopped_by="TERM"), "terminated"),
        (Exit(code=0, started=0, stopped=0, stopped_by="INT"), "completed"),
    ],
)
async def test_the_exit_record_says_how_it_ended(bench: Bench, exit: Exit, state: str) -> None:
    ended = await watch(bench, await launched(bench, Script(exit=exit)))

    assert (ended.state, ended.exit_code, ended.worker) == (state, exit.code, None)
    assert await bench.store.get(ended.id) == ended


@pytest.mark.parametrize(("stopped_by", "told"), [(None, True), ("TERM", False)])
async def test_what_an_operation_has_left_running_and_was_ended_is_told_unless_it_was_stopped(
    bench: Bench, stopped_by: str | None, told: bool
) -> None:
    left = an_exit(leftovers=(7, 8), stopped_by=stopped_by)
    run = await watch(bench, await launched(bench, Script(exit=left)))

    line = f"WARNING: [orchestra] {run.id} left 2 processes running, now ended (pid 7 8)"
    assert (line in bench.lines) == told


class _AwayStore(MemoryStore):
    """Takes no change while it is away."""

    away = False

    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        if self.away:
            raise StoreUnavailable("the store is away")
        return await super().update(runs)


@pytest.mark.parametrize("since", ["its start", "its start was seen", "it runs"])
async def test_a_run_that_ends_while_the_store_is_away_has_ended_as_its_record_says(
    bench: Bench, since: str
) -> None:
    store = _AwayStore(bench.data)
    session = bench.open(store=store)
    claimed = await bench.claim(await bench.make(HANGS), session)
    store.away = since == "its start"
    run = await launch(session, claimed, Launch())
    assert run.state == "running"
    if since == "its start was seen":
        # By who was slower to start it than it was to begin.
        run, store.away = structs.replace(run, state="pending"), True
        bench.data.runs[run.id] = run
    ended: list[Run] = []
    async with anyio.create_task_group() as group:

        async def follow() -> None:
            ended.append(await supervise(session, run, console=bench.console))

        group.start_soon(follow)
        if store.away:
            await bench.until(lambda: any("the store is away" in line for line in bench.lines))
        store.away = True
        bench.end(run)

    assert (ended[0].state, ended[0].exit_code) == ("completed", 0)
    assert bench.state(run) in ("pending", "running")
    assert any(f"What becomes of run {run.id} is in its directory" in line for line in bench.lines)
    settled = await settle(bench.open(), await bench.store.get(run.id))
    assert (settled.state, settled.stopped) == ("completed", ended[0].stopped)


async def test_unknown_changes_nothing_however_long_it_lasts(bench: Bench) -> None:
    run = await launched(bench, Script(exit=None, hints=("unknown",)))
    elsewhere(bench, run)
    async with anyio.create_task_group() as group:
        group.start_soon(watch, bench, run)
        for _ in range(4):
            await anyio.sleep(0.1)
            bench.clock.advance(10_000)
        assert bench.state(run) == "running"
        group.cancel_scope.cancel()


class _LostContact(ScriptedExecutor):
    """Can't be asked for a while."""

    failures = 2

    async def wait(self, handle: Handle) -> Hint:
        if self.failures:
            self.failures -= 1
            raise ExecutorError("no route to host")
        return await super().wait(handle)

    async def stop(self, handle: Handle, how: StopHow) -> bool:
        raise ExecutorError("no route to host")


async def test_an_executor_that_can_not_be_asked_changes_nothing(bench: Bench) -> None:
    bench.executor = _LostContact(default=Script())

    ended = await watch(bench, await launched(bench, Script()))

    assert ended.state == "completed"


async def test_a_stop_that_can_not_be_passed_on_does_not_end_the_watch(bench: Bench) -> None:
    bench.executor = _LostContact(default=Script())
    run = await launched(bench, HANGS)
    control = Control()
    ended: list[Run] = []
    async with anyio.create_task_group() as group:

        async def follow() -> None:
            ended.append(await watch(bench, run, control))

        group.start_soon(follow)
        control.raise_to(Wish.TERMINATE)
        await bench.until(lambda: any("no route to host" in line for line in bench.lines))
        assert bench.state(run) == "running"
        bench.end(run)

    assert [one.state for one in ended] == ["completed"]


async def test_a_job_that_is_gone_is_lost_after_two_minutes_and_not_before(bench: Bench) -> None:
    run = await launched(bench, Script(exit=None, hints=("gone",)))
    elsewhere(bench, run)
    async with anyio.create_task_group() as group:
        group.start_soon(watch, bench, run)
        await anyio.sleep(0.3)
        bench.clock.advance(119)
        await anyio.sleep(0.6)
        assert bench.state(run) == "running"

        bench.clock.advance(2)
        await bench.until(lambda: bench.state(run) == "lost")

    kept = await bench.store.get(run.id)
    assert (kept.exit_code, kept.worker) == (None, None)
    assert kept.reason


async def test_an_exit_record_that_comes_late_is_believed(bench: Bench) -> None:
    run = await launched(bench, Script(exit=None, hints=("gone",)))
    elsewhere(bench, run)
    async with anyio.create_task_group() as group:
        group.start_soon(watch, bench, run)
        await anyio.sleep(0.05)
        bench.clock.advance(100)
        records.write_exit(bench.session.attempt_directory(run), an_exit(code=7), fsync=False)
        await bench.until(lambda: bench.state(run) == "error")

    assert (await bench.store.get(run.id)).exit_code == 7


async def test_two_minutes_begin_anew_when_the_job_was_seen_meanwhile(bench: Bench) -> None:
    run = await launched(bench, Script(exit=None, hints=("gone", "unknown", "gone")))
    elsewhere(bench, run)
    async with anyio.create_task_group() as group:
        group.start_soon(watch, bench, run)
        await anyio.sleep(0.1)
        bench.clock.advance(119)
        await anyio.sleep(0.8)
        bench.clock.advance(119)
        await anyio.sleep(0.3)
        assert bench.state(run) == "running"
        group.cancel_scope.cancel()


async def test_a_job_that_ended_before_it_won_the_fence_is_an_error(bench: Bench) -> None:
    ended = await watch(bench, await launched(bench, Script(start=False, exit=None)))

    assert (ended.state, ended.exit_code) == ("error", 1)
    assert ended.reason == "its job ended before it was started"


async def test_a_supervisor_that_dies_is_noticed_and_the_run_is_lost(bench: Bench) -> None:
    ended = await watch(bench, await launched(bench, Script(exit=None)))

    assert (ended.state, ended.reason) == ("lost", "its supervisor died")


async def test_a_run_that_is_deleted_under_its_watch_ends_it(bench: Bench) -> None:
    run = await launched(bench, Script(exit=None, after=0.1))
    await bench.remove(run)
    await bench.store.delete((run.id,))

    ended = await watch(bench, run)

    assert (ended.state, ended.worker) == ("lost", None)


async def test_leave_ends_the_watch_and_stops_nothing(bench: Bench) -> None:
    run = await launched(bench, HANGS)
    control = Control()
    control.raise_to(Wish.LEAVE)

    left = await watch(bench, run, control)

    assert (left.state, bench.executor.stopped) == ("running", [])


async def test_a_stronger_wish_reaches_the_executor_as_it_grows(bench: Bench) -> None:
    run = await launched(bench, Script(after=math.inf, stoppable=False))
    name, control = f"{run.id}.1", Control()
    async with anyio.create_task_group() as group:
        group.start_soon(watch, bench, run, control)
        for wish, how in ((Wish.INTERRUPT, "interrupt"), (Wish.TERMINATE, "terminate"), (Wish.KILL, "kill")):
            control.raise_to(wish)
            await bench.until(lambda how=how: bench.executor.stopped[-1:] == [(name, how)])
        await anyio.sleep(0.05)
        assert len(bench.executor.stopped) == 3
        bench.end(run)


@pytest.mark.parametrize(("owned", "state", "stops"), [(True, "completed", 1), (False, "running", 0)])
async def test_a_cancelled_watch_stops_what_it_owns_alone(
    bench: Bench, owned: bool, state: str, stops: int
) -> None:
    run = await launched(bench, HANGS)
    async with anyio.create_task_group() as group:
        group.start_soon(watch, bench, run, Control(owned=owned))
        await anyio.sleep(0.05)
        group.cancel_scope.cancel()

    assert (bench.state(run), len(bench.executor.stopped)) == (state, stops)


async def test_a_watch_that_comes_late_shows_what_was_printed_before(bench: Bench) -> None:
    run = await launched(bench, Script(output=b"short\n"))
    await bench.executor.wait(Handle(executor="scripted", job=f"{run.id}.1", token="script"))
    from orchestra.engine.judge import settle

    ended = await settle(bench.session, run)
    assert ended.state == "completed"

    assert (await watch(bench, ended)).state == "completed"
    assert bench.lines == ["short"]


async def test_output_events_tell_text_and_bytes(bench: Bench) -> None:
    told: list[dict[str, Any]] = []
    session = bench.open(
        sinks=[lambda event: told.append(event.data) if event.name == "run.output" else None]
    )
    session.sinks.output_readers += 1
    run = await bench.claim(await bench.make(HANGS), session)
    async with anyio.create_task_group() as group:

        async def work() -> None:
            await execute(session, run, console=TextConsole(io.StringIO()))

        group.start_soon(work)
        await bench.until(lambda: bench.state(run) == "running")
        with bench.writer(run) as writer:
            writer.write(0, "é".encode())
            await bench.until(lambda: len(told) == 1)
            writer.write(1, b"\xff")
            await bench.until(lambda: len(told) == 2)
        bench.end(run)

    assert told == [{"stream": "stdout", "text": "é"}, {"stream": "stderr", "base64": "/w=="}]


async def test_a_character_that_is_written_in_parts_is_shown_whole(bench: Bench) -> None:
    told: list[dict[str, Any]] = []
    session = bench.open(
        sinks=[lambda event: told.append(event.data) if event.name == "run.output" else None]
    )
    session.sinks.output_readers += 1
    run = await bench.claim(await bench.make(HANGS), session)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: execute(session, run, console=bench.console))
        await bench.until(lambda: bench.state(run) == "running")
        with bench.writer(run) as writer:
            for number, part in enumerate((b"a\xc3", b"\xa9b\xe2\x82", b"\xac\xc3"), 1):
                writer.write(0, part)
                await bench.until(lambda number=number: len(told) == number)
        bench.end(run)

    assert [data.get("text", data.get("base64")) for data in told] == ["a", "éb", "€", "ww=="]
    assert bench.stream.getvalue() == "aéb€\ufffd"


class _Renewals(MemoryStore):
    """Remembers when leases were renewed; can't do it the first time."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.data)
        self.clock = bench.clock
        self.times: list[float] = []

    async def renew(self, worker: Worker, lease: float) -> frozenset[str]:
        self.times.append(self.clock.monotonic())
        if len(self.times) == 1:
            raise StoreUnavailable("the store is locked")
        return await super().renew(worker, lease)


async def test_leases_are_renewed_every_five_seconds_whatever_the_store_says(bench: Bench) -> None:
    store = _Renewals(bench)
    session = bench.open(store=store)
    run = await bench.claim(await bench.make(), session)
    async with anyio.create_task_group() as group:
        group.start_soon(keep_leases, session)
        for count in (1, 2, 3):
            await bench.until(lambda: RENEWAL in bench.clock.sleeping)
            bench.clock.advance(RENEWAL)
            await bench.until(lambda count=count: len(store.times) == count)
        group.cancel_scope.cancel()

    assert store.times == [5, 10, 15]
    assert "WARNING: [orchestra] leases are not renewed: the store is locked" in bench.lines
    kept = await bench.store.get(run.id)
    assert kept.lease is not None
    assert kept.lease > bench.clock.now() + (LEASE - 1) * 1e6
