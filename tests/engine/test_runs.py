"""Choosing, deleting and stopping runs."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from orchestra.child import supervisor
from orchestra.contracts import Page
from orchestra.engine import presence
from orchestra.engine.archived import find_archive
from orchestra.engine.check import check_runs
from orchestra.engine.export_target import Target
from orchestra.engine.exporting import How, export_runs
from orchestra.engine.importing import import_runs
from orchestra.engine.incoming import Importing
from orchestra.engine.judge import settle
from orchestra.engine.presence import existing_ids, existing_tags
from orchestra.engine.removal import remove_tree
from orchestra.engine.restart import require_startable
from orchestra.engine.runs import delete_runs, finish_deletions, select_runs, stop_runs, with_members
from orchestra.engine.session import Session, hostname
from orchestra.engine.trashing import deleted_runs, restore_runs
from orchestra.errors import RunBusy, RunNotFound, UserError
from orchestra.model.conditions import Comparison, Name
from orchestra.model.execution import Handle, Identity
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run, State
from orchestra.testing.builders import a_batch, a_fence, a_run, a_worker, an_identity, some_runs
from orchestra.workspace import records
from orchestra.workspace.layout import attempt_directory
from tests.process import Shell
from tests.saved_runs import ended, opened, save, write, write_exit

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What runs are chosen and listed is asked of the store, and is the same on each event loop."""
    return "asyncio"


async def chosen(session: Session, *specs: str, query: RunQuery | None = None) -> list[str]:
    return [run.id for run in await select_runs(session, specs, query=query)]


# Choosing


async def test_an_index_counts_from_the_newest_run(home: Path) -> None:
    async with opened(home) as session:
        oldest, middle, newest = await save(session, *some_runs(3))

        assert await chosen(session, "1") == [newest.id]
        assert await chosen(session, "3", "2") == [oldest.id, middle.id]


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [("2:4", [4, 3, 2]), (":2", [5, 4]), ("4:", [2, 1]), (":", [5, 4, 3, 2, 1]), ("3:9", [3, 2, 1])],
)
async def test_a_slice_has_both_of_its_ends(home: Path, spec: str, wanted: list[int]) -> None:
    async with opened(home) as session:
        await save(session, *(structs.replace(run, id=f"run-{n}") for n, run in enumerate(some_runs(5), 1)))

        assert await chosen(session, spec) == [f"run-{n}" for n in wanted]


async def test_an_id_is_known_by_its_beginning(home: Path) -> None:
    async with opened(home) as session:
        await save(session, a_run(id="abc1"), a_run(id="abd2"))

        assert await chosen(session, "abd") == ["abd2"]


async def test_a_whole_id_wins_over_an_index_and_over_longer_ids(home: Path) -> None:
    async with opened(home) as session:
        await save(session, a_run(id="2"), a_run(id="20"), a_run(id="1e12"))

        assert await chosen(session, "2") == ["2"]
        assert await chosen(session, "1e12") == ["1e12"]


async def test_a_number_beyond_the_listing_is_the_beginning_of_an_id(home: Path) -> None:
    async with opened(home) as session:
        await save(session, a_run(id="77ab"), a_run(id="88cd"))

        assert await chosen(session, "77") == ["77ab"]


async def test_indexes_count_in_the_filtered_listing(home: Path) -> None:
    async with opened(home) as session:
        await save(session, a_run(id="a"), ended(id="b"), a_run(id="c"))
        staged = RunQuery(states=frozenset(("staged",)))

        assert await chosen(session, "2", query=staged) == ["a"]
        with pytest.raises(RunNotFound):
            await chosen(session, "b", query=staged)


async def test_a_run_that_is_named_twice_is_chosen_once(home: Path) -> None:
    async with opened(home) as session:
        await save(session, a_run(id="abc"))

        assert await chosen(session, "1", "abc", ":", "ab") == ["abc"]


async def test_a_beginning_that_fits_several_lists_at_most_ten_of_them(home: Path) -> None:
    async with opened(home) as session:
        await save(session, *(a_run(id=f"same-{n:02}") for n in range(12)))

        with pytest.raises(RunNotFound) as error:
            await chosen(session, "same")
        assert error.value.message.count("same-") == 10
        assert error.value.message.endswith(" and 2 more")


@pytest.mark.parametrize(
    "spec",
    ["zz", "0", "-1", "9", "5:2", "0:0", "9:", "../etc", "/", "a/b", "..", "", "é", "\udcff", "a%", "_", "A"],
)
async def test_what_names_no_run_is_said_as_it_was_given(home: Path, spec: str) -> None:
    async with opened(home) as session:
        await save(session, a_run(id="abc"))

        with pytest.raises(RunNotFound) as error:
            await chosen(session, spec)
        assert f"'{spec}'" in error.value.message


async def test_without_specs_the_default_says_what_is_meant(home: Path) -> None:
    async with opened(home) as session:
        older, newer = await save(session, *some_runs(2))

        assert await select_runs(session, (), default="all") == (newer, older)
        assert await select_runs(session, (), default="latest") == (newer,)
        assert await select_runs(session, (), default="none") == ()


async def test_a_thousand_ids_can_be_given(home: Path) -> None:
    async with opened(home) as session:
        runs = await save(session, *some_runs(1000))

        assert len(await chosen(session, *(run.id for run in runs))) == 1000


async def test_members_are_the_trials_and_steps_however_deep_and_nobody_elses(home: Path) -> None:
    async with opened(home) as session:
        pipeline = a_run(id="pipeline", kind="steps")
        search = a_run(id="search", kind="batch", batch_spec=a_batch(), parent="pipeline")
        trial = a_run(id="trial", kind="steps", batch="search", parent="pipeline")
        step = a_run(id="step", parent="trial")
        # Not older than the pipeline, whatever else; and of ones that are called alike.
        others = (a_run(id="other"), a_run(id="more", batch="search2"), a_run(id="last", parent="pipeline2"))
        await save(session, pipeline, search, trial, step, *others)

        found = await with_members(session, (pipeline,))

        assert sorted(run.id for run in found) == ["pipeline", "search", "step", "trial"]


async def test_the_trials_of_a_batch_are_found_without_a_look_at_all_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(home) as session:
        batch, other = (a_run(id=name, kind="batch", batch_spec=a_batch()) for name in ("batch", "other"))
        trials = [a_run(id=f"trial-{n}", batch="batch") for n in range(3)]
        await save(session, batch, other, *trials, *some_runs(5))
        read = await runs_read(session, monkeypatch, lambda: with_members(session, (batch,)))

        assert read == {run.id for run in trials}


# Looking at all


async def runs_read(
    session: Session, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[object]]
) -> set[str]:
    """The ids of the runs whose records are read meanwhile."""
    read: set[str] = set()
    query = session.store.query

    async def noted(asked: RunQuery) -> Page:
        page = await query(asked)
        read.update(run.id for run in page.runs)
        return page

    monkeypatch.setattr(session.store, "query", noted)
    await work()
    monkeypatch.undo()
    return read


async def test_all_ids_are_those_of_the_listing_and_no_record_is_read_for_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(home) as session:
        *_, gone = await save(session, *(ended(id=f"run-{n}") for n in range(4)))
        records.discard_directory(session.directory(gone))
        read = await runs_read(session, monkeypatch, lambda: existing_ids(session, RunQuery()))

        assert read == {gone.id}
        assert await existing_ids(session, RunQuery()) == await chosen(session, ":")
        assert len(await existing_ids(session, RunQuery())) == 3
        staged = RunQuery(states=frozenset(("staged",)))
        assert await existing_ids(session, staged) == []


@pytest.mark.parametrize("sets", [3, 70])
async def test_all_tags_are_found_and_few_records_are_read_for_them(
    home: Path, monkeypatch: pytest.MonkeyPatch, sets: int
) -> None:
    monkeypatch.setattr(presence, "_PART", 5)
    async with opened(home) as session:
        alike = [a_run(id=f"alike-{n}", tags=("a", "b")) for n in range(20)]
        bare = [a_run(id=f"bare-{n}") for n in range(5)]
        single = [a_run(id=f"run-{n}", tags=(f"t{n}", "b")) for n in range(sets)]
        await save(session, *alike, *bare, *single, gone := ended(tags=("gone",)))
        records.discard_directory(session.directory(gone))
        read = await runs_read(session, monkeypatch, lambda: existing_tags(session, RunQuery()))

        assert await existing_tags(session, RunQuery()) == {"a", "b", *(f"t{n}" for n in range(sets))}
        assert not any(name.startswith("bare") for name in read)
        if sets < 5:
            assert sum(name.startswith("alike") for name in read) <= 5
        where = Comparison(Name("tags"), "contains", "t1")
        assert await existing_tags(session, RunQuery(where=where)) == {"b", "t1"}


# Deleting


async def test_a_run_that_is_deleted_for_good_leaves_nothing_behind(home: Path) -> None:
    async with opened(home) as session:
        first, second = await save(session, ended(), a_run())

        assert await delete_runs(session, (first, second), permanent=True) == 2

        assert (await session.store.query(RunQuery())).total == 0
        assert os.listdir(session.layout.runs_dir) == os.listdir(session.layout.trash_dir) == []


async def test_what_links_in_a_run_point_to_is_not_deleted(home: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    async with opened(home) as session:
        (run,) = await save(session, ended())
        (session.directory(run) / "folder").symlink_to(precious)
        (session.directory(run) / "file").symlink_to(precious / "file")

        await delete_runs(session, (run,), permanent=True)

    assert (precious / "file").read_text() == "kept"


async def test_of_a_directory_of_ones_own_only_the_records_are_deleted(home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    async with opened(home) as session:
        run = ended(directory=str(mine))
        session.layout.runs_dir.mkdir(exist_ok=True)
        (session.layout.runs_dir / run.id).symlink_to(mine)
        await save(session, run)
        (mine / "thesis.tex").write_text("kept")

        assert await delete_runs(session, (run,), permanent=True) == 1

    assert os.listdir(mine) == ["thesis.tex"]
    assert os.listdir(home / "runs") == []


async def test_a_directory_without_a_record_is_never_deleted(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await session.store.create([ended()])
        session.directory(run).mkdir()
        (session.directory(run) / "file").touch()

        with pytest.raises(UserError, match="is not the directory of a run"):
            await delete_runs(session, (run,))
        assert (session.directory(run) / "file").exists()


async def test_a_run_without_a_directory_is_forgotten(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await session.store.create([ended()])

        assert await delete_runs(session, (run,)) == 1
        assert (await session.store.query(RunQuery())).total == 0


async def test_a_claimed_run_can_not_start_while_it_is_deleted(home: Path) -> None:
    async with opened(home) as session:
        run = structs.replace(a_run(), state="pending", attempt=1, worker=session.worker, rest="staged")
        (run,) = await save(session, run)
        attempt = session.attempt_directory(run)

        assert await delete_runs(session, (run,)) == 1

        with pytest.raises(RunNotFound):
            records.hold(attempt, "late", fsync=False)
        assert not session.directory(run).exists()


async def test_a_running_run_is_deleted_only_when_it_is_to_be_stopped(shell: Shell, home: Path) -> None:
    (shell.cwd / "sleeper.py").write_text("import time\ntime.sleep(60)\n")
    process = shell.start("run", "sleeper.py", "-y")
    try:
        async with opened(home) as session:
            run = await started(session)
            with pytest.raises(RunBusy, match=run.short_id):
                await delete_runs(session, (run,))
            assert session.directory(run).exists()
            assert await delete_runs(session, (run,), stop=True) == 1
            assert not session.directory(run).exists()
    finally:
        process.kill()
        process.communicate()


async def test_a_deletion_that_was_killed_is_finished_by_the_next(home: Path, shell: Shell) -> None:
    async with opened(home) as session:
        runs = await save(session, *(ended() for _ in range(4)))
    killed = shell.run("runs", "rm", "-p", "-y", ORCHESTRA_FAILPOINT="delete.renamed:kill9:2")
    assert killed.code == -signal.SIGKILL

    async with opened(home) as session:
        left = os.listdir(session.layout.runs_dir)
        assert len(left) == 2
        assert all(records.read_run(session.layout.runs_dir / name).id == name for name in left)
        listed = shell.run("runs", "--all").output.splitlines()
        assert len(listed) == 2

        assert await finish_deletions(session) == 2
        assert os.listdir(session.layout.trash_dir) == []
        assert (await session.store.query(RunQuery())).total == 2
        assert await delete_runs(session, [run for run in runs if run.id in left]) == 2


async def test_a_run_that_is_started_while_it_is_deleted_is_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(home) as session, opened(home) as other:
        (run,) = await save(session, ended())
        rename = os.rename

        def rename_late(source: str, target: str) -> None:
            rename(source, target)
            claimed = structs.replace(run, state="pending", attempt=2, worker=other.worker, lease=2**60)
            monkeypatch.setattr(os, "rename", rename)
            try:
                other.store.update((claimed,)).send(None)
            except StopIteration:
                return

        monkeypatch.setattr(os, "rename", rename_late)
        with pytest.raises(RunBusy, match="just been started"):
            await delete_runs(session, (run,))

        assert records.read_run(session.directory(run)).id == run.id
        assert (await session.store.get(run.id)).worker == other.worker


def test_locked_and_deep_directories_are_removed(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("deep", dir_fd=folder)
        inner = os.open("deep", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    locked = top / "locked"
    locked.mkdir()
    (locked / "file").touch()
    locked.chmod(0)

    remove_tree(str(top))

    assert os.listdir(tmp_path) == []


# Stopping


async def started(session: Session) -> Run:
    """The one run of the home, once its operation runs."""
    while True:
        page = await session.store.query(RunQuery())
        if page.runs and page.runs[0].state == "running":
            return page.runs[0]
        await anyio.sleep(0.01)


async def test_a_stopped_run_ends_with_all_of_its_processes(shell: Shell, home: Path, tmp_path: Path) -> None:
    script = tmp_path / "tree.py"
    script.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    process = shell.start("run", "tree.py", "-y")
    try:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        lines: list[str] = []
        async with opened(home) as session:
            run = await started(session)
            report = await stop_runs(session, (run,), tell=lines.append)

        assert [one.state for one in report.stopped] == ["terminated"]
        assert lines[0].startswith(f"Stopping {run.id} (pid ")
        with anyio.fail_after(10):
            while _lives(child):  # noqa: ASYNC110  whoever adopted it reaps it in its own time
                await anyio.sleep(0.01)
    finally:
        process.kill()
        process.communicate()


def _lives(pid: int) -> bool:
    """Whether a process runs; one that is dead and only not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_what_does_not_end_in_time_is_reported_and_with_force_killed(
    shell: Shell, home: Path, tmp_path: Path
) -> None:
    script = tmp_path / "stubborn.py"
    script.write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True)\ntime.sleep(60)\n"
    )
    process = shell.start("run", "stubborn.py", "-y")
    try:
        assert process.stdout is not None
        process.stdout.readline()
        async with opened(home) as session:
            run = await started(session)
            report = await stop_runs(session, (run,), timeout=0.1)
            assert [one.id for one, _ in report.left] == [run.id]
            assert not report.done

            report = await stop_runs(session, (run,), timeout=0.1, force=True)
            assert [one.state for one in report.stopped] == ["terminated"]
            assert report.done
    finally:
        process.kill()
        process.communicate()


async def test_a_run_that_has_ended_is_not_running(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())
        lines: list[str] = []

        report = await stop_runs(session, (run,), tell=lines.append)

        assert report.done
        assert lines == [f"Run {run.id} is not running"]


async def test_what_is_staged_is_no_run_to_stop_and_what_to_do_is_told(home: Path) -> None:
    async with opened(home) as session:
        batch = ended(id="sweep", kind="batch", batch_spec=a_batch(stage_trials=True))
        trial = a_run(id="trial", batch="sweep")
        await save(session, batch, trial)
        lines: list[str] = []

        report = await stop_runs(session, (batch, trial), tell=lines.append)

        assert report.done
        assert lines == [
            "Run sweep is not running, and 1 of its trials are staged: "
            "use \"orchestra runs delete -F 'batch = sweep and status = staged'\" if no queue is to start them",
            "Run trial is staged and not running: "
            "use 'orchestra runs delete trial' if no queue is to start it",
        ]


async def test_a_run_of_another_host_is_said_to_be_there(home: Path) -> None:
    async with opened(home) as session:
        worker = structs.replace(session.worker, identity=an_identity(host="far-away/1"))
        run = a_run(state="running", attempt=1, worker=worker, lease=2**60)
        (run,) = await save(session, run)
        fence = a_fence(identity=worker.identity)
        write_fence(session, run, fence)
        lines: list[str] = []

        report = await stop_runs(session, (run,), tell=lines.append)

        assert not report.done
        assert lines == [f"Run {run.id} runs on host far-away and can't be stopped from here"]


async def test_a_run_in_another_container_of_this_host_is_not_signalled_by_its_pid(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    own = Identity(**supervisor.own_identity())
    start = supervisor.process_start(bystander.pid) or 0
    there = structs.replace(own, pid=bystander.pid, start=start, namespace="pid:[7]")
    async with opened(home) as session:
        worker = structs.replace(session.worker, identity=there)
        run = a_run(state="running", attempt=1, worker=worker, lease=session.clock.now() + 10**9)
        (run,) = await save(session, run)
        write_fence(session, run, a_fence(identity=there))
        said: list[str] = []
        with open(attempt_directory(session.directory(run), 1) / "fence", "rb") as fence:
            # It lives.
            fcntl.flock(fence, fcntl.LOCK_EX)
            report = await stop_runs(session, (run,), timeout=0, tell=said.append)

    assert [place.partition("/")[0] for _, place in report.elsewhere] == [hostname()]
    assert said == [
        f"Run {run.id} runs in another container on host {hostname()} and can't be stopped from here"
    ]
    assert bystander.poll() is None


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any run."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


async def test_a_process_that_only_has_the_pid_is_never_signalled(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    async with opened(home) as session:
        identity = structs.replace(session.worker.identity, pid=bystander.pid, start=1)
        worker = structs.replace(session.worker, identity=identity)
        (run,) = await save(session, a_run(kind="queue", state="running", attempt=1, worker=worker))
        write_fence(session, run, a_fence(identity=identity, kind="engine"))

        report = await stop_runs(session, (run,))

        assert [one.state for one in report.not_running] == ["lost"]
        assert bystander.poll() is None


async def test_a_claimed_run_is_kept_from_starting(home: Path) -> None:
    async with opened(home) as session:
        run = a_run(state="pending", attempt=1, worker=session.worker, rest="staged")
        (run,) = await save(session, run)

        report = await stop_runs(session, (run,))

        assert [one.state for one in report.not_running] == ["staged"]
        assert records.read_fence(attempt_directory(session.directory(run), 1)).fence == "revoked"


def write_fence(session: Session, run: Run, fence: object) -> None:
    """The fence of a process that is not there to hold its lock."""
    from orchestra.model.encoding import encode

    write(session, run)
    folder = session.attempt_directory(run)
    folder.mkdir(parents=True)
    (folder / "fence").write_bytes(encode(fence))


# Directories that are away


async def a_run_on(session: Session, disk: Path, **fields: Any) -> Run:
    (run,) = await save(session, ended(directory=str(disk), **fields))
    os.symlink(disk, session.layout.runs_dir / run.id)
    return run


def nothing_there(disk: Path) -> None:
    pass


def an_empty_mount_point(disk: Path) -> None:
    disk.mkdir()


def another_disk(disk: Path) -> None:
    (disk / "of somebody else").mkdir(parents=True)


@pytest.mark.parametrize("instead", [nothing_there, an_empty_mount_point, another_disk])
async def test_looking_at_a_run_forgets_nothing_while_the_disk_that_it_is_on_is_away(
    home: Path, tmp_path: Path, instead: Callable[[Path], None]
) -> None:
    disk = tmp_path / "disk"
    async with opened(home) as session:
        run = await a_run_on(session, disk)
        others = await save(session, *some_runs(presence._FEW))

        os.rename(disk, tmp_path / "away")
        instead(disk)

        assert run.id in await chosen(session, ":")
        assert run.id in await existing_ids(session, RunQuery())
        assert (await check_runs(session, fix=True))[0].message == presence.unreached(run)
        assert len(await chosen(session, ":")) == len(others) + 1
        if disk.exists():
            remove_tree(str(disk))
        os.rename(tmp_path / "away", disk)
        assert await check_runs(session) == []
        assert run.id in await chosen(session, ":")


async def test_a_run_is_gone_that_neither_has_its_directory_nor_a_link_to_it(
    home: Path, tmp_path: Path
) -> None:
    async with opened(home) as session:
        run = await a_run_on(session, tmp_path / "disk")
        os.unlink(session.layout.runs_dir / run.id)
        assert await chosen(session, ":") == [run.id]

        remove_tree(str(tmp_path / "disk"))
        with pytest.raises(RunNotFound):
            await chosen(session, ":")


async def test_a_run_that_is_away_is_not_started_nor_moved_into_an_archive(
    home: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    async with opened(home) as session:
        run = await a_run_on(session, disk)
        os.rename(disk, tmp_path / "away")
        disk.mkdir()

        with pytest.raises(UserError, match="can't be reached"):
            require_startable(session, run)
        target = Target(path=tmp_path / "archive", shown="archive", mode=None)
        exported = await export_runs(session, [run], target, How(move=True))

        assert exported.skipped == (run,)
        assert await chosen(session, ":") == [run.id]
        assert os.listdir(disk) == []


@pytest.mark.parametrize("state", ["pending", "running"])
async def test_an_active_run_that_is_away_is_judged_only_when_its_disk_is_back_or_a_person_gives_it_up(
    home: Path, tmp_path: Path, state: State
) -> None:
    disk = tmp_path / "disk"
    async with opened(home) as session:
        dead = an_identity(host=supervisor.host_id())
        claim = {"state": state, "rest": "staged", "worker": a_worker(identity=dead), "lease": 1}
        run = await a_run_on(session, disk, stopped=None, exit_code=None, **claim)
        os.rename(disk, tmp_path / "away")
        disk.mkdir()

        assert await settle(session, run) is run
        assert os.listdir(disk) == []

        report = await stop_runs(session, (run,))
        assert [(one.state, one.worker) for one in report.not_running] == [("lost", None)]
        assert os.listdir(disk) == []


async def test_a_run_that_is_away_and_watched_is_not_said_to_be_stopped(home: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    async with opened(home) as session:
        run = await a_run_on(session, disk, state="running", worker=session.worker, lease=1 << 60)
        os.rename(disk, tmp_path / "away")

        report = await stop_runs(session, (run,))

        assert not report.done
        assert (await session.store.get(run.id)).state == "running"


async def test_a_run_that_is_away_is_stopped_by_its_executor_and_judged_when_its_disk_is_back(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, told = tmp_path / "disk", list[Handle]()

    class Local:
        async def stop(self, handle: Handle, how: str) -> bool:
            told.append(handle)
            return True

    async def executor(spec: str) -> Local:
        return Local()

    async with opened(home) as session:
        monkeypatch.setattr(session, "executor", executor)
        handle = Handle(executor="local", job="j", token="1")
        watch = {"worker": a_worker(identity=an_identity(host=supervisor.host_id())), "lease": 1}
        run = await a_run_on(session, disk, state="running", handle=handle, **watch)
        os.rename(disk, tmp_path / "away")

        assert (await stop_runs(session, (run,))).stopped == (run,)
        assert told == [handle]
        os.rename(tmp_path / "away", disk)
        write_exit(session, run, code=-15, stopped_by="TERM")
        assert (await settle(session, run)).state == "terminated"


async def test_an_archive_that_has_a_run_that_is_away_leaves_that_run_and_its_copy_alone(
    home: Path, tmp_path: Path
) -> None:
    disk, place = tmp_path / "disk", tmp_path / "archive"
    async with opened(home) as session:
        run = await a_run_on(session, disk)
        await export_runs(session, [run], Target(path=place, shown="archive", mode=None), How())
        os.rename(disk, tmp_path / "away")
        disk.mkdir()

        archive = find_archive(session.layout, str(place), tmp_path)
        imported = await import_runs(session, archive, None, Importing(move=True))

        assert (imported.runs, imported.skipped) == ((), (run.id,))
        assert (place / run.id).is_dir()
        assert os.listdir(disk) == []


async def test_a_deleted_run_that_is_away_is_restored_when_its_disk_is_back(
    home: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    async with opened(home) as session:
        run = await a_run_on(session, disk)
        os.rename(disk, tmp_path / "away")
        disk.mkdir()
        assert await delete_runs(session, [run]) == 1

        disk.rmdir()
        os.rename(tmp_path / "away", disk)
        (deleted,) = (await deleted_runs(session)).of([run])

        assert [one.id for one in await restore_runs(session, [deleted])] == [run.id]
        assert await chosen(session, ":") == [run.id]


async def test_no_results_are_kept_of_a_run_that_is_away(home: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    async with opened(home) as session:
        run = await a_run_on(session, disk)
        write_exit(session, run)
        (attempt_directory(disk, 1) / "output").write_text("loss: 2\n")
        os.rename(disk, tmp_path / "away")
        low = RunQuery(where=Comparison(Name("loss", "scalar"), "=", 2))
        assert await existing_ids(session, low) == []

        os.rename(tmp_path / "away", disk)

        assert await existing_ids(session, low) == [run.id]
