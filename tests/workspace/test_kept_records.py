"""Records of all versions there ever were are read for ever; those of later versions are refused, and left alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestra.child import supervisor
from orchestra.cli.context import drive
from orchestra.engine.judge import settle_active
from orchestra.errors import OrchestraError
from orchestra.model import versions
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run
from orchestra.workspace import records
from orchestra.workspace.environment import read_environment
from orchestra.workspace.fence import probe
from orchestra.workspace.layout import Layout, attempt_directory
from orchestra.workspace.orders import read_orders
from orchestra.workspace.queue_groups import GroupsFile
from orchestra.workspace.results import read_results
from tests.process import Shell
from tests.saved_runs import opened

KEPT = Path(__file__).parents[1] / "data" / "records"
COMPLETED = "ce6acd9de0752c0e1c170db7c698bc18"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that version 1 made, without its store."""
    folder = tmp_path / "home"
    shutil.copytree(KEPT / "v1", folder)
    for fence in folder.glob("runs/*/.orchestra/attempts/1/fence"):
        # What was started elsewhere can't be judged here.
        fence.write_text(fence.read_text().replace("example/00000000000000aa", supervisor.host_id()))
    return folder


def runs_of(home: Path) -> dict[str, Run]:
    """All runs of a home without a store, judged."""

    async def work() -> dict[str, Run]:
        async with opened(home) as session:
            await settle_active(session)
            return {run.id: run for run in (await session.store.query(RunQuery())).runs}

    return drive(work())


def test_runs_of_version_1_are_what_they_were(home: Path) -> None:
    found = runs_of(home)

    assert sorted((run.kind, run.operation_name, run.label or "", run.state) for run in found.values()) == [
        ("batch", "train+", "", "completed"),
        ("queue", "queue", "ignore-running=no poll-interval=10 run-once=yes", "completed"),
        ("run", "fail", "", "error"),
        ("run", "sleepy.py", "", "lost"),
        ("run", "train", "first", "completed"),
        ("run", "train", "lr=0.1", "completed"),
        ("run", "train", "lr=0.2", "completed"),
        ("run", "train", "lr=0.3", "completed"),
        ("run", "train", "lr=0.9", "staged"),
        ("steps", "pipeline", "", "completed"),
    ]
    batch, steps = (next(run for run in found.values() if run.kind == kind) for kind in ("batch", "steps"))
    assert sorted(run.trial or 0 for run in found.values() if run.batch == batch.id) == [1, 2]
    assert [run.flags for run in found.values() if run.parent == steps.id] == [{"lr": 0.3}]
    assert next(run.exit_code for run in found.values() if run.state == "error") == 3


def test_attempts_of_version_1_are_read(home: Path) -> None:
    run = runs_of(home)[COMPLETED]
    directory = Layout(home).directory_of(run.id)
    attempt = attempt_directory(directory, 1)

    exit_record, fence, orders = records.read_exit(attempt), records.read_fence(attempt), read_orders(attempt)
    environment = read_environment(attempt)

    assert exit_record is not None and (exit_record.code, exit_record.size) == (0, 10)
    assert fence is not None and (fence.fence, fence.identity.pid) == ("started", 10)
    assert fence.identity.namespace == ""
    assert orders is not None and (orders.run, orders.environment["FLAG_LR"]) == (run.id, "0.5")
    assert environment is not None and environment.platform["host"] == "example"
    assert read_results(directory, run).scalars["loss"].last == 1.0


def test_what_version_1_has_set_for_queues_holds(home: Path) -> None:
    groups = GroupsFile(home).read()

    assert groups["big"].limit == 2 and groups[""].paused


def test_a_staged_run_of_version_1_can_be_started(home: Path, tmp_path: Path) -> None:
    shell = Shell(home, tmp_path)
    staged = next(run for run in runs_of(home).values() if run.state == "staged")

    ran = shell.run("run", "-y", "--start", staged.id)

    assert (ran.code, ran.output) == (0, "loss: 1.8\n"), ran.output


def _json(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 7}))


def _entries(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"version=1\0", b"version=7\0"))


NEWER: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    "run.json": (_json, lambda path: records.read_run(path.parents[1])),
    "attempts/1/exit": (_json, lambda path: records.read_exit(path.parent)),
    "attempts/1/fence": (_json, lambda path: (probe(path.parent), records.read_fence(path.parent))),
    "attempts/1/environment.json": (_json, lambda path: read_environment(path.parent)),
    "attempts/1/orders": (_entries, lambda path: read_orders(path.parent)),
    "../../../queue.json": (_json, lambda path: GroupsFile(path.parent).read()),
}


@pytest.mark.parametrize("name", NEWER)
def test_a_record_of_a_later_version_is_refused_in_a_sentence(home: Path, name: str) -> None:
    change, read = NEWER[name]
    path = (home / "runs" / COMPLETED / ".orchestra" / name).resolve()
    change(path)
    before = path.read_bytes()

    with pytest.raises(OrchestraError) as caught:
        read(path)

    assert (
        f"'{path}' was written by a newer version of orchestra (schema 7, we know 1)" in caught.value.message
    )
    assert "Upgrade" in (caught.value.hint or "")
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["run.json", "attempts/1/exit", "attempts/1/fence"])
def test_a_run_with_a_record_of_a_later_version_is_broken_and_the_others_are_not(
    home: Path, name: str
) -> None:
    path = home / "runs" / COMPLETED / ".orchestra" / name
    if name.endswith("fence"):
        # It is looked at only where no end is recorded.
        path.with_name("exit").unlink()
    NEWER[name][0](path)
    before = path.read_bytes()

    found = runs_of(home)

    assert found[COMPLETED].state == "broken"
    assert "newer version of orchestra (schema 7, we know 1)" in (found[COMPLETED].reason or "")
    assert sum(run.state == "broken" for run in found.values()) == 1 and len(found) == 10
    assert path.read_bytes() == before


def test_what_was_worked_out_by_a_later_version_is_worked_out_anew(home: Path) -> None:
    run = runs_of(home)[COMPLETED]
    directory = Layout(home).directory_of(run.id)
    kept = directory / ".orchestra" / "scalars.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "version": 7, "told": {"other": 1}}))

    assert read_results(directory, run).scalars["loss"].last == 1.0


def test_the_supervisor_knows_the_version_of_orders_that_we_write(home: Path) -> None:
    attempt = home / "runs" / COMPLETED / ".orchestra" / "attempts" / "1"
    orders = read_orders(attempt)
    assert orders is not None
    from orchestra.workspace.orders import write_orders

    write_orders(attempt, orders)
    assert f"version={versions.ORDERS}".encode() in (attempt / "orders").read_bytes().split(b"\0")
    assert supervisor.OrdersFile(bytes(attempt)).job == f"{COMPLETED}.1"


def test_what_is_written_says_of_which_version_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestra.testing.builders import a_run

    monkeypatch.setattr(versions, "RUN", 2)
    records.write_run(tmp_path, a_run(), fsync=False)

    assert json.loads((tmp_path / ".orchestra" / "run.json").read_text())["schema"] == 2
    assert records.read_run(tmp_path).schema == 2
