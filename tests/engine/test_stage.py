"""Making runs: directory, record and row, all of them or none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestra.engine.snapshot import select_source
from orchestra.engine.stage import make_runs
from orchestra.errors import HomeError, IdTaken, StoreUnavailable
from orchestra.model.run import Run
from orchestra.settings import Settings
from orchestra.testing.builders import a_run, an_operation, some_runs
from orchestra.testing.memory_store import MemoryStore
from orchestra.testing.scripted import NAME
from orchestra.workspace import records
from tests.engine.workbench import Bench

pytestmark = pytest.mark.anyio


class _FullStore(MemoryStore):
    """Takes no run."""

    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        raise StoreUnavailable("no space left")


def entries(bench: Bench) -> list[str]:
    return sorted(path.name for path in bench.layout.runs_dir.iterdir())


async def test_each_run_has_a_directory_a_record_and_a_row(bench: Bench) -> None:
    made = await make_runs(bench.session, some_runs(3), None)

    assert entries(bench) == sorted(run.id for run in made)
    for run in made:
        assert await bench.store.get(run.id) == run
        record = records.read_run(bench.session.directory(run))
        assert (record.id, record.flags) == (run.id, run.flags)
        assert [event["event"] for event in records.read_events(bench.session.directory(run))] == [
            "run.staged"
        ]


async def test_a_store_that_takes_no_run_leaves_no_directory(bench: Bench) -> None:
    session = bench.open(store=_FullStore(bench.data))

    with pytest.raises(StoreUnavailable):
        await make_runs(session, some_runs(3), None)

    assert entries(bench) == []


async def test_one_id_that_is_taken_keeps_all_from_being_made(bench: Bench) -> None:
    there = await bench.make()

    with pytest.raises(IdTaken):
        await make_runs(bench.session, [a_run(), there, a_run()], None)

    assert entries(bench) == [there.id]
    assert records.read_run(bench.session.directory(there)).id == there.id


async def test_a_directory_that_holds_other_files_keeps_them(bench: Bench, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "notes.txt").write_text("keep")
    session = bench.open(store=_FullStore(bench.data))

    with pytest.raises(StoreUnavailable):
        await make_runs(session, [a_run(directory=str(place))], None)
    assert [path.name for path in place.iterdir()] == ["notes.txt"]
    assert entries(bench) == []

    (run,) = await make_runs(bench.session, [a_run(directory=str(place))], None)
    assert (place / "notes.txt").read_text() == "keep"
    assert entries(bench) == [run.id]


async def test_the_link_to_a_directory_elsewhere_reaches_the_disk(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    session = bench.open(settings=Settings(executor=NAME, durability="full"))

    await make_runs(session, [a_run(directory=str(tmp_path / "far" / "away"))], None)

    assert {str(bench.layout.runs_dir), str(tmp_path), str(tmp_path / "far")} <= set(synced)


async def test_a_directory_that_can_not_be_made_is_told(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(HomeError, match="file"):
        await make_runs(bench.session, [a_run(directory=str(tmp_path / "file" / "below"))], None)

    assert entries(bench) == []


async def test_the_source_is_taken_along_with_its_digest(bench: Bench, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text("print()\n")
    operation = an_operation(source=str(project))
    selection = select_source(bench.session, operation)

    one, two = await make_runs(bench.session, some_runs(2, operation=operation), selection)

    assert one.sourcecode_digest == two.sourcecode_digest
    assert one.sourcecode_digest
    assert (bench.session.directory(two) / "train.py").read_text() == "print()\n"


async def test_an_operation_without_a_source_takes_nothing_along(bench: Bench) -> None:
    assert select_source(bench.session, an_operation()) is None
