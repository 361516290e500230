"""`run --edit-flags` and `--print-env`: what a run would have, changed or only shown."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.cli.edit_flags import read_flags, written
from orchestra.model.flags import decode
from orchestra.model.operation import FlagValue
from tests.cli.conftest import Call
from tests.process import Shell

SCRIPT = "import argparse\np = argparse.ArgumentParser()\n" + "".join(
    f"p.add_argument('--{name}', type={kind}, default={default})\n"
    for name, kind, default in (("lr", "float", 0.1), ("epochs", "int", 3))
)
SHOWS = SCRIPT + "a = p.parse_args()\nprint(a.lr, a.epochs)\n"


def editor(tmp_path: Path, *steps: str) -> str:
    """An editor that does one step each time: ``text`` is what it finds, and leaves."""
    script = tmp_path / "editor.py"
    body = "".join(f"if turn == {turn}:\n    {step}\n" for turn, step in enumerate(steps))
    script.write_text(
        "import os, pathlib, sys\n"
        "path, log = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).with_suffix('.log')\n"
        "text = path.read_text()\n"
        "seen = log.read_text() if log.exists() else ''\n"
        "turn = seen.count('=====')\n"
        "log.write_text(seen + text + '=====')\n"
        f"{body}path.write_text(text)\n"
    )
    return f"{sys.executable} {script}"


def test_flags_are_edited_before_they_are_used(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)
    edit = editor(tmp_path, "text = text.replace('0.1', '0.5')")

    ended = shell.run("run", "train.py", "epochs=7", "-e", "-y", VISUAL=edit, EDITOR="false")

    assert ended.output == "0.5 7\n"
    assert (tmp_path / "editor.log").read_text() == "epochs: 7\nlr: 0.1\n====="


def test_a_list_makes_a_batch_and_a_deleted_flag_has_its_default(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)
    edit = editor(tmp_path, "text = 'lr: [0.1, 0.2]\\n'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISUAL", edit)

        shown = call("run", "train.py", "epochs=7", "-e", "--print-trials")

    assert [line.split() for line in shown.lines] == [
        ["#", "epochs", "lr"],
        ["1", "3", "0.1"],
        ["2", "3", "0.2"],
    ]


@pytest.mark.parametrize("broken", ["[", "lr: much\\n", "just text", "none: 1\\n"])
def test_what_can_not_be_used_is_edited_again(shell: Shell, tmp_path: Path, broken: str) -> None:
    (tmp_path / "train.py").write_text(SHOWS)
    edit = editor(tmp_path, f"text = '{broken}'", "text = 'lr: 0.9'")

    ended = shell.run("run", "train.py", "-e", "-y", separate=True, VISUAL=edit)

    assert ended.error.startswith("orchestra: ")
    assert (ended.code, ended.output) == (0, "0.9 3\n")


def test_what_can_not_be_used_and_is_left_so_ends_the_command(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)
    edit = editor(tmp_path, "text = 'lr: much\\n'")

    ended = shell.run("run", "train.py", "-e", "-y", VISUAL=edit)

    assert ended.code == 1
    assert (tmp_path / "editor.log").read_text().count("=====") == 2
    assert not list((shell.home / "runs").glob("*"))


def test_to_delete_everything_is_to_say_no(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)

    ended = shell.run("run", "train.py", "-e", "-y", VISUAL=editor(tmp_path, "text = ''"))

    assert (ended.code, ended.output) == (4, "orchestra: no flags are left: nothing was run\n")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("false", "failed with exit code 1"),
        ("/no/editor", "can't be started: No such file or directory\n"),
        ("'", "can't be started: No closing quotation\n"),
        (" ", "can't be started: it names no command\n"),
    ],
)
def test_an_editor_that_fails_is_told(shell: Shell, tmp_path: Path, command: str, told: str) -> None:
    (tmp_path / "train.py").write_text(SHOWS)

    ended = shell.run("run", "train.py", "-e", "-y", VISUAL=command)

    assert ended.code == 1
    assert ended.output.startswith(f"orchestra: the editor '{command}' {told}")


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("ab :'\"#,-[", max_size=6)
)


@given(
    st.dictionaries(st.from_regex("[a-z][a-z-]{0,4}", fullmatch=True), values | st.lists(values, max_size=3))
)
def test_what_is_written_for_the_editor_is_read_again(flags: dict[str, FlagValue]) -> None:
    read = read_flags("".join(written(name, value) for name, value in flags.items()))

    assert {name: decode(value, name) for name, value in read.items()} == flags


def test_the_environment_of_an_operation_is_printed(call: Call, home: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)

    shown = call("run", "train.py", "lr=0.5", "--gpus", "1", "--run-id", "mine", "--print-env")

    assert shown.code == 0
    assert shown.lines == sorted(shown.lines)
    assert {"FLAG_LR=0.5", "FLAG_EPOCHS=3", "CUDA_VISIBLE_DEVICES=1", "RUN_ID=mine"} <= set(shown.lines)
    assert not list((home / "runs").glob("*"))


def test_a_command_and_an_environment_can_not_both_be_printed(call: Call) -> None:
    assert call("run", "x.py", "--print-cmd", "--print-env").error.startswith(
        "orchestra: --print-cmd and --print-env cannot both be used\n"
    )
