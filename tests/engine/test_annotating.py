"""Labels, tags, comments and marks of runs that are there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestra.console import SilentConsole
from orchestra.engine import annotating
from orchestra.engine.check import check_runs
from orchestra.engine.orchestra import Orchestra
from orchestra.engine.session import Session
from orchestra.errors import RunBroken, UserError
from orchestra.model.events import Event
from orchestra.model.label_edits import LabelEdit
from orchestra.model.run import Comment, Run, unreadable_run
from orchestra.testing.builders import a_run, some_runs
from orchestra.workspace import records
from tests.process import Shell
from tests.saved_runs import ended, opened, save

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What is written is the same on each event loop."""
    return "asyncio"


class Listener(SilentConsole):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def log(self, event: Event) -> None:
        self.events.append(event)


def recorded(session: Session, run: Run) -> Run:
    return records.read_run(session.directory(run))


@pytest.mark.parametrize("state", ["staged", "pending", "completed", "lost"])
async def test_the_store_and_the_record_have_what_was_said_in_whatever_state(home: Path, state: Any) -> None:
    async with opened(home) as session:
        (run,) = await save(session, a_run(state=state))

        await annotating.label_runs(session, (run,), LabelEdit(set="new"))
        (run,) = await annotating.tag_runs(session, (run,), add=("b", "a"))
        (run,) = await annotating.add_comment(session, (run,), "hello", by="bob@far")
        (run,) = await annotating.mark_runs(session, (run,))

        kept = await session.store.get(run.id)
        assert (kept.label, kept.tags, kept.marked, kept.state) == ("new", ("a", "b"), True, state)
        assert [(one.body, one.user, one.host) for one in kept.comments] == [("hello", "bob", "far")]
        assert recorded(session, run) == kept


async def test_what_somebody_else_changed_meanwhile_is_kept(home: Path) -> None:
    async with opened(home) as session:
        stale = await save(session, *(a_run(tags=("first",)) for _ in range(3)))
        await session.store.update([structs.replace(stale[1], tags=("first", "second"), executor="other")])

        changed = await annotating.tag_runs(session, stale, add=("third",))

        assert [run.tags for run in changed] == [
            ("first", "third"),
            ("first", "second", "third"),
            ("first", "third"),
        ]
        assert (await session.store.get(stale[1].id)).executor == "other"


async def test_a_run_that_was_deleted_meanwhile_is_left_out_and_not_made_anew(home: Path) -> None:
    async with opened(home) as session:
        gone, ghost, there = await save(session, *some_runs(3))
        await session.store.delete([gone.id])
        for run in (gone, ghost):
            records.discard_directory(session.directory(run))

        changed = await annotating.mark_runs(session, (gone, ghost, there))

        assert there.id in {run.id for run in changed} and gone.id not in {run.id for run in changed}
        assert not session.directory(gone).exists() and not session.directory(ghost).exists()
        assert recorded(session, there).marked


async def test_a_record_never_goes_back_to_a_lower_revision(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())
        (newer,) = await annotating.mark_runs(session, (run,))

        records.write_run(session.directory(run), run, fsync=False)

        assert recorded(session, run) == newer


async def test_four_who_change_a_run_at_once_lose_nothing(home: Path) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())

    def tagging(who: str) -> None:
        import anyio

        async def work() -> None:
            async with opened(home) as session:
                for number in range(10):
                    await annotating.tag_runs(session, (run,), add=(f"{who}{number}",))

        anyio.run(work)

    threads = [threading.Thread(target=tagging, args=(who,)) for who in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async with opened(home) as session:
        kept = await session.store.get(run.id)
        assert kept.tags == tuple(sorted(f"{who}{number}" for who in "abcd" for number in range(10)))
        assert recorded(session, run) == kept


async def test_what_the_record_lacks_of_a_change_that_was_killed_is_found_and_repaired(
    home: Path, shell: Shell
) -> None:
    async with opened(home) as session:
        (run,) = await save(session, ended())

    killed = shell.run("comment", "-y", "-a", "said", ORCHESTRA_FAILPOINT="run.annotated:kill9")

    assert killed.code == -signal.SIGKILL
    async with opened(home) as session:
        assert recorded(session, run).comments == ()
        (finding,) = await check_runs(session, fix=True)
        assert finding.kind == "stale" and finding.fixed
        assert [one.body for one in recorded(session, run).comments] == ["said"]


async def test_a_broken_run_is_refused_and_nothing_changed(home: Path) -> None:
    async with opened(home) as session:
        good, broken = await save(session, a_run(), unreadable_run("broken", "it is torn", 1))

        with pytest.raises(RunBroken, match="it is torn"):
            await annotating.mark_runs(session, (good, broken))

        assert not (await session.store.get(good.id)).marked


async def test_a_comment_is_deleted_by_what_it_was_when_its_number_was_seen(home: Path) -> None:
    first, second = (Comment(body=body, user="u", host="h", time=1) for body in ("first", "second"))
    async with opened(home) as session:
        (run,) = await save(session, a_run(comments=(first, second)))
        await session.store.update([structs.replace(run, comments=(second,))])

        (changed,) = await annotating.delete_comment(session, (run,), 1)

        assert changed.comments == (second,)
        with pytest.raises(UserError, match="has no comment 2: it has 1 comment"):
            await annotating.delete_comment(session, (changed,), 2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda session, runs: annotating.tag_runs(session, runs, add=("",)),
        lambda session, runs: annotating.add_comment(session, runs, " \n"),
        lambda session, runs: annotating.delete_comment(session, runs, 0),
    ],
)
async def test_what_says_nothing_is_refused(
    home: Path, wrong: Callable[[Session, Sequence[Run]], Any]
) -> None:
    async with opened(home) as session:
        runs = await save(session, a_run())
        with pytest.raises(UserError):
            await wrong(session, runs)
        assert await session.store.get(runs[0].id) == runs[0]


async def test_secrets_in_labels_tags_and_comments_are_not_written_down(home: Path) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
    async with opened(home) as session:
        (run,) = await save(session, ended())
        await annotating.label_runs(session, (run,), LabelEdit(set=f"uses {secret}"))
        await annotating.tag_runs(session, (run,), add=(secret,))
        await annotating.add_comment(session, (run,), f"it is {secret}")
        run = await session.store.get(run.id)

        assert (run.label or "").startswith("uses redacted:")
        assert secret not in (session.layout.control(session.directory(run)) / "run.json").read_text()
        assert secret.encode() not in b"".join(path.read_bytes() for path in home.glob("store.db*"))


async def test_logs_tell_what_was_changed(home: Path) -> None:
    listener = Listener()
    async with opened(home, listener) as session:
        runs = await save(session, a_run())
        await annotating.label_runs(session, runs, LabelEdit(set="x"))
        await annotating.tag_runs(session, runs, add=("t",))
        await annotating.add_comment(session, runs, "c")
        await annotating.mark_runs(session, runs)
        await annotating.mark_runs(session, runs, marked=False)

    told = [(event.name, event.run, event.data) for event in listener.events]
    assert told == [
        ("run.labeled", runs[0].id, {"label": "x"}),
        ("run.tagged", runs[0].id, {"tags": ["t"]}),
        ("run.commented", runs[0].id, {"comments": 1}),
        ("run.marked", runs[0].id, {}),
        ("run.unmarked", runs[0].id, {}),
    ]


async def test_programs_say_the_same_of_runs(home: Path) -> None:
    async with opened(home) as session:
        first, second = await save(session, *some_runs(2))

    async with Orchestra(home) as orch:
        await orch.label(
            first.id,
            set="new",
        )
        await orch.label((first.id, second.id), append="end")
        await orch.tag(first.id, add="only")
        await orch.comment(second.id, "one")
        await orch.comment(second.id, "two", by="ada@lab")
        await orch.comment(second.id, delete=1)
        await orch.mark((second.id,))

        assert (await orch.get(first.id)).label == "new end"
        assert (await orch.get(first.id)).tags == ("only",)
        found = await orch.get(second.id)
        assert [(one.body, one.user) for one in found.comments] == [("two", "ada")]
        assert found.marked and not (await orch.mark(second.id, clear=True))[0].marked
