"""What a run needs is in its directory when it starts, or the run says why not."""

from __future__ import annotations

import io
import json
import os
import tarfile
from contextlib import nullcontext
from pathlib import Path

import anyio
import jsonschema
import pytest
from msgspec import structs

from orchestra import logs
from orchestra.builtin.resolver_file import FileResolver
from orchestra.builtin.resolver_file import Options as FileOptions
from orchestra.builtin.resolver_operation import OperationResolver
from orchestra.builtin.resolver_operation import Options as OperationOptions
from orchestra.contracts import Resolved
from orchestra.engine.begin import begin, prepare
from orchestra.engine.control import Control, Wish
from orchestra.engine.request import RunRequest
from orchestra.errors import ResolveError
from orchestra.model.dependencies import requirement_of, source_name
from orchestra.model.flags import Text
from orchestra.model.operation import Requirement, SourceDef
from orchestra.model.run import Run
from orchestra.project.find import find_operation
from orchestra.testing.builders import an_operation
from orchestra.workspace.manifest import SOURCE, ManifestEntry, render, write_manifest
from tests.engine.workbench import Bench

pytestmark = pytest.mark.anyio


class Slow:
    async def resolve(self, source, into, runs):
        await anyio.sleep_forever()


class Nothing:
    async def resolve(self, source, into, runs):
        return Resolved(paths=())


class Odd:
    async def resolve(self, source, into, runs):
        (into / "odd").write_text("")
        return Resolved(paths=("odd",), warnings=("it is old", "it is big"))


@pytest.fixture
def project(tmp_path: Path, bench: Bench, monkeypatch) -> Path:
    open_plugin = bench._open_plugin
    resolvers = {
        "file": FileResolver(FileOptions()),
        "operation": OperationResolver(OperationOptions()),
        "nothing": Nothing(),
        "odd": Odd(),
        "slow": Slow(),
    }

    def opened(kind, name, *args, **options):
        if kind == "resolver":
            return nullcontext(resolvers[name])
        return open_plugin(kind, name, *args, **options)

    bench.session._open_plugin = opened
    project = tmp_path / "project"
    (project / "data" / "deep").mkdir(parents=True)
    (project / "data" / "a.csv").write_text("a")
    (project / "data" / "deep" / "b-10.csv").write_text("b10")
    (project / "data" / "deep" / "b-9.csv").write_text("b9")
    (project / "train.py").write_text("")
    with tarfile.open(project / "data.tar.gz", "w:gz") as archive:
        for name in ("one/x.txt", "one/y.txt"):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(name[-5:-4].encode()))
    return project


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".orchestra" not in path.parts
    }


async def needing(bench: Bench, project: Path, *sources: SourceDef, name: str | None = None, **fields) -> Run:
    """A staged run of an operation that needs these sources."""
    named = tuple(Requirement(name=name or source_name(source), sources=(source,)) for source in sources)
    operation = an_operation(source=str(project), requires=named)
    return await bench.make(**{"operation": operation, **fields})


async def placed(bench: Bench, project: Path, **source) -> dict[str, str]:
    run = await needing(bench, project, SourceDef(**{"scheme": "file", **source}))
    ended = await bench.execute(run)
    assert ended.state == "completed", ended.reason
    return files(bench.session.directory(run))


ALL = {"data/a.csv": "a", "data/deep/b-9.csv": "b9", "data/deep/b-10.csv": "b10"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"value": "data/a.csv"}, {"a.csv": "a"}),
        ({"value": "data"}, ALL),
        ({"value": "data", "select": ("a.csv",)}, {"a.csv": "a"}),
        ({"value": "data", "select": (r".*b-\d+\.csv",)}, {"b-9.csv": "b9", "b-10.csv": "b10"}),
        ({"value": "data", "select": ("csv",), "warn_if_empty": False}, {}),
        ({"value": "data", "select": ("deep",)}, {"deep/b-9.csv": "b9", "deep/b-10.csv": "b10"}),
        ({"value": "data", "select_max": r"deep/b-(\d+)\.csv"}, {"b-10.csv": "b10"}),
        ({"value": "data", "select_min": r"deep/b-(\d+)\.csv"}, {"b-9.csv": "b9"}),
        ({"value": "data/a.csv", "rename": (("a", "z"), ("csv", "txt"))}, {"z.txt": "a"}),
        ({"value": "data/a.csv", "target_path": "in/here"}, {"in/here/a.csv": "a"}),
        ({"value": "data/a.csv", "preserve_path": True}, {"data/a.csv": "a"}),
        (
            {"value": "data", "preserve_path": True, "select_min": r"deep/b-(\d+)\.csv"},
            {"data/deep/b-9.csv": "b9"},
        ),
        ({"value": "data/a.csv", "target_type": "link"}, {"a.csv": "a"}),
        ({"value": "data.tar.gz"}, {"one/x.txt": "x", "one/y.txt": "y"}),
        ({"value": "data.tar.gz", "select": (".*/y.txt",)}, {"y.txt": "y"}),
        ({"value": "data.tar.gz", "select": (".*/y.txt",), "preserve_path": True}, {"one/y.txt": "y"}),
        (
            {"value": "data.tar.gz", "post_process": "cat one/* > all"},
            {"one/x.txt": "x", "one/y.txt": "y", "all": "xy"},
        ),
        ({"value": "data", "post_process": "rm -r data/deep"}, {"data/a.csv": "a"}),
        ({"value": "${name}.csv", "target_path": "in-${name}"}, {"in-data/a/a.csv": "a"}),
    ],
)
async def test_each_option_places_what_it_says(bench, project, source, expected):
    if "${name}" in source["value"]:
        definition = SourceDef(scheme="file", **source)
        run = await needing(bench, project, definition, flags={"name": "data/a"})
        assert (await bench.execute(run)).state == "completed"
        assert files(bench.session.directory(run)) == expected
        return

    assert await placed(bench, project, **source) == expected
    assert sorted(os.listdir(project)) == ["data", "data.tar.gz", "train.py"]
    assert (project / "data/deep/b-9.csv").exists()


async def test_an_archive_may_be_kept_as_it_is(bench, project):
    run = await needing(bench, project, SourceDef(scheme="file", value="data.tar.gz", unpack=False))
    await bench.execute(run)

    assert sorted(os.listdir(bench.session.directory(run))) == [".orchestra", "data.tar.gz"]


async def test_the_record_says_what_came_from_where(bench, project):
    run = await needing(
        bench, project, SourceDef(scheme="file", value="data/a.csv", target_path="in"), name="data"
    )
    ended = await bench.execute(run)

    (entry,) = ended.resolved
    assert (entry.resource, entry.source, entry.paths) == ("data", "file:data/a.csv", ("in/a.csv",))
    assert entry.origin == str(project / "data/a.csv")
    assert entry.digest == "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert "Resolving data" in bench.lines


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"value": "nope"}, "cannot find source file 'nope'"),
        (
            {"value": "data/a.csv", "sha256": "00"},
            "'data/a.csv' has an unexpected sha256 (expected 00 but got ca97",
        ),
        ({"value": "data", "sha256": "00"}, "bad sha256 for 'data': it is not a file"),
        ({"value": "data", "select": ("x",), "fail_if_empty": True}, "nothing resolved for"),
        ({"value": "data", "select": ("(",)}, "'(' is no regular expression"),
        ({"value": "data", "select_min": "a"}, "has no group"),
        ({"value": "${x}"}, "undefined reference 'x'"),
        ({"value": "data/a.csv", "target_path": "../out"}, "is not a path in the run's directory"),
        ({"value": "data/a.csv", "target_path": "/out"}, "is not a path in the run's directory"),
        ({"value": "data/a.csv", "target_path": ".orchestra"}, "is where the run's records are"),
        ({"value": "data/a.csv", "rename": (("a.csv", "../../x"),)}, "is not a path in the run's directory"),
        ({"value": "data/a.csv", "rename": (("a.csv", ""),)}, "has no name"),
        ({"value": "data/a.csv", "archive_type": "rar"}, "'rar' is no type of archive"),
        ({"value": "data.tar.gz", "post_process": "exit 3"}, "failed with exit code 3"),
    ],
)
async def test_what_can_not_be_had_ends_the_run_with_the_reason(bench, project, source, reason):
    run = await needing(
        bench, project, SourceDef(scheme="file", name="it", help="Ask Ada.", **source), name="res"
    )
    ended = await bench.execute(run)

    assert (ended.state, ended.exit_code) == ("error", 1)
    start = "run failed because a dependency was not met: could not resolve 'it' in res resource: "
    assert ended.reason is not None
    assert ended.reason.startswith(start)
    assert reason in ended.reason
    assert ended.reason.endswith("\nAsk Ada.")
    assert files(bench.session.directory(run)) == {}
    assert not (bench.session.layout.control(bench.session.directory(run)) / "resolving").exists()


async def test_with_force_deps_it_is_but_a_warning(bench, project):
    run = await needing(bench, project, SourceDef(scheme="file", value="nope"), force_deps=True)

    assert (await bench.execute(run)).state == "completed"
    assert any(
        line.startswith("WARNING: a dependency was not met: could not resolve") for line in bench.lines
    )


async def test_what_is_optional_is_skipped(bench, project):
    run = await needing(bench, project, SourceDef(scheme="file", value="nope", optional=True))

    assert (await bench.execute(run)).state == "completed"
    assert "Could not resolve file:nope - skipping because dependency is optional" in bench.lines


async def test_nothing_resolved_is_a_warning(bench, project):
    run = await needing(bench, project, SourceDef(scheme="nothing", value="x"), name="res")

    assert (await bench.execute(run)).state == "completed"
    assert "WARNING: nothing resolved for res" in bench.lines


async def test_what_a_resolver_warns_of_is_logged_with_the_source_that_it_is_of(bench, project):
    events = []
    bench.session.sinks.append(events.append)
    run = await needing(bench, project, SourceDef(scheme="odd", value="x"), name="res")

    assert (await bench.execute(run)).state == "completed"
    assert [line for line in bench.lines if "WARNING" in line] == ["WARNING: it is old", "WARNING: it is big"]
    warnings = [event for event in events if event.name == "dependency.warning"]
    assert [event.message for event in warnings] == ["it is old", "it is big"]
    for event in warnings:
        assert (event.level, event.run, event.data) == (
            "warning",
            run.id,
            {"resource": "res", "source": "odd:x"},
        )
        jsonschema.validate(json.loads(logs.render(event)), logs.events_schema())


async def test_what_is_there_is_left_unless_it_may_be_replaced(bench, project):
    run = await needing(bench, project, SourceDef(scheme="file", value="data/a.csv"))
    (bench.session.directory(run) / "a.csv").write_text("own")
    await bench.execute(run)
    other = await needing(bench, project, SourceDef(scheme="file", value="data/a.csv", replace_existing=True))
    (bench.session.directory(other) / "a.csv").write_text("own")
    await bench.execute(other)

    assert files(bench.session.directory(run)) == {"a.csv": "own"}
    assert "WARNING: a.csv already exists, skipping copy" in bench.lines
    assert files(bench.session.directory(other)) == {"a.csv": "a"}


async def test_what_the_snapshot_has_taken_a_part_of_comes_whole(bench, project):
    run = await needing(bench, project, SourceDef(scheme="file", value="data"))
    (bench.session.directory(run) / "data").mkdir()
    (bench.session.directory(run) / "data" / "a.csv").write_text("a")
    await bench.execute(run)

    assert files(bench.session.directory(run)) == ALL
    assert not any("already exists" in line for line in bench.lines)


async def test_a_link_in_the_run_leads_nothing_out_of_it(bench, project, tmp_path):
    run = await needing(bench, project, SourceDef(scheme="file", value="data/a.csv", target_path="out"))
    (tmp_path / "trap").mkdir()
    (bench.session.directory(run) / "out").symlink_to(tmp_path / "trap")

    ended = await bench.execute(run)

    assert ended.state == "error"
    assert list((tmp_path / "trap").iterdir()) == []


@pytest.mark.parametrize("always", [False, True])
async def test_a_restart_resolves_again_only_what_it_is_told_to(bench, project, always):
    run = await needing(bench, project, SourceDef(scheme="file", value="data/a.csv", always_resolve=always))
    ended = await bench.execute(run)
    (project / "data" / "a.csv").write_text("new")
    await bench.execute(ended)

    said = "Skipping resolution of file:data/a.csv because it's already resolved"
    assert files(bench.session.directory(run)) == {"a.csv": "new" if always else "a"}
    assert (said in bench.lines) is not always


async def upstream(bench: Bench, text: str, **fields) -> Run:
    run = await bench.make(operation=an_operation(name="up"), **fields)
    ended = await bench.execute(run)
    directory = bench.session.directory(run)
    (directory / "model.bin").write_text(text)
    (directory / "steps").mkdir()
    (directory / "steps" / "1.bin").write_text(text)
    return ended


UP = SourceDef(scheme="operation", value="up")


async def test_files_of_the_newest_completed_run_are_linked(bench, project):
    await upstream(bench, "old")
    new = await upstream(bench, "new")
    ended = await bench.execute(await needing(bench, project, UP))

    directory = bench.session.directory(ended)
    assert files(directory)["model.bin"] == "new"
    assert os.readlink(directory / "model.bin") == f"../{new.id}/model.bin"
    assert f"Using run {new.short_id} for operation:up" in bench.lines
    assert ended.flags["operation:up"] == new.id
    assert ended.label is not None
    assert new.short_id in ended.label


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_run_of_another_project_is_told_as_that(bench, project, tmp_path, is_ours):
    (tmp_path / "link").symlink_to(project)
    theirs = tmp_path / "link" if is_ours else tmp_path / "other"
    made = await bench.make(operation=an_operation(name="up", project_file=str(theirs / "orchestra.yml")))
    await bench.execute(made)

    await bench.execute(await needing(bench, project, UP))

    told = f"Run {made.short_id} is of another project: '{theirs}'"
    assert f"Using run {made.short_id} for operation:up" in bench.lines
    assert (told in bench.lines) is not is_ours


async def test_of_a_run_files_can_be_selected_and_copied(bench, project):
    await upstream(bench, "new")
    source = structs.replace(UP, select=("steps/.*",), target_type="copy", rename=((r"1\.bin", "one"),))
    ended = await bench.execute(await needing(bench, project, source))

    assert files(bench.session.directory(ended)) == {"one": "new"}
    assert not (bench.session.directory(ended) / "one").is_symlink()


async def test_a_flag_chooses_the_run(bench, project):
    old = await upstream(bench, "old")
    await upstream(bench, "new")
    ended = await bench.execute(await needing(bench, project, UP, flags={"operation:up": old.id[:10]}))

    assert files(bench.session.directory(ended))["model.bin"] == "old"
    assert ended.flags["operation:up"] == old.id


async def test_another_run_asked_for_at_a_restart_is_used(bench, project):
    old = await upstream(bench, "old")
    ended = await bench.execute(await needing(bench, project, UP))
    new = await upstream(bench, "new")
    wished = structs.replace(ended, flags={"operation:up": new.id})
    (kept,) = await bench.store.update((wished,))
    ended = await bench.execute(kept)

    assert ended.resolved[0].origin == new.id != old.id
    assert files(bench.session.directory(ended))["model.bin"] == "new"


async def test_without_a_suitable_run_it_fails(bench, project):
    ended = await bench.execute(await needing(bench, project, UP))

    assert ended.reason == (
        "run failed because a dependency was not met: "
        "could not resolve 'operation:up' in operation:up resource: no suitable run for up\n"
        "A completed run of this operation is needed, or the id of a run."
    )


async def begun(bench: Bench, project: Path, monkeypatch, *sources: SourceDef, **request):
    """What becomes of a request for an operation that needs these sources."""
    named = tuple(Requirement(name=source_name(source), sources=(source,)) for source in sources)

    def found(*args, **options):
        return structs.replace(find_operation(*args, **options), requires=named)

    monkeypatch.setattr("orchestra.engine.stage.find_operation", found)
    asked = RunRequest(operation="train.py", cwd=project, executor=bench.settings.executor, **request)
    prepared = await prepare(bench.session, asked)
    return await begin(bench.session, asked, prepared, console=bench.console)


async def test_staging_provides_files_at_once_and_what_runs_make_at_the_start(bench, project, monkeypatch):
    data = SourceDef(scheme="file", value="data/a.csv")
    staged = (await begun(bench, project, monkeypatch, data, UP, stage=True)).run
    (project / "data" / "a.csv").write_text("later")
    await upstream(bench, "late")

    assert staged.state == "staged"
    assert bench.lines[:4] == [
        "WARNING: cannot find a suitable run for required resource 'operation:up'",
        "Resolving file:data/a.csv",
        "Resolving operation:up",
        "Skipping resolution of operation:up because it's being staged",
    ]
    ended = await bench.execute(staged)
    found = files(bench.session.directory(ended))
    assert (found["a.csv"], found["model.bin"]) == ("a", "late")


async def test_what_is_missing_when_staged_is_an_error_and_the_run_says_it(bench, project, monkeypatch):
    with pytest.raises(ResolveError, match="run failed because a dependency was not met"):
        await begun(bench, project, monkeypatch, SourceDef(scheme="file", value="nope"), stage=True)

    assert await bench.states() == ["error"]


async def test_a_list_of_runs_makes_a_batch_over_full_ids(bench, project, monkeypatch):
    runs = [await upstream(bench, str(number)) for number in range(2)]
    flags = {"operation:up": [run.id[:12] for run in runs]}
    batch = (await begun(bench, project, monkeypatch, UP, flags=flags)).run
    await bench.execute(batch)

    trials = [run for run in bench.data.runs.values() if run.batch == batch.id]
    assert {trial.flags["operation:up"] for trial in trials} == {run.id for run in runs}
    assert {files(bench.session.directory(trial))["model.bin"] for trial in trials} == {"0", "1"}
    assert "INFO: [orchestra] Resolving operation:up" in bench.lines


async def test_the_operations_own_name_is_a_flag_for_its_run(bench, project, monkeypatch):
    old = await upstream(bench, "old")
    await upstream(bench, "new")
    run = (await begun(bench, project, monkeypatch, UP, flags={"up": Text(old.id[:12])})).run
    ended = await bench.execute(run)

    assert run.flags["operation:up"] == old.id
    assert files(bench.session.directory(ended))["model.bin"] == "old"


async def test_the_place_of_a_run_in_the_listing_chooses_it(bench, project, monkeypatch):
    old = await upstream(bench, "old")
    await upstream(bench, "new")
    run = (await begun(bench, project, monkeypatch, UP, flags={"up": Text("2")})).run

    assert run.flags["operation:up"] == old.id


async def test_a_run_of_another_operation_is_refused_before_anything_is_made(bench, project, monkeypatch):
    other = await bench.execute(await bench.make(operation=an_operation(name="other")))

    for asked in (
        {"flags": {"up": Text(other.id[:12])}},
        {"flags": {"operation:up": Text(other.id)}},
        {"flags": {"up": Text("1")}},
        {"sources": ("operation:up=1",)},
        {"sources": (f"operation:up={other.id}",)},
    ):
        sources = () if "sources" in asked else (UP,)
        with pytest.raises(ResolveError, match=f"^run {other.short_id} is of other, not of up$"):
            await begun(bench, project, monkeypatch, *sources, **asked)
    assert await bench.states() == ["completed"]


async def test_a_dependency_that_is_added_names_its_run(bench, project, monkeypatch):
    old = await upstream(bench, "old")
    await upstream(bench, "new")
    for spec in ("2", old.id[:12]):
        run = (await begun(bench, project, monkeypatch, sources=(f"operation:up={spec}",))).run
        ended = await bench.execute(run)

        assert run.sources == (f"operation:up={old.id}",)
        assert files(bench.session.directory(ended))["model.bin"] == "old"
        await bench.session.store.delete([ended.id])


async def test_a_restart_chooses_another_run_by_its_place(bench, project, monkeypatch):
    old = await upstream(bench, "old")
    await upstream(bench, "new")
    ended = await bench.execute((await begun(bench, project, monkeypatch, UP)).run)
    again = RunRequest(cwd=project, restart=ended.id, flags={"up": Text("3")})
    prepared = await prepare(bench.session, again)
    ended = await bench.execute((await begin(bench.session, again, prepared, console=bench.console)).run)

    assert ended.flags["operation:up"] == old.id
    assert files(bench.session.directory(ended))["model.bin"] == "old"


async def test_of_a_pipeline_only_its_own_runs_are_used(bench, project):
    mine = await upstream(bench, "mine", parent="p")
    await upstream(bench, "other")
    isolated = await bench.execute(await needing(bench, project, UP, parent="p"))
    stranger = await bench.execute(await needing(bench, project, UP, parent="q"))
    free = await bench.execute(await needing(bench, project, UP, parent="p", isolate_runs=False))

    assert isolated.resolved[0].origin == mine.id
    assert stranger.state == "error"
    assert files(bench.session.directory(free))["model.bin"] == "other"


async def test_of_a_run_neither_its_source_is_used_nor_what_it_had_from_others(bench, project):
    up = await upstream(bench, "made")
    directory = bench.session.directory(up)
    for name in ("helper.py", "lib/a.py", "mixed/a.py", "mixed/made.bin", "__pycache__/helper.pyc"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(name)
    source = [
        ManifestEntry(kind=SOURCE, path=path, digest="", origin=f"/{path}")
        for path in ("helper.py", "lib/a.py", "mixed/a.py")
    ]
    write_manifest(directory, render(source))
    ended = await bench.execute(await needing(bench, project, UP))

    assert set(ended.resolved[0].paths) == {"mixed", "model.bin", "steps"}


async def test_a_run_that_is_stopped_while_files_are_provided_is_terminated(bench, project):
    run = await needing(bench, project, SourceDef(scheme="slow", value="x"))
    control = Control()
    async with anyio.create_task_group() as group:

        async def stop() -> None:
            await bench.until(lambda: "Resolving slow:x" in bench.lines)
            control.raise_to(Wish.INTERRUPT)

        group.start_soon(stop)
        ended = await bench.execute(run, control)

    assert (ended.state, ended.exit_code) == ("terminated", -2)
    assert ended.reason == "stopped while what it needs was being provided"
    assert bench.started == []


def test_a_dependency_of_the_command_line_is_taken_as_it_is():
    (source,) = requirement_of("data.tar.gz").sources

    assert (source.scheme, source.value, source.unpack) == ("file", "data.tar.gz", False)


async def test_two_sources_of_one_path_are_both_named(bench, project):
    for name in ("x", "y"):
        (project / name).write_text(name)
    sources = [SourceDef(scheme="file", value=name, rename=((name, "data"),)) for name in ("x", "y")]
    run = await needing(bench, project, *sources)
    ended = await bench.execute(run)

    assert ended.state == "completed", ended.reason
    assert files(bench.session.directory(run)) == {"data": "x"}
    assert "WARNING: data already exists, skipping copy (it is of file:x)" in bench.lines
    assert any("file:y" in line for line in bench.lines if line.startswith("WARNING: "))
