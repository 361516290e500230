"""What a new run takes along of its project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec import structs

from orchestra.engine.snapshot import select_source, take_snapshot, takes_source, where_it_runs
from orchestra.model.operation import Operation, SourceCode, SourceRule
from orchestra.workspace.manifest import read_manifest
from orchestra.workspace.source_patch import patch_path
from tests.engine.workbench import Bench
from tests.workspace.test_git import run_git

pytestmark = pytest.mark.anyio


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = home.parent / "project"
    (folder / "lib").mkdir(parents=True)
    (folder / "job.py").write_text("import lib.a\nn = 1\nprint(lib.a.WHO, n)\n")
    (folder / "lib" / "a.py").write_text("WHO = 'me'\n")
    return folder


def job(project: Path, sourcecode: SourceCode | None = None) -> Operation:
    return Operation(name="job.py", kind="script", source=str(project), main="job.py", sourcecode=sourcecode)


async def test_a_run_has_the_source_its_digest_and_a_manifest(bench: Bench, project: Path) -> None:
    run = (await bench.begin(cwd=project, operation="job.py")).run
    assert run is not None
    directory = bench.session.directory(run)
    assert [entry.path for entry in read_manifest(directory)] == ["job.py", "lib/a.py"]
    assert run.sourcecode_digest
    assert run.vcs_commit is None


async def test_a_run_knows_the_commit_and_whether_something_differed(bench: Bench, project: Path) -> None:
    run_git(project, "init", "-q")
    run_git(project, "add", "-A")
    run_git(project, "commit", "-qm", "one")
    head = run_git(project, "rev-parse", "HEAD").strip()
    clean = (await bench.begin(cwd=project, operation="job.py")).run
    (project / "new.py").write_text("")
    dirty = (await bench.begin(cwd=project, operation="job.py", stage=True)).run
    assert clean is not None and dirty is not None
    assert (clean.vcs_commit, dirty.vcs_commit) == (f"git:{head}", f"git:{head}*")


async def test_git_is_not_asked_for_a_commit_that_nobody_wants(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_git(project, "init", "-q")
    run_git(project, "add", "-A")
    run_git(project, "commit", "-qm", "one")
    monkeypatch.setenv("NO_VCS_COMMIT", "1")
    taken = take_snapshot(bench.session, job(project))
    assert taken.vcs_commit is None
    assert taken.selection is not None and taken.selection.in_git


async def test_the_rules_of_the_operation_are_obeyed(bench: Bench, project: Path) -> None:
    sourcecode = SourceCode(rules=(SourceRule(include=False, patterns=("lib",)),))
    selection = select_source(bench.session, job(project, sourcecode))
    assert selection is not None and selection.paths == ("job.py",)


async def test_a_run_without_source_runs_what_is_in_the_project(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_SOURCECODE", "1")
    run = (await bench.begin(cwd=project, operation="job.py")).run
    assert run is not None
    assert str(project / "job.py") in run.command
    assert sorted(path.name for path in bench.session.directory(run).iterdir()) == [".orchestra"]


def test_where_an_operation_is_run_when_its_source_is_not_copied(project: Path) -> None:
    off = SourceCode(disabled=True)
    script, none = job(project), job(project, off)
    assert where_it_runs(script) == script
    assert where_it_runs(none).main == str(project / "job.py")
    assert where_it_runs(structs.replace(none, main="/bin/sh")).main == "/bin/sh"
    module = structs.replace(none, kind="module", main="pack.train", python_path=("x",))
    assert (where_it_runs(module).main, where_it_runs(module).python_path) == (
        "pack.train",
        ("x", str(project)),
    )


def test_where_an_operation_is_run_when_its_source_is_copied_elsewhere(project: Path) -> None:
    def main(name: str, **wanted: str) -> str:
        return where_it_runs(structs.replace(job(project, SourceCode(**wanted)), main=name)).main

    assert main("job.py", dest="./src/") == "src/job.py"
    assert main("lib/a.py", root="lib") == "a.py"
    assert main("lib/a.py", root="./lib", dest="x") == "x/a.py"
    # What is not in the root is not copied.
    assert main("job.py", root="lib") == str(project / "job.py")
    module = structs.replace(job(project, SourceCode(dest="src")), kind="module", main="lib.a")
    assert (where_it_runs(module).main, where_it_runs(module).python_path) == ("lib.a", ("src",))


def test_a_pipeline_takes_no_source_unless_the_project_says_so(project: Path) -> None:
    steps = structs.replace(job(project), kind="steps")
    assert not takes_source(steps)
    assert takes_source(structs.replace(steps, sourcecode=SourceCode()))
    assert not takes_source(structs.replace(steps, sourcecode=SourceCode(disabled=True)))


async def test_a_module_need_not_be_a_file_of_the_project(bench: Bench, project: Path) -> None:
    module = structs.replace(job(project), kind="module", main="json.tool")
    selection = select_source(bench.session, module)
    assert selection is not None and selection.paths == ("job.py", "lib/a.py")


def committed(project: Path) -> None:
    run_git(project, "init", "-q")
    run_git(project, "add", "-A")
    run_git(project, "commit", "-qm", "one")


async def test_the_patch_of_a_staged_run_is_there_when_its_session_is_closed(
    bench: Bench, project: Path
) -> None:
    committed(project)
    (project / "new.py").write_text("x = 1\n")
    run = (await bench.begin(cwd=project, operation="job.py", stage=True)).run
    assert run is not None
    await bench.session.finish_afterwards()
    assert "+x = 1\n" in Path(patch_path(bench.session.directory(run))).read_text()


async def test_a_run_has_its_patch_when_it_has_been_started(bench: Bench, project: Path) -> None:
    committed(project)
    clean = (await bench.begin(cwd=project, operation="job.py")).run
    (project / "new.py").write_text("x = 1\n")
    dirty = (await bench.begin(cwd=project, operation="job.py")).run
    assert clean is not None and dirty is not None
    for run in (clean, dirty):
        await bench.execute(run)
    await bench.session.finish_afterwards()
    assert not os.path.exists(patch_path(bench.session.directory(clean)))
    assert os.path.exists(patch_path(bench.session.directory(dirty)))


async def test_who_starts_a_run_later_writes_no_patch_of_another_working_tree(
    bench: Bench, project: Path
) -> None:
    committed(project)
    (project / "new.py").write_text("x = 1\n")
    run = (await bench.begin(cwd=project, operation="job.py", stage=True)).run
    assert run is not None
    await bench.session.finish_afterwards()
    patch = Path(patch_path(bench.session.directory(run)))
    before = patch.read_bytes()
    (project / "new.py").write_text("x = 2\n")
    again = (await bench.begin(cwd=project, restart=run.id)).run
    assert again is not None
    await bench.execute(again)
    await bench.session.finish_afterwards()
    assert patch.read_bytes() == before
