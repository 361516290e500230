"""Executors that are schedulers, with one defect each. ``caught_by`` names the test of the kit that must notice."""

from __future__ import annotations

from pathlib import Path

from orchestra.model.execution import Handle, JobStatus
from orchestra.testing.scheduling import PersistingContract, SchedulingContract
from orchestra.testing.scripted import NAME
from tests.kits.broken_executors import Hinting, Whole


class Scheduler(Hinting):
    """One whose jobs find a place at once."""

    async def find(self, job):
        try:
            token = (Path(job.directory) / "scripted").read_text()
        except FileNotFoundError:
            return None
        return Handle(executor=NAME, job=job.name, token=token)

    async def status(self, handles):
        return [self.status_of(handle) for handle in handles]

    def status_of(self, handle):
        phase = "running" if self._runs(handle) else "ended"
        return JobStatus(phase=phase, reason=f"job {handle.job}: {phase}")

    def obstacle(self, job):
        return ""


class WholeScheduler(PersistingContract, SchedulingContract, Whole):
    executor: type = Scheduler


class TestIsSound(WholeScheduler):
    pass


class FindsWhatNobodySubmitted(Scheduler):
    async def find(self, job):
        return await super().find(job) or Handle(executor=NAME, job=job.name, token="1:1")


class TestFindsWhatNobodySubmitted(WholeScheduler):
    executor, caught_by = FindsWhatNobodySubmitted, "test_a_job_that_was_never_submitted_is_not_found"


class FindsOnlyItsOwn(Scheduler):
    async def find(self, job):
        return await super().find(job) if job.name in {own.name for own in self.submitted} else None


class TestFindsOnlyItsOwn(WholeScheduler):
    executor = FindsOnlyItsOwn
    caught_by = "test_another_process_finds_a_job_by_its_name_and_directory_alone"


class SeesNoEnd(Scheduler):
    def status_of(self, handle):
        return JobStatus(phase="running", reason="it runs")


class TestSeesNoEnd(WholeScheduler):
    executor, caught_by = SeesNoEnd, "test_the_status_of_a_job_goes_from_running_to_ended"


class TellsInItsOwnOrder(Scheduler):
    async def status(self, handles):
        return sorted(await super().status(handles), key=lambda status: status.phase)


class TestTellsInItsOwnOrder(WholeScheduler):
    executor, caught_by = TellsInItsOwnOrder, "test_the_statuses_of_several_jobs_come_in_their_order"


class GivesNoReason(Scheduler):
    def status_of(self, handle):
        return JobStatus(phase=super().status_of(handle).phase)


class TestGivesNoReason(WholeScheduler):
    executor, caught_by = GivesNoReason, "test_a_job_that_was_stopped_is_told_as_ended_with_a_reason"


class ComplainsOfAll(Scheduler):
    def obstacle(self, job):
        return "there is always something in the way"


class TestComplainsOfAll(WholeScheduler):
    executor, caught_by = ComplainsOfAll, "test_nothing_is_in_the_way_of_a_job_that_was_taken"
