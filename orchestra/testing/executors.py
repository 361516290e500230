"""The kit for executors.

    class TestMine(ExecutorContract):
        @pytest.fixture
        def opener(self):
            return partial(open_executor, Options())

The jobs are real: what they run is told by ``make_job``, and seen by the files that they write. The default
makes supervised jobs, as the engine does; override it for an executor that shares no files with the tests.
An executor with the capability :class:`orchestra.contracts.Hinting` also inherits the
``HintingContract`` of :mod:`orchestra.testing.hinting`, one that is ``Foretelling``, ``Warming`` or ``Preparing``
their ``ForetellingContract``, ``WarmingContract`` and ``PreparingContract``; one that is ``Scheduling`` the
``SchedulingContract``, and one that is ``Persisting`` the ``PersistingContract``, of
:mod:`orchestra.testing.scheduling`.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import msgspec
import pytest
from msgspec import structs

from orchestra.child import supervisor
from orchestra.child.install import install, supervisor_command
from orchestra.contracts import Executor, StopHow
from orchestra.model.execution import Exit, Fence, Handle, Hint, Job
from orchestra.testing.kit import Kit

ExecutorOpener: TypeAlias = Callable[[], AbstractAsyncContextManager[Executor]]
JobMaker: TypeAlias = Callable[..., Job]

PATIENCE = 30.0
"""Seconds after which a test gives up waiting for what must happen."""


class SupervisedJobs:
    """Makes jobs whose command is the real supervisor, with orders in a directory of their own.

    ``jobs(["sh", "-c", "exit 3"])`` is a :class:`Job`; keyword arguments are fields of the job, all others
    orders (``output="direct"``, ``grace=0.5``, ...).
    """

    def __init__(self, root: Path, lib_root: Path) -> None:
        self.root = root
        self.lib_dir = install(str(lib_root))
        self.made: list[Job] = []
        self._count = itertools.count(1)

    def __call__(self, argv: list[str], **fields: Any) -> Job:
        name = f"{os.urandom(4).hex()}{next(self._count)}.1"
        directory = self.root / "attempts" / name
        directory.mkdir(parents=True)
        mine = {key: fields.pop(key) for key in ("attached", "resources") if key in fields}
        environment = {**fields.pop("environment", {}), supervisor.COOKIE: f"{name}.{NONCE}"}
        (directory / "orders").write_bytes(self._orders(name, argv, fields))
        job = Job(
            name=name,
            argv=supervisor_command(sys.executable, self.lib_dir, str(directory)),
            directory=str(directory),
            environment=environment,
            **mine,
        )
        self.made.append(job)
        return job

    def _orders(self, name: str, argv: list[str], orders: dict[str, Any]) -> bytes:
        run, attempt = name.split(".")
        entries: dict[str, Any] = {
            "version": 1,
            "run": run,
            "attempt": attempt,
            "nonce": NONCE,
            "cwd": self.root,
            "output": "piped",
            "streams": "one",
            "stdin": "null",
            "fsync": 0,
            "grace": 0.2,
            "stop_timeout": 10,
            **orders,
        }
        words = [f"arg={word}" for word in argv]
        words += [f"env={word}" for word in entries.pop("env", ())]
        words += [f"unset={word}" for word in entries.pop("unset", ())]
        words += [f"{key}={value}" for key, value in entries.items()]
        return b"".join(os.fsencode(word) + b"\0" for word in words)

    def end(self) -> None:
        """Kill whatever the jobs have left, supervisors included."""
        for job in self.made:
            fence = fence_of(job)
            if exit_of(job) is not None:
                continue
            if fence is not None and fence.identity.pid != os.getpid():
                supervisor.send_signal(fence.identity.pid, fence.identity.start, signal.SIGKILL)
            supervisor.end_tree(job.environment[supervisor.COOKIE])


NONCE = "0123456789abcdef"


def fence_of(job: Job) -> Fence | None:
    """The fence of a job's attempt, if somebody has won it."""
    return _record(Path(job.directory) / "fence", Fence)


def exit_of(job: Job) -> Exit | None:
    """The exit record of a job's attempt, if it has ended."""
    return _record(Path(job.directory) / "exit", Exit)


def output_of(job: Job) -> bytes:
    """What a job has written so far."""
    path = Path(job.directory) / "output"
    return path.read_bytes() if path.exists() else b""


def _record(path: Path, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None


async def over(executor: Executor, handle: Handle) -> Hint:
    """Wait until a job is over, however often the executor can't say; what it said then."""
    with anyio.fail_after(PATIENCE):
        while True:
            hint = await executor.wait(handle)
            if hint != "unknown":
                return hint
            await anyio.sleep(0.05)


async def appears(path: Path) -> None:
    """Wait until a file is there."""
    await eventually(path.exists)


async def eventually(happened: Callable[[], object]) -> None:
    """Wait until something has happened."""
    with anyio.fail_after(PATIENCE):
        while not happened():  # noqa: ASYNC110  what is waited for happens in another process
            await anyio.sleep(0.01)


class ExecutorContract(Kit):
    """What every executor keeps."""

    many = 100
    """How many jobs are submitted at once."""

    @pytest.fixture
    def opener(self) -> ExecutorOpener:
        """A function without arguments that opens the executor; each call is like another process."""
        raise NotImplementedError("override the fixture 'opener'")

    @pytest.fixture
    def make_job(self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobMaker]:
        """A function that makes a job from a command, which runs where the files of ``tmp_path`` are seen."""
        jobs = SupervisedJobs(tmp_path, tmp_path_factory.getbasetemp() / "orchestra-lib")
        yield jobs
        jobs.end()

    @pytest.fixture
    def marks(self, tmp_path: Path) -> Path:
        """A file to which jobs add a line each."""
        return tmp_path / "marks"

    @pytest.fixture
    def make_gated(self, make_job: JobMaker, tmp_path: Path) -> Callable[[], tuple[Job, Path, Path]]:
        """A function that makes a job that makes one file when it runs, and runs until there is another."""

        def make() -> tuple[Job, Path, Path]:
            begun, gate = (tmp_path / f"{name}-{os.urandom(4).hex()}" for name in ("begun", "gate"))
            script = f"touch '{begun}'; while ! test -e '{gate}'; do sleep 0.02; done"
            return make_job(["sh", "-c", script]), begun, gate

        return make

    async def test_a_job_has_run_when_it_is_said_to_have_ended(
        self, opener: ExecutorOpener, make_job: JobMaker, marks: Path
    ) -> None:
        async with opener() as executor:
            handle = await executor.submit(make_job(["sh", "-c", f"echo ran >> '{marks}'"]))
            hint = await over(executor, handle)

        assert hint == "ended"
        assert marks.read_text() == "ran\n"

    async def test_a_handle_names_its_job_and_survives_storage(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        job = make_job(["true"])
        async with opener() as executor:
            handle = await executor.submit(job)
            await over(executor, handle)

        assert handle.job == job.name
        assert handle.executor
        assert stored(handle) == handle

    async def test_what_a_job_adds_to_the_environment_arrives(
        self, opener: ExecutorOpener, make_job: JobMaker, marks: Path
    ) -> None:
        environment = {"KIT_PLAIN": "plain", "KIT_ODD": "a=b\n'\"\u00e9", "KIT_EMPTY": ""}
        script = f'printf "%s|%s|%s" "$KIT_PLAIN" "$KIT_ODD" "${{KIT_EMPTY-unset}}" > \'{marks}\''
        async with opener() as executor:
            handle = await executor.submit(make_job(["sh", "-c", script], environment=environment))
            await over(executor, handle)

        assert marks.read_text() == "plain|a=b\n'\"\u00e9|"

    async def test_wait_lasts_as_long_as_the_job(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]]
    ) -> None:
        job, begun, gate = make_gated()
        async with opener() as executor:
            handle = await executor.submit(job)
            await appears(begun)
            early: list[Hint] = []
            with anyio.move_on_after(0.4):
                while not early:
                    hint = await executor.wait(handle)
                    early = [hint] if hint != "unknown" else []
                    await anyio.sleep(0.01)
            gate.touch()

            assert not early, "wait() ended though the job was running"
            assert await over(executor, handle) == "ended"

    async def test_all_who_wait_are_told(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]]
    ) -> None:
        job, begun, gate = make_gated()
        hints: list[Hint] = []

        async def wait(executor: Executor, handle: Handle) -> None:
            hints.append(await over(executor, handle))

        async with opener() as executor:
            handle = await executor.submit(job)
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(wait, executor, handle)
                await appears(begun)
                gate.touch()

            assert hints == ["ended"] * 3
            assert await over(executor, handle) in ("ended", "gone"), "asked again, it said something else"

    async def test_cancelling_wait_only_stops_the_waiting(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]], make_job: JobMaker
    ) -> None:
        job, begun, gate = make_gated()
        async with opener() as executor:
            handle = await executor.submit(job)
            await appears(begun)
            with anyio.move_on_after(0.1) as scope:
                await over(executor, handle)
            assert scope.cancelled_caught, "the cancellation was swallowed"
            other = await executor.submit(make_job(["true"]))
            assert await over(executor, other) == "ended"
            with anyio.move_on_after(0.2) as scope:
                await over(executor, handle)
            assert scope.cancelled_caught, "the job ended when the waiting was cancelled"
            gate.touch()

            assert await over(executor, handle) == "ended"

    async def test_waiting_leaves_the_event_loop_free(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        async with opener() as executor:
            handle = await executor.submit(make_job(["sleep", "0.6"]))
            gaps: list[float] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_measure_gaps, gaps)
                await over(executor, handle)
                tasks.cancel_scope.cancel()

        assert max(gaps) < 0.4, "other tasks stood still while a job was waited for"

    async def test_a_job_that_fails_has_ended_like_any_other(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        async with opener() as executor:
            handle = await executor.submit(make_job(["sh", "-c", "exit 3"]))

            assert await over(executor, handle) == "ended"

    async def test_another_process_can_wait_for_a_job(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]]
    ) -> None:
        job, begun, gate = make_gated()
        async with opener() as executor, opener() as other:
            handle = stored(await executor.submit(job))
            await appears(begun)
            with anyio.move_on_after(0.2) as scope:
                await over(other, handle)
            assert scope.cancelled_caught, "wait() ended though the job was running"
            gate.touch()

            assert await over(other, handle) in ("ended", "gone")

    async def test_jobs_outlive_the_executor(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]], marks: Path
    ) -> None:
        job, begun, gate = make_gated()
        async with opener() as executor:
            handle = stored(await executor.submit(job))
            await appears(begun)
        async with opener() as other:
            with anyio.move_on_after(0.3) as scope:
                await over(other, handle)
            assert scope.cancelled_caught, "the job ended with the executor that started it"
            gate.touch()

            assert await over(other, handle) in ("ended", "gone")

    async def test_submitting_a_job_again_does_not_run_it_again(
        self, opener: ExecutorOpener, make_job: JobMaker, marks: Path
    ) -> None:
        job = make_job(["sh", "-c", f"echo ran >> '{marks}'; sleep 0.1"])
        async with opener() as executor:
            handles = [await executor.submit(job) for _ in range(2)]
            for handle in handles:
                await over(executor, handle)
            await over(executor, await executor.submit(job))

        assert marks.read_text() == "ran\n"

    async def test_submitting_a_job_at_the_same_time_runs_it_once(
        self, opener: ExecutorOpener, make_job: JobMaker, marks: Path
    ) -> None:
        job = make_job(["sh", "-c", f"echo ran >> '{marks}'; sleep 0.1"])

        async def submit(executor: Executor) -> None:
            await over(executor, await executor.submit(job))

        async with opener() as executor, anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(submit, executor)

        assert marks.read_text() == "ran\n"

    async def test_submitting_a_job_from_another_process_does_not_run_it_again(
        self, opener: ExecutorOpener, make_job: JobMaker, marks: Path
    ) -> None:
        job = make_job(["sh", "-c", f"echo ran >> '{marks}'; sleep 0.1"])
        async with opener() as executor, opener() as other:
            handle = await executor.submit(job)
            await over(other, await other.submit(job))
            await over(executor, handle)

        assert marks.read_text() == "ran\n"

    async def test_a_submission_that_was_cancelled_can_be_repeated(
        self, opener: ExecutorOpener, make_job: JobMaker, marks: Path
    ) -> None:
        job = make_job(["sh", "-c", f"echo ran >> '{marks}'"])
        async with opener() as executor:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await executor.submit(job)

            assert await over(executor, await executor.submit(job)) == "ended"
        assert marks.read_text() == "ran\n"

    @pytest.mark.parametrize("how", ["interrupt", "terminate", "kill"])
    async def test_a_job_can_be_stopped(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]], how: StopHow
    ) -> None:
        job, begun, _ = make_gated()
        async with opener() as executor:
            handle = await executor.submit(job)
            await appears(begun)

            assert await executor.stop(handle, how)
            assert await over(executor, handle) in ("ended", "gone")

    async def test_another_process_can_stop_a_job(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]]
    ) -> None:
        job, begun, _ = make_gated()
        async with opener() as executor:
            handle = stored(await executor.submit(job))
            await appears(begun)
            async with opener() as other:
                assert await other.stop(handle, "terminate")

            assert await over(executor, handle) in ("ended", "gone")

    async def test_stopping_one_job_leaves_the_others_alone(
        self, opener: ExecutorOpener, make_gated: Callable[[], tuple[Job, Path, Path]]
    ) -> None:
        (job, begun, _), (bystander, also_begun, gate) = make_gated(), make_gated()
        async with opener() as executor:
            handle, left = await executor.submit(job), await executor.submit(bystander)
            await appears(begun)
            await appears(also_begun)
            await executor.stop(handle, "kill")
            await over(executor, handle)
            with anyio.move_on_after(0.2) as scope:
                await over(executor, left)
            assert scope.cancelled_caught, "a job was stopped that nobody wanted to stop"
            gate.touch()

            assert await over(executor, left) == "ended"

    async def test_a_job_that_has_ended_can_not_be_stopped(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        async with opener() as executor:
            handle = await executor.submit(make_job(["true"]))
            await over(executor, handle)
            told = True
            with anyio.fail_after(PATIENCE):
                # It may need a moment to be gone after its end was told.
                while told:
                    told = await executor.stop(handle, "terminate")

    async def test_many_jobs_at_once_all_run_and_end(
        self, opener: ExecutorOpener, make_job: JobMaker, marks: Path
    ) -> None:
        hints: list[Hint] = []

        async def run(executor: Executor, number: int) -> None:
            job = make_job(["sh", "-c", f"echo {number} >> '{marks}'"])
            hints.append(await over(executor, await executor.submit(job)))

        async with opener() as executor, anyio.create_task_group() as tasks:
            for number in range(self.many):
                tasks.start_soon(run, executor, number)

        assert hints == ["ended"] * self.many
        assert sorted(map(int, marks.read_text().split())) == list(range(self.many))

    async def test_a_closed_executor_leaves_no_file_descriptors_and_no_zombies(
        self, opener: ExecutorOpener, make_job: JobMaker
    ) -> None:
        async def use() -> None:
            async with opener() as executor:
                for _ in range(3):
                    await over(executor, await executor.submit(make_job(["true"])))

        await use()
        before, dead = _open_files(), _zombies()
        await use()
        await eventually(lambda: not _zombies() - dead)

        assert _open_files() <= before


def stored(handle: Handle) -> Handle:
    """A handle as another process gets it."""
    return msgspec.json.decode(msgspec.json.encode(structs.replace(handle)), type=Handle)


async def _measure_gaps(gaps: list[float]) -> None:
    while True:
        before = time.monotonic()
        await anyio.sleep(0.01)
        gaps.append(time.monotonic() - before)


def _open_files() -> int:
    return len(os.listdir("/dev/fd"))


def _zombies() -> set[str]:
    found: set[str] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[:2] == ["Z", str(os.getpid())]:
            found.add(stat.parent.name)
    return found
