"""The store is only an index: it comes back from the run directories, as their records say."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from orchestra.cli.context import drive
from orchestra.engine import rebuild
from orchestra.engine.deleting import delete_runs
from orchestra.engine.judge import settle_active
from orchestra.engine.rebuild import CHUNK, rebuild_store
from orchestra.engine.session import Session
from orchestra.model import lifecycle
from orchestra.model.encoding import encode
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run, State
from orchestra.testing.builders import a_fence, a_run, a_worker, an_identity, some_runs
from orchestra.workspace import records
from orchestra.workspace.layout import attempt_directory
from tests.process import Shell
from tests.saved_runs import ended, opened, save, saved, write, write_exit


def attempt_of(session: Session, run: Run, number: int) -> Path:
    folder = attempt_directory(session.directory(run), number)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def rebuilt(home: Path, run: Run, attempts: list[str], *, judged: bool = True) -> Run:
    """``run`` as it is after the store was lost, with the records that ``attempts`` say."""

    async def work() -> Run:
        async with opened(home) as session:
            write(session, run)
            held: list[records.HeldFence] = []
            for number, what in enumerate(attempts, 1):
                folder = attempt_of(session, run, number)
                if what == "running":
                    held.append(records.hold(folder, "0", fsync=False))
                elif what == "revoked":
                    records.revoke(folder, fsync=False)
                elif what == "claimed":
                    (folder / "orders").write_bytes(b"version=1\0")
                elif what != "made ahead":
                    fence = a_fence(identity=structs.replace(session.worker.identity, pid=2**22, start=1))
                    (folder / "fence").write_bytes(encode(fence))
                    if what != "dead":
                        write_exit(session, structs.replace(run, attempt=number), code=int(what))
            assert await rebuild_store(session) == 1
            if judged:
                await settle_active(session)
            for fence in held:
                fence.close()
            return await session.store.get(run.id)

    return drive(work())


def test_a_staged_run_is_staged_again(home: Path) -> None:
    run = a_run(flags={"lr": 1.0, "name": "x", "null": None}, label="l", tags=("a", "b"))

    assert rebuilt(home, run, []) == structs.replace(run, revision=1)


def test_a_trial_that_waits_is_pending_again(home: Path) -> None:
    again = rebuilt(home, a_run(state="pending", batch="b", trial=1, generation=1), [])

    assert (again.state, again.worker) == ("pending", None)


def test_an_exit_record_says_how_a_run_ended(home: Path) -> None:
    for number, (code, state) in enumerate([("0", "completed"), ("3", "error"), ("-15", "terminated")]):
        again = rebuilt(home.with_name(str(number)), a_run(), [code])
        assert (again.state, again.exit_code, again.attempt, again.executions) == (state, int(code), 1, 1)
        assert again.started is not None and again.stopped is not None and again.worker is None


def test_the_newest_attempt_counts_and_all_that_started_are_counted(home: Path) -> None:
    again = rebuilt(home, a_run(), ["1", "revoked", "-9", "0"])

    assert (again.state, again.attempt, again.executions) == ("completed", 4, 3)


def test_a_run_whose_process_lives_is_running(home: Path) -> None:
    again = rebuilt(home, a_run(), ["running"])

    assert (again.state, again.attempt, again.executions) == ("running", 1, 1)


def test_a_run_whose_process_died_without_a_record_is_lost(home: Path) -> None:
    assert rebuilt(home, a_run(), ["dead"]).state == "lost"


def test_a_claim_that_nobody_lives_to_use_is_given_back(home: Path) -> None:
    assert rebuilt(home.with_name("1"), a_run(), ["claimed"]).state == "staged"
    assert rebuilt(home.with_name("2"), a_run(state="pending", batch="b"), ["claimed"]).state == "pending"
    assert rebuilt(home.with_name("3"), ended(), ["0", "claimed"]).state == "aborted"
    dead = a_worker(identity=an_identity(host="here", boot="before"))
    made = lifecycle.admit(a_run(state="pending"), dead)
    assert rebuilt(home.with_name("4"), made, [], judged=False).claimed


def test_a_folder_that_was_made_for_the_first_attempt_is_no_start(home: Path) -> None:
    for state in ("staged", "pending"):
        run = a_run(state=state, batch="b", trial=1)
        again = rebuilt(home.with_name(state), run, ["made ahead"])
        assert (again.state, again.attempt, again.worker) == (state, 0, None)


def test_a_revoked_attempt_never_started(home: Path) -> None:
    assert rebuilt(home.with_name("1"), a_run(), ["revoked"]).state == "staged"
    assert rebuilt(home.with_name("2"), a_run(), ["0", "revoked"]).state == "aborted"


def test_a_run_that_was_staged_again_after_its_end_is_staged(home: Path) -> None:
    run = structs.replace(ended(), state="staged", staged=2**50)

    assert rebuilt(home, run, ["0"]).state == "staged"


def test_a_run_that_can_not_be_read_is_broken_and_keeps_no_other_away(home: Path) -> None:
    async def work() -> None:
        async with opened(home) as session:
            whole, torn, foreign = (write(session, run) for run in some_runs(3))
            path = session.layout.control(session.directory(torn)) / "run.json"
            path.write_bytes(path.read_bytes()[:100])
            shutil.copytree(session.directory(foreign), session.layout.runs_dir / "copy")
            (session.layout.runs_dir / "no-run").mkdir()
            (session.layout.runs_dir / ".hidden").mkdir()
            (session.layout.runs_dir / "bad name").mkdir()
            (session.layout.runs_dir / "file").touch()
            (session.layout.runs_dir / "dangling").symlink_to(home / "nowhere")

            assert await rebuild_store(session) == 4
            runs = {run.id: run for run in (await session.store.query(RunQuery())).runs}

            assert runs[whole.id].state == runs[foreign.id].state == "staged"
            assert runs[torn.id].state == runs["copy"].state == "broken"
            assert str(path) in (runs[torn.id].reason or "")
            assert foreign.id in (runs["copy"].reason or "")
            assert set(runs) == {whole.id, torn.id, foreign.id, "copy"}

    drive(work())


def test_runs_that_the_store_has_already_are_left_as_they_are(home: Path) -> None:
    async def work() -> None:
        async with opened(home) as session:
            (known,) = await save(session, ended())
            write(session, a_run())
            write(session, a_run())

            assert await rebuild_store(session) == 2
            assert await session.store.get(known.id) == known

    drive(work())


def test_more_runs_than_one_transaction_takes_come_back(home: Path) -> None:
    async def work() -> None:
        async with opened(home) as session:
            for run in some_runs(CHUNK + 3):
                write(session, run)
            assert await rebuild_store(session) == CHUNK + 3

    drive(work())


def test_a_store_that_is_gone_is_rebuilt_with_one_line(home: Path, shell: Shell) -> None:
    saved(home, *(ended(label=f"number {n}") for n in range(3)))
    before = shell.run("runs", separate=True)
    assert before.output.count("completed") == 3

    for path in home.glob("store.db*"):
        path.unlink()
    gone = shell.run("runs", separate=True)

    assert (gone.code, gone.output) == (0, before.output)
    assert gone.error == "INFO: [orchestra] Rebuilt the store from the records of 3 runs\n"


def test_a_store_full_of_garbage_is_set_aside_and_rebuilt(home: Path, shell: Shell) -> None:
    saved(home, *(ended(label=f"number {n}") for n in range(3)))
    before = shell.run("runs", separate=True)
    for name in ("store.db-wal", "store.db-shm"):
        (home / name).unlink(missing_ok=True)
    (home / "store.db").write_bytes(b"garbage" * 10_000)

    damaged = shell.run("runs", separate=True)

    assert (damaged.code, damaged.output) == (0, before.output)
    assert list(home.glob("store.db.broken-*"))


def test_damage_in_the_middle_of_the_store_is_healed_by_the_command_that_meets_it(
    home: Path, shell: Shell
) -> None:
    saved(home, *(ended() for _ in range(200)))
    store = home / "store.db"
    connection = sqlite3.connect(store)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    whole = store.read_bytes()
    for page in (1, pages // 4, pages // 2, pages - 1):
        shutil.rmtree(home / "cache")
        store.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        for path in (home / "store.db-wal", home / "store.db-shm"):
            path.unlink(missing_ok=True)

        first = shell.run("runs", "-a", "--json", separate=True)
        again = shell.run("runs", "-a", "--json", separate=True)

        assert (first.code, "give the command again" in first.error) in ((0, False), (75, True)), first.error
        assert len(json.loads(again.output)) == 200


def test_a_trial_that_is_there_twice_and_ran_once_is_entered_once(home: Path) -> None:
    async def work() -> None:
        async with opened(home) as session:
            trial = {"batch": "b", "generation": 1, "trial": 1}
            ran, doubled = ended(**trial), a_run(state="pending", **trial)
            for run in (doubled, ran):
                write(session, run)
            write_exit(session, ran)

            assert await rebuild_store(session) == 1

            (run,) = (await session.store.query(RunQuery())).runs
            assert run.id == ran.id

    drive(work())


def test_runs_that_an_older_store_does_not_know_are_entered(home: Path, tmp_path: Path) -> None:
    first, second = ended(), ended()
    saved(home, first)
    old = tmp_path / "old.db"
    shutil.copy(home / "store.db", old)
    saved(home, second)

    for replace in (shutil.copyfile, replaced):
        replace(old, home / "store.db")

        assert listed(home) == {first.id, second.id}


def test_after_a_power_cut_runs_that_the_store_lost_are_entered(home: Path) -> None:
    first, second = ended(), ended()
    saved(home, first)

    async def work() -> None:
        async with opened(home) as session:
            write(session, second)

    drive(work())
    assert listed(home) == {first.id}
    note = home / "cache" / "reconciled"
    note.write_text(" ".join(["another-boot", *note.read_text().split(" ")[1:]]))

    assert listed(home) == {first.id, second.id}


def test_a_store_that_grew_or_shrank_by_our_doing_is_not_read_as_a_whole(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ended(), ended()
    saved(home, first, second)
    assert len(listed(home)) == 2

    async def delete() -> None:
        async with opened(home) as session:
            await delete_runs(session, [first])

    anyio.run(delete)
    monkeypatch.setattr(rebuild, "adopt_unknown", None)

    assert listed(home) == {second.id}


def listed(home: Path) -> set[str]:
    """The ids of the runs that a command sees."""

    async def work() -> set[str]:
        async with opened(home) as session:
            return {run.id for run in (await session.store.query(RunQuery())).runs}

    return drive(work())


def replaced(source: Path, target: Path) -> None:
    """Put a file in the place of another, by a rename."""
    shutil.copyfile(source, target.with_name("new.db"))
    target.with_name("new.db").rename(target)


def test_a_run_whose_row_is_damaged_is_listed_told_of_and_deleted_like_any_other(
    home: Path, shell: Shell
) -> None:
    saved(home, *(ended(id=name) for name in ("one", "two", "three")))
    connection = sqlite3.connect(home / "store.db")
    with connection:
        connection.execute("UPDATE runs SET record = x'7b' WHERE id = 'two'")
    connection.close()

    listed = json.loads(shell.run("runs", "--json", separate=True).output)
    told = json.loads(shell.run("runs", "info", "two", "--json", separate=True).output)
    deleted = shell.run("runs", "rm", "two", "-y", separate=True)

    assert {run["id"]: run["status"] for run in listed} == {
        "one": "completed",
        "two": "broken",
        "three": "completed",
    }
    assert told["status"] == "broken" and str(home / "store.db") in told["reason"]
    assert (deleted.code, sorted(os.listdir(home / "runs"))) == (0, ["one", "three"])


@pytest.mark.parametrize("rest", ["staged", "pending", "aborted"])
def test_who_is_to_try_a_run_again_is_known_from_where_it_was_taken(home: Path, rest: State) -> None:
    run = a_run(state="pending" if rest == "aborted" else rest, attempt=0)
    if rest == "aborted":
        run = structs.replace(lifecycle.admit(run, a_worker()), attempt=0)

    assert rebuilt(home, run, ["running"], judged=False).rest == rest
