"""Deleted runs: listed, restored, purged, and whole whatever is killed."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import structs

from orchestra.engine import trashing
from orchestra.engine.check import check_runs
from orchestra.engine.concealment import concealed
from orchestra.engine.runs import delete_runs
from orchestra.engine.session import LEASE, Session
from orchestra.engine.trashing import Deleted, deleted_runs, purge_runs, restore_runs, select_deleted
from orchestra.errors import IdTaken, RunNotFound, StoreUnavailable
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run
from orchestra.testing.builders import a_run, some_runs
from orchestra.workspace import records
from orchestra.workspace.layout import Layout
from orchestra.workspace.trash import Trash
from tests.process import Shell
from tests.saved_runs import ended, opened, save, write_exit

pytestmark = pytest.mark.anyio
BOTH_LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
"""Where something is cancelled."""


@pytest.fixture
def anyio_backend() -> str:
    """What is moved, and when, is the same on each event loop."""
    return "asyncio"


async def there(session: Session) -> list[Run]:
    return list((await session.store.query(RunQuery())).runs)


async def in_trash(session: Session, *specs: str, **options: Any) -> list[Deleted]:
    found = await deleted_runs(session, **options)
    return await select_deleted(found, specs)


async def deleted(session: Session, *runs: Run) -> Sequence[Run]:
    kept = await save(session, *runs)
    assert await delete_runs(session, kept) == len(runs)
    return kept


@pytest.mark.parametrize(
    "run",
    [
        ended(),
        a_run(),
        a_run(state="pending", batch="b", trial=1, generation=0),
        structs.replace(ended(), label="said later", tags=("t",), marked=True),
        a_run(state="lost", attempt=1, executions=1, reason="who knows"),
    ],
    ids=lambda run: run.label or run.state,
)
async def test_a_restored_run_is_what_it_was(home: Path, run: Run) -> None:
    async with opened(home) as session:
        # As its record is before its end is known to the store.
        records.write_run(session.directory(run), a_run(id=run.id), fsync=False)
        (kept,) = await session.store.create([run], lease=LEASE)
        (session.directory(run) / "result").write_text("42")
        if run.state == "completed":
            write_exit(session, run)

        assert await delete_runs(session, (kept,)) == 1
        assert await there(session) == [] and os.listdir(session.layout.runs_dir) == []
        (one,) = await in_trash(session)
        assert structs.replace(one.run, directory=None) == kept
        (restored,) = await restore_runs(session, [one])

        assert restored == kept and await there(session) == [kept]
        assert (session.directory(run) / "result").read_text() == "42"
        assert await in_trash(session) == []
        assert await check_runs(session) == []


async def test_deleted_runs_are_chosen_as_others_are(home: Path) -> None:
    async with opened(home) as session:
        first, second, third = await deleted(session, *some_runs(3))

        assert [one.run.id for one in await in_trash(session)] == [third.id, second.id, first.id]
        assert [one.run.id for one in await in_trash(session, "2:3")] == [second.id, first.id]
        assert [one.run.id for one in await in_trash(session, first.id)] == [first.id]
        found = await deleted_runs(session)
        page = await found.query(RunQuery(states=frozenset(("staged",)), limit=1, offset=1))
        assert [run.id for run in page.runs] == [second.id] and page.total == 3
        with pytest.raises(RunNotFound):
            await select_deleted(found, ["nothing"])


async def test_a_run_whose_id_is_there_again_is_not_restored_over_it(home: Path) -> None:
    async with opened(home) as session:
        old, other = await deleted(session, ended(id="mine", label="old"), ended())
        (new,) = await save(session, ended(id="mine", label="new"))

        with pytest.raises(IdTaken, match="there is a run with this id"):
            await restore_runs(session, await in_trash(session))

        assert await there(session) == [new]
        assert {one.run.id for one in await in_trash(session)} == {old.id, other.id}


async def test_of_two_with_one_id_the_newest_deletion_is_restored_and_both_are_purged(home: Path) -> None:
    async with opened(home) as session:
        for label in ("older", "newer"):
            await deleted(session, ended(id="mine", label=label))

        (restored,) = await restore_runs(session, await in_trash(session))
        assert restored.label == "newer"
        assert [one.run.label for one in await in_trash(session)] == ["older"]
        await delete_runs(session, [restored])
        assert await purge_runs(session, await in_trash(session, "mine")) == 2
        assert await in_trash(session) == []


async def test_a_trial_that_was_made_anew_is_not_restored_a_second_time(home: Path) -> None:
    trial = a_run(state="pending", batch="b", trial=3, generation=0)
    async with opened(home) as session:
        await deleted(session, trial)
        await save(session, structs.replace(trial, id="again"))

        with pytest.raises(IdTaken, match="run again is the same trial of batch b"):
            await restore_runs(session, await in_trash(session))


async def test_a_directory_of_ones_own_stays_where_it_is_until_the_run_is_purged(
    home: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    async with opened(home) as session:
        run = ended(directory=str(mine))
        (session.layout.runs_dir / run.id).symlink_to(mine)
        (run,) = await save(session, run)
        (mine / "thesis.tex").write_text("kept")

        await delete_runs(session, (run,))
        assert os.listdir(session.layout.runs_dir) == []
        assert records.read_run(mine).id == run.id
        (restored,) = await restore_runs(session, await in_trash(session))
        assert restored == run
        assert (session.layout.runs_dir / run.id).resolve() == mine

        await delete_runs(session, (run,))
        assert await purge_runs(session, await in_trash(session)) == 1
        assert os.listdir(mine) == ["thesis.tex"]


async def test_a_run_whose_own_directory_is_gone_is_listed_and_purged_but_not_restored(
    home: Path, tmp_path: Path
) -> None:
    async with opened(home) as session:
        await deleted(session, ended(directory=str(tmp_path / "mine")))
        records.discard_directory(tmp_path / "mine")

        (one,) = await in_trash(session)
        assert one.run.state == "broken"
        with pytest.raises(RunNotFound, match="can't be restored: there is no run in"):
            await restore_runs(session, [one])
        assert await purge_runs(session, [one]) == 1
        assert await in_trash(session) == []


async def test_a_run_that_can_not_be_read_comes_back_as_it_is(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())
        (session.layout.control(session.directory(run)) / "run.json").write_text("{torn")
        (broken,) = await session.store.update([structs.replace(run, state="broken", reason="torn")])

        await delete_runs(session, (broken,))
        (restored,) = await restore_runs(session, await in_trash(session))

        assert (restored.id, restored.state) == (run.id, "broken")


async def test_runs_are_purged_by_the_time_since_their_deletion(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(home) as session:
        now = session.clock.now()
        monkeypatch.setattr(session.clock, "now", lambda: now - 86_400_000_000)
        (old,) = await deleted(session, ended())
        monkeypatch.setattr(session.clock, "now", lambda: now)
        (young,) = await deleted(session, ended())

        assert await purge_runs(session, await in_trash(session, older_than=3600.0)) == 1

        assert [one.run.id for one in await in_trash(session)] == [young.id]
        assert old.id not in {one.run.id for one in await in_trash(session)}


async def test_secrets_are_kept_until_the_last_run_of_that_id_is_purged(home: Path) -> None:
    run = ended(id="mine", flags={"password": "pass-1234567890"})
    async with opened(home) as session:
        hidden = concealed(session, run)
        for _ in range(2):
            session.vault.keep(hidden, fsync=False)
            await deleted(session, hidden)
        first, second = await in_trash(session)

        await purge_runs(session, [first])
        assert session.vault.revealed(hidden).flags == run.flags
        await restore_runs(session, [second])
        assert session.vault.revealed(hidden).flags == run.flags
        await delete_runs(session, await there(session), permanent=True)

    assert os.listdir(home / "secrets") == ["key"]


async def test_without_room_for_its_record_a_run_is_deleted_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("No space left on device")

    async with opened(home) as session:
        (run,) = await save(session, ended())
        write_exit(session, run)
        with monkeypatch.context() as patch:
            patch.setattr(records, "write_run", full)
            assert await delete_runs(session, (run,)) == 1

        assert [restored.state for restored in await restore_runs(session, await in_trash(session))] == [
            "completed"
        ]


async def test_where_nothing_can_be_renamed_without_replacing_an_id_that_is_there_is_found(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    class Library:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def renameat2(self, *_: Any) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", Library)
    async with opened(home) as session:
        await deleted(session, ended(id="mine"))
        (one,) = await in_trash(session)
        (session.layout.runs_dir / "mine").mkdir()
        with pytest.raises(IdTaken):
            Trash(session.layout).take_out(one.entry)
        (session.layout.runs_dir / "mine").rmdir()
        assert [run.id for run in await restore_runs(session, [one])] == ["mine"]


async def test_two_who_restore_at_once_restore_each_run_once(home: Path) -> None:
    async with opened(home) as session, opened(home) as other:
        await deleted(session, *some_runs(3))
        seen, also_seen = await in_trash(session), await in_trash(other)

        assert len(await restore_runs(session, seen[:2])) == 2
        with pytest.raises((IdTaken, RunNotFound)):
            await restore_runs(other, also_seen)
        assert await purge_runs(other, also_seen) == 1
        assert len(await there(session)) == 2


# Killed


POINTS = ("delete.recorded", "delete.renamed", "delete.forgotten")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("state", ["completed", "staged"])
async def test_a_deletion_that_is_killed_leaves_each_run_whole_in_one_place(
    home: Path, shell: Shell, point: str, state: Any
) -> None:
    runs = [ended() if state == "completed" else a_run(state=state) for _ in range(3)]
    async with opened(home) as session:
        for run in await save(session, *runs):
            if state == "completed":
                write_exit(session, run)

    hit = 1 if point == "delete.forgotten" else 2
    killed = shell.run("runs", "rm", "-y", ORCHESTRA_FAILPOINT=f"{point}:kill9:{hit}")

    assert killed.code == -signal.SIGKILL
    assert shell.run("runs", "--all").code == 0
    async with opened(home) as session:
        left = {run.id for run in await there(session)}
        gone = {one.run.id for one in await in_trash(session)}
        assert left | gone == {run.id for run in runs} and not left & gone
        assert set(os.listdir(session.layout.runs_dir)) == left
        restored = await restore_runs(session, await in_trash(session))
        assert {run.state for run in restored} <= {state}
        assert len(await there(session)) == 3
        assert await check_runs(session) == []


def let_it_be_cancelled(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a store does that has to be waited for."""
    for name in ("query", "update"):
        ask = getattr(session.store, name)

        async def answer(what: Any, ask: Any = ask) -> Any:
            await anyio.lowlevel.checkpoint()
            return await ask(what)

        monkeypatch.setattr(session.store, name, answer)


@BOTH_LOOPS
async def test_a_deletion_that_is_cancelled_forgets_what_it_has_moved(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(home) as session:
        (run,) = await save(session, a_run())
        let_it_be_cancelled(session, monkeypatch)
        with anyio.CancelScope() as scope:
            monkeypatch.setattr(
                "orchestra.engine.deleting.failpoint",
                lambda name: scope.cancel() if name == "delete.renamed" else None,
            )
            await delete_runs(session, [run])

        assert await there(session) == []
        assert [one.run.id for one in await in_trash(session)] == [run.id]


@BOTH_LOOPS
async def test_a_deletion_that_fails_while_it_is_cancelled_gives_back_what_it_has_claimed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(home) as session:
        (run,) = await save(session, a_run())
        let_it_be_cancelled(session, monkeypatch)
        with anyio.CancelScope() as scope:

            def fail(*_: object) -> None:
                scope.cancel()
                raise StoreUnavailable("no space")

            monkeypatch.setattr("orchestra.engine.deleting._move", fail)
            with pytest.raises(StoreUnavailable):
                await delete_runs(session, [run])

        (kept,) = await there(session)
        assert (kept.state, kept.worker) == ("staged", None)


async def test_a_restoring_that_is_killed_leaves_each_run_whole_and_listed(home: Path, shell: Shell) -> None:
    async with opened(home) as session:
        runs = await deleted(session, *some_runs(3))

    killed = shell.run("runs", "restore", "-y", ORCHESTRA_FAILPOINT="restore.renamed:kill9:2")

    assert killed.code == -signal.SIGKILL
    listed = shell.run("runs", "list").output.splitlines()
    assert len(listed) == 2
    async with opened(home) as session:
        assert len(await in_trash(session)) == 1
        await restore_runs(session, await in_trash(session))
        assert {run.id for run in await there(session)} == {run.id for run in runs}
        assert not os.path.exists(session.layout.restoring_mark)
        assert await check_runs(session) == []


async def test_who_restores_is_not_taken_for_dead(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(home) as session:
        await deleted(session, ended())

        with Trash(session.layout).restoring(), Trash(session.layout).restoring():
            monkeypatch.setattr(trashing, "adopt_unknown", None)
            async with opened(home):
                assert session.layout.restoring_mark.exists()
        assert not session.layout.restoring_mark.exists()


@pytest.mark.parametrize(
    ("arguments", "point"),
    [(("runs", "purge"), "purge.renamed"), (("runs", "rm", "-p"), "delete.renamed")],
)
async def test_a_deletion_for_good_that_is_killed_is_finished_by_the_next(
    home: Path, shell: Shell, arguments: tuple[str, ...], point: str
) -> None:
    async with opened(home) as session:
        runs = await save(session, *some_runs(3))
        if "purge" in arguments:
            await delete_runs(session, runs)

    killed = shell.run(*arguments, "-y", ORCHESTRA_FAILPOINT=f"{point}:kill9:2")

    assert killed.code == -signal.SIGKILL
    async with opened(home) as session:
        left = [*os.listdir(session.layout.runs_dir), *(one.run.id for one in await in_trash(session))]
        assert len(left) == 1
        leaving = Trash(session.layout).leaving()
        assert leaving
        assert not {run_id for _, run_id in leaving} & set(left)
        assert [one.kind for one in await check_runs(session, fix=True) if not one.fixed] == []
        assert Trash(session.layout).leaving() == []


async def test_what_somebody_put_into_the_trash_himself_is_left_alone(home: Path) -> None:
    async with opened(home) as session:
        await deleted(session, ended())
        for path in ("notes.txt", ".DS_Store", "runs/.DS_Store", "runs/mine"):
            (session.layout.trash_dir / path).write_text("kept")

        assert len(await in_trash(session)) == 1
        assert await purge_runs(session, await in_trash(session)) == 1

        assert (session.layout.trash_dir / "notes.txt").read_text() == "kept"
        assert sorted(os.listdir(session.layout.trash_dir / "runs")) == [".DS_Store", "mine"]


def test_a_home_that_is_not_there_has_an_empty_trash(home: Path) -> None:
    trash = Trash(Layout(home))

    assert trash.entries() == [] and trash.leaving() == [] and not trash.holds("x")
