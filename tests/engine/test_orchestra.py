"""The programmatic API, on asyncio and trio, with real processes."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from orchestra.engine.control import Wish
from orchestra.engine.orchestra import Orchestra
from orchestra.errors import FlagError, OperationNotFound, OrchestraError, RunBusy, RunNotFound, UserError
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

SAMPLES = Path(__file__).parent.parent / "samples"
pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def script(project: Path, text: str, name: str = "job.py") -> str:
    (project / name).write_text(text)
    return name


async def output_of(orch: Orchestra, run: Run) -> bytes:
    return b"".join([chunk async for chunk in orch.output(run.id)])


async def test_a_run_is_awaited_to_its_end(home: Path, project: Path) -> None:
    name = script(project, "n = 3\nprint('n is', n)\n")
    async with Orchestra(home, cwd=project) as orch:
        run = await orch.run(name, {"n": 5})

        assert run is not None
        assert (run.state, run.exit_code, run.get("flags")) == ("completed", 0, {"n": 5})
        assert await output_of(orch, run) == b"n is 5\n"


async def test_a_failed_run_is_data_not_an_exception(home: Path, project: Path) -> None:
    async with Orchestra(home, cwd=project) as orch:
        run = await orch.run(script(project, "raise SystemExit(7)\n"))

        assert run is not None
        assert (run.state, run.exit_code) == ("error", 7)


async def test_values_keep_their_types_from_the_caller_to_the_script(home: Path, project: Path) -> None:
    name = script(project, "a = 1\nb = 'x'\nc = 0.5\nd = True\nprint(repr((a, b, c, d)))\n")
    async with Orchestra(home, cwd=project) as orch:
        run = await orch.run(name, {"a": 10, "b": "2", "c": 3, "d": False})

        assert run is not None
        assert run.flags == {"a": 10, "b": "2", "c": 3, "d": False}
        assert await output_of(orch, run) == b"(10, '2', 3, False)\n"


async def test_cancelling_an_awaited_run_stops_its_operation(home: Path, project: Path) -> None:
    name = script(project, "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    async with Orchestra(home, cwd=project) as orch:
        async with orch.events(output=True) as events, anyio.create_task_group() as group:
            group.start_soon(orch.run, name)
            async for event in events:
                if event.name == "run.output":
                    pid = int(event.data["text"])
                    break
            group.cancel_scope.cancel()

        (run,) = await orch.list()
        assert run.state == "terminated"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


WAITING = """\
- operations:
    job:
      main: job
      requires: [slow]
  resources:
    slow:
      - file: data
        post-process: 'sleep 300 & echo $! > {pid}; wait'
"""


@pytest.mark.parametrize("way", ["run", "start", "stage"])
async def test_a_start_that_is_cancelled_leaves_neither_a_claim_nor_a_process(
    home: Path, project: Path, way: str
) -> None:
    script(project, "")
    script(project, "", "data")
    pid = project / "pid"
    (project / "orchestra.yml").write_text(WAITING.format(pid=pid))
    async with Orchestra(home, cwd=project) as orch:
        async with anyio.create_task_group() as group:
            group.start_soon(getattr(orch, way), "job")
            with anyio.fail_after(10):
                while not pid.exists() or not pid.read_text().strip():  # noqa: ASYNC110  it is another process
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()

        (run,) = await orch.list()
        assert (run.state, run.worker) == ("aborted", None)
        with anyio.fail_after(5):
            while is_alive(int(pid.read_text())):  # noqa: ASYNC110  it is another process
                await anyio.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether it is there and no zombie that nobody has reaped yet."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def test_a_staged_run_whose_start_is_cancelled_is_staged_again(home: Path, project: Path) -> None:
    name = script(project, "print('done')\n")
    async with Orchestra(home, cwd=project) as orch:
        staged = await orch.stage(name)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await orch.restart(staged.id)

        assert [(run.state, run.worker) for run in await orch.list()] == [("staged", None)]
        again = await orch.restart(staged.id)
        assert again is not None
        assert again.state == "completed"


async def test_a_started_run_outlives_the_wait_for_it_and_the_session(home: Path, project: Path) -> None:
    gate = project / "gate"
    name = script(
        project,
        "import os, time\nend = time.time() + 30\n"
        f"while not os.path.exists({str(gate)!r}) and time.time() < end: time.sleep(0.01)\n"
        "print('end')\n",
    )
    async with Orchestra(home, cwd=project) as orch:
        started = await orch.start(name)
        with anyio.move_on_after(0):
            await started.wait()

    async with Orchestra(home, cwd=project) as orch:
        with anyio.fail_after(10):
            while (await orch.get(started.id)).state != "running":  # noqa: ASYNC110  it is another process
                await anyio.sleep(0.01)
        gate.touch()
        chunks = [chunk async for chunk in orch.output(started.id, follow=True)]
        assert b"".join(chunks) == b"end\n"
        assert (await orch.get(started.id)).state == "completed"


async def test_waiting_for_a_started_run_fails_when_it_is_no_longer_watched(
    home: Path, project: Path
) -> None:
    name = script(project, "import time\ntime.sleep(60)\n")
    async with Orchestra(home, cwd=project) as orch:
        started = await orch.start(name)

    with pytest.raises(RunBusy, match=f"run {started.id} is (pending|running): it goes on"):
        await started.wait()

    async with Orchestra(home, cwd=project) as orch:
        with anyio.fail_after(10):
            while (await orch.get(started.id)).state != "running":  # noqa: ASYNC110  it is another process
                await anyio.sleep(0.01)
        assert (await orch.stop(started.id)).state == "terminated"


async def test_a_started_batch_that_ended_with_its_orchestra_is_waited_for(home: Path, project: Path) -> None:
    name = script(project, "x = 1\nimport time\ntime.sleep(60)\n")
    async with Orchestra(home, cwd=project) as orch:
        started = await orch.start(name, {"x": [1, 2]})
        with anyio.fail_after(10):
            while "running" not in [run.state for run in await orch.list() if run.batch]:  # noqa: ASYNC110  as above
                await anyio.sleep(0.01)

    assert (await started.wait()).state == "terminated"

    async with Orchestra(home, cwd=project) as orch:
        for run in await orch.list():
            if run.state == "running":
                await orch.stop(run.id)


async def test_a_batch_that_stops_leaves_nothing_that_was_made_ready_for_its_next_trial(
    home: Path, project: Path
) -> None:
    name = script(project, "x = 1\nraise SystemExit(x > 1)\n")
    async with Orchestra(home, cwd=project) as orch:
        batch = await orch.run(name, {"x": [1, 2, 3, 4]}, max_fails=2)
        states = [run.state for run in await orch.list() if run.batch]

    assert (batch and batch.state, states) == ("error", ["error", "error", "completed", "pending"])
    assert list(home.glob("runs/*/.orchestra/attempts/*/orders.*")) == []


async def test_a_home_that_is_named_is_the_same_wherever_the_project_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path)

    homes = [Orchestra("runs-here", cwd=cwd).home for cwd in (None, "project")]

    assert homes == [tmp_path / "runs-here"] * 2


async def test_a_batch_or_queue_is_stopped_without_the_program_that_executes_it(
    home: Path, project: Path
) -> None:
    name = script(project, "x = 1\nimport time\ntime.sleep(60)\n")
    async with Orchestra(home, cwd=project) as orch:
        batch, queue = await orch.start(name, {"x": [1, 2]}), await orch.start("queue", {"run-once": False})
        with anyio.fail_after(10):
            while "running" not in [run.state for run in await orch.list() if run.batch]:  # noqa: ASYNC110  as above
                await anyio.sleep(0.01)

        assert (await orch.stop(queue.id)).state == "completed"
        assert (await orch.stop(batch.id)).state == "terminated"
        assert sorted(run.state for run in await orch.list() if run.batch) == ["pending", "terminated"]


async def test_each_of_overlapping_readers_gets_the_output_as_long_as_it_reads(
    home: Path, project: Path
) -> None:
    name = script(project, "print('hello')\n")
    async with Orchestra(home, cwd=project) as orch:
        first = orch.events(output=True)
        await first.__aenter__()
        async with orch.events(output=True) as events:
            await first.__aexit__(None, None, None)
            await orch.run(name)
            with anyio.fail_after(5):
                async for event in events:
                    if event.name == "run.output":
                        break
        async with orch.events() as events:
            await orch.run(name)
            with anyio.fail_after(5):
                async for event in events:
                    assert event.name != "run.output"
                    if event.name == "run.exited":
                        break


async def test_a_started_run_can_be_waited_for_and_stopped(home: Path, project: Path) -> None:
    name = script(project, "import time\ntime.sleep(60)\n")
    async with Orchestra(home, cwd=project) as orch:
        started = await orch.start(name)
        started.stop()

        assert (await started.wait()).state == "terminated"


async def test_what_goes_wrong_with_a_started_run_is_told_to_who_waits_for_it_alone(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> Run:
        raise OSError("no space")

    monkeypatch.setattr("orchestra.engine.orchestra.supervise", fails)
    async with Orchestra(home, cwd=project) as orch:
        started = await orch.start(script(project, "print(1)\n"))

        with pytest.raises(OSError, match="no space"):
            await started.wait()


async def test_a_stop_ends_with_an_error_when_the_run_does_not(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra.engine.orchestra.STOP_TIMEOUT", 0.1)
    name = script(
        project,
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True)\ntime.sleep(60)\n",
    )
    async with Orchestra(home, cwd=project) as orch:
        started = await orch.start(name)
        with anyio.fail_after(10):
            while await output_of(orch, started.record) != b"ready\n":  # noqa: ASYNC110  it is another process
                await anyio.sleep(0.01)

        with pytest.raises(RunBusy, match="The following processes did not stop as expected: "):
            await orch.stop(started.id)

        started.control.raise_to(Wish.KILL)
        assert (await started.wait()).state == "terminated"


async def test_a_list_of_values_makes_a_batch_of_trials_in_the_order_of_the_flags(home: Path) -> None:
    async with Orchestra(home, cwd=SAMPLES / "batch") as orch:
        batch = await orch.run("say.py", {"msg": ["b", "a"], "loud": [True, False]})

        assert batch is not None
        assert (batch.kind, batch.state, batch.operation_name) == ("batch", "completed", "say.py+")
        trials = await orch.list(RunQuery(batch=batch.id, oldest_first=True))
        assert [(run.flags["loud"], run.flags["msg"]) for run in trials] == [
            (True, "b"),
            (True, "a"),
            (False, "b"),
            (False, "a"),
        ]
        assert [await output_of(orch, run) for run in trials] == [b"B\n", b"A\n", b"b\n", b"a\n"]


async def test_a_file_of_trials_is_found_from_the_directory_of_the_call(home: Path, project: Path) -> None:
    script(project, "x = 1\nprint(x)\n")
    (project / "t.json").write_text('[{"x": 4}, {"x": 5}]')

    async with Orchestra(home, cwd=project.parent) as orch:
        batch = await orch.run("job.py", cwd=project, batch_files=[Path("t.json")])
        assert batch is not None
        trials = await orch.list(RunQuery(batch=batch.id, oldest_first=True))

    assert [trial.flags for trial in trials] == [{"x": 4}, {"x": 5}]


async def test_staged_runs_are_started_by_a_queue_oldest_first(home: Path) -> None:
    async with Orchestra(home, cwd=SAMPLES / "batch") as orch:
        staged = [await orch.stage("say.py", {"msg": text}) for text in "abc"]
        assert [run.state for run in staged] == ["staged"] * 3

        queue = await orch.queue()

        assert (queue.state, queue.kind) == ("completed", "queue")
        runs = await orch.list()
        assert [run.id for run in runs] == [*(run.id for run in reversed(staged)), queue.id]
        assert {run.state for run in runs} == {"completed"}


async def test_a_queue_with_more_jobs_runs_that_many_at_once(home: Path, project: Path) -> None:
    name = script(
        project,
        "import os, time\n"
        "other = ''\n"
        f"root = {str(project)!r}\n"
        "open(os.path.join(root, 'here-' + os.environ['RUN_ID']), 'w').close()\n"
        "end = time.time() + 20\n"
        "while len([n for n in os.listdir(root) if n.startswith('here-')]) < 3:\n"
        "    assert time.time() < end\n"
        "    time.sleep(0.01)\n"
        "print('met')\n",
    )
    async with Orchestra(home, cwd=project) as orch:
        for _ in range(3):
            await orch.stage(name)

        await orch.queue(jobs=3)

        runs = await orch.list(RunQuery(kinds=frozenset(("run",))))
        assert [await output_of(orch, run) for run in runs] == [b"met\n"] * 3


async def test_a_failing_run_does_not_stop_the_queue(home: Path, project: Path) -> None:
    name = script(project, "n = 0\nraise SystemExit(n)\n")
    async with Orchestra(home, cwd=project) as orch:
        for code in (3, 0):
            await orch.stage(name, {"n": code})

        queue = await orch.queue()

        assert queue.state == "completed"
        states = [run.state for run in await orch.list(RunQuery(kinds=frozenset(("run",))))]
        assert states == ["completed", "error"]


async def test_a_restart_makes_a_new_attempt_and_keeps_the_earlier_output(home: Path, project: Path) -> None:
    name = script(project, "n = 1\nprint(n)\n")
    async with Orchestra(home, cwd=project) as orch:
        run = await orch.run(name)
        assert run is not None
        again = await orch.restart(run.id, {"n": 2})

        assert again is not None
        assert (again.id, again.attempt, again.executions) == (run.id, 2, 2)
        attempts = home / "runs" / run.id / ".orchestra" / "attempts"
        assert [(attempts / str(n) / "output").read_bytes() for n in (1, 2)] == [b"1\n", b"2\n"]


async def test_a_running_run_is_not_restarted(home: Path, project: Path) -> None:
    name = script(project, "import time\ntime.sleep(60)\n")
    async with Orchestra(home, cwd=project) as orch:
        started = await orch.start(name)
        with anyio.fail_after(10):
            while (await orch.get(started.id)).state != "running":  # noqa: ASYNC110
                await anyio.sleep(0.01)

        with pytest.raises(RunBusy, match="cannot restart run .* because it's running"):
            await orch.restart(started.id)
        assert (await orch.stop(started.id)).state == "terminated"


async def test_what_can_not_be_run_leaves_nothing_behind(home: Path, project: Path) -> None:
    async with Orchestra(home, cwd=project) as orch:
        with pytest.raises(OperationNotFound):
            await orch.run("none.py")
        with pytest.raises(FlagError):
            await orch.run(script(project, "x = 1\n"), {"y": 2})
        with pytest.raises(FlagError):
            await orch.queue(poll_interval=0)
        with pytest.raises(RunNotFound):
            await orch.restart("abc")

        assert await orch.list() == ()
        assert list((home / "runs").iterdir()) == []


async def test_what_a_caller_raises_passes_through_as_it_is(home: Path, project: Path) -> None:
    with pytest.raises(OperationNotFound):
        async with Orchestra(home, cwd=project) as orch:
            await orch.run("none.py")


async def test_events_tell_the_life_of_a_run_in_order(home: Path, project: Path) -> None:
    name = script(project, "print('hello')\n")
    async with Orchestra(home, cwd=project) as orch, orch.events(output=True) as events:
        run = await orch.run(name)
        assert run is not None
        seen: list[str] = []
        with anyio.fail_after(5):
            async for event in events:
                # Unbuffered, a line and its end may come as two outputs.
                if event.run == run.id and seen[-1:] != [event.name]:
                    seen.append(event.name)
                if event.name == "run.exited":
                    break

        assert [each for each in seen if each != "run.claimed"] == [
            "run.created",
            "run.submitted",
            "run.started",
            "run.output",
            "run.exited",
        ]


async def test_deleted_runs_are_gone(home: Path, project: Path) -> None:
    async with Orchestra(home, cwd=project) as orch:
        run = await orch.run(script(project, "print(1)\n"))
        assert run is not None

        assert await orch.delete([run.id[:8]]) == 1

        assert await orch.list() == ()
        assert not (home / "runs" / run.id).exists()


async def test_a_batch_that_is_cancelled_leaves_its_other_trials_pending(home: Path, project: Path) -> None:
    name = script(project, "import time\nn = 0\nprint(n, end='', flush=True)\ntime.sleep(n)\n")
    async with Orchestra(home, cwd=project) as orch:
        async with orch.events(output=True) as events, anyio.create_task_group() as group:
            group.start_soon(orch.run, name, {"n": [0, 60, 61]})
            async for event in events:
                if event.name == "run.output" and event.data.get("text") == "60":
                    break
            group.cancel_scope.cancel()

        states = {
            run.flags.get("n"): run.state for run in await orch.list(RunQuery(kinds=frozenset(("run",))))
        }
        assert states == {0: "completed", 60: "terminated", 61: "pending"}
        (batch,) = await orch.list(RunQuery(kinds=frozenset(("batch",))))
        assert batch.state == "terminated"


async def test_the_name_of_an_attempt_is_on_the_disk_before_it_is_started(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    name = script(project, "print(1)\n")
    async with Orchestra(home, cwd=project) as orch:
        staged = await orch.stage(name)
        monkeypatch.setattr(os, "fsync", record)
        started = await orch.start(restart=staged.id)
        before = set(synced)
        await started.wait()

    control = home / "runs" / staged.id / ".orchestra"
    assert {str(control), str(control / "attempts")} <= before


async def test_terms_are_given_as_text_numbers_and_mappings(home: Path, project: Path) -> None:
    name = script(project, "x = 1\n")
    async with Orchestra(home, cwd=project) as orch:
        first = await orch.stage(name, priority=2, resources="cpus=1 memory=1G", time_limit="2h", retry=3)
        second = await orch.stage(
            name, after=first.id, resources={"gpus": 0.5}, retry={"limit": 1, "on": ["oom"]}, group="g"
        )

    assert (first.priority, str(first.resources), first.time_limit) == (2, "cpus=1 memory=1G", 7200)
    assert first.retry is not None and first.retry.limit == 3
    assert second.after == (f"{first.id}:ok",)
    assert (str(second.resources), second.group) == ("gpus=0.5", "g")
    assert second.retry is not None and second.retry.on == ("oom",)


async def test_terms_that_only_a_queue_heeds_are_warned_of(home: Path, project: Path) -> None:
    name = script(project, "x = 1\n")
    async with Orchestra(home, cwd=project) as orch:
        messages: list[str] = []
        orch.session.sinks.append(lambda event: messages.append(event.message))
        await orch.run(name, priority=3)

    assert "not staged - ignoring --priority" in messages


async def test_what_a_program_starts_is_tried_again(home: Path, project: Path) -> None:
    text = "import os, sys\nsys.exit(75 if os.environ['RUN_ATTEMPT'] == '1' else 0)\n"
    name = script(project, text)
    async with Orchestra(home, cwd=project) as orch:
        started = await orch.start(name, retry=1)
        ended = await started.wait()

    assert (ended.state, ended.executions) == ("completed", 2)


async def test_queues_are_told_and_asked(home: Path, project: Path) -> None:
    name = script(project, "x = 1\n")
    async with Orchestra(home, cwd=project) as orch:
        first, second, third = [await orch.stage(name, {"x": n}) for n in (1, 2, 3)]
        await orch.queues.pause()
        await orch.queues.priority([third.id], 1)
        await orch.queues.move([second.id], before=first.id)
        paused = await orch.queues.status()
        assert paused.paused
        assert [run.id for run in paused.staged] == [third.id, second.id, first.id]
        await orch.queue()
        assert (await orch.get(first.id)).state == "staged"
        await orch.queues.resume()
        await orch.queues.parallel(2)
        await orch.queue()

        ended = await orch.queues.wait([first.id, second.id], timeout=20)
        assert {run.state for run in ended} == {"completed"}
        assert await orch.queues.wait(timeout=0) == ()


async def test_a_batch_that_runs_is_extended_and_one_that_has_ended_is_started_again(
    home: Path, project: Path
) -> None:
    wait = "import os, time\nx = 1\nwhile os.path.exists(os.environ['HOLD']):\n    time.sleep(0.01)\n"
    hold = project / "hold"
    hold.touch()
    async with Orchestra(home, cwd=project) as orch:
        flags = {"x": [1, 2]}
        started = await orch.start(script(project, wait), flags, environment={"HOLD": str(hold)})
        while not any(run.state == "running" and run.batch for run in await orch.list()):  # noqa: ASYNC110
            await anyio.sleep(0.01)

        extended = await orch.extend(started.id, {"x": 3})

        assert extended is not None
        assert (extended.id, extended.state) == (started.id, "running")
        hold.unlink()
        assert (await started.wait()).state == "completed"

        again = await orch.extend(started.id, {"x": 4})

        assert again is not None
        assert (again.id, again.state, again.attempt) == (started.id, "completed", 2)
        trials = [run for run in await orch.list() if run.batch == started.id]
        assert sorted(str(run.flags["x"]) for run in trials) == ["1", "2", "3", "4"]
        with pytest.raises(OrchestraError, match="the run was skipped"):
            await orch.start(restart=started.id, redo="lost")


@pytest.mark.parametrize(
    "terms",
    [
        {"retry": "2"},
        {"retry": {"limit": "x"}},
        {"priority": "5"},
        {"group": 5},
        {"resources": 1},
        {"resources": {"gpu": 1, "gpus": "x"}},
        {"resources": "gpus=1", "gpus": "3"},
        {"warning": "USR1@60", "time_limit": 30},
    ],
)
async def test_terms_of_a_wrong_kind_make_no_run(home: Path, project: Path, terms: dict[str, object]) -> None:
    name = script(project, "x = 1\n")
    async with Orchestra(home, cwd=project) as orch:
        with pytest.raises(UserError):
            await orch.stage(name, **terms)
        assert await orch.list() == ()
