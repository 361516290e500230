"""The kit for executors that are schedulers: they find a job by its name, and tell of all at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
from msgspec import structs

from orchestra.contracts import Executor, Persisting, Scheduling
from orchestra.model.execution import Handle, Job, JobPhase
from orchestra.testing import executors
from orchestra.testing.executors import ExecutorOpener, JobMaker, appears, exit_of, over, stored


class SchedulingContract:
    """For executors with the capability :class:`orchestra.contracts.Scheduling`."""

    async def test_a_job_that_was_never_submitted_is_not_found(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        async with opener() as executor:
            assert isinstance(executor, Scheduling)
            assert await executor.find(make_job(["true"])) is None

    async def test_another_process_finds_a_job_by_its_name_and_directory_alone(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]]
    ) -> None:
        job, begun, gate = make_gated()
        async with opener() as executor, opener() as other:
            handle = await executor.submit(job)
            assert isinstance(other, Scheduling)
            found = await other.find(structs.replace(job, argv=(), environment={}))
            await appears(begun)
            gate.touch()
            await over(executor, handle)

        assert found == handle

    async def test_the_status_of_a_job_goes_from_running_to_ended(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]]
    ) -> None:
        job, begun, gate = make_gated()
        async with opener() as executor:
            handle = stored(await executor.submit(job))
            await appears(begun)
            await _comes_to(executor, handle, "running")
            gate.touch()
            await _comes_to(executor, handle, "ended", "gone")

        assert exit_of(job) is not None

    async def test_the_statuses_of_several_jobs_come_in_their_order(
        self,
        opener: ExecutorOpener,
        make_job: JobMaker,
        make_gated: Callable[[], tuple[Job, Path, Path]],
    ) -> None:
        job, begun, gate = make_gated()
        async with opener() as executor:
            assert isinstance(executor, Scheduling)
            running, ended = await executor.submit(job), await executor.submit(make_job(["true"]))
            await appears(begun)
            await over(executor, ended)
            await _comes_to(executor, running, "running")
            phases = [one.phase for one in await executor.status((running, ended, running))]
            nothing = await executor.status(())
            gate.touch()
            await over(executor, running)

        assert phases[0] == phases[2] == "running"
        assert phases[1] in ("ended", "gone")
        assert list(nothing) == []

    async def test_a_job_that_was_stopped_is_told_as_ended_with_a_reason(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]]
    ) -> None:
        job, begun, _ = make_gated()
        async with opener() as executor:
            assert isinstance(executor, Scheduling)
            handle = await executor.submit(job)
            await appears(begun)
            await executor.stop(handle, "kill")
            await over(executor, handle)
            (status,) = await executor.status((handle,))

        assert status.phase in ("ended", "gone")
        assert status.reason


class PersistingContract:
    """For executors with the capability :class:`orchestra.contracts.Persisting`."""

    async def test_nothing_is_in_the_way_of_a_job_that_was_taken(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        job, other = make_job(["true"]), make_job(["true"])
        async with opener() as executor:
            assert isinstance(executor, Persisting)
            before = executor.obstacle(job)
            handle = await executor.submit(job)
            told = executor.obstacle(job), executor.obstacle(other)
            await over(executor, handle)

        assert (before, *told) == ("", "", "")


async def _comes_to(executor: Executor, handle: Handle, *phases: JobPhase) -> None:
    assert isinstance(executor, Scheduling)
    with anyio.fail_after(executors.PATIENCE):
        while (await executor.status((handle,)))[0].phase not in phases:  # noqa: ASYNC110  it changes elsewhere
            await anyio.sleep(0.05)
