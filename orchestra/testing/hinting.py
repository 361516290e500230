"""The kit for the capabilities of executors: they learn of output, and of a good end, before it is recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import anyio

from orchestra.contracts import Executor, Foretelling, Hinting, Preparing, Warming
from orchestra.model.execution import Handle, Job
from orchestra.testing import executors
from orchestra.testing.executors import ExecutorOpener, JobMaker, appears, exit_of, fence_of, output_of, over


class HintingContract:
    """For executors with the capability :class:`orchestra.contracts.Hinting`."""

    async def test_progress_returns_once_there_is_more_output(
        self, opener: ExecutorOpener, make_job: JobMaker, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        script = f"echo first; while ! test -e '{gate}'; do sleep 0.02; done; echo second; sleep 30"
        async with opener() as executor:
            assert isinstance(executor, Hinting)
            job = make_job(["sh", "-c", script])
            handle = await executor.submit(job)
            with anyio.fail_after(executors.PATIENCE):
                while len(output_of(job)) < 6:
                    await executor.progress(handle, 0)
                gate.touch()
                while len(output_of(job)) < 13:
                    await executor.progress(handle, 6)
            await executor.stop(handle, "kill")
            await over(executor, handle)

    async def test_progress_returns_when_the_job_ends(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        job = make_job(["sleep", "0.2"])
        async with opener() as executor:
            assert isinstance(executor, Hinting)
            handle = await executor.submit(job)
            with anyio.fail_after(executors.PATIENCE):
                while exit_of(job) is None:
                    await executor.progress(handle, 1 << 40)

    async def test_progress_rests_while_nothing_is_written(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]]
    ) -> None:
        job, begun, gate = make_gated()
        async with opener() as executor:
            assert isinstance(executor, Hinting)
            handle = await executor.submit(job)
            await appears(begun)
            asked = 0
            with anyio.move_on_after(0.5):
                while True:
                    await executor.progress(handle, 0)
                    asked += 1
            gate.touch()
            await over(executor, handle)

        assert asked < 50, "progress() returned again and again though nothing was written"


class ForetellingContract:
    """For executors with the capability :class:`orchestra.contracts.Foretelling`."""

    async def test_when_a_good_end_is_foretold_all_output_is_there(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        job = make_job(["sh", "-c", "sleep 0.1; echo first; echo second"])
        async with opener() as executor:
            handle = await executor.submit(job)
            assert isinstance(executor, Foretelling)
            with anyio.fail_after(executors.PATIENCE):
                while not executor.ended_well(handle):
                    await _progress(executor, handle, 1 << 40)
            assert output_of(job) == b"first\nsecond\n"
            await over(executor, handle)
            end = exit_of(job)
            assert end is not None
            assert (end.code, executor.ended_well(handle)) == (0, True)

    async def test_a_bad_end_is_not_foretold(self, opener: ExecutorOpener, make_job: JobMaker) -> None:
        async with opener() as executor:
            assert isinstance(executor, Foretelling)
            failing = make_job(["sh", "-c", "exit 3"])
            handle = await executor.submit(failing)
            await over(executor, handle)
            assert not executor.ended_well(handle)

            stopped = make_job(["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done"])
            handle = await executor.submit(stopped)
            with anyio.fail_after(executors.PATIENCE):
                while not output_of(stopped):
                    await _progress(executor, handle, 0)
            await executor.stop(handle, "terminate")
            await over(executor, handle)
            assert not executor.ended_well(handle)


async def _progress(executor: Executor, handle: Handle, size: int) -> None:
    assert isinstance(executor, Hinting)
    await executor.progress(handle, size)


class WarmingContract:
    """For executors with the capability :class:`orchestra.contracts.Warming`."""

    async def test_warmed_up_once_or_twice_it_runs_jobs(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        job = make_job(["sh", "-c", "echo warm"])
        async with opener() as executor:
            assert isinstance(executor, Warming)
            executor.warm_up()
            executor.warm_up()
            handle = await executor.submit(job)
            await over(executor, handle)
        assert output_of(job) == b"warm\n"

    async def test_warmed_up_for_nothing_it_can_be_closed(self, opener: ExecutorOpener) -> None:
        with anyio.fail_after(executors.PATIENCE):
            async with opener() as executor:
                assert isinstance(executor, Warming)
                executor.warm_up()


@contextmanager
def _named(job: Job) -> Generator[str]:
    """While inside, the orders of ``job`` have another name, as before it is claimed."""
    directory, name = Path(job.directory), "orders.ahead.tmp"
    (directory / "orders").rename(directory / name)
    try:
        yield name
    finally:
        (directory / name).rename(directory / "orders")


class PreparingContract:
    """For executors with the capability :class:`orchestra.contracts.Preparing`."""

    async def test_a_prepared_job_runs_once_it_is_submitted(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        async with opener() as executor:
            assert isinstance(executor, Preparing)
            for word in ("first", "second"):
                job = make_job(["sh", "-c", f"echo {word}"])
                with _named(job) as orders:
                    executor.prepare(job, orders)
                    await anyio.sleep(0.1)
                handle = await executor.submit(job)
                await over(executor, handle)
                assert (output_of(job), handle.job) == (f"{word}\n".encode(), job.name)

    async def test_orders_that_get_their_name_before_they_are_read_are_followed(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        job = make_job(["echo", "soon"])
        async with opener() as executor:
            assert isinstance(executor, Preparing)
            # As quickly as that: they have lost the other name already.
            executor.prepare(job, "orders.ahead.tmp")
            await anyio.sleep(0.1)
            await over(executor, await executor.submit(job))
        assert output_of(job) == b"soon\n"

    async def test_what_is_prepared_and_not_submitted_comes_to_nothing(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        replaced, left, other = (make_job(["sh", "-c", f"echo {word}"]) for word in ("a", "b", "c"))
        before = sorted(os.listdir(left.directory))
        async with opener() as executor:
            assert isinstance(executor, Preparing)
            for job in (replaced, left):
                with _named(job) as orders:
                    executor.prepare(job, orders)
                    await anyio.sleep(0.1)
            await over(executor, await executor.submit(other))
            with _named(left) as orders:
                executor.prepare(left, orders)
                await anyio.sleep(0.2)
        await anyio.sleep(0.2)
        assert output_of(other) == b"c\n"
        for job in (replaced, left):
            assert (exit_of(job), fence_of(job), output_of(job)) == (None, None, b"")
            assert sorted(os.listdir(job.directory)) == before
        # Nothing of it is in the way of its start, whoever that comes from.
        async with opener() as executor:
            await over(executor, await executor.submit(left))
        assert output_of(left) == b"b\n"
