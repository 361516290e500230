"""Programs export and import runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from orchestra import Orchestra, api
from orchestra.engine import importing
from orchestra.engine.incoming import Incoming
from orchestra.errors import IdTaken, RunNotFound, UserError
from orchestra.model.archived import inert, portable, require_format, run_of_link
from orchestra.model.events import Event
from orchestra.model.run import Imported, Run
from orchestra.testing.builders import a_batch, a_run, a_worker
from tests.guild_homes import GuildHome
from tests.saved_runs import ended, opened, save

FAST = {"durability": "fast"}


async def three(home: Path) -> None:
    batch = ended(id="batch", kind="batch", batch_spec=a_batch(), flags={}, created=9, started=9)
    trial = ended(id="trial", batch="batch", trial=1, generation=1, created=8, started=8)
    async with opened(home) as session:
        await save(session, batch, trial, ended(id="alone", created=7, started=7))


@pytest.mark.anyio
async def test_runs_go_to_another_home_and_are_told(home: Path, tmp_path: Path) -> None:
    await three(home)
    place = tmp_path / "out.tar.gz"
    async with Orchestra(home, settings=FAST) as here, Orchestra(tmp_path / "other", settings=FAST) as there:
        assert [run.id for run in await here.export_runs(place, ["batch"])] == ["batch", "trial"]

        imported = await there.import_runs(place)

        assert {run.id for run in imported} == {run.id for run in await there.list()} == {"batch", "trial"}
        assert all(run.imported is not None and run.imported.source == str(place) for run in imported)
        assert await there.import_runs(place) == ()


def meanwhile(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[object]], step: str) -> None:
    """Let somebody else do ``work`` when an import has come to ``step``."""
    there = getattr(importing._Import, step)  # pyright: ignore[reportPrivateUsage]

    async def step_after_work(*given: Any) -> Any:
        monkeypatch.setattr(importing._Import, step, there)  # pyright: ignore[reportPrivateUsage]
        await work()
        return await there(*given)

    monkeypatch.setattr(importing._Import, step, step_after_work)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_two_who_import_the_same_runs_at_once_bring_each_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three(home)
    place, other = tmp_path / "out.zip", tmp_path / "other"
    async with (
        Orchestra(home, settings=FAST) as here,
        Orchestra(other, settings=FAST) as one,
        Orchestra(other, settings=FAST) as two,
    ):
        await here.export_runs(place)
        meanwhile(monkeypatch, lambda: two.import_runs(place, ["trial"]), "_enter")

        assert {run.id for run in await one.import_runs(place)} == {"batch", "alone"}
        assert {run.id for run in await one.list()} == {"batch", "trial", "alone"}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_was_placed_is_entered_though_another_run_took_an_id_meanwhile(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three(home)
    other = tmp_path / "other"
    async with Orchestra(home, settings=FAST) as here, Orchestra(other, settings=FAST) as there:
        await here.export_runs(tmp_path / "out.zip")
        meanwhile(monkeypatch, lambda: save(there.session, ended(id="trial", created=99)), "_enter")

        with pytest.raises(IdTaken, match="another run with the id trial was made meanwhile"):
            await there.import_runs(tmp_path / "out.zip")
        placed = {path.name for path in (other / "runs").iterdir() if not path.name.startswith(".")}
        assert {run.id for run in await there.list()} == placed == {"alone", "batch", "trial"}
        assert (await there.get("trial")).created == 99


@pytest.mark.anyio
@pytest.mark.parametrize("step", ["_sort_out", "_enter"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_two_who_move_the_same_runs_out_of_an_archive_at_once_lose_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await three(home)
    place, other = tmp_path / "out", tmp_path / "other"
    async with (
        Orchestra(home, settings=FAST) as here,
        Orchestra(other, settings=FAST) as one,
        Orchestra(other, settings=FAST) as two,
    ):
        await here.export_runs(place)
        meanwhile(monkeypatch, lambda: two.import_runs(place, ["trial"], move=True), step)

        assert {run.id for run in await one.import_runs(place, move=True)} == {"batch", "alone"}
        assert {run.id for run in await one.list()} == {"batch", "trial", "alone"}
        assert [path.name for path in place.iterdir()] == ["orchestra-archive.json"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_run_that_leaves_the_archive_while_it_is_read_is_here_or_missed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three(home)
    place, other = tmp_path / "out", tmp_path / "other"
    read = Incoming._read  # pyright: ignore[reportPrivateUsage]

    def removing(incoming: Incoming, run_id: str) -> Run:
        if run_id == "trial":
            shutil.rmtree(place / "trial")
        return read(incoming, run_id)

    monkeypatch.setattr(Incoming, "_read", removing)
    async with Orchestra(home, settings=FAST) as here, Orchestra(other, settings=FAST) as there:
        await here.export_runs(place)
        with pytest.raises(UserError, match="run trial was removed from"):
            await there.import_runs(place)
        assert await there.list() == ()

        await here.export_runs(place)
        assert await here.import_runs(place) == ()


@pytest.mark.anyio
async def test_runs_of_an_archive_are_named_as_anywhere(home: Path, tmp_path: Path) -> None:
    await three(home)
    async with Orchestra(home, cwd=tmp_path, settings=FAST) as here:
        await here.export_runs("out", move=True)
        assert await here.list() == ()

        assert {run.id for run in await here.import_runs("out", ["bat"])} == {"batch", "trial"}
        with pytest.raises(RunNotFound):
            await here.import_runs("out", ["missing"])
        assert [run.id for run in await here.import_runs("out", ["3"], move=True)] == ["alone"]


def test_scripts_do_the_same_without_await(home: Path, tmp_path: Path) -> None:
    async def make() -> None:
        await three(home)

    anyio.run(make)
    place = tmp_path / "out.zip"

    assert len(api.export_runs(place, home=home)) == 3
    assert len(api.import_runs(place, ["alone"], home=tmp_path / "other")) == 1
    assert [run.id for run in api.runs_list(home=tmp_path / "other")] == ["alone"]


@pytest.mark.anyio
async def test_runs_of_a_guild_home_are_taken_over_and_told(home: Path, tmp_path: Path) -> None:
    guild = GuildHome(tmp_path / "guild")
    for run_id in ("aaa", "bbb"):
        guild.run(run_id)
    guild.run("ccc", status="error")
    guild.run("ddd", status="remote")
    async with Orchestra(home, cwd=tmp_path, settings=FAST) as orch:
        async with orch.events() as events:
            assert [run.id for run in await orch.import_guild("guild", "bbb")] == ["bbb"]
            with anyio.fail_after(10):
                warned = [event.message async for event in first(events, "log.message", "warning")]
        assert warned[0].startswith("run ddd is left out: ")
        assert [run.id for run in await orch.import_guild("guild", error=True)] == ["ccc"]
        assert [run.id for run in await orch.import_guild("guild")] == ["aaa"]
        assert (await orch.results("aaa")).scalars["loss"].last == 2.0
        with pytest.raises(UserError, match="is not a Guild home"):
            await orch.import_guild("nowhere")


async def first(events: AsyncIterator[Event], name: str, level: str) -> AsyncIterator[Event]:
    """The first of these events that is called so."""
    async for event in events:
        if (event.name, event.level) == (name, level):
            yield event
            return


@pytest.mark.anyio
async def test_a_crate_has_what_belongs_to_the_runs_that_are_named(home: Path, tmp_path: Path) -> None:
    await three(home)
    async with Orchestra(home, cwd=tmp_path, settings=FAST) as orch:
        assert {run.id for run in await orch.export_crate("crate", ["batch"])} == {"batch", "trial"}
        with pytest.raises(UserError, match="something is there already"):
            await orch.export_crate("crate")
    document = json.loads((tmp_path / "crate" / "ro-crate-metadata.json").read_text())
    assert sum("trial" in part["@id"] for part in document["@graph"]) > 0
    assert not any("alone" in part["@id"] for part in document["@graph"])


def test_scripts_take_over_a_guild_home_and_make_a_crate_without_await(home: Path, tmp_path: Path) -> None:
    GuildHome(tmp_path / "guild").run("aaa")

    (taken,) = api.import_guild(tmp_path / "guild", home=home)
    assert [run.id for run in api.export_crate(tmp_path / "c.zip", license="MIT", home=home)] == [taken.id]
    assert (tmp_path / "c.zip").is_file()


def test_a_portable_run_names_no_process_no_place_and_no_variable() -> None:
    run = a_run(
        state="running", worker=a_worker(), lease=7, directory="/home/me/x", environment={"A": "b"}, attempt=1
    )

    away = portable(run)

    assert (away.worker, away.lease, away.handle, away.directory, away.environment) == (None,) * 4 + ({},)
    assert away.state == "lost"
    assert portable(away) == away


def test_an_inert_run_belongs_to_what_came_along_under_other_ids() -> None:
    origin = Imported(source="x.zip", time=1)
    trial = ended(id="t", batch="b", trial=1, generation=1)

    run = inert(trial, origin, {"t": "new-t", "b": "new-b"})

    assert (run.id, run.batch, run.imported) == ("new-t", "new-b", origin)
    assert inert(structs.replace(trial, state="staged"), origin, {}).state == "aborted"


@pytest.mark.parametrize(
    ("path", "target", "found"),
    [
        ("data", "../prep/out", ("prep", "out")),
        ("a/b", "../../prep/out/x", ("prep", "out/x")),
        ("data", "../prep", ("prep", "")),
        ("data", "sub/x", None),
        ("data", "/prep/out", None),
        ("data", "../../prep/out", None),
        ("data", "../run/x", None),
        ("data", ".", None),
    ],
)
def test_which_run_a_link_leads_to(path: str, target: str, found: tuple[str, str] | None) -> None:
    assert run_of_link(path, target) == found


@pytest.mark.parametrize("form", [0, -1, 2])
def test_a_format_that_is_not_ours_is_refused(form: int) -> None:
    with pytest.raises(UserError, match="'x'"):
        require_format(form, "'x'")
