"""What `check` finds, says and repairs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec import structs

from orchestra.child.supervisor import COOKIE
from orchestra.engine.check import Finding, check_runs
from orchestra.engine.session import Session
from orchestra.model.encoding import encode
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run
from orchestra.testing.builders import a_fence, a_run
from orchestra.workspace import records
from tests.saved_runs import ended, opened, save, write, write_exit

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def found_and_fixed(session: Session) -> tuple[Finding, Finding]:
    """The one finding there is, before and after the repair; afterwards there is none."""
    (before,) = await check_runs(session)
    (fixed,) = await check_runs(session, fix=True)
    assert await check_runs(session) == []
    assert not before.fixed and before.done is None
    assert fixed.fixed and (fixed.kind, fixed.run) == (before.kind, before.run)
    return before, fixed


async def ids(session: Session) -> list[str]:
    return [run.id for run in (await session.store.query(RunQuery())).runs]


async def test_a_healthy_home_has_nothing_to_say(home: Path) -> None:
    async with opened(home) as session:
        await save(session, a_run(), ended())

        assert await check_runs(session, fix=True) == []


async def test_a_directory_that_the_store_does_not_know_is_entered(home: Path) -> None:
    async with opened(home) as session:
        await save(session, ended())
        run = write(session, ended())

        before, _ = await found_and_fixed(session)

        assert (before.kind, before.run) == ("orphan", run.id)
        assert run.id in await ids(session)


async def test_a_trial_that_is_there_already_is_not_entered_again(home: Path) -> None:
    async with opened(home) as session:
        trial = {"batch": "b", "generation": 1, "trial": 1}
        (there,) = await save(session, ended(**trial))
        run = write(session, a_run(state="pending", **trial))

        before, _ = await found_and_fixed(session)

        assert (before.kind, before.run) == ("orphan", run.id)
        assert there.id in before.message
        assert await ids(session) == [there.id]
        assert not session.directory(run).exists()


async def test_a_run_without_a_directory_is_forgotten(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await session.store.create([ended()])

        before, _ = await found_and_fixed(session)

        assert (before.kind, before.run) == ("ghost", run.id)
        assert await ids(session) == []


async def test_a_directory_of_a_stranger_is_reported_and_never_touched(home: Path) -> None:
    async with opened(home) as session:
        stranger = session.layout.runs_dir / "photos"
        stranger.mkdir()
        (stranger / "cat.jpg").touch()

        (finding,) = await check_runs(session, fix=True)

        assert (finding.kind, finding.fixed) == ("stranger", False)
        assert (stranger / "cat.jpg").exists()


def record_path(session: Session, run: Run) -> Path:
    return session.layout.control(session.directory(run)) / "run.json"


def tear(session: Session, run: Run) -> Path:
    path = record_path(session, run)
    path.write_bytes(path.read_bytes()[:-20])
    return path


def damage_row(home: Path, run: Run) -> None:
    connection = sqlite3.connect(home / "store.db")
    with connection:
        connection.execute("UPDATE runs SET record = '{' WHERE id = ?", (run.id,))
    connection.close()


async def test_a_torn_record_is_written_anew_from_the_store_and_kept_aside(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended(label="mine"))
        path = tear(session, run)
        torn = path.read_bytes()

        before, _ = await found_and_fixed(session)

        assert before.kind == "broken" and str(path) in before.message
        assert records.read_run(session.directory(run)).label == "mine"
        (aside,) = path.parent.glob("run.json.broken-*")
        assert aside.read_bytes() == torn


async def test_a_record_that_neither_file_nor_store_has_is_reported_with_its_file(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())
        damage_row(home, run)
        path = tear(session, run)

        (finding,) = await check_runs(session, fix=True)

        assert (finding.kind, finding.fixed) == ("broken", False)
        assert str(path) in finding.message


async def test_a_record_of_a_newer_version_is_left_alone(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())
        path = record_path(session, run)
        path.write_text('{"schema": 99, "id": 5}')

        (finding,) = await check_runs(session, fix=True)

        assert (finding.kind, finding.fixed) == ("broken", False)
        assert path.read_text() == '{"schema": 99, "id": 5}'


async def test_a_row_that_cannot_be_read_is_rebuilt_from_the_runs_directory(home: Path) -> None:
    async with opened(home) as session:
        (run, other) = await save(session, ended(label="mine", batch="b", trial=1), ended())
        damage_row(home, run)
        assert (await session.store.get(run.id)).state == "broken"

        before, _ = await found_and_fixed(session)

        assert (before.kind, before.run) == ("broken", run.id)
        again = await session.store.get(run.id)
        assert (again.state, again.label, again.trial) == ("completed", "mine", 1)
        assert (await session.store.get(other.id)).state == "completed"


async def test_a_run_that_was_spoiled_for_its_torn_record_gets_the_state_that_its_attempts_tell(
    home: Path,
) -> None:
    async with opened(home) as session:
        spoiled = ended(state="broken", reason="torn", exit_code=None)
        (run,) = await save(session, spoiled)
        write_exit(session, run, code=3)
        tear(session, run)

        await found_and_fixed(session)

        again = await session.store.get(run.id)
        assert (again.state, again.exit_code, again.reason) == ("error", 3, None)


async def test_a_run_that_can_be_read_again_is_entered_anew(home: Path) -> None:
    async with opened(home) as session:
        run = write(session, ended())
        await session.store.create([structs.replace(run, state="broken", reason="torn")])

        before, _ = await found_and_fixed(session)

        assert before.kind == "broken"
        assert (await session.store.get(run.id)).state == "completed"


@pytest.mark.parametrize("newer", ["record", "store"])
async def test_of_record_and_store_the_newer_revision_wins(home: Path, newer: str) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())
        relabelled = structs.replace(run, label="new", revision=run.revision + 5)
        if newer == "record":
            write(session, relabelled)
        else:
            await session.store.update((structs.replace(run, label="new"),))

        before, _ = await found_and_fixed(session)

        assert before.kind == "stale" and "label" in before.message
        assert (await session.store.get(run.id)).label == "new"
        assert records.read_run(session.directory(run)).label == "new"


def dead(session: Session) -> object:
    """A worker that does not live."""
    return structs.replace(
        session.worker, identity=structs.replace(session.worker.identity, pid=2**22, start=1)
    )


async def test_a_claim_without_a_living_worker_is_given_back(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, a_run(state="pending", attempt=1, rest="staged", worker=dead(session)))

        before, fixed = await found_and_fixed(session)

        assert (before.kind, fixed.done) == ("unwatched", "it is staged now")
        assert (await session.store.get(run.id)).state == "staged"


async def test_a_run_whose_process_is_dead_is_lost_or_has_ended(home: Path) -> None:
    async with opened(home) as session:
        running = a_run(state="running", attempt=1, worker=dead(session))
        lost, over = await save(session, running, structs.replace(running, id="over"))
        leave_fence(session, lost)
        leave_fence(session, over)
        write_exit(session, over, code=3)

        findings = await check_runs(session, fix=True)

        assert sorted(one.done or "" for one in findings) == ["it is error now", "it is lost now"]
        assert await check_runs(session) == []


async def test_a_living_run_whose_watcher_died_is_no_fault(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, a_run(state="running", attempt=1, worker=dead(session)))
        folder = session.attempt_directory(run)
        with records.hold(folder, "0", fsync=False):
            assert await check_runs(session, fix=True) == []


async def test_files_of_writers_that_died_are_removed_once_they_are_old(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())
        folder = session.attempt_directory(run)
        folder.mkdir(parents=True)
        old, young = folder / "exit.1.tmp", folder / "exit.2.tmp"
        old.touch()
        young.touch()
        os.utime(old, (time.time() - 3600,) * 2)

        before, _ = await found_and_fixed(session)

        assert before.kind == "leftover"
        assert not old.exists() and young.exists()


async def test_what_a_supervisor_that_lives_keeps_is_left_by_nobody(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, a_run(state="running", attempt=1, worker=session.worker))
        folder = session.attempt_directory(run)
        with records.hold(folder, "0", fsync=False):
            (folder / "exit.tmp").touch()
            os.utime(folder / "exit.tmp", (1, 1))

            assert await check_runs(session, fix=True) == []
        assert (folder / "exit.tmp").exists()


async def test_a_deletion_that_was_cut_short_is_finished(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())
        os.rename(session.directory(run), session.layout.trash_dir / f"{run.id}.00c0ffee")

        (before, ghost) = await check_runs(session)
        (fixed,) = await check_runs(session, fix=True)

        assert (before.kind, ghost.kind, fixed.done) == ("deletion", "ghost", "finished the deletion")
        assert await check_runs(session) == []
        assert os.listdir(session.layout.trash_dir) == []


async def test_processes_of_an_ended_run_are_found_by_their_cookie_and_ended(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())
        leave_fence(session, run)
        write_exit(session, run)
        left = stray(f"{run.id}.1.nonce")
        bystander = stray(f"{run.id[::-1]}.1.nonce")
        try:
            before, _ = await found_and_fixed(session)
            assert before.kind == "process" and str(left.pid) in before.message
            assert left.wait(5) != 0
            assert bystander.poll() is None
        finally:
            for process in (left, bystander):
                process.kill()
                process.wait()


def stray(cookie: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
        env={**os.environ, COOKIE: cookie},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


async def test_the_runs_of_a_copied_home_are_found(home: Path, tmp_path: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())
    async with opened(tmp_path / "other") as other:
        await save(other, ended())
        shutil.copytree(home / "runs" / run.id, other.layout.runs_dir / run.id)

        assert [one.kind for one in await check_runs(other, fix=True)] == ["orphan"]


def leave_fence(session: Session, run: Run) -> None:
    """The fence of a supervisor of this host that has died."""
    folder = session.attempt_directory(run)
    folder.mkdir(parents=True)
    identity = structs.replace(session.worker.identity, pid=2**22, start=1)
    (folder / "fence").write_bytes(encode(a_fence(identity=identity)))
