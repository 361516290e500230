"""Executors with one defect each. ``caught_by`` names the test of the kit that must notice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from msgspec import structs

from orchestra.errors import ExecutorError
from orchestra.testing import executors, scripted
from orchestra.testing.executors import ExecutorContract, exit_of
from orchestra.testing.hinting import (
    ForetellingContract,
    HintingContract,
    PreparingContract,
    WarmingContract,
)
from orchestra.testing.scripted import ScriptedExecutor


class Hinting(ScriptedExecutor):
    """With all capabilities, as simple as they can be."""

    def warm_up(self):
        pass

    def prepare(self, job, orders):
        pass

    async def progress(self, handle, size):
        with anyio.move_on_after(0.1):
            await self.wait(handle)

    def exit_of(self, handle):
        return exit_of(next(job for job in self.submitted if job.name == handle.job))

    def ended_well(self, handle):
        end = self.exit_of(handle)
        return end is not None and end.code == 0 and end.stopped_by is None


async def forget(job):
    """Let a job run again that has run."""
    with anyio.move_on_after(0.5):
        while not (Path(job.directory) / "exit").exists():  # noqa: ASYNC110
            await anyio.sleep(0.01)
    for name in ("scripted", "fence"):
        (Path(job.directory) / name).unlink(missing_ok=True)


class Whole(PreparingContract, WarmingContract, ForetellingContract, HintingContract, ExecutorContract):
    executor: type = Hinting
    caught_by = ""
    many = 10

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch):
        """A test that catches its executor by waiting in vain need not wait long."""
        monkeypatch.setattr(executors, "PATIENCE", 1.0)

    @pytest.fixture
    def opener(self):
        @asynccontextmanager
        async def open_executor():
            executor = self.executor()
            try:
                yield executor
            finally:
                executor.close()

        return open_executor


class SaysEndedAtOnce(Hinting):
    async def wait(self, handle):
        return "ended"


class TestSaysEndedAtOnce(Whole):
    executor, caught_by = SaysEndedAtOnce, "test_wait_lasts_as_long_as_the_job"


class RunsNothing(Hinting):
    async def _run(self, job):
        return await super()._run(structs.replace(job, argv=("true",)))


class TestRunsNothing(Whole):
    executor, caught_by = RunsNothing, "test_a_job_has_run_when_it_is_said_to_have_ended"


class NamesNoJob(Hinting):
    async def submit(self, job):
        return structs.replace(await super().submit(job), job="job")


class TestNamesNoJob(Whole):
    executor, caught_by = NamesNoJob, "test_a_handle_names_its_job_and_survives_storage"


class DropsTheEnvironment(Hinting):
    async def submit(self, job):
        return await super().submit(structs.replace(job, environment={}))


class TestDropsTheEnvironment(Whole):
    executor, caught_by = DropsTheEnvironment, "test_what_a_job_adds_to_the_environment_arrives"


class TellsOneWaiter(Hinting):
    def __init__(self):
        super().__init__()
        self.told = set()

    async def wait(self, handle):
        hint = await super().wait(handle)
        if handle.job in self.told:
            await anyio.sleep_forever()
        self.told.add(handle.job)
        return hint


class TestTellsOneWaiter(Whole):
    executor, caught_by = TellsOneWaiter, "test_all_who_wait_are_told"


class KillsWhenNobodyWaits(Hinting):
    async def wait(self, handle):
        try:
            return await super().wait(handle)
        except anyio.get_cancelled_exc_class():
            await self.stop(handle, "kill")
            raise


class TestKillsWhenNobodyWaits(Whole):
    executor, caught_by = KillsWhenNobodyWaits, "test_cancelling_wait_only_stops_the_waiting"


class BlocksTheLoop(Hinting):
    async def wait(self, handle):
        while self._runs(handle):
            time.sleep(0.01)  # noqa: ASYNC251
        return "ended"


class TestBlocksTheLoop(Whole):
    executor, caught_by = BlocksTheLoop, "test_waiting_leaves_the_event_loop_free"


class FailsWithTheJob(Hinting):
    async def wait(self, handle):
        hint = await super().wait(handle)
        record = next(
            (Path(job.directory) / "exit" for job in self.submitted if job.name == handle.job), None
        )
        if record is not None and b'"code":3' in record.read_bytes():
            return "gone"
        return hint


class TestFailsWithTheJob(Whole):
    executor, caught_by = FailsWithTheJob, "test_a_job_that_fails_has_ended_like_any_other"


class KnowsOnlyItsOwn(Hinting):
    def _runs(self, handle):
        return handle.token in self._children and super()._runs(handle)


class TestKnowsOnlyItsOwn(Whole):
    executor, caught_by = KnowsOnlyItsOwn, "test_another_process_can_wait_for_a_job"


class TakesItsJobsAlong(Hinting):
    def close(self):
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGQUIT)
                child.wait()
        super().close()


class TestTakesItsJobsAlong(Whole):
    executor, caught_by = TakesItsJobsAlong, "test_jobs_outlive_the_executor"


class RunsAgain(Hinting):
    """Ignores what was submitted before, and starts a program that no fence protects."""

    async def _run(self, job):
        await forget(job)
        return await super()._run(job)


class TestRunsAgain(Whole):
    executor, caught_by = RunsAgain, "test_submitting_a_job_again_does_not_run_it_again"


class RunsTwiceAtOnce(Hinting):
    async def _run(self, job):
        known = any(other.name == job.name for other in self.submitted[:-1])
        await anyio.sleep(0.05)
        if known and len([other for other in self.submitted if other.name == job.name]) > 2:
            await forget(job)
        return await super()._run(job)


class TestRunsTwiceAtOnce(Whole):
    executor, caught_by = RunsTwiceAtOnce, "test_submitting_a_job_at_the_same_time_runs_it_once"


class RemembersOnlyItself(Hinting):
    def __init__(self):
        super().__init__()
        self.tokens = {}

    async def _run(self, job):
        if job.name not in self.tokens:
            await forget(job)
            self.tokens[job.name] = await super()._run(job)
        return self.tokens[job.name]


class TestRemembersOnlyItself(Whole):
    executor = RemembersOnlyItself
    caught_by = "test_submitting_a_job_from_another_process_does_not_run_it_again"


class ForgetsWhenCancelled(Hinting):
    """Notes the job before it starts it."""

    def __init__(self):
        super().__init__()
        self.noted = set()

    async def submit(self, job):
        if job.name in self.noted:
            return structs.replace(self.handle(job), token="1:0")
        self.noted.add(job.name)
        await anyio.sleep(0.01)
        return await super().submit(job)

    def handle(self, job):
        return scripted.Handle(executor="scripted", job=job.name, token="1:0")


class TestForgetsWhenCancelled(Whole):
    executor, caught_by = ForgetsWhenCancelled, "test_a_submission_that_was_cancelled_can_be_repeated"


class StopsNothing(Hinting):
    async def stop(self, handle, how):
        return False


class TestStopsNothing(Whole):
    executor, caught_by = StopsNothing, "test_a_job_can_be_stopped"


class StopsOnlyItsOwn(Hinting):
    async def stop(self, handle, how):
        return handle.token in self._children and await super().stop(handle, how)


class TestStopsOnlyItsOwn(Whole):
    executor, caught_by = StopsOnlyItsOwn, "test_another_process_can_stop_a_job"


class StopsEverybody(Hinting):
    async def stop(self, handle, how):
        for child in self._children.values():
            child.send_signal(signal.SIGQUIT)
        return await super().stop(handle, how)


class TestStopsEverybody(Whole):
    executor, caught_by = StopsEverybody, "test_stopping_one_job_leaves_the_others_alone"


class SaysThatItStopped(Hinting):
    async def stop(self, handle, how):
        await super().stop(handle, how)
        await anyio.sleep(0.01)
        return True


class TestSaysThatItStopped(Whole):
    executor, caught_by = SaysThatItStopped, "test_a_job_that_has_ended_can_not_be_stopped"


class LosesSome(Hinting):
    async def submit(self, job):
        if len(self.submitted) == 7:
            job = structs.replace(job, argv=("true",))
        return await super().submit(job)


class TestLosesSome(Whole):
    executor, caught_by = LosesSome, "test_many_jobs_at_once_all_run_and_end"


class LeavesFilesOpen(Hinting):
    def close(self):
        os.dup(0)
        super().close()


class TestLeavesFilesOpen(Whole):
    executor, caught_by = LeavesFilesOpen, "test_a_closed_executor_leaves_no_file_descriptors_and_no_zombies"


class LearnsOfOutputLate(Hinting):
    async def progress(self, handle, size):
        await self.wait(handle)


class TestLearnsOfOutputLate(Whole):
    executor, caught_by = LearnsOfOutputLate, "test_progress_returns_once_there_is_more_output"


class LearnsOfNoEnd(Hinting):
    async def progress(self, handle, size):
        if size > 1000:
            await anyio.sleep_forever()
        await super().progress(handle, size)


class TestLearnsOfNoEnd(Whole):
    executor, caught_by = LearnsOfNoEnd, "test_progress_returns_when_the_job_ends"


class NeverRests(Hinting):
    async def progress(self, handle, size):
        await anyio.lowlevel.checkpoint()


class TestNeverRests(Whole):
    executor, caught_by = NeverRests, "test_progress_rests_while_nothing_is_written"


class ForetellsTooEarly(Hinting):
    def ended_well(self, handle):
        return True


class TestForetellsTooEarly(Whole):
    executor, caught_by = ForetellsTooEarly, "test_when_a_good_end_is_foretold_all_output_is_there"


class ForetellsEachEnd(Hinting):
    def ended_well(self, handle):
        return self.exit_of(handle) is not None


class TestForetellsEachEnd(Whole):
    executor, caught_by = ForetellsEachEnd, "test_a_bad_end_is_not_foretold"


class TestOverridesATestSilently(Whole):
    caught_by = "test_no_test_of_the_kit_is_overridden"

    async def test_many_jobs_at_once_all_run_and_end(self):
        pass


class TakesNothingOnceWarm(Hinting):
    warm = 0

    def warm_up(self):
        self.warm += 1

    async def submit(self, job):
        return await super().submit(structs.replace(job, argv=("true",)) if self.warm > 1 else job)


class TestTakesNothingOnceWarm(Whole):
    executor, caught_by = TakesNothingOnceWarm, "test_warmed_up_once_or_twice_it_runs_jobs"


class WaitsForItsFirstJob(Hinting):
    warm = False

    def warm_up(self):
        self.warm = True

    def close(self):
        if self.warm and not self.submitted:
            raise RuntimeError("still warming up")


class TestWaitsForItsFirstJob(Whole):
    executor, caught_by = WaitsForItsFirstJob, "test_warmed_up_for_nothing_it_can_be_closed"


class RunsNothingThatItPrepared(Hinting):
    def prepare(self, job, orders):
        (Path(job.directory) / "scripted").write_text("1:1")


class TestRunsNothingThatItPrepared(Whole):
    executor, caught_by = RunsNothingThatItPrepared, "test_a_prepared_job_runs_once_it_is_submitted"


class MissesOrdersThatWereNamed(Hinting):
    missed = False

    def prepare(self, job, orders):
        self.missed = not (Path(job.directory) / orders).exists()

    async def submit(self, job):
        if self.missed:
            raise ExecutorError("No such file or directory")
        return await super().submit(job)


class TestMissesOrdersThatWereNamed(Whole):
    executor, caught_by = (
        MissesOrdersThatWereNamed,
        "test_orders_that_get_their_name_before_they_are_read_are_followed",
    )


class RunsWhatItPrepares(Hinting):
    def prepare(self, job, orders):
        (Path(job.directory) / orders).link_to(Path(job.directory) / "orders")
        subprocess.Popen(job.argv, env={**os.environ, **job.environment}, stdin=subprocess.DEVNULL).wait()
        (Path(job.directory) / "orders").unlink()


class TestRunsWhatItPrepares(Whole):
    executor, caught_by = RunsWhatItPrepares, "test_what_is_prepared_and_not_submitted_comes_to_nothing"
