"""`orchestra completion`: what is offered, and that real shells offer it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestra.cli.completing import split_line
from orchestra.testing.builders import a_run, an_operation
from tests.cli.test_results import printed
from tests.process import Shell
from tests.saved_runs import saved

SCRIPT = """
import argparse
p = argparse.ArgumentParser()
p.add_argument("--opt", choices=["adam", "sgd"], default="sgd", help="the optimizer")
p.add_argument("--fast", action="store_true")
p.add_argument("--data", default="a.csv")
p.parse_args()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").touch()
    return tmp_path


@pytest.fixture
def offered(shell: Shell, project: Path) -> Callable[..., list[str]]:
    def ask(*words: str) -> list[str]:
        ran = shell.run("complete-words", "fish", "--", *words, separate=True)
        assert (ran.code, ran.error) == (0, "")
        return ran.output.splitlines()

    return ask


def words(lines: list[str]) -> list[str]:
    return [line.partition("\t")[0] for line in lines]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["compare", "--min", ""], ["loss", "=lr", "=seed"]),
        (["select", "--max", "=l"], ["=lr"]),
        (["compare", "--cols", "loss,=s"], ["loss,=seed"]),
        (["compare", "--group-by", ""], ["lr", "seed"]),
        (["compare", "--agg", "mean,s"], ["mean,std", "mean,sem"]),
        (["compare", "--min="], ["--min=loss", "--min==lr", "--min==seed"]),
        (["plot", "--max", "l"], ["loss"]),
        (["plot", "--curves", ""], ["loss"]),
        (["plot", "--scatter", ""], ["lr", "seed", "loss"]),
        (["plot", "--scatter", "lr,lo"], ["lr,loss"]),
        (["plot", "--importance", ""], ["loss"]),
    ],
)
def test_columns_are_those_of_the_runs_that_are_there(
    offered: Callable[..., list[str]], shell: Shell, typed: list[str], expected: list[str]
) -> None:
    printed(shell.home, "loss: 1\n", flags={"lr": 1, "seed": 2})

    assert words(offered(*typed)) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["ru"], ["run", "runs"]),
        (["runs", ""], ["list", "info", "delete", "stop"]),
        (["run", "tr"], ["train.py"]),
        (["run", "train.py", ""], ["opt=", "fast=", "data="]),
        (["run", "train.py", "opt=sgd", ""], ["fast=", "data="]),
        (["run", "train.py", "opt="], ["opt=adam", "opt=sgd"]),
        (["run", "train.py", "opt=a"], ["opt=adam"]),
        (["run", "train.py", "fast="], ["fast=yes", "fast=no"]),
        (["run", "train.py", "data=d"], ["data=data/"]),
        (["run", "train.py", "data=data/"], ["data=data/a.csv"]),
        (["run", "--label", "train.py", "tr"], ["train.py"]),
        (["run", "--stage-t"], ["--stage-trials"]),
        (["queue", "run"], ["run-once="]),
        (["queue", ""], ["run-once=", "status", "follow", "stop"]),
        (["queue", "status", "--l"], ["--live"]),
        (["completion", "--shell", "z"], ["zsh"]),
        (["--log-format", ""], ["console", "json"]),
        (["plugins", "new", ""], ["store", "executor", "expander", "resolver"]),
        (["plugins", "new", "store", ""], []),
        (["plugins", "check", "sq"], ["sqlite"]),
        (["-C", "data", "run", ""], ["queue"]),
        (["nonsense", ""], []),
        (["run", "missing.py", ""], []),
        (["-C", "missing", "run", ""], []),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_what_may_come_next_is_offered(
    offered: Callable[..., list[str]], typed: list[str], expected: list[str]
) -> None:
    assert set(expected) <= set(words(offered(*typed)))
    assert expected or not offered(*typed)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["runs", "-Fo", ""], ["prep.py", "train.py"]),
        (["select", "--operation", "t"], ["train.py"]),
        (["runs", "rm", "-Ft", ""], ["new", "old"]),
        (["runs", "list", "-Fs", "last w"], ["last week"]),
        (["stop", "--not-ru"], ["--not-running"]),
    ],
    ids=" ".join,
)
def test_filters_offer_what_runs_have(
    offered: Callable[..., list[str]], shell: Shell, typed: list[str], expected: list[str]
) -> None:
    saved(shell.home, a_run(tags=("new", "old")), a_run(operation=an_operation(name="prep.py")))

    assert words(offered(*typed)) == expected


def test_what_is_offered_is_explained(offered: Callable[..., list[str]]) -> None:
    assert "opt=\tthe optimizer (default is sgd)" in offered("run", "train.py", "")
    assert any(line.startswith("--stage\t") for line in offered("run", "--st"))


@pytest.mark.parametrize("verb", [("queue", "follow"), ("queue", "stop")])
def test_only_queues_are_offered_where_queues_are_asked_for(
    home: Path, offered: Callable[..., list[str]], verb: tuple[str, ...]
) -> None:
    queue = a_run(kind="queue")
    saved(home, queue, a_run())

    assert words(offered(*verb, "")) == [queue.short_id]


def test_runs_are_offered_newest_first(home: Path, offered: Callable[..., list[str]]) -> None:
    older, newer = a_run(), a_run(label="lr=1")
    saved(home, older, newer)

    for typed in (["runs", "info", ""], ["run", "--restart", ""], ["cat", ""], ["stop", ""]):
        lines = offered(*typed)
        assert words(lines) == [newer.short_id, older.short_id]
        assert lines[0].endswith("staged lr=1")


def test_nothing_is_made_or_said_where_there_is_no_home(
    home: Path, offered: Callable[..., list[str]]
) -> None:
    assert offered("runs", "info", "") == []
    assert not home.exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("orchestra", ["orchestra"]),
        ("orchestra ", ["orchestra", ""]),
        ("orchestra run 'a b", ["orchestra", "run", "a b"]),
        ('orchestra run x="a ', ["orchestra", "run", "x=a "]),
        ("orchestra run a\\ ", ["orchestra", "run", "a "]),
    ],
)
def test_a_line_that_is_being_typed_is_split_as_the_shell_will(line: str, expected: list[str]) -> None:
    assert split_line(line) == expected


@pytest.fixture
def terminal(shell: Shell, project: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs lines in a shell that finds ``orchestra``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "orchestra").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m orchestra "$@"\n')
    (folder / "orchestra").chmod(0o755)

    def run(*command: str) -> str:
        program = shutil.which(command[0])
        if program is None:
            if os.environ.get("CI") == "true" and command[0] != "bash":
                pytest.fail(f"{command[0]} is not installed")
            pytest.skip(f"{command[0]} is not installed")
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        environment = {**shell.environment, "PATH": path, "HOME": str(tmp_path)}
        ended = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, timeout=60
        )
        return ended.stdout

    return run


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("orchestra run tr", "train.py"),
        ("orchestra run train.py opt=", "adam sgd"),
        ("orchestra run train.py o", "opt="),
        ("orchestra compl", "completion"),
    ],
)
def test_bash_completes(terminal: Callable[..., str], typed: str, expected: str) -> None:
    script = (
        "source <(orchestra completion --shell bash); COMP_LINE=$1; COMP_POINT=${#1}; "
        '_orchestra_completion 2>/dev/null; echo "${COMPREPLY[*]}"'
    )
    assert terminal("bash", "-c", script, "bash", typed).split() == expected.split()


def test_zsh_completes(terminal: Callable[..., str]) -> None:
    script = (
        "compdef() { : }; compadd() { print -l -- ${(P)@[-1]} }; source <(orchestra completion --shell zsh); "
        'words=(orchestra run train.py "opt="); CURRENT=4; _orchestra_completion'
    )
    assert terminal("zsh", "-fc", script).split() == ["opt=adam", "opt=sgd"]


def test_fish_completes(terminal: Callable[..., str]) -> None:
    script = "orchestra completion --shell fish | source; complete -C 'orchestra run train.py opt='"
    assert terminal("fish", "--no-config", "-c", script).split() == ["opt=adam", "opt=sgd"]


@pytest.mark.parametrize(("name", "file"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
def test_it_is_installed_once_behind_what_is_there(
    shell: Shell, tmp_path: Path, name: str, file: str
) -> None:
    path = tmp_path / file
    path.write_bytes(b"alias ll='ls -l' # \xff")
    (tmp_path / "a b").mkdir()
    program = tmp_path / "a b" / "orchestra"
    program.touch(mode=0o755)

    def install(folder: Path) -> str:
        ran = shell.run(
            "completion", "-s", name, "--install", HOME=str(tmp_path), ZDOTDIR="", PATH=str(folder)
        )
        assert ran.output == f"Installed in '{path}'. Start a new shell to use it.\n"
        return path.read_text(errors="replace")

    evaluated = f'completion --shell {name})"; fi\n'
    before = "alias ll='ls -l' # \ufffd\n"
    anywhere = f'{before}if command -v orchestra >/dev/null; then eval "$(orchestra {evaluated}'
    assert install(tmp_path) == install(tmp_path) == anywhere
    assert install(program.parent) == install(program.parent)
    assert (
        path.read_text(errors="replace")
        == f"{before}if [ -x '{program}' ]; then eval \"$('{program}' {evaluated}"
    )


@pytest.mark.parametrize("arguments", [(), ("bash",), ("zsh", "--")])
def test_without_words_to_complete_the_call_is_refused(shell: Shell, arguments: tuple[str, ...]) -> None:
    refused = shell.run("complete-words", *arguments)

    if arguments == ("zsh", "--"):
        assert (refused.code, "run\t" in refused.output) == (0, True)
    else:
        assert refused.code == 2
        assert refused.output.startswith("orchestra: the words to complete are missing\n")


def test_a_shell_starts_without_a_word_when_what_it_completes_is_gone(shell: Shell, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        folder.mkdir(exist_ok=True)
        (folder / "orchestra").touch(mode=0o755)
        shell.run("completion", "-s", "bash", "--install", HOME=str(tmp_path), PATH=str(folder))
        (folder / "orchestra").unlink()

        assert shell.bash("source .bashrc; echo $?", PATH="/usr/bin:/bin").output == "0\n"


def test_fish_finds_it_in_its_own_folder(shell: Shell, tmp_path: Path) -> None:
    shell.run("completion", "-s", "fish", "--install", HOME=str(tmp_path), XDG_CONFIG_HOME="")

    assert "complete -c orchestra" in (tmp_path / ".config/fish/completions/orchestra.fish").read_text()


def test_an_unknown_shell_has_to_be_named(shell: Shell) -> None:
    ran = shell.run("completion", SHELL="/bin/tcsh")

    assert (ran.code, ran.output.splitlines()[0]) == (1, "orchestra: can't tell which shell you use")


def test_paths_of_a_run_are_those_of_its_files(
    offered: Callable[..., list[str]], home: Path, project: Path
) -> None:
    older, newer = a_run(state="completed"), a_run(state="completed")
    saved(home, older, newer)
    for run, name in ((older, "old.txt"), (newer, "new.txt")):
        (home / "runs" / run.id / "out").mkdir()
        (home / "runs" / run.id / "out" / name).touch()

    assert offered("cat", "-p", "") == ["out/"]
    assert offered("ls", "--path", "out/") == ["out/new.txt"]
    assert offered("diff", "2", "1", "-p", "out/") == ["out/old.txt"]
    assert offered("open", "-p", "../") == offered("cat", "-p", "/") == []
    assert "train.py" in offered("diff", "--dir", "")
