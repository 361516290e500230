"""``export --ro-crate``: a folder that tells by itself what was executed and what came of it."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from orchestra.engine import ro_crate, steady
from orchestra.model import crate as model_crate
from orchestra.model.run import Comment, ResolvedSource
from orchestra.testing.builders import a_run, a_worker
from orchestra.workspace.fence import hold
from orchestra.workspace.layout import attempt_directory
from tests.cli.conftest import Call
from tests.guild_homes import STARTED
from tests.saved_runs import ended, saved

SCRIPT = """\
# Trains.
lr = 0.1
layers = 2
api_token = ""
open("model.txt", "w").write("m")
print("loss: 0.25")
if layers > 9: raise SystemExit(3)
"""


def export(call: Call, *more: str) -> tuple[Path, dict[str, Any]]:
    """The crate's folder, and its entities by their ids."""
    called = call("export", "crate", *more, "--ro-crate", "-y")
    assert called.code == 0, called.error
    crate = Path("crate").absolute()
    graph = json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]
    assert len({entity["@id"] for entity in graph}) == len(graph)
    return crate, {entity["@id"]: entity for entity in graph}


def of_type(entities: dict[str, Any], kind: str) -> list[Any]:
    return [
        one
        for one in entities.values()
        if kind in ([one["@type"]] if isinstance(one["@type"], str) else one["@type"])
    ]


def ids(value: Any) -> list[str]:
    return [one["@id"] for one in (value if isinstance(value, list) else [value])]


@pytest.fixture
def trained(call: Call, tmp_path: Path) -> str:
    (tmp_path / "train.py").write_text(SCRIPT)
    assert call("run", "train.py", "lr=0.5", "--run-id", "aaa", "-y").code == 0
    return "aaa"


def test_a_run_is_an_action_of_its_script_with_its_flags_files_and_scalars(call: Call, trained: str) -> None:
    crate, entities = export(call)
    action = entities["#run-aaa"]
    script = entities[action["instrument"]["@id"]]
    assert script["@id"] == entities["./"]["mainEntity"]["@id"] == "runs/aaa/train.py"
    assert script["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    assert entities[script["programmingLanguage"]["@id"]]["name"] == "Python"
    flags = {entities[one]["name"]: entities[one]["value"] for one in ids(action["object"])}
    assert flags == {"lr": 0.5, "layers": 2, "api_token": ""}
    results = {entities[one]["name"]: entities[one] for one in ids(action["result"])}
    assert results["loss"]["value"] == 0.25
    assert (crate / results["model.txt"]["@id"]).read_text() == "m"
    assert (crate / "output/aaa.txt").read_text() == "loss: 0.25\n"
    assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert action["startTime"] <= action["endTime"] <= entities["./"]["datePublished"]


def test_every_reference_leads_to_an_entity_and_every_file_is_there_as_described(
    call: Call, trained: str
) -> None:
    crate, entities = export(call)

    def follow(value: Any) -> None:
        if isinstance(value, list):
            for one in value:
                follow(one)
        elif isinstance(value, dict):
            known = value["@id"] in entities or value["@id"].startswith(
                ("https://w3id.org/ro/", "https://bioschemas.org/")
            )
            assert known, value

    for entity in entities.values():
        for key, value in entity.items():
            if key not in ("@id", "@type"):
                follow(value)
    files = {one["@id"]: one for one in of_type(entities, "File")}
    assert set(files) == set(ids(entities["./"]["hasPart"]))
    assert {str(path.relative_to(crate)) for path in crate.rglob("*") if path.is_file()} == {
        *files,
        "ro-crate-metadata.json",
    }
    for name, file in files.items():
        data = (crate / name).read_bytes()
        assert (file["contentSize"], file["sha256"]) == (str(len(data)), hashlib.sha256(data).hexdigest())


def test_a_failed_run_says_how_it_failed(call: Call, trained: str) -> None:
    assert call("run", "train.py", "layers=10", "--run-id", "bbb", "-y").code == 3
    _, entities = export(call, "bbb")
    assert entities["#run-bbb"]["actionStatus"].endswith("FailedActionStatus")
    assert entities["#run-bbb"]["error"] == "exit status 3"
    assert "#run-aaa" not in entities


def test_a_batch_brings_its_trials_as_steps_that_orchestra_has_controlled(call: Call, trained: str) -> None:
    assert call("run", "train.py", "lr=[0.1,0.2]", "--run-id", "bbb", "-y").code == 0
    crate, entities = export(call, "bbb")
    workflow = entities[entities["./"]["mainEntity"]["@id"]]
    assert workflow["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
    assert json.loads((crate / workflow["@id"]).read_text())["space"]["lr"]["values"] == [0.1, 0.2]
    (organized,) = of_type(entities, "OrganizeAction")
    assert organized["result"]["@id"] == "#run-bbb"
    controls = [entities[one] for one in ids(organized["object"])]
    assert len(controls) == 2
    for control in controls:
        trial, step = entities[control["object"]["@id"]], entities[control["instrument"]["@id"]]
        assert trial["@type"] == "CreateAction"
        assert step["@id"] in ids(workflow["step"])
        assert trial["instrument"] == step["workExample"]
        assert trial["instrument"]["@id"] in ids(workflow["hasPart"])
    profiles = {one.split("/")[5] for one in ids(entities["./"]["conformsTo"]) if "wfrun" in one}
    assert profiles == {"process", "workflow", "provenance"}


def test_a_run_without_a_script_of_its_own_is_a_process(call: Call, home: Path) -> None:
    saved(home, ended(id="aaa"))
    _, entities = export(call)
    tool = entities[entities["#run-aaa"]["instrument"]["@id"]]
    assert tool["@type"] == "SoftwareApplication"
    assert "mainEntity" not in entities["./"]
    assert ids(entities["./"]["conformsTo"]) == ["https://w3id.org/ro/wfrun/process/0.5"]


def test_no_secret_no_variable_and_no_host_is_in_a_crate(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "ghp_" + "a1B2" * 9
    run = ended(
        id="aaa",
        flags={"api_token": "very-hidden", "url": f"https://u:{token}@example.org/x"},
        environment={"PASSWORD": "also-hidden"},
        host="my-host",
        user="ann",
        reason=f"could not get https://u:{token}@example.org/x",
        state="error",
        comments=(Comment(body=f"use {token}", user="ann", host="my-host", time=STARTED),),
        resolved=(
            ResolvedSource(source="file:x", paths=("x",), origin="/home/ann/x"),
            ResolvedSource(source="url:y", origin="https://example.org/y"),
            ResolvedSource(source="url:z", origin=f"https://u:{token}@example.org/z"),
        ),
    )
    saved(home, run)
    (home / "runs/aaa/.env").write_text("kept: a file of the run")
    (home / "runs/aaa/link").symlink_to("/etc/passwd")
    monkeypatch.setenv("MY_TOKEN", "from-here")
    crate, entities = export(call)
    everything = b"".join(path.read_bytes() for path in crate.rglob("*") if path.is_file()).decode()
    for hidden in (token, "very-hidden", "also-hidden", "my-host", "from-here", "/home/ann", str(home)):
        assert hidden not in everything
    assert "https://example.org/y" in entities
    assert entities[entities["#run-aaa"]["agent"]["@id"]]["name"] == "ann"
    assert not any(path.is_symlink() for path in crate.rglob("*"))


def test_a_crate_may_be_a_zip_file_and_no_other(call: Call, trained: str, tmp_path: Path) -> None:
    crate, _ = export(call)
    assert call("export", "crate.zip", "--ro-crate", "-y").code == 0
    with ZipFile("crate.zip") as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        assert names == {str(path.relative_to(crate)) for path in crate.rglob("*") if path.is_file()}
        assert archive.read("runs/aaa/train.py").decode() == SCRIPT
    assert call("export", "crate.tar.gz", "--ro-crate", "-y").code == 1
    assert call("export", "crate.zip", "--ro-crate", "-y").code == 1
    assert {path.name for path in tmp_path.iterdir() if "crate" in path.name} == {"crate", "crate.zip"}


@pytest.mark.parametrize("words", [("--ro-crate", "--move"), ("--license", "MIT")])
def test_options_that_mean_nothing_together_are_refused(call: Call, words: tuple[str, ...]) -> None:
    assert call("export", "crate", *words, "-y").code == 2


def test_a_damaged_run_is_exported_as_far_as_it_can_be(call: Call, trained: str, home: Path) -> None:
    (home / "runs/aaa/.orchestra/manifest").write_text("what is this line here\n")
    called = call("export", "crate", "--ro-crate", "-y")
    assert (called.code, "WARNING: run aaa: which files are its source is not known" in called.error) == (
        0,
        True,
    )


def test_a_license_is_what_is_given(call: Call, trained: str) -> None:
    _, entities = export(call, "--license", "https://spdx.org/licenses/MIT")
    assert entities["./"]["license"] == {"@id": "https://spdx.org/licenses/MIT"}
    assert entities["https://spdx.org/licenses/MIT"]["@type"] == "CreativeWork"


def test_a_place_that_is_taken_is_left_as_it_is(call: Call, trained: str, tmp_path: Path) -> None:
    (tmp_path / "crate").mkdir()
    (tmp_path / "crate" / "mine").touch()
    called = call("export", "crate", "--ro-crate", "-y")
    assert (called.code, "something is there already" in called.error) == (1, True)
    missing = call("export", "no/such/crate", "--ro-crate", "-y")
    assert (missing.code, "is not a directory" in missing.error) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir() if "crate" in path.name) == ["crate"]


def test_a_file_that_appears_while_a_crate_is_made_is_left_as_it_is(
    call: Call, trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crate_metadata(*given: Any) -> Any:
        (tmp_path / "crate.zip").write_text("mine")
        return model_crate.crate_metadata(*given)

    monkeypatch.setattr(ro_crate, "crate_metadata", crate_metadata)
    called = call("export", "crate.zip", "--ro-crate", "-y")
    assert (called.code, "was made by somebody else meanwhile" in called.error) == (1, True)
    assert [path.name for path in tmp_path.iterdir() if "crate" in path.name] == ["crate.zip"]
    assert (tmp_path / "crate.zip").read_text() == "mine"


@pytest.mark.parametrize("place", ["crate", "crate.zip"])
def test_a_crate_that_fails_leaves_nothing(
    call: Call, trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())

    def crate_metadata(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ro_crate, "crate_metadata", crate_metadata)
    called = call("export", place, "--ro-crate", "-y")
    assert (called.code, "No space left on device" in called.error) == (75, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_a_running_run_rotates_is_left_out_of_its_crate(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(id="one", state="running", attempt=1, worker=a_worker(), started=1)
    saved(home, run)
    folder = home / "runs" / "one"
    for name in ("a.log", "b.log"):
        (folder / name).write_text("x")
    look = steady.open_part

    def rotating(source: str) -> Any:
        (folder / "b.log").unlink(missing_ok=True)
        return look(source)

    monkeypatch.setattr(steady, "open_part", rotating)
    with hold(attempt_directory(folder, 1), "n", fsync=False):
        called = call("export", "crate.zip", "--ro-crate", "-y")

    assert called.code == 0, called.error
    assert "WARNING: 'runs/one/b.log' is left out: the run changed or removed it meanwhile" in called.error
    with ZipFile("crate.zip") as archive:
        assert [name for name in archive.namelist() if name.endswith(".log")] == ["runs/one/a.log"]


def test_a_person_is_asked_first_and_nothing_is_nothing(call: Call, home: Path) -> None:
    assert call("export", "crate", "--ro-crate").error == "Nothing to export.\n"
    saved(home, ended(id="aaa"))
    called = call("export", "crate", "--ro-crate")
    assert called.code == 2
    assert "You are about to export the following runs to 'crate':" in called.error
    assert not Path("crate").exists()
