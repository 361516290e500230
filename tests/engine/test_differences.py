"""How runs differ: in what their records say, in their files, and from their project."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import UNSET

from orchestra.cli.context import drive
from orchestra.engine.differences import EVERYTHING, differences, differences_from_folder
from orchestra.engine.file_differences import MOST_SHOWN, source_of_run
from orchestra.engine.orchestra import Orchestra
from orchestra.errors import UserError
from orchestra.model.differences import Change, Differences, FileChange, Section
from orchestra.model.operation import SourceCode, SourceRule
from orchestra.model.run import ResolvedSource, Run
from orchestra.testing.builders import an_operation
from orchestra.workspace.environment import EnvironmentRecord, PythonRecord, write_environment
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.manifest import ManifestEntry, render, write_manifest
from orchestra.workspace.output import OutputWriter
from orchestra.workspace.source import sha256
from tests.saved_runs import ended, opened, saved


def with_files(home: Path, run: Run, files: dict[str, bytes], *, output: bytes = b"") -> Run:
    """A saved run that has taken these files along as its source."""
    saved(home, run)
    directory = home / "runs" / run.id
    entries: list[ManifestEntry] = []
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
        digest = sha256(len(content))
        digest.update(content)
        entries.append(ManifestEntry(kind="s", path=path, digest=digest.hexdigest(), origin=f"/p/{path}"))
    write_manifest(directory, render(entries))
    attempt = attempt_directory(directory, 1)
    attempt.mkdir(parents=True, exist_ok=True)
    with OutputWriter(attempt) as writer:
        writer.write(0, output)
    return run


def compared(
    home: Path, before: Run, after: Run, *sections: Section, paths: tuple[str, ...] = ()
) -> Differences:
    async def work() -> Differences:
        async with opened(home) as session:
            return differences(session, before, after, sections=sections, paths=paths)

    return drive(work())


def from_folder(home: Path, run: Run, folder: Path, *paths: str, is_project: bool = False) -> Differences:
    async def work() -> Differences:
        async with opened(home) as session:
            return differences_from_folder(session, run, folder, paths=paths, is_project=is_project)

    return drive(work())


def test_runs_are_compared_in_all_that_tells_why_results_differ(home: Path) -> None:
    one = with_files(home, ended(flags={"lr": 0.1}), {"a.py": b"a\n"}, output=b"loss: 1\n")
    other = with_files(home, ended(flags={"lr": 0.5}), {"a.py": b"b\n"}, output=b"loss: 2\n")

    found = compared(home, one, other)

    assert (found.before, found.after) == (one.id, other.id)
    assert [name for name in EVERYTHING if getattr(found, name) is UNSET] == []
    assert found.attributes is UNSET and found.files is UNSET
    assert found.flags == (Change(name="lr", before=0.1, after=0.5),)
    assert found.scalars == (Change(name="loss", before=[1.0, 0], after=[2.0, 0]),)
    assert found.source == (
        FileChange(
            path="a.py",
            change="changed",
            diff=f"--- {one.short_id}/a.py\n+++ {other.short_id}/a.py\n@@ -1 +1 @@\n-a\n+b\n",
        ),
    )
    assert found.output and found.output[0].diff.endswith("\n-loss: 1\n+loss: 2\n")


def test_only_sections_that_are_asked_for_are_compared(home: Path) -> None:
    one, other = (with_files(home, ended(tags=tags), {}) for tags in (("a",), ("b",)))

    found = compared(home, one, other, "attributes")

    assert found.flags is UNSET and found.source is UNSET
    assert found.attributes == (Change(name="tags", before=["a"], after=["b"]),)


def test_environments_are_compared_by_what_they_are_of(home: Path) -> None:
    def recorded(version: str, packages: dict[str, str], variables: dict[str, str]) -> Run:
        run = with_files(home, ended(), {})
        python = PythonRecord(executable="/usr/bin/python3", version=version, packages=packages)
        record = EnvironmentRecord(
            captured=1,
            platform={"system": "Linux"},
            python=python,
            variables={**variables, "RUN_ID": run.id, "RUN_DIR": f"/r/{run.id}"},
        )
        write_environment(attempt_directory(home / "runs" / run.id, 1), record)
        return run

    one = recorded("3.11.1", {"numpy": "1", "old": "1"}, {"LANG": "C"})
    other = recorded("3.12.0", {"numpy": "2", "new": "1"}, {"LANG": "de"})

    assert compared(home, one, other, "environment").environment == {
        "python": (Change(name="version", before="3.11.1", after="3.12.0"),),
        "packages": (
            Change(name="new", after="1"),
            Change(name="numpy", before="1", after="2"),
            Change(name="old", before="1"),
        ),
        "variables": (Change(name="LANG", before="C", after="de"),),
    }
    assert compared(home, one, one).is_empty


def test_an_environment_that_nobody_recorded_is_no_difference_but_told(home: Path) -> None:
    one, other = (with_files(home, ended(), {}) for _ in range(2))

    found = compared(home, one, other)

    assert found.is_empty
    assert found.notes == tuple(
        f"run {run.short_id} has no record of its environment" for run in (one, other)
    )


def test_dependencies_are_compared_by_their_names(home: Path) -> None:
    one, other = (
        with_files(
            home,
            ended(resolved=(ResolvedSource(source="file:d", paths=("d",), origin="/d", digest=digest),)),
            {},
        )
        for digest in ("aa", "bb")
    )

    (change,) = list(compared(home, one, other, "dependencies").dependencies or ())
    assert (change.name, change.before, change.after) == (
        "file:d",
        {"paths": ["d"], "uri": "/d", "digest": "aa"},
        {"paths": ["d"], "uri": "/d", "digest": "bb"},
    )


def test_files_come_and_go_and_are_no_texts_or_too_big(home: Path) -> None:
    shared = {"same.py": b"same"}
    one = with_files(
        home,
        ended(),
        {**shared, "gone.py": b"x\n", "b.bin": b"\0a", "big.txt": b"a" * MOST_SHOWN, "empty.py": b""},
    )
    big = b"a" * MOST_SHOWN + b"b"
    other = with_files(home, ended(), {**shared, "new.py": b"y\n", "b.bin": b"\0bc", "big.txt": big})

    found = {change.path: change for change in compared(home, one, other, "source").source or ()}

    assert list(found) == ["b.bin", "big.txt", "empty.py", "gone.py", "new.py"]
    assert (found["b.bin"].binary, found["b.bin"].note) == (True, "binary, 2 and 3 bytes")
    assert found["big.txt"].note.startswith("too big to be compared line by line: ")
    assert (found["empty.py"].change, found["empty.py"].note) == ("removed", "empty")
    assert found["gone.py"].diff == f"--- {one.short_id}/gone.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
    assert found["new.py"].diff == f"--- /dev/null\n+++ {other.short_id}/new.py\n@@ -0,0 +1 @@\n+y\n"


def test_what_a_run_has_changed_or_removed_of_its_source_is_told(home: Path) -> None:
    one = with_files(home, ended(), {"a.py": b"a\n", "b.py": b"b\n"})
    other = with_files(home, ended(), {"a.py": b"c\n", "b.py": b"d\n"})
    (home / "runs" / other.id / "a.py").write_text("written by the run\n")
    (home / "runs" / other.id / "b.py").unlink()

    first, second = list(compared(home, one, other, "source").source or ())

    assert first.note == f"{other.short_id} has changed it since it was copied"
    assert "+written by the run\n" in first.diff
    assert (second.diff, second.note) == ("", "b.py does not exist")


def test_a_run_without_a_copy_of_its_source_is_told_not_compared(home: Path) -> None:
    one, other = with_files(home, ended(), {"a.py": b"a"}), with_files(home, ended(), {})

    found = compared(home, one, other, "source")

    assert found.is_empty and found.notes == (f"run {other.short_id} has no copy of its source",)
    with pytest.raises(UserError, match="has no copy of its source"):
        from_folder(home, other, home)


def test_any_files_can_be_compared(home: Path) -> None:
    one, other = (with_files(home, ended(), {}) for _ in range(2))
    for run, content in ((one, "1\n"), (other, "2\n")):
        folder = home / "runs" / run.id / "out"
        folder.mkdir()
        (folder / "same").write_text("same")
        (folder / "differs").write_text(content)
    (home / "runs" / one.id / "out" / "only").write_text("x")

    def names(*paths: str) -> list[tuple[str, str]]:
        return [(file.path, file.change) for file in compared(home, one, other, paths=paths).files or ()]

    assert names("out") == names(".") == [("out/differs", "changed"), ("out/only", "removed")]
    assert names("out/only") == [("out/only", "removed")]
    assert names(".orchestra/run.json") == [(".orchestra/run.json", "changed")]
    (home / "runs" / one.id / "step").symlink_to(home / "runs" / other.id)
    assert names("step") == [("step/out/differs", "removed"), ("step/out/same", "removed")]
    for path in ("../x", "/etc/passwd"):
        with pytest.raises(UserError, match="outside of the run's directory"):
            names(path)
    with pytest.raises(UserError, match="nope does not exist"):
        names("out", "nope")


def test_links_lead_no_further_than_the_run(home: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    one, other = with_files(home, ended(), {"a": b"x"}), with_files(home, ended(), {"a": b"y"})
    for run in (one, other):
        (home / "runs" / run.id / "a").unlink()
        (home / "runs" / run.id / "a").symlink_to(tmp_path / "secret")

    (change,) = list(compared(home, one, other, "source").source or ())

    assert "secret" not in change.diff and "outside of the run's directory" in change.note


@pytest.mark.parametrize("path", ["../../up", "/etc/passwd", "d/../a", "./a", ""])
def test_paths_of_a_foreign_manifest_that_lead_elsewhere_are_no_source(home: Path, path: str) -> None:
    run = with_files(home, ended(), {"a": b"x"})
    entry = ManifestEntry(kind="s", path=path, digest="", origin="/x")
    if path:
        write_manifest(home / "runs" / run.id, render([entry]))

    async def work() -> list[str]:
        async with opened(home) as session:
            return list(source_of_run(session, run).digests)

    assert drive(work()) == ([] if path else ["a"])


def test_a_project_is_compared_by_the_rules_of_the_operation(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    for name, content in (("a.py", "new\n"), ("b.py", "b\n"), ("c.txt", "no source"), ("main", "m\n")):
        (project / "src" / name).write_text(content)
    rules = (SourceRule(include=False, patterns=("*",)), SourceRule(include=True, patterns=("*.py",)))
    operation = an_operation(source=str(project), sourcecode=SourceCode(rules=rules, root="src", dest="code"))
    run = with_files(
        home, ended(operation=operation), {"code/a.py": b"old\n", "code/main": b"m\n", "code/z.py": b"z\n"}
    )

    found = from_folder(home, run, project, is_project=True)

    changes = [(file.path, file.change) for file in found.source or ()]
    assert changes == [("code/a.py", "changed"), ("code/b.py", "added"), ("code/z.py", "removed")]
    assert found.after == str(project)
    assert from_folder(home, run, project / "src").source == found.source


def test_a_file_is_compared_with_that_of_a_folder(home: Path, tmp_path: Path) -> None:
    run = with_files(home, ended(), {})
    (home / "runs" / run.id / "out.txt").write_text("1\n")
    (tmp_path / "out.txt").write_text("2\n")

    (change,) = list(from_folder(home, run, tmp_path, "out.txt").files or ())

    assert change.diff.endswith("-1\n+2\n")
    with pytest.raises(UserError, match="is not a directory"):
        from_folder(home, run, tmp_path / "nope")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_programs_compare_runs_and_projects(home: Path, tmp_path: Path, anyio_backend: str) -> None:
    script = tmp_path / "job.py"
    script.write_text("n = 1\nprint(n)\n")
    async with Orchestra(home, cwd=tmp_path) as orch:
        one = await orch.run("job.py")
        other = await orch.run("job.py", {"n": 2})
        assert one is not None and other is not None

        assert (await orch.diff(one.id, other.id)).flags == (Change(name="n", before=1, after=2),)
        assert (await orch.diff(one.id)).is_empty
        script.write_text("n = 1\nprint(n + 1)\n")
        (change,) = list((await orch.diff(one.id)).source or ())
        assert "+print(n + 1)\n" in change.diff
        for wrong in ({"after": other.id, "folder": tmp_path}, {"sections": ["flags"]}):
            with pytest.raises(UserError):
                await orch.diff(one.id, **wrong)  # pyright: ignore
