"""What takes long is done in threads: the event loop goes on meanwhile."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestra.engine import begin, place, resolve
from orchestra.engine.capture import share_with_trials
from orchestra.engine.orchestra import Orchestra
from orchestra.placing import selection
from orchestra.testing.builders import a_run
from orchestra.workspace import source_patch

PROJECT = """\
- operations:
    job:
      main: job
      requires: [data]
  resources:
    data:
      - file: data
        target-type: copy
        select: ['.*']
"""
pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.csv").write_text("a\n")
    (folder / "job.py").write_text("print('ran')\n")
    (folder / "orchestra.yml").write_text(PROJECT)
    return folder


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[bool]]:
    """Watches a function: whether each of its calls was made by the thread of the event loop."""

    def watch(owner: Any, name: str) -> list[bool]:
        function, calls = getattr(owner, name), list[bool]()
        loop = threading.get_ident()

        def noted(*arguments: Any, **options: Any) -> Any:
            calls.append(threading.get_ident() == loop)
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, noted)
        return calls

    return watch


@pytest.mark.parametrize(
    ("owner", "name"),
    [(begin, "take_snapshot"), (selection, "walk"), (resolve, "clean"), (shutil, "rmtree")],
)
async def test_making_and_starting_a_run_does_not_block(
    home: Path, project: Path, watched: Callable[[Any, str], list[bool]], owner: Any, name: str
) -> None:
    calls = watched(owner, name)
    async with Orchestra(home, cwd=project) as orch:
        run = await orch.run("job")

    assert run is not None
    assert run.state == "completed"
    assert calls
    assert not any(calls)


async def test_comparing_with_what_is_there_does_not_block(
    home: Path, project: Path, watched: Callable[[Any, str], list[bool]]
) -> None:
    (project / "a.csv").write_text("a\n")
    calls = watched(place.filecmp, "cmp")
    async with Orchestra(home, cwd=project) as orch:
        await orch.run("job")

    assert calls == [False]


async def test_waiting_for_what_is_done_beside_a_run_does_not_block(
    home: Path, project: Path, watched: Callable[[Any, str], list[bool]]
) -> None:
    async with Orchestra(home, cwd=project) as orch:
        calls = watched(orch.session.afterwards, "finish")
        await orch.run("job")

    assert calls == [False]


async def test_sharing_a_patch_with_trials_does_not_block(
    home: Path, project: Path, watched: Callable[[Any, str], list[bool]]
) -> None:
    calls = watched(source_patch, "share_patch")
    async with Orchestra(home, cwd=project) as orch:
        run = await orch.stage("job")
        await share_with_trials(orch.session, structs.replace(run, vcs_commit="git:1*"), (a_run(),))

    assert calls == [False]
