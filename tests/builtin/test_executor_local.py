"""The executor of this machine."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest
from msgspec import structs

from orchestra.builtin import executor_local
from orchestra.builtin.executor_local import Options, open_executor
from orchestra.child import supervisor
from orchestra.contracts import Hinting
from orchestra.errors import ExecutorError
from orchestra.model.execution import Handle
from orchestra.testing.executors import (
    ExecutorContract,
    SupervisedJobs,
    eventually,
    exit_of,
    fence_of,
    output_of,
    over,
)
from orchestra.testing.hinting import (
    ForetellingContract,
    HintingContract,
    PreparingContract,
    WarmingContract,
)


class TestKit(PreparingContract, WarmingContract, ForetellingContract, HintingContract, ExecutorContract):
    @pytest.fixture
    def opener(self, tmp_path_factory):
        home = tmp_path_factory.getbasetemp() / "home"
        home.mkdir(exist_ok=True)
        return partial(open_executor, Options(home=home))


@pytest.fixture
def opener(tmp_path_factory):
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    return partial(open_executor, Options(home=home))


@pytest.fixture
def make_job(tmp_path, tmp_path_factory):
    jobs = SupervisedJobs(tmp_path, tmp_path_factory.getbasetemp() / "orchestra-lib")
    yield jobs
    jobs.end()


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


anyio_test = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


def drive(coroutine):
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it suspended")


def test_an_attached_job_is_submitted_without_an_event_loop_and_reads_our_input(make_job, opener):
    job = make_job(["cat"], attached=True, stdin="inherit")
    context = opener()
    executor = drive(context.__aenter__())
    reader, writer = os.pipe()
    os.write(writer, b"typed\n")
    os.close(writer)
    saved = os.dup(0)
    os.dup2(reader, 0)
    try:
        handle = drive(executor.submit(job))
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(reader)

    assert fence_of(job) is not None, "submit() returned before the fence was won"
    anyio.run(over, executor, handle)
    drive(context.__aexit__(None, None, None))
    assert output_of(job) == b"typed\n"


def test_an_attached_job_needs_no_anyio():
    script = (
        "import sys; from orchestra.builtin.executor_local import open_executor;"
        "print('anyio' in sys.modules, 'asyncio' in sys.modules, 'subprocess' in sys.modules)"
    )

    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )

    assert found.stdout == "False False False\n", found.stderr


@pytest.mark.parametrize("attached", [False, True])
@anyio_test
async def test_submit_returns_when_the_fence_is_won(make_job, opener, attached):
    job = make_job(["sleep", "60"], attached=attached)
    async with opener() as executor:
        handle = await executor.submit(job)

        fence = fence_of(job)
        assert fence is not None
        assert handle.token.startswith(f"{fence.identity.pid}:{fence.identity.start}:")
        assert isinstance(executor, Hinting)


@pytest.mark.parametrize("attached", [False, True])
@anyio_test
async def test_a_job_whose_fence_is_lost_has_ended(make_job, opener, attached):
    job = make_job(["touch", "ran"], attached=attached)
    fields = {
        "fence": "revoked",
        "nonce": "x",
        "identity": supervisor.own_identity(),
        "time": 1,
        "kind": "engine",
    }
    os.close(supervisor.win_fence(job.directory, fields, fsync=False))

    async with opener() as executor:
        handle = await executor.submit(job)

        assert await over(executor, handle) == "ended"
        assert not await executor.stop(handle, "kill")
    assert not Path(job.directory, "../../ran").exists()


@pytest.mark.parametrize("attached", [False, True])
@anyio_test
async def test_a_job_that_cannot_begin_says_why(make_job, opener, attached):
    job = make_job(["true"], attached=attached)
    (Path(job.directory) / "orders").unlink()

    async with opener() as executor:
        with pytest.raises(ExecutorError, match=r"could not be started: No such file or directory|No child"):
            await executor.submit(job)

        again = make_job(["true"])
        assert await over(executor, await executor.submit(again)) == "ended"


@anyio_test
async def test_a_command_that_is_missing_says_so(make_job, opener):
    job = structs.replace(make_job(["true"], attached=True), argv=("/no/such/python",))

    async with opener() as executor:
        with pytest.raises(ExecutorError, match="No such file or directory"):
            await executor.submit(job)


@anyio_test
async def test_a_launcher_that_dies_is_replaced_and_its_jobs_go_on(make_job, opener):
    async with opener() as executor:
        before = children()
        first = make_job(["sh", "-c", "sleep 0.4; exit 3"])
        handle = await executor.submit(first)
        (launcher,) = children() - before
        os.kill(launcher, signal.SIGKILL)
        second = make_job(["sh", "-c", "exit 4"])

        assert await over(executor, await executor.submit(second)) == "ended"
        assert await over(executor, handle) == "ended"
        assert (exit_of(first).code, exit_of(second).code) == (3, 4)


@anyio_test
async def test_a_launcher_that_dies_with_a_request_is_replaced_and_the_job_runs_once(
    make_job, opener, tmp_path
):
    async with opener() as executor:
        before = children()
        await over(executor, await executor.submit(make_job(["true"])))
        (launcher,) = children() - before
        os.kill(launcher, signal.SIGSTOP)
        job = make_job(["sh", "-c", "echo ran >> marks"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(executor.submit, job)
            await anyio.sleep(0.1)
            os.kill(launcher, signal.SIGKILL)

        assert await over(executor, await executor.submit(job)) == "ended"
    assert (tmp_path / "marks").read_text() == "ran\n"


def children_of(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@anyio_test
async def test_a_supervisor_that_dies_before_it_has_a_job_is_replaced(make_job, opener):
    before = children()
    async with opener() as executor:
        await over(executor, await executor.submit(make_job(["true"])))
        (launcher,) = children() - before
        for spare in children_of(launcher):
            os.kill(spare, signal.SIGKILL)
        await eventually(lambda: not children_of(launcher))

        job = make_job(["sh", "-c", "echo done"])
        await over(executor, await executor.submit(job))

        assert output_of(job) == b"done\n"
        spares = children_of(launcher)
        assert spares
    await eventually(lambda: not any(map(supervisor.process_start, spares)))


@anyio_test
async def test_a_job_whose_supervisor_dies_before_it_has_begun_is_begun_by_another_one(
    make_job, opener, tmp_path
):
    before = children()
    async with opener() as executor:
        executor.warm_up()
        (launcher,) = children() - before
        await eventually(lambda: children_of(launcher))
        (spare,) = children_of(launcher)
        os.kill(spare, signal.SIGSTOP)
        job = make_job(["sh", "-c", "echo ran >> marks"])

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(executor.submit, job)
                # It was handed over once another one is at hand.
                await eventually(lambda: len(children_of(launcher)) > 1)
                os.kill(spare, signal.SIGKILL)
            assert await over(executor, await executor.submit(job)) == "ended"
    assert (tmp_path / "marks").read_text() == "ran\n"


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process")
@anyio_test
async def test_a_job_that_cannot_begin_for_a_shortage_is_begun_when_that_is_over(
    make_job, opener, monkeypatch
):
    monkeypatch.setattr(executor_local, "SHORTAGE_PAUSE", 0.05)
    before = children()
    async with opener() as executor:
        executor.warm_up()
        (launcher,) = children() - before
        await eventually(lambda: children_of(launcher))
        # Whoever it forks can do no more.
        resource.prlimit(launcher, resource.RLIMIT_NOFILE, (10, 64))
        (spare,) = children_of(launcher)
        os.kill(spare, signal.SIGKILL)
        job = make_job(["sh", "-c", "echo done"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(executor.submit, job)
            await anyio.sleep(0.5)
            assert fence_of(job) is None
            resource.prlimit(launcher, resource.RLIMIT_NOFILE, (64, 64))
        assert await over(executor, await executor.submit(job)) == "ended"
        assert output_of(job) == b"done\n"


@anyio_test
async def test_a_job_whose_supervisors_die_one_after_the_other_could_not_be_started(
    make_job, opener, monkeypatch
):
    monkeypatch.setenv("ORCHESTRA_FAILPOINT", "supervisor.started:kill9")
    async with opener() as executor:
        with anyio.fail_after(10), pytest.raises(ExecutorError, match="could not be started"):
            await executor.submit(make_job(["true"]))


@anyio_test
async def test_a_request_that_died_with_its_launcher_is_made_again(make_job, opener, tmp_path):
    async with opener() as executor:
        before = children()
        await over(executor, await executor.submit(make_job(["true"])))
        (launcher,) = children() - before
        os.kill(launcher, signal.SIGSTOP)
        job = make_job(["sh", "-c", "echo ran >> marks"])
        with anyio.move_on_after(0.1):
            await executor.submit(job)
        os.kill(launcher, signal.SIGKILL)

        with anyio.fail_after(10):
            assert await over(executor, await executor.submit(job)) == "ended"
    assert (tmp_path / "marks").read_text() == "ran\n"


@anyio_test
async def test_a_killed_supervisor_is_noticed_within_about_a_second(make_job, opener):
    for attached in (False, True):
        async with opener() as executor:
            job = make_job(["sleep", "60"], attached=attached)
            handle = await executor.submit(job)
            before = time.monotonic()
            os.kill(fence_of(job).identity.pid, signal.SIGKILL)

            assert await over(executor, handle) == "ended"
            assert time.monotonic() - before < 4
            assert exit_of(job) is None
            assert not await executor.stop(handle, "terminate")


@anyio_test
async def test_a_pid_that_was_used_again_is_never_signalled(make_job, opener):
    canary = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220
    try:
        async with opener() as executor:
            handle = await executor.submit(make_job(["true"]))
            await over(executor, handle)
            _, start, boot, host = handle.token.split(":", 3)
            reused = structs.replace(handle, token=f"{canary.pid}:{start}:{boot}:{host}")
            real = supervisor.process_start(canary.pid)
            other_boot = structs.replace(handle, token=f"{canary.pid}:{real}:{'0' * len(boot)}:{host}")

            for forged in (reused, other_boot):
                assert not await executor.stop(forged, "kill")
                assert await over(executor, forged) == "ended"
        assert canary.poll() is None
    finally:
        canary.kill()
        canary.wait()


@anyio_test
async def test_a_job_whose_supervisor_has_another_one_by_now_has_ended(make_job, opener):
    async with opener() as executor, opener() as watcher:
        handle = await executor.submit(make_job(["true"]))
        await over(executor, handle)
        job = make_job(["sleep", "60"])
        at_work = await executor.submit(job)
        while at_work.token.split(":")[0] != handle.token.split(":")[0]:
            await executor.stop(at_work, "kill")
            await over(executor, at_work)
            handle = await executor.submit(make_job(["true"]))
            await over(executor, handle)
            job = make_job(["sleep", "60"])
            at_work = await executor.submit(job)

        for one in (executor, watcher):
            assert await over(one, handle) == "ended"
            assert not await one.stop(handle, "kill")
        assert exit_of(job) is None
        assert await watcher.stop(at_work, "terminate")
        assert await over(watcher, at_work) == "ended"
        assert exit_of(job).stopped_by == "TERM"


@anyio_test
async def test_handles_of_earlier_versions_are_understood(make_job, opener):
    async with opener() as executor, opener() as watcher:
        job = make_job(["sleep", "60"])
        handle = await executor.submit(job)
        os.kill(fence_of(job).identity.pid, signal.SIGSTOP)
        old = structs.replace(handle, token=":".join(handle.token.split(":")[:4]))

        assert await watcher.stop(old, "kill")
        assert await over(watcher, old) == "ended"


@anyio_test
async def test_a_handle_can_be_kept_whatever_the_name_of_its_directory(make_job, opener, tmp_path):
    make_job.root = tmp_path / "a:\udcff\\é"
    make_job.root.mkdir()
    async with opener() as executor, opener() as watcher:
        handle = await executor.submit(make_job(["sleep", "60"]))

        assert msgspec.json.decode(msgspec.json.encode(handle), type=Handle) == handle
        assert await watcher.stop(handle, "kill")
        assert await over(watcher, handle) == "ended"


@anyio_test
async def test_a_job_of_another_host_is_neither_judged_nor_signalled(make_job, opener):
    canary = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220
    try:
        async with opener() as executor:
            handle = await executor.submit(make_job(["true"]))
            await over(executor, handle)
            boot = handle.token.split(":")[2]
            start = supervisor.process_start(canary.pid)
            away = structs.replace(handle, token=f"{canary.pid}:{start}:{boot}:other/0")

            assert await executor.wait(away) == "unknown"
            assert not await executor.stop(away, "kill")
        assert canary.poll() is None
    finally:
        canary.kill()
        canary.wait()


@anyio_test
async def test_a_token_of_somebody_else_is_refused(make_job, opener):
    async with opener() as executor:
        handle = await executor.submit(make_job(["true"]))
        with pytest.raises(ExecutorError, match="no handle"):
            await executor.wait(structs.replace(handle, token="slurm-17"))


@anyio_test
async def test_a_supervisor_that_is_stopped_can_be_told_to_end(make_job, opener):
    async with opener() as executor:
        job = make_job(["sleep", "60"])
        handle = await executor.submit(job)
        os.kill(fence_of(job).identity.pid, signal.SIGSTOP)

        assert await executor.stop(handle, "kill")
        assert await over(executor, handle) == "ended"
        assert exit_of(job).stopped_by == "KILL"


@anyio_test
async def test_the_launcher_has_a_session_of_its_own(make_job, opener):
    async with opener() as executor:
        before = children()
        await over(executor, await executor.submit(make_job(["true"])))
        (launcher,) = children() - before

        assert os.getsid(launcher) == launcher
    await eventually(lambda: launcher not in children())


@anyio_test
async def test_jobs_that_outlive_a_closed_executor_leave_no_zombies(make_job, opener):
    before = children()
    async with opener() as executor:
        job = make_job(["sleep", "0.3"], attached=True)
        await executor.submit(job)

    await eventually(lambda: exit_of(job) is not None)
    await eventually(lambda: children() <= before)


@anyio_test
async def test_many_handles_of_another_process_are_watched_together(make_job, opener, tmp_path):
    async with opener() as executor, opener() as other:
        handles = []
        for _ in range(30):
            handles.append(
                await executor.submit(make_job(["sh", "-c", "while ! test -e go; do sleep 0.05; done"]))
            )
        async with anyio.create_task_group() as tasks:
            for handle in handles:
                tasks.start_soon(over, other, handle)
            await anyio.sleep(0.3)
            (tmp_path / "go").touch()
