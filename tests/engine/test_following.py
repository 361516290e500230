"""What runs print is followed by anybody, live and to its last byte, and nobody is disturbed by it."""

from __future__ import annotations

import time
from collections import defaultdict

import anyio
import pytest
from msgspec import structs

from orchestra.engine import following
from orchestra.engine.control import Wish
from orchestra.engine.following import News, follow_attempt, follow_many, until_started
from orchestra.errors import RunNotFound
from orchestra.model.execution import Exit
from orchestra.model.retry import Retry
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch
from orchestra.testing.scripted import Script
from tests.engine.workbench import HANGS, PATIENCE, Bench
from tests.saved_runs import write_exit

pytestmark = pytest.mark.anyio


def prints(data: bytes, code: int = 0) -> Script:
    now = time.time_ns() // 1000
    return Script(output=data, exit=Exit(code=code, started=now, stopped=now + 3_600_000_000))


class Seen:
    """What a watch of many runs was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.output: dict[str, bytes] = defaultdict(bytes)
        self.ended: dict[str, str] = {}
        self.over = False

    def take(self, news: News) -> None:
        if news.what == "printed":
            self.output[news.run.id] += news.data
            return
        self.told.append((news.what, news.run.id))
        if news.what == "ended":
            self.ended[news.run.id] = news.run.state

    async def follow(self, bench: Bench, *of: Run, since: int = 0, lines: int | None = None) -> None:
        with anyio.fail_after(PATIENCE):
            async for news in follow_many(bench.session, of, since=since, lines=lines):
                self.take(news)
        self.over = True


async def test_output_is_passed_on_while_it_is_written_and_the_end_comes_last(bench: Bench) -> None:
    run = await bench.running()
    seen: list[bytes] = []
    with bench.writer(run) as writer, anyio.fail_after(PATIENCE):
        writer.write(0, b"first ")
        async for one, stream, data in follow_attempt(bench.session, run):
            last = one
            seen.append(data)
            if data == b"first ":
                writer.write(1, "caf\u00e9".encode()[:-1])
            elif stream == 1 and data == b"caf":
                writer.write(1, "\u00e9 \r50%".encode()[1:] + b"\xff")
            elif data:
                write_exit(bench.session, run)

    assert b"".join(seen) == b"first caf\xc3\xa9 \r50%\xff"
    assert (seen[-1], last.state) == (b"", "completed")


async def test_following_begins_at_the_offset_that_it_is_given(bench: Bench) -> None:
    run = await bench.running()
    with bench.writer(run) as writer:
        writer.write(0, b"old\nnew\n")
    write_exit(bench.session, run)

    told = [data async for _, _, data in follow_attempt(bench.session, run, offset=4)]

    assert told == [b"new\n", b""]


async def test_a_run_that_is_deleted_while_it_is_followed_is_told_as_such(bench: Bench) -> None:
    run = await bench.running()
    with bench.writer(run) as writer:
        writer.write(0, b"x")

    with pytest.raises(RunNotFound), anyio.fail_after(PATIENCE):
        async for _ in follow_attempt(bench.session, run):
            bench.data.runs.pop(run.id, None)


async def test_an_attempt_that_has_ended_is_told_so_though_the_run_was_started_again(bench: Bench) -> None:
    run = await bench.running()
    write_exit(bench.session, run)
    ended = await following.settle_or_spoil(bench.session, await bench.store.get(run.id))
    assert ended is not None
    again = await bench.claim(await bench.make(HANGS))
    bench.data.runs[run.id] = structs.replace(again, id=run.id, attempt=2)

    told = [one async for one, _, _ in follow_attempt(bench.session, run)]

    assert [(one.attempt, one.state) for one in told] == [(1, "completed")]


async def test_an_end_is_seen_by_those_who_may_change_nothing(bench: Bench) -> None:
    run = await bench.running()
    looking = bench.open(read_only=True)
    write_exit(bench.session, run, code=3)

    with anyio.fail_after(PATIENCE):
        states = [one.state async for one, _, _ in follow_attempt(looking, run)]

    assert (states, bench.state(run)) == (["error"], "running")


async def test_a_staged_run_is_waited_for_until_somebody_claims_it(bench: Bench) -> None:
    run = await bench.make(HANGS)
    async with anyio.create_task_group() as group:

        async def claim() -> None:
            await anyio.sleep(0.02)
            await bench.claim(run)

        group.start_soon(claim)
        with anyio.fail_after(PATIENCE):
            claimed = await until_started(bench.session, run)

    assert claimed.claimed


async def test_all_trials_of_a_batch_are_shown_also_those_that_are_over_at_once(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())
    bench.executor.default = prints(b"hello\n")
    seen = Seen()
    async with anyio.create_task_group() as group:
        group.start_soon(seen.follow, bench, batch)
        await anyio.sleep(0.01)
        await bench.execute(batch)

    trials = [run.id for run in bench.data.runs.values() if run.batch == batch.id]
    assert dict(seen.output) == dict.fromkeys(trials, b"hello\n")
    assert seen.ended == dict.fromkeys(trials, "completed")
    assert sorted(seen.told) == sorted((what, trial) for trial in trials for what in ("began", "ended"))


async def test_a_batch_that_stages_its_trials_is_followed_until_they_have_ended(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(stage_trials=True))
    bench.executor.default = prints(b"hello\n", code=3)
    await bench.execute(batch)
    seen = Seen()
    async with anyio.create_task_group() as group:
        group.start_soon(seen.follow, bench, batch)
        await anyio.sleep(0.3)
        assert not seen.over
        await bench.queue()

    assert list(seen.ended.values()) == ["error"] * 4
    assert set(seen.output.values()) == {b"hello\n"}


async def test_of_two_queues_each_one_s_own_runs_are_shown(bench: Bench) -> None:
    mine, others = await bench.make(HANGS, gpus="0"), await bench.make(HANGS, gpus="1")
    seen = Seen()
    async with bench.a_queue(gpus="0", ignore_running=True), bench.a_queue(gpus="1", ignore_running=True):
        await bench.until(lambda: bench.state(mine) == bench.state(others) == "running")
        queue = bench.data.runs[mine.id].queue
        assert queue is not None and queue != bench.data.runs[others.id].queue
        async with anyio.create_task_group() as group:
            group.start_soon(seen.follow, bench, bench.data.runs[queue])
            with bench.writer(mine) as writer, bench.writer(others) as other:
                other.write(0, b"not mine")
                writer.write(0, b"mine")
                await bench.until(lambda: bool(seen.output))
            bench.end(mine)
            await bench.until(lambda: bool(seen.ended))
            group.cancel_scope.cancel()

    assert dict(seen.output) == {mine.id: b"mine"}
    assert seen.told == [("began", mine.id), ("ended", mine.id)]


async def test_the_watch_of_a_queue_ends_with_it_and_tells_which_runs_go_on(bench: Bench) -> None:
    run = await bench.make(HANGS)
    seen = Seen()
    async with anyio.create_task_group() as group, bench.a_queue() as control:
        await bench.until(lambda: bench.state(run) == "running")
        queue = bench.data.runs[bench.data.runs[run.id].queue or ""]
        group.start_soon(seen.follow, bench, queue)
        await bench.until(lambda: bool(seen.told))
        control.raise_to(Wish.LEAVE)

    assert seen.told == [("began", run.id), ("left", run.id)]
    assert bench.state(run) == "running"


async def test_runs_that_had_ended_before_are_passed_over_unless_they_are_asked_for(bench: Bench) -> None:
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch())
    bench.executor.default = prints(b"hello\n")
    await bench.execute(batch)
    late, all_of_it = Seen(), Seen()

    await late.follow(bench, batch, since=bench.clock.now() + 7_200_000_000)
    await all_of_it.follow(bench, batch)

    assert (late.told, len(all_of_it.ended)) == ([], 4)


async def test_of_runs_that_run_already_only_the_last_lines_are_shown(bench: Bench) -> None:
    run = await bench.make(HANGS)
    seen = Seen()
    async with anyio.create_task_group() as group, bench.a_queue():
        await bench.until(lambda: bench.state(run) == "running")
        queue = bench.data.runs[bench.data.runs[run.id].queue or ""]
        with bench.writer(run) as writer:
            writer.write(0, b"1\n2\n3\n")
            group.start_soon(lambda: seen.follow(bench, queue, lines=1))
            await bench.until(lambda: bool(seen.output))
            writer.write(0, b"4\n")
            await bench.until(lambda: seen.output[run.id] == b"3\n4\n")


async def test_each_try_of_a_run_is_shown_with_how_it_ended(bench: Bench) -> None:
    run = await bench.make(prints(b"one\n", code=75), retry=Retry(limit=1))
    bench.executor.scripts[f"{run.id}.2"] = prints(b"two\n")
    told: list[str] = []
    queue = await bench.queue()

    async for news in follow_many(bench.session, [queue], since=0):
        told.append(news.what if news.what != "ended" else news.run.state)
    assert told == ["began", "printed", "error", "began", "printed", "completed"]
