"""What goes wrong with a scheduler, and what must hold all the same. Slurm's commands are fakes here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from fake import Fake
from msgspec import structs
from orchestra.errors import ExecutorError
from orchestra.model.execution import Handle, Job
from orchestra.testing.executors import SupervisedJobs, eventually, exit_of, fence_of, over

from orchestra_slurm import Options, SlurmExecutor, open_executor
from orchestra_slurm.listing import Listing

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def options(fake: Fake, tmp_path: Path) -> Options:
    return Options(home=tmp_path, poll=0.05, window=0.02, timeout=10.0, **fake.options)


@pytest.fixture
def make_job(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedJobs]:
    jobs = SupervisedJobs(tmp_path, tmp_path_factory.getbasetemp() / "orchestra-lib")
    yield jobs
    jobs.end()


@pytest.fixture
def marking(make_job: SupervisedJobs, tmp_path: Path) -> Callable[[], Job]:
    return lambda: make_job(["sh", "-c", f"echo ran >> '{tmp_path}/marks'"])


def marks(tmp_path: Path) -> int:
    return len((tmp_path / "marks").read_text().splitlines())


async def test_a_submission_that_timed_out_but_was_accepted_is_found_and_runs_once(
    fake: Fake, options: Options, marking: Callable[[], Job], tmp_path: Path
) -> None:
    fake.let("sbatch", "lost")
    async with open_executor(options) as executor:
        handle = await executor.submit(marking())

        assert await over(executor, handle) == "ended"
    assert (len(fake.calls("sbatch")), marks(tmp_path)) == (1, 1)


async def test_nothing_is_submitted_again_before_slurm_can_say_that_it_has_no_such_job(
    fake: Fake, options: Options, marking: Callable[[], Job], tmp_path: Path
) -> None:
    fake.let("sbatch", "lost")
    fake.let("squeue", "fail slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    async with open_executor(options) as executor, anyio.create_task_group() as group:
        ended: list[str] = []

        async def run() -> None:
            ended.append(await over(executor, await executor.submit(marking())))

        group.start_soon(run)
        await eventually(lambda: len(fake.calls("squeue")) >= 2)
        fake.let("squeue", None)

    assert ended == ["ended"]
    assert (len(fake.calls("sbatch")), marks(tmp_path)) == (1, 1)


async def test_a_submission_is_tried_again_while_the_controller_is_away(
    fake: Fake, options: Options, marking: Callable[[], Job], tmp_path: Path
) -> None:
    fake.let(
        "sbatch", "fail Batch job submission failed: Unable to contact slurm controller (connect failure)"
    )
    async with open_executor(options) as executor, anyio.create_task_group() as group:

        async def run() -> None:
            await over(executor, await executor.submit(marking()))

        group.start_soon(run)
        await eventually(lambda: len(fake.calls("sbatch")) >= 2)
        fake.let("sbatch", None)

    assert marks(tmp_path) == 1


async def test_what_is_in_the_way_of_a_submission_is_told_as_it_began_for_all_that_wait(
    fake: Fake, options: Options, marking: Callable[[], Job], tmp_path: Path
) -> None:
    fake.let("sbatch", "fail Unable to contact slurm controller (connect failure)")
    first, second, other = marking(), marking(), marking()
    async with (
        open_executor(structs.replace(options, array=False)) as executor,
        anyio.create_task_group() as group,
    ):
        assert executor.obstacle(first) == ""
        group.start_soon(executor.submit, first)
        group.start_soon(executor.submit, second)
        await eventually(lambda: bool(executor.obstacle(first)))
        told = executor.obstacle(first)
        fake.let("squeue", "fail something else")
        await eventually(lambda: len(fake.calls("squeue")) >= 2)
        assert executor.obstacle(second) == told == executor.obstacle(first)
        assert executor.obstacle(other) == ""
        fake.let("sbatch", None)
        fake.let("squeue", None)

    assert told.startswith("Slurm takes no job now, which is tried until ")
    assert told.endswith("Unable to contact slurm controller (connect failure)")
    assert executor.obstacle(first) == ""


async def test_a_submission_that_hangs_is_given_up_soon_when_it_is_cancelled(
    fake: Fake, options: Options, marking: Callable[[], Job]
) -> None:
    fake.let("sbatch", "hang")
    job = marking()
    async with open_executor(structs.replace(options, timeout=100.0)) as executor:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(executor.submit, job)
                await eventually(lambda: bool(fake.calls("sbatch")))
                group.cancel_scope.cancel()
        assert await executor.find(job) is None


async def test_what_slurm_will_never_take_is_refused_at_once_in_its_own_words(
    fake: Fake, options: Options, marking: Callable[[], Job]
) -> None:
    fake.let("sbatch", "fail Batch job submission failed: Invalid partition name specified")
    async with open_executor(options) as executor:
        with pytest.raises(ExecutorError, match=r"did not take the job: .*Invalid partition name specified"):
            await executor.submit(marking())

    assert len(fake.calls("sbatch")) == 1


async def test_a_missing_command_is_named(options: Options, marking: Callable[[], Job]) -> None:
    async with open_executor(structs.replace(options, sbatch="/no/such/sbatch")) as executor:
        with pytest.raises(ExecutorError, match="sbatch: it can't be started: No such file or directory"):
            await executor.submit(marking())


@pytest.mark.parametrize("mode", ["fail slurm_load_jobs error: Unable to contact slurm controller", "hang"])
async def test_a_scheduler_that_can_not_be_asked_changes_nothing_and_that_is_told_with_its_time(
    fake: Fake, options: Options, make_job: SupervisedJobs, mode: str
) -> None:
    async with open_executor(structs.replace(options, timeout=0.3)) as executor:
        handle = await executor.submit(make_job(["sleep", "30"]))
        fake.let("squeue", mode)
        with anyio.fail_after(5):
            (status,) = await executor.status((handle,))
            assert (status.phase, status.cause) == ("unknown", None)
            assert status.reason.startswith("Slurm can't be reached since 20")
            with pytest.raises(ExecutorError, match="can't be reached since"):
                await executor.wait(handle)
        before = len(fake.calls("squeue"))
        for _ in range(50):
            await executor.status((handle,))
        assert len(fake.calls("squeue")) <= before + 1, "it is asked without a rest"
        fake.let("squeue", None)
        await _until_phase(executor, handle, "running")


async def test_a_job_that_slurm_has_forgotten_is_gone(
    fake: Fake, options: Options, make_job: SupervisedJobs
) -> None:
    async with open_executor(options) as executor:
        handle = await executor.submit(make_job(["true"]))
        fake.becomes(_element(handle), "FORGOTTEN")

        assert await over(executor, handle) == "gone"


async def test_the_accounting_is_asked_about_all_forgotten_jobs_at_once(
    fake: Fake, options: Options, make_job: SupervisedJobs
) -> None:
    fake.let("start", "none")
    async with open_executor(structs.replace(options, array=False)) as executor:
        handles = [await executor.submit(make_job(["true"])) for _ in range(3)]
        for handle in handles:
            fake.becomes(_element(handle), "FORGOTTEN")
        names = [handle.token.split(":")[1] for handle in handles]
        # The last one is of another job, which has the id again.
        fake.let("accounting", f"1|{names[0]}|TIMEOUT\n2|{names[1]}|CANCELLED by 0\n3|other|COMPLETED\n")
        statuses = [(status.phase, status.cause) for status in await executor.status(handles)]
        again = [(status.phase, status.cause) for status in await executor.status(handles)]

    assert statuses == [("ended", "timeout"), ("ended", "stopped"), ("gone", None)]
    assert again == statuses
    assert len(fake.calls("sacct")) == 1


async def test_an_id_that_slurm_has_given_to_another_job_since_is_none_of_ours(
    fake: Fake, options: Options, make_job: SupervisedJobs
) -> None:
    fake.let("start", "none")
    async with open_executor(options) as executor:
        handle = await executor.submit(make_job(["true"]))
        (fake.root / "jobs" / "1").write_text(
            '{"name": "other", "count": null, "options": {}, "command": []}'
        )

        (status,) = await executor.status((handle,))
        assert status.phase == "gone"
        assert not await executor.stop(handle, "kill")
    assert fake.calls("scancel") == []


async def test_a_job_that_is_executed_again_after_a_requeue_does_not_start_its_operation_twice(
    fake: Fake, options: Options, marking: Callable[[], Job], tmp_path: Path
) -> None:
    job = marking()
    async with open_executor(options) as executor:
        handle = await executor.submit(job)
        await over(executor, handle)
        await anyio.to_thread.run_sync(fake.execute, _element(handle))

    assert marks(tmp_path) == 1
    assert exit_of(job) is not None
    assert (fake.root / "ended" / _element(handle)).read_text() == "FAILED"
    assert "--no-requeue" in fake.calls("sbatch")[0][1]


@pytest.mark.parametrize(
    ("state", "cause", "told"),
    [
        ("CANCELLED", "stopped", "was cancelled (CANCELLED)"),
        ("TIMEOUT", "timeout", "was ended at its time limit (TIMEOUT)"),
        ("OUT_OF_MEMORY", "oom", "its memory was used up (OUT_OF_MEMORY)"),
        ("PREEMPTED", "preempted", "had to give its place to another job (PREEMPTED)"),
        ("NODE_FAIL", "lost", "has lost its node (NODE_FAIL)"),
        ("COMPLETED", None, "has ended (COMPLETED)"),
    ],
)
async def test_the_ends_that_slurm_gives_a_job_are_told_apart(
    fake: Fake, options: Options, make_job: SupervisedJobs, state: str, cause: str | None, told: str
) -> None:
    fake.let("start", "none")
    async with open_executor(options) as executor:
        handle = await executor.submit(make_job(["true"]))
        fake.becomes(_element(handle), state)
        (status,) = await executor.status((handle,))

    assert (status.phase, status.cause) == ("ended", cause)
    assert told in status.reason


async def test_a_job_that_waits_says_for_what_and_is_cancelled_by_a_stop(
    fake: Fake, options: Options, make_job: SupervisedJobs
) -> None:
    fake.let("start", "none")
    job = make_job(["true"])
    async with open_executor(options) as executor:
        handle = await executor.submit(job)
        (status,) = await executor.status((handle,))
        assert (status.phase, status.reason) == ("waiting", "waiting in Slurm as job 1 (Priority)")

        assert await executor.stop(handle, "terminate")
        (status,) = await executor.status((handle,))
        assert (status.phase, status.cause) == ("ended", "stopped")
        assert not await executor.stop(handle, "terminate")

    assert fence_of(job) is None


async def test_a_submission_that_is_cancelled_meanwhile_leaves_a_job_that_can_be_found(
    fake: Fake, options: Options, marking: Callable[[], Job], tmp_path: Path
) -> None:
    job = marking()
    async with open_executor(options) as executor:
        async with anyio.create_task_group() as group:
            group.start_soon(executor.submit, job)
            await eventually(lambda: (Path(job.directory) / "slurm.note").exists())
            group.cancel_scope.cancel()
        found = await executor.find(job)
        assert found is not None

        assert await executor.submit(job) == found
        await over(executor, found)
    assert (len(fake.calls("sbatch")), marks(tmp_path)) == (1, 1)


async def test_what_a_job_said_that_never_began_is_told(
    fake: Fake, options: Options, make_job: SupervisedJobs
) -> None:
    async with open_executor(structs.replace(options, python="/no/such/python")) as executor:
        handle = await executor.submit(make_job(["true"]))
        await over(executor, handle)
        (status,) = await executor.status((handle,))

    assert "has failed (FAILED)" in status.reason
    assert "/no/such/python" in status.reason


async def test_where_slurm_itself_looks_after_memory_its_words_tell_that_a_job_used_it_up(
    fake: Fake, options: Options, make_job: SupervisedJobs
) -> None:
    fake.let("start", "none")
    async with open_executor(options) as executor:
        first, second = make_job(["true"]), make_job(["true"])
        for job in (first, second):
            (Path(job.directory) / "fence").touch()
        words = "slurmstepd-n1: error: Exceeded job memory limit\n"
        (Path(first.directory) / "slurm.out").write_text(words)
        (Path(second.directory) / "slurm.out").write_text("slurmstepd-n1: error: something else\n")
        handles = [await executor.submit(job) for job in (first, second)]
        for handle in handles:
            fake.becomes(_element(handle), "FAILED")
        statuses = await executor.status(handles)
    for job in (first, second):
        (Path(job.directory) / "fence").unlink()

    assert [status.cause for status in statuses] == ["oom", None]
    assert "Exceeded job memory limit" in statuses[0].reason


async def test_jobs_that_come_together_are_one_array_and_each_runs_its_own_attempt(
    fake: Fake, options: Options, make_job: SupervisedJobs, tmp_path: Path
) -> None:
    jobs = [make_job(["sh", "-c", f"echo {number} >> '{tmp_path}/marks'"]) for number in range(12)]
    handles: list[Handle] = []

    async def run(executor: SlurmExecutor, job: Job) -> None:
        handles.append(await executor.submit(job))
        await over(executor, handles[-1])

    async with (
        open_executor(structs.replace(options, window=0.2)) as executor,
        anyio.create_task_group() as group,
    ):
        for job in jobs:
            group.start_soon(run, executor, job)

    assert len(fake.calls("sbatch")) == 1
    assert {handle.job for handle in handles} == {job.name for job in jobs}
    assert len({handle.token for handle in handles}) == 12
    assert sorted(map(int, (tmp_path / "marks").read_text().split())) == list(range(12))


async def test_an_array_that_was_cancelled_as_a_whole_is_one_line_for_all_of_its_jobs(
    fake: Fake, options: Options
) -> None:
    listing = Listing(options)
    fake.let("start", "none")
    job = '{"name": "orch-many", "count": null, "options": {}, "command": []}'
    (fake.root / "jobs" / "7").write_text(job)
    fake.becomes("7", "CANCELLED")

    found = await listing.statuses(["7_3:orch-many", "7_3:other"])

    assert (found["7_3:orch-many"].phase, found["7_3:orch-many"].cause) == ("ended", "stopped")
    assert found["7_3:other"].phase == "gone"


async def test_jobs_that_ask_for_different_things_share_no_array(
    fake: Fake, options: Options, make_job: SupervisedJobs
) -> None:
    fake.let("start", "none")
    amounts = [{"cpus": 2, "memory": 3 << 20, "gpus": 1, "time": 90.0}, {"cpus": 0.5}, {}]
    jobs = [make_job(["true"], resources=resources) for resources in amounts for _ in range(2)]
    options = structs.replace(options, window=0.2, time="2:00:00")
    async with open_executor(options) as executor, anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(executor.submit, job)

    calls = [call for _, call in fake.calls("sbatch")]
    assert len(calls) == 3
    assert sum("--cpus-per-task=2 --mem=3M --gres=gpu:1 --time=3 " in call for call in calls) == 1
    assert sum("--cpus-per-task=1 --time=2:00:00 " in call for call in calls) == 1


@pytest.mark.parametrize("mode", ["none", "small"])
async def test_a_cluster_without_arrays_gets_single_jobs_and_arrays_are_no_bigger_than_allowed(
    fake: Fake, options: Options, make_job: SupervisedJobs, mode: str
) -> None:
    fake.let("arrays", mode)
    options = structs.replace(options, window=0.2, array_size=2 if mode == "small" else 100)
    async with open_executor(options) as executor, anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(executor.submit, make_job(["true"]))

    counts = sorted(job["count"] or 1 for job in fake.jobs().values())
    assert counts == ([1, 1, 1, 1] if mode == "none" else [2, 2])


async def test_ten_thousand_jobs_are_watched_by_one_call_at_a_time_and_one_a_second(
    fake: Fake, options: Options, tmp_path: Path
) -> None:
    fake.let("start", "none")
    for number in range(10):
        job = '{"name": "orch-many", "count": 1000, "options": {}, "command": []}'
        (fake.root / "jobs" / str(100 + number)).write_text(job)
    handles = [
        Handle(
            executor="slurm",
            job=f"{number}.1",
            token=f"{100 + number // 1000}_{number % 1000}:orch-many:/none",
        )
        for number in range(10_000)
    ]
    options = structs.replace(options, poll=1.0)
    async with open_executor(options) as executor, anyio.create_task_group() as group:
        for handle in handles[:2_000]:
            group.start_soon(executor.wait, handle)
        with anyio.fail_after(20):
            for _ in range(3):
                statuses = await executor.status(handles)
                await anyio.sleep(0.5)
        group.cancel_scope.cancel()

    assert {status.phase for status in statuses} == {"waiting"}
    times = [at for at, _ in fake.calls("squeue")]
    assert 1 <= len(times) <= 5
    assert all(later - earlier > 0.9 for earlier, later in pairwise(times))
    assert all(len(call) < 200 for _, call in fake.calls("squeue"))


async def test_files_that_a_node_sees_late_are_waited_for(
    fake: Fake, options: Options, marking: Callable[[], Job], tmp_path: Path
) -> None:
    fake.let("start", "none")
    job = marking()
    async with open_executor(options) as executor:
        handle = await executor.submit(job)
        file = Path(job.directory) / "slurm.job"
        file.rename(tmp_path / "late")
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, fake.execute, _element(handle))
            await anyio.sleep(0.5)
            assert fence_of(job) is None
            (tmp_path / "late").rename(file)

    assert marks(tmp_path) == 1


async def test_nothing_of_a_run_stands_in_a_command_line_or_script(
    fake: Fake, options: Options, make_job: SupervisedJobs
) -> None:
    odd = "$(touch /tmp/x); `id` ' \" \n"
    job = make_job(["sh", "-c", 'test "$KIT_SECRET" = "$1"', "sh", odd], environment={"KIT_SECRET": odd})
    async with open_executor(options) as executor:
        await over(executor, await executor.submit(job))

    record = exit_of(job)
    assert record is not None
    assert record.code == 0
    taken = fake.jobs()["1"]
    assert "KIT_SECRET" not in taken["environment"]
    assert not any("touch" in word for word in taken["command"])
    assert (Path(job.directory) / "slurm.job").stat().st_mode & 0o077 == 0


async def test_a_queue_within_a_job_passes_nothing_of_that_job_on(
    fake: Fake, options: Options, make_job: SupervisedJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/x.conf")
    job = make_job(["true"])
    async with open_executor(options) as executor:
        await over(executor, await executor.submit(job))

    assert exit_of(job) is not None
    passed = fake.jobs()["1"]["environment"]
    assert [name for name in passed if name.startswith("SLURM_")] == ["SLURM_CONF"]


async def test_an_older_answer_says_nothing_of_a_job_that_was_submitted_since(
    fake: Fake, options: Options
) -> None:
    listing = Listing(structs.replace(options, poll=60.0))
    await listing.statuses(["1:a"])
    listing.knows("2:b")
    begun = time.monotonic()
    found = await listing.statuses(["1:a", "2:b"])

    assert found["1:a"].phase == "gone"
    assert found["2:b"].phase == "gone"
    assert time.monotonic() - begun >= 0.5, "the old answer was believed"


async def _until_phase(executor: SlurmExecutor, handle: Handle, phase: str) -> None:
    with anyio.fail_after(10):
        while (await executor.status((handle,)))[0].phase != phase:  # noqa: ASYNC110  what is waited for is elsewhere
            await anyio.sleep(0.05)


def _element(handle: Handle) -> str:
    return handle.token.partition(":")[0]


async def test_a_computer_of_no_cluster_refuses_at_once(
    fake: Fake, options: Options, marking: Callable[[], Job]
) -> None:
    unset = "fail fatal: Could not establish a configuration source"
    fake.let("sbatch", unset)
    fake.let("squeue", unset)
    async with open_executor(options) as executor:
        with anyio.fail_after(10), pytest.raises(ExecutorError, match="configuration source"):
            await executor.submit(marking())
