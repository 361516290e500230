"""From a request to a new run: planned, matched, staged or claimed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestra.engine.begin import begin, prepare
from orchestra.engine.request import RunRequest
from orchestra.errors import FlagError, IdTaken, RunBusy, UserError
from orchestra.model.batch import Choices
from orchestra.model.run import Run, State
from orchestra.testing.scripted import Script
from orchestra.workspace import records
from tests.engine.workbench import Bench

pytestmark = pytest.mark.anyio


@pytest.fixture
def project(home: Path) -> Path:
    """A folder with the operation ``job.py``, which has the flags n and s."""
    folder = home.parent / "project"
    folder.mkdir()
    (folder / "job.py").write_text("n = 1\ns = 'x'\nprint(n)\n")
    return folder


async def ended(bench: Bench, project: Path, **request: Any) -> Run:
    begun = await bench.begin(cwd=project, operation="job.py", **request)
    assert begun.run is not None
    return await bench.execute(begun.run)


async def test_a_new_run_is_claimed_by_its_maker_from_the_beginning(bench: Bench, project: Path) -> None:
    begun = await bench.begin(cwd=project, operation="job.py", flags={"n": 2})

    run = begun.run
    assert run is not None
    assert (begun.what, run.state, run.attempt, run.rest) == ("claimed", "pending", 1, "aborted")
    assert (run.worker, run.starter) == (bench.session.worker, "command")
    assert (run.flags, run.label, run.executor) == ({"n": 2, "s": "x"}, "n=2 s=x", "scripted")
    directory = bench.session.directory(run)
    assert (directory / "job.py").read_text() == (project / "job.py").read_text()
    assert records.read_run(directory).id == run.id


async def test_a_claimed_run_whose_maker_dies_is_aborted(bench: Bench, project: Path) -> None:
    from orchestra.engine.judge import settle

    run = (await bench.begin(cwd=project, operation="job.py")).run
    assert run is not None
    bench.clock.advance(20)

    assert (await settle(bench.open(), run)).state == "aborted"


async def test_a_staged_run_says_how_to_start_it(bench: Bench, project: Path) -> None:
    begun = await bench.begin(cwd=project, operation="job.py", stage=True, label="try ${n}", tags=("t",))

    run = begun.run
    assert run is not None
    assert (begun.what, run.state, run.worker, run.label, run.tags) == (
        "staged",
        "staged",
        None,
        "try 1",
        ("t",),
    )
    assert bench.lines == [
        f"job.py staged as {run.id}",
        f"To start the operation, use 'orchestra run --start {run.id}'",
    ]
    assert "run.staged" in bench.events
    assert (bench.session.directory(run) / ".orchestra" / "ENV").exists()


async def test_a_run_in_a_directory_of_its_own_says_how_to_start_it_there(
    bench: Bench, project: Path
) -> None:
    begun = await bench.begin(cwd=project, operation="job.py", stage=True, run_dir=Path("it's here"))

    run = begun.run
    assert run is not None
    place = project / "it's here"
    assert run.directory == str(place)
    assert (bench.layout.runs_dir / run.id).resolve() == place
    assert bench.lines[0] == f"job.py staged in '{place}'"
    assert bench.lines[1].startswith("To start the operation, use \"(cd '")
    with pytest.raises(IdTaken, match="is the directory of a run already"):
        await bench.begin(cwd=project, operation="job.py", stage=True, run_dir=Path("it's here"))


@pytest.mark.parametrize("place", [".", "..", "full", "link"])
async def test_a_directory_with_files_or_the_project_is_never_a_new_runs_directory(
    bench: Bench, project: Path, place: str
) -> None:
    (project / "full").mkdir()
    (project / "full" / "job.py").write_text("mine")
    (project / "link").symlink_to(project)
    before = (project / "job.py").read_text()

    with pytest.raises(UserError, match="can't be a run's directory"):
        await bench.begin(cwd=project, operation="job.py", stage=True, run_dir=Path(place))

    assert (project / "job.py").read_text() == before
    assert (project / "full" / "job.py").read_text() == "mine"
    assert not (project / ".orchestra").exists()
    assert list(bench.layout.runs_dir.iterdir()) == []


async def test_an_empty_directory_may_become_a_runs_directory(bench: Bench, project: Path) -> None:
    (project / "empty").mkdir()

    begun = await bench.begin(cwd=project, operation="job.py", stage=True, run_dir=Path("empty"))

    assert begun.run is not None
    assert (project / "empty" / "job.py").exists()


async def test_an_id_is_used_once(bench: Bench, project: Path) -> None:
    first = await bench.begin(cwd=project, operation="job.py", stage=True, run_id="mine")
    with pytest.raises(IdTaken, match="'mine'"):
        await bench.begin(cwd=project, operation="job.py", stage=True, run_id="mine")

    assert first.run is not None
    assert await bench.store.get("mine") == first.run
    assert (bench.session.directory(first.run) / "job.py").exists()


async def test_what_can_not_be_planned_leaves_nothing_behind(bench: Bench, project: Path) -> None:
    with pytest.raises(FlagError):
        await bench.begin(cwd=project, operation="job.py", flags={"none": 1})
    with pytest.raises(FlagError, match="poll-interval"):
        await bench.begin(cwd=project, operation="queue", flags={"poll-interval": 0})
    with pytest.raises(UserError, match="no trials"):
        await bench.begin(cwd=project, operation="queue", stage_trials=True)
    with pytest.raises(UserError, match="nowhere"):
        await bench.begin(cwd=project, operation="job.py", executor="nowhere")
    with pytest.raises(UserError, match="nothing"):
        await bench.begin(cwd=project, operation="job.py", flags={"n": [1, 2]}, expander="nothing")

    assert await bench.states() == []
    assert list(bench.layout.runs_dir.iterdir()) == []


async def test_a_list_of_values_makes_a_batch(bench: Bench, project: Path) -> None:
    begun = await bench.begin(
        cwd=project, operation="job.py", flags={"n": [1, 2]}, max_trials=1, random_seed=5, stage_trials=True
    )

    run = begun.run
    assert run is not None
    assert (run.kind, run.flags, run.label, run.operation_name) == ("batch", {}, None, "job.py+")
    spec = run.batch_spec
    assert spec is not None
    assert (spec.space, spec.fixed) == ({"n": Choices(values=(1, 2))}, {"s": "x"})
    assert (spec.max_trials, spec.seed, spec.stage_trials, spec.generation) == (1, 5, True, 1)


@pytest.mark.parametrize("code", [0, -15])
async def test_needed_skips_when_such_a_run_has_ended(bench: Bench, project: Path, code: int) -> None:
    from orchestra.model.execution import Exit

    bench.executor.default = Script(exit=Exit(code=code, started=0, stopped=0))
    before = await ended(bench, project, flags={"n": 2})

    begun = await bench.begin(cwd=project, operation="job.py", flags={"n": 2}, needed=True)

    assert (begun.what, [run.id for run in begun.matching]) == ("skipped", [before.id])
    assert bench.lines[0] == "Skipping because the following runs match this operation (--needed specified):"
    assert bench.lines[1].startswith(f"  [{before.short_id}]  job.py  ")
    assert bench.lines[1].endswith(f"  {before.state}  n=2 s=x")


@pytest.mark.parametrize("state", ["error", "lost", "staged", "pending", "aborted"])
async def test_needed_starts_when_such_a_run_has_not_done_it(
    bench: Bench, project: Path, state: State
) -> None:
    before = await ended(bench, project)
    await bench.store.update((structs.replace(before, state=state),))

    assert (await bench.begin(cwd=project, operation="job.py", needed=True)).what == "claimed"


async def test_needed_starts_with_other_flags_or_in_another_project(
    bench: Bench, project: Path, tmp_path: Path
) -> None:
    await ended(bench, project)
    other = tmp_path / "other"
    other.mkdir()
    (other / "job.py").write_bytes((project / "job.py").read_bytes())

    assert (await bench.begin(cwd=project, operation="job.py", flags={"n": 3}, needed=True)).what == "claimed"
    assert (await bench.begin(cwd=other, operation="job.py", needed=True)).what == "claimed"


async def test_needed_takes_batches_for_the_same_whatever_their_seed(bench: Bench, project: Path) -> None:
    await ended(bench, project, flags={"n": [1, 2]}, random_seed=1)
    again: dict[str, Any] = {"cwd": project, "operation": "job.py", "needed": True}

    assert (await bench.begin(**again, flags={"n": [1, 2]})).what == "skipped"
    assert (await bench.begin(**again, flags={"n": [1, 3]})).what == "claimed"
    assert (await bench.begin(**again, flags={"n": 1}, stage=True)).what == "skipped"
    assert (await bench.begin(**again, flags={"n": 3}, stage=True)).what == "staged"


async def test_needed_takes_batches_for_the_same_however_many_trials_they_may_have(
    bench: Bench, project: Path
) -> None:
    await ended(bench, project, flags={"n": [1, 2]}, max_trials=1, fail_on_trial_error=True)
    again: dict[str, Any] = {"cwd": project, "operation": "job.py", "needed": True, "flags": {"n": [1, 2]}}

    assert (await bench.begin(**again, max_trials=2)).what == "skipped"
    assert (await bench.begin(**again)).what == "skipped"
    assert (await bench.begin(**again, minimize="loss")).what == "claimed"
    assert (await bench.begin(**again, stage_trials=True)).what == "claimed"


async def test_a_restart_is_not_announced_before_the_run_is_claimed(bench: Bench) -> None:
    run = await bench.execute(await bench.make())
    request = RunRequest(restart=run.id, cwd=bench.layout.home.parent)
    prepared = await prepare(bench.session, request)
    await bench.claim(await bench.store.get(run.id), bench.open())

    for asked in (request, structs.replace(request, stage=True)):
        with pytest.raises(RunBusy, match="being started"):
            await begin(bench.session, asked, prepared, console=bench.console)

    assert bench.lines == []
