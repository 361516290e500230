"""Operations of a project file, run as a person runs them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.process import Shell

PROJECT = """\
train:
  description: Train it.
  flags-import: all
  flags: {lr: {description: the rate}}
  label: lr is ${lr}
  tags: [a]
  env: {RATE: 'r-${lr}'}
  python-path: lib
show:
  exec: echo ${name} ${flag_args}
  flags: {name: you}
once: {main: train, delete-on-success: yes}
_hidden: train
"""
TRAIN = "import os\nimport part\nlr = 0.1\nprint(lr, os.environ.get('RATE'), part.VALUE)\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "orchestra.yml").write_text(PROJECT)
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "part.py").write_text("VALUE = 'part'\n")
    (tmp_path / "other.py").write_text("print('other')\n")
    return tmp_path


def test_an_operation_runs_with_what_the_file_says_of_it(shell: Shell, project: Path) -> None:
    ended = shell.run("run", "train", "lr=0.5", "-t", "b", "-y")

    assert (ended.code, ended.output) == (0, "0.5 r-0.5 part\n")
    (run_id,) = os.listdir(shell.home / "runs")
    record = json.loads((shell.home / "runs" / run_id / ".orchestra" / "run.json").read_text())
    assert (record["label"], record["tags"]) == ("lr is 0.5", ["b", "a"])
    assert (shell.home / "runs" / run_id / "train.py").exists()
    (listed,) = json.loads(shell.run("runs", "--json").output)
    assert listed["opref"] == f"guildfile:{project / 'orchestra.yml'} '' '' train"
    assert shell.run("run", "show", "name=me", "-y").output == "me --name me\n"


def test_a_run_needs_its_project_no_more(shell: Shell, project: Path) -> None:
    shell.run("run", "train", "--stage", "--run-id", "first", "-y")
    for name in ("orchestra.yml", "train.py"):
        (project / name).unlink()

    assert shell.run("run", "--start", "first", "-y").output == "0.1 r-0.1 part\n"
    assert shell.run("run", "--start", "first", "lr=2", "-y").output == "Restarting first\n2 r-2 part\n"


def test_an_operation_that_is_to_be_deleted_on_success_is(shell: Shell, project: Path) -> None:
    environment = {"PYTHONPATH": str(project / "lib")}
    ended = shell.run("run", "once", "--run-id", "x", "-y", **environment)
    assert ended.output == (
        "0.1 None part\n"
        "INFO: [orchestra] Deleting interim run x ('once' is configured for deletion on success)\n"
    )
    assert os.listdir(shell.home / "runs") == []
    shell.run("run", "once", "--run-id", "y", "-y", "--keep-run", **environment)
    assert os.listdir(shell.home / "runs") == ["y"]


def test_the_file_s_operations_are_listed(call: Call, project: Path) -> None:
    assert [line.split() for line in call("operations").lines] == [
        ["once"],
        ["show"],
        ["train", "Train", "it."],
    ]
    listed = [line.split()[0] for line in call("ops", "-a").lines]
    assert listed == ["_hidden", "once", "other.py", "queue", "show", "train", "train.py"]
    assert [line.split()[0] for line in call("ops", "sho").lines] == ["show"]
    assert call("ops", "-d", "train").lines == [
        "train  Train it.",
        "  main: train",
        "  flags:",
        "    lr  the rate",
    ]


def test_models_are_listed(call: Call, project: Path) -> None:
    assert call("models").output == ""
    (project / "orchestra.yml").write_text(
        "- model: b\n  description: The b.\n  operations: {x: train}\n- model: a\n- model: _c\n"
    )
    assert [line.split() for line in call("models").lines] == [["a"], ["b", "The", "b."]]
    assert [line.split()[0] for line in call("models", "-a").lines] == ["_c", "a", "b"]
    assert call("ops").lines == ["b:x"]


def test_what_is_wrong_in_the_file_ends_with_one_sentence(call: Call, project: Path) -> None:
    (project / "orchestra.yml").write_text("train:\n  mian: train\n")
    for words in (("run", "train", "-y"), ("ops",), ("models",)):
        ended = call(*words)
        assert ended.code == 1
        assert ended.error.startswith(f"orchestra: {project / 'orchestra.yml'}:2: operation 'train': 'mian'")
        assert "Did you mean 'main'" in ended.error


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"'loss: (\value)'", r"the output pattern 'loss: (\value)' does not tell a name and a value"),
        ("'(('", "'((' is not a regular expression"),
    ],
)
def test_a_pattern_of_output_that_tells_nothing_is_refused_where_it_is_written(
    call: Call, project: Path, pattern: str, why: str
) -> None:
    (project / "orchestra.yml").write_text(f"train:\n  main: train\n  output-scalars: {pattern}\n")

    ended = call("run", "train", "-y")

    assert ended.code == 1
    assert f"orchestra.yml:3: operation 'train': 'output-scalars': {why}" in ended.error


def test_what_is_odd_in_a_file_of_the_predecessor_is_warned_of_once(call: Call, project: Path) -> None:
    (project / "orchestra.yml").rename(project / "guild.yml")
    with (project / "guild.yml").open("a") as file:
        file.write("odd: {main: train, notify: me}\n")
    ended = call("run", "nop", "-y")
    assert ended.error.splitlines()[-2:] == [
        "orchestra: operation 'nop' is not defined for this project",
        "Try 'orchestra operations' for a list of available operations.",
    ]
    ended = call("run", "show", "-y")
    assert ended.error.count("WARNING: ") == 1
    assert "what is not known here is ignored: 'notify' (line " in ended.error


def test_a_run_in_the_background_is_deleted_on_success_unless_it_is_kept(shell: Shell, project: Path) -> None:
    (project / "train.py").write_text(
        "import time\nwhile not __import__('os').path.exists('go'): time.sleep(0.01)\n"
    )
    directories = {name: shell.home / "runs" / name for name in ("gone", "kept", "failed")}
    (project / "orchestra.yml").write_text(
        "once: {main: train, delete-on-success: yes}\nfail: {exec: 'false', delete-on-success: yes}\n"
    )

    told = shell.run("run", "once", "-y", "-b", "--run-id", "gone").output
    assert told.startswith("once started in background as gone (pidfile ")
    shell.run("run", "once", "-y", "-b", "--run-id", "kept", "--keep-run")
    shell.run("run", "fail", "-y", "-b", "--run-id", "failed")

    for name in ("gone", "kept"):
        (directories[name] / "go").touch()
    wait_until(lambda: not directories["gone"].exists())
    wait_until(
        lambda: (
            {run["id"]: run["status"] for run in json.loads(shell.run("runs", "--json").output)}
            == {"kept": "completed", "failed": "error"}
        )
    )


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("{main: other, env: {A: '${nope}'}}", "variable 'A' contains invalid reference 'nope'"),
        ("{main: 'other ${nope}'}", "command contains invalid reference 'nope'"),
        ("{main: nowhere}", "there is no module 'nowhere'"),
        ("{main: other, requires: {file: a, sha256: x}}", "'sha256' has to be 64 hexadecimal digits"),
        ("{main: other, flags: {x: {type: int, default: a}}}", "(its default, orchestra.yml:1)"),
    ],
)
def test_a_mistake_in_the_file_is_told_and_nothing_is_made(
    shell: Shell, project: Path, definition: str, said: str
) -> None:
    (project / "orchestra.yml").write_text(f"bad: {definition}\n")

    ended = shell.run("run", "bad", "-y")

    assert ended.code == 1 and said in ended.output
    assert ended.output.startswith("orchestra: ") and len(ended.output.splitlines()) <= 2
    assert not (shell.home / "runs").exists() or not os.listdir(shell.home / "runs")
