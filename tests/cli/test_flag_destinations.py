"""Where the flags of a project's operations go, and that they arrive."""

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.process import Shell

PROJECT = """\
fit:
  main: commands fit
  flags-import: all
in-dict:
  main: literals
  flags-dest: global:params
  flags-import: all
in-namespace:
  main: literals
  flags-dest: namespace:config
  flags-import: [b.c]
in-file:
  main: shown
  flags-dest: config:c.yml
  flags-import: all
  flags:
    lr: {min: 0, max: 1}
no-file:
  main: shown
  flags-dest: config:none.yml
  flags: {lr: 1}
"""
COMMANDS = """\
import argparse
p = argparse.ArgumentParser()
sub = p.add_subparsers(dest="command")
sub.add_parser("fit").add_argument("--epochs", type=int, default=3)
sub.add_parser("score").add_argument("--k", type=int)
args = p.parse_args()
print(args.command, args.epochs)
"""
LITERALS = """\
from types import SimpleNamespace
params = {"lr": 0.1, "model": {"depth": 3}}
config = SimpleNamespace(a=1, b=SimpleNamespace(c=2))
print(params, config)
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> None:
    (tmp_path / "orchestra.yml").write_text(PROJECT)
    (tmp_path / "commands.py").write_text(COMMANDS)
    (tmp_path / "literals.py").write_text(LITERALS)
    (tmp_path / "shown.py").write_text("print(open('c.yml').read(), end='')\n")
    (tmp_path / "c.yml").write_text("lr: 0.1\nmodel: {depth: 3}\n")


@pytest.mark.parametrize(
    ("words", "output"),
    [
        ("fit epochs=9", "fit 9\n"),
        ("in-dict model.depth=7", "{'lr': 0.1, 'model': {'depth': 7}} namespace(a=1, b=namespace(c=2))\n"),
        ("in-namespace b.c=9", "{'lr': 0.1, 'model': {'depth': 3}} namespace(a=1, b=namespace(c=9))\n"),
        ("in-file lr=0.5", "lr: 0.5\nmodel: {depth: 3}\n"),
    ],
)
def test_a_flag_arrives_at_its_destination(words: str, output: str, call: Call, tmp_path: Path) -> None:
    ended = call("run", *words.split(), "-y")
    assert (ended.code, ended.output, ended.error) == (0, output, "")
    assert (tmp_path / "c.yml").read_text() == "lr: 0.1\nmodel: {depth: 3}\n"


def test_a_restart_with_other_flags_writes_the_file_anew(call: Call) -> None:
    call("run", "in-file", "lr=0.5", "-y")
    again = call("run", "--restart", "1", "model.depth=8", "-y")
    assert again.output.endswith("lr: 0.5\nmodel: {depth: 8}\n")


def test_each_trial_of_a_batch_has_a_file_of_its_own(call: Call) -> None:
    assert call("run", "in-file", "lr=[0, 1]", "-y").output == (
        "lr: 0\nmodel: {depth: 3}\nlr: 1\nmodel: {depth: 3}\n"
    )


def test_what_the_project_says_of_an_entry_of_the_file_is_kept(call: Call) -> None:
    assert "out of range (greater than max 1)" in call("run", "in-file", "lr=2", "-y").error
    rows = [line.split() for line in call("explain", "in-file").lines]
    assert ["lr", "0.1", "number,", "0", "to", "1", "c.yml:", "lr", "FLAG_LR", "orchestra.yml:17"] in rows
    assert ["model.depth", "3", "number", "c.yml:", "model.depth", "FLAG_MODEL_DEPTH", "c.yml"] in rows


def test_a_file_that_is_not_there_is_told_and_fails_the_run(call: Call) -> None:
    ended = call("run", "no-file", "-y")
    assert ended.code == 1
    assert "cannot import flags for no-file: flags can't be read from 'none.yml'" in ended.error
    assert "run failed: 'none.yml' can't be written: No such file or directory" in ended.error


def test_an_operation_is_told_of_its_run_and_its_flags(call: Call, tmp_path: Path) -> None:
    names = ("RUN_DIR", "RUN_ID", "CMD_DIR", "PROJECT_DIR", "FLAGS_DEST", "FLAG_A_B", "FLAG_OFF", "FLAG_NONE")
    (tmp_path / "told.sh").write_text("#!/bin/sh\n" + "".join(f'echo "{name}=${name}"\n' for name in names))
    (tmp_path / "told.sh").chmod(0o755)

    ended = call("run", "told.sh", "a-b=1.5", "off=no", "none=null", "-y")

    told = dict(line.split("=", 1) for line in ended.lines)
    run_id = told.pop("RUN_ID")
    assert told.pop("RUN_DIR").endswith(f"/runs/{run_id}")
    assert told == {
        "CMD_DIR": str(tmp_path),
        "PROJECT_DIR": str(tmp_path),
        "FLAGS_DEST": "args",
        "FLAG_A_B": "1.5",
        "FLAG_OFF": "",
        "FLAG_NONE": "",
    }


def test_a_staged_run_has_its_file_already_so_that_it_can_be_started_by_hand(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "c.yml").write_text("# rates\nlr: 0.1 # low\nmodel: {depth: 3}\n")
    staged = shell.run("run", "-y", "in-file", "lr=0.5", "--stage", "--run-dir", str(tmp_path / "mine"))
    (command,) = re.findall(r'use "\((.*)\)"', staged.output)
    assert shell.bash(command).output == "# rates\nlr: 0.5 # low\nmodel: {depth: 3}\n"
    assert shell.run("run", "-y", "queue", "run-once=yes").code == 0
    assert shell.run("cat", "--output", "1").output.endswith("lr: 0.5 # low\nmodel: {depth: 3}\n")


def test_a_file_that_is_missing_when_its_run_is_staged_is_warned_of(shell: Shell, tmp_path: Path) -> None:
    staged = shell.run("run", "-y", "no-file", "--stage")
    assert staged.code == 0
    assert "'none.yml' can't be written: No such file or directory" in staged.output
    assert "can't be started yet" in staged.output
    (tmp_path / "none.yml").write_text("lr: 0\n")
    assert shell.run("run", "-y", "--start", "1").code == 0
