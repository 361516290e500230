"""`api runs`, `api ops` and `api help-op`: what other programs are told, in the keys that they know."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.engine import run_files
from orchestra.model.batch import Batch, Choices
from orchestra.model.run import Comment
from orchestra.workspace.run_files import list_files
from tests.cli.conftest import Call
from tests.engine.test_differences import with_files
from tests.process import Shell
from tests.saved_runs import ended, saved

PROJECT = """
- model: m
  operations:
    train:
      description: Trains
      main: train
      flags:
        lr:
          default: 0.1
          description: rate
          type: float
          min: 0
        mode: {default: a b, choices: [a b, {value: c, alias: see, description: C}]}
    broken:
      main: no_such_module
"""


def test_runs_are_told_with_all_that_is_known(call: Call, home: Path) -> None:
    comment = Comment(body="well", user="ada", host="far", time=0)
    run = ended(
        flags={"lr": 0.5}, label="best", tags=("a",), comments=(comment,), command=("sh", "-c", "a b")
    )
    with_files(home, run, {"a.py": b"a"}, output=b"loss: 2\nname: x\n")

    (told,) = call("api", "runs").json

    assert (told["id"], told["shortId"], told["status"]) == (run.id, run.short_id, "completed")
    assert (told["exitStatus"], told["time"], told["label"]) == (0, "0:00:05", "best")
    assert (told["command"], told["dir"]) == ("sh -c 'a b'", str(home / "runs" / run.id))
    assert (told["flags"], told["otherAttrs"], told["tags"]) == ({"lr": 0.5}, {"name": "x"}, ["a"])
    assert told["comments"][0]["body"] == "well"
    assert told["sourcecode"]["files"] == ["a.py"]
    assert told["files"] == [{"path": "a.py", "kind": "source", "size": 1, "link": None}]
    scalar = next(one for one in told["scalars"] if one["tag"] == "loss")
    assert (scalar["lastVal"], scalar["lastStep"], scalar["avgVal"], scalar["count"]) == (2.0, 0, 2.0, 1)
    assert told["opRef"]["opName"] == "train.py"


def test_the_files_of_a_run_are_looked_for_once_and_hidden_ones_are_told_as_source_alone(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_files(home, ended(), {"a.py": b"a", ".hidden.py": b"b"})
    looked: list[str] = []
    monkeypatch.setattr(
        run_files, "list_files", lambda root, **how: looked.append(root) or list_files(root, **how)
    )

    (told,) = call("api", "runs").json

    assert looked == [told["dir"]]
    assert told["sourcecode"]["files"] == [".hidden.py", "a.py"]
    assert [file["path"] for file in told["files"]] == ["a.py"]


def test_batches_are_told_only_where_they_are_asked_for(call: Call, home: Path) -> None:
    batch = ended(kind="batch", batch_spec=Batch(space={"lr": Choices(values=(1, 2))}, seed=1), flags={})
    trial = ended(batch=batch.id, trial=1)
    saved(home, batch, trial, ended(kind="queue"))

    assert [run["id"] for run in call("api", "runs").json] == [trial.id]
    assert len(call("api", "runs", "--include-batch").json) == 3
    assert [run["batch"] for run in call("api", "runs", "1").json] == [batch.id]


def test_runs_can_be_filtered_and_there_may_be_none(call: Call, home: Path) -> None:
    saved(home, ended(label="one"), ended(label="two"))

    assert [run["label"] for run in call("api", "runs", "-Fl", "one").json] == ["one"]
    assert call("api", "runs", "-Sr").output == "[]\n"


def test_json_is_one_line_unless_it_is_to_be_read(call: Call, home: Path) -> None:
    saved(home, ended())

    assert len(call("api", "runs").lines) == 1
    assert len(call("api", "runs", "-f").lines) > 20
    assert call("api", "runs", "-f").json == call("api", "runs").json


def test_operations_are_told_with_their_flags(call: Call, tmp_path: Path) -> None:
    (tmp_path / "orchestra.yml").write_text(PROJECT)
    (tmp_path / "train.py").write_text("lr = 1\n")

    broken, train = call("api", "ops").json

    assert (train["name"], train["fullname"], train["description"]) == ("train", "m:train", "Trains")
    assert train["opref"] == {
        "pkgType": "guildfile",
        "pkgName": str(tmp_path / "orchestra.yml"),
        "pkgVersion": "",
        "modelName": "m",
        "opName": "train",
    }
    assert train["projectFile"] == {"dir": str(tmp_path), "src": str(tmp_path / "orchestra.yml")}
    lr, mode = train["flags"]["lr"], train["flags"]["mode"]
    assert (lr["default"], lr["type"], lr["min"], lr["description"]) == (0.1, "float", 0, "rate")
    assert mode["defaultAssign"] == "mode='a b'"
    assert mode["choices"][1] == {"value": "c", "alias": "see", "description": "C"}
    assert broken["fullname"] == "m:broken" and "no_such_module" in broken["error"]
    assert call("api", "help-op", "m:train").json == train


def test_an_operation_that_there_is_not_is_an_error(call: Call) -> None:
    assert call("api", "help-op", "nope").code == 1
    assert call("api", "help-op").code == 2


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_group_alone_tells_what_it_has(call: Call, arguments: tuple[str, ...]) -> None:
    shown = call("api", *arguments)

    assert shown.code == 0
    assert [line.split()[0] for line in shown.lines if line.startswith("  ")] == [
        *("compare", "help-op", "ops", "runs"),
    ]
    assert "alone is" not in shown.output


def test_what_the_group_does_not_have_is_refused(call: Call) -> None:
    assert call("api", "--nope").error.startswith("orchestra: no such command 'api --nope'")
    assert call("api", "run").error.startswith(
        "orchestra: no such command 'api run' - did you mean 'runs'?\n"
    )


def test_the_group_is_completed(shell: Shell) -> None:
    completed = shell.run("complete-words", "fish", "--", "api", "").output
    assert {line.split("\t")[0] for line in completed.splitlines()} >= {"help-op", "ops", "runs"}
    assert shell.run("complete-words", "fish", "--", "api", "-").output == ""


def test_operations_and_models_are_listed_as_json(call: Call, tmp_path: Path) -> None:
    (tmp_path / "orchestra.yml").write_text(PROJECT)

    listed = call("operations", "--json", "train").json

    assert [(one["name"], one["description"]) for one in listed] == [("m:train", "Trains")]
    assert any("lr" in line for line in listed[0]["details"])
    assert call("models", "--json").json == [{"name": "m", "description": ""}]
    assert call("ops", "--json", "nothing").json == []
