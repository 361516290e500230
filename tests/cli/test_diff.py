"""`diff` and `runs diff`: what people and programs are shown of how runs differ."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestra.cli import difference_text
from orchestra.model.differences import SECTIONS, Differences, FileChange
from orchestra.testing.builders import an_operation
from tests.cli.conftest import Call
from tests.engine.test_differences import with_files
from tests.process import Shell
from tests.saved_runs import ended

EVIL = "\x1b]0;EVIL\x07"


@pytest.fixture
def runs(home: Path, tmp_path: Path) -> tuple[str, str]:
    """The short ids of an older and a newer run of a project that is there."""
    operation = an_operation(source=str(tmp_path / "project"))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.py").write_text("working\n")
    older = with_files(
        home,
        ended(operation=operation, flags={"lr": 0.1}, label="first"),
        {"a.py": b"one\n"},
        output=b"x: 1\n",
    )
    newer = with_files(
        home, ended(operation=operation, flags={"lr": 0.5, "n": 1}), {"a.py": b"two\n"}, output=b"x: 2\n"
    )
    return older.short_id, newer.short_id


def test_the_latest_two_are_compared_and_the_older_one_comes_first(call: Call, runs: tuple[str, str]) -> None:
    older, newer = runs

    shown = call("diff")

    assert shown.code == 0
    heads, rest = shown.lines[:2], shown.output.partition("flags:")[2]
    assert [head.split()[:3] for head in heads] == [
        ["from", f"[{older}]", "train.py"],
        ["to", f"[{newer}]", "train.py"],
    ]
    assert rest == (
        "\n  lr: 0.1 -> 0.5\n  + n: 1\n"
        "scalars:\n  x: 1.000000 (step 0) -> 2.000000 (step 0)\n"
        f"source:\n--- {older}/a.py\n+++ {newer}/a.py\n@@ -1 +1 @@\n-one\n+two\n"
        f"output:\n--- {older}/output\n+++ {newer}/output\n@@ -1 +1 @@\n-x: 1\n+x: 2\n"
        f"(run {older} has no record of its environment)\n(run {newer} has no record of its environment)\n"
    )
    assert call("runs", "diff").output == shown.output
    assert call("diff", "1:2").output == call("diff", ":").output == shown.output


def test_runs_that_are_named_are_compared_in_that_order(call: Call, runs: tuple[str, str]) -> None:
    older, newer = runs

    assert "  lr: 0.5 -> 0.1\n  - n: 1\n" in call("diff", newer, older, "--flags").output
    assert call("diff", "1", "2", "-f").output == call("diff", newer, older, "-g").output
    assert "  lr: 0.1 -> 0.5\n" in call("diff", older, newer, "-f").output


@pytest.mark.parametrize(
    ("options", "sections"),
    [
        (("-f", "-s"), ["flags", "source"]),
        (("-sO",), ["source", "output"]),
        (("-o",), ["output"]),
        (("-a",), ["attributes"]),
        (("-e",), ["environment"]),
        (("-d",), ["dependencies"]),
        (("-D",), ["dependencies"]),
        (("-oegad",), ["flags", "attributes", "environment", "dependencies", "output"]),
        (("-A",), [section for section in SECTIONS if section != "files"]),
        (("-A", "-p", "a.py"), list(SECTIONS)),
        (("--scalars",), ["scalars"]),
        (("-p", "a.py"), ["files"]),
        (("-p", "a.py", "-f"), ["flags", "files"]),
    ],
)
def test_sections_can_be_chosen(
    call: Call, runs: tuple[str, str], options: tuple[str, ...], sections: list[str]
) -> None:
    told = call("diff", *options, "--json").json

    assert [name for name in told if name not in ("before", "after", "notes")] == sections


def test_json_has_the_ids_and_what_is_there(call: Call, runs: tuple[str, str]) -> None:
    told = call("diff", "--json", "-fs").json

    assert (told["before"][:8], told["after"][:8]) == runs
    assert told["flags"] == [{"name": "lr", "before": 0.1, "after": 0.5}, {"name": "n", "after": 1}]
    (file,) = told["source"]
    assert (file["path"], file["change"]) == ("a.py", "changed")


def test_what_does_not_differ_is_not_shown(call: Call, runs: tuple[str, str]) -> None:
    assert call("diff", "1", "1").lines[2:3] == ["No differences."]


def test_one_run_is_compared_with_its_project_or_a_folder(
    call: Call, runs: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.py").write_text("other\n")

    assert call("diff", "--working").output.endswith("@@ -1 +1 @@\n-two\n+working\n")
    assert call("diff", "2", "-w", "-s").output.endswith("@@ -1 +1 @@\n-one\n+working\n")
    assert call("diff", "--dir", "other").output.endswith("@@ -1 +1 @@\n-two\n+other\n")
    assert call("diff", "--dir", "other", "-p", "a.py").output.endswith("@@ -1 +1 @@\n-two\n+other\n")


def test_what_can_not_be_compared_is_refused(call: Call, runs: tuple[str, str], tmp_path: Path) -> None:
    assert call("diff", "1") == (
        1,
        "",
        "orchestra: diff requires two runs\n"
        "Try specifying a second run, or 'orchestra diff --help' for more information.\n",
    )
    assert call("diff", "-Fl", "first").error.startswith("orchestra: diff requires two runs\n")
    assert call("diff", "-Fl", "nothing") == (1, "", "orchestra: no matching runs\n")
    assert call("diff", "1", "2", "3").error.startswith("orchestra: cannot compare more than two runs\n")
    assert call("diff", "1", "none").error.startswith("orchestra: could not find a run matching 'none'\n")
    for options in (
        ("1", "2", "-w"),
        ("-w", "--dir", "."),
        ("-w", "-f"),
        ("--json", "-c", "true"),
        ("-c", " "),
    ):
        assert call("diff", *options).code == 2, options
    assert call("diff", "--dir", "nope").error.startswith("orchestra: '")
    (tmp_path / "project").rename(tmp_path / "moved")
    assert "is not there\nName a folder: --dir DIR.\n" in call("diff", "-w").error


def test_a_folder_that_is_taken_for_a_run_is_pointed_to_its_option(
    call: Call, runs: tuple[str, str], tmp_path: Path
) -> None:
    assert call("diff", "-d", "project").error == (
        "orchestra: could not find a run matching 'project'\nCompare with a folder by '--dir project'.\n"
    )


def test_files_of_the_root_are_named_once_from_it(call: Call, runs: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x\n")

    shown = call("diff", "--dir", "/", "-p", str(tmp_path / "x").removeprefix("/"))

    assert shown.output.endswith(f"--- /dev/null\n+++ {tmp_path}/x\n@@ -0,0 +1 @@\n+x\n")


def test_of_long_values_what_differs_is_shown_and_json_has_all(call: Call, home: Path) -> None:
    same = "ab" * 3000
    for value in ("ends", "begins"):
        with_files(home, ended(flags={"text": f"{same}{value}{same}", "short": value}), {})

    shown = call("diff", "-f").lines

    before, after = shown[-1].removeprefix("  text: ").split(" -> ")
    assert len(shown[-1]) < 800
    assert f"{same[-40:]}ends" in before and f"{same[-40:]}begins" in after
    assert (before[0], before[-20:]) == ("…", "… (12004 characters)")
    assert "  short: ends -> begins" in shown
    told = {change["name"]: change for change in call("diff", "-f", "--json").json["flags"]}
    assert told["text"] == {"name": "text", "before": f"{same}ends{same}", "after": f"{same}begins{same}"}


def test_a_long_value_of_one_run_alone_is_cut(call: Call, home: Path) -> None:
    for flags in ({}, {"text": "a" * 12_000}):
        with_files(home, ended(flags=flags), {})

    assert call("diff", "-f").lines[-1] == f"  + text: {'a' * 300}… (12000 characters)"


def test_filters_leave_the_runs_to_compare(call: Call, home: Path, runs: tuple[str, str]) -> None:
    other = with_files(home, ended(operation=an_operation(name="other.py")), {})

    assert other.short_id in call("diff").output
    assert other.short_id not in call("diff", "-Fo", "train.py").output
    assert call("diff", "-Fo", "train.py").output == call("diff", *runs).output


def test_a_command_gets_two_paths_for_each_thing_older_run_first(
    call: Call, home: Path, runs: tuple[str, str]
) -> None:
    older, newer = runs

    for section, files in (("-f", "flags.yml"), ("-O", "output"), ("-s", "source")):
        (line,) = call("diff", section, "-c", "echo -n").output.splitlines()
        assert [Path(path).parts[-2:] for path in line.split()] == [(older, files), (newer, files)]
        assert not any(map(os.path.exists, line.split()))
    assert call("diff", "-c", "diff -u", "-f").output.endswith("\n-lr: 0.1\n+lr: 0.5\n+n: 1\n")
    assert call("diff", "-sc", "diff -r").output.endswith("\n< one\n---\n> two\n")
    assert [Path(path).parts[-2] for path in call("diff", "-c", "echo", "-p", "a.py").output.split()] == [
        path.name for path in sorted((home / "runs").iterdir(), key=lambda path: path.name[:8] == newer)
    ]
    assert len(call("diff", "-c", "echo").output.split()) == 2
    assert call("diff", "-f", "-s", "-O", "-c", "echo").output.count("\n") == 3


def test_runs_whose_ids_begin_alike_are_kept_apart(call: Call, home: Path) -> None:
    for number in "12":
        run = ended(id=f"experiment-{number}", flags={"n": number})
        with_files(home, run, {"a.py": number.encode()}, output=number.encode())

    shown = call("diff", "experiment-1", "experiment-2")

    assert "--- from/a.py\n+++ to/a.py\n" in shown.output
    for section in ("-f", "-s", "-O"):
        assert call("diff", section, "-c", "diff -r").output.count("\n") >= 4
    assert call("diff", "1", "1", "-s", "-c", "diff -r").output == ""


def test_a_command_gets_the_project_itself(call: Call, runs: tuple[str, str], tmp_path: Path) -> None:
    source, project = call("diff", "-w", "-c", "echo").output.split()

    assert project == str(tmp_path / "project") and source.endswith(f"{runs[1]}/source")
    assert call("diff", "-w", "-c", "diff -r").output.endswith("\n< two\n---\n> working\n")
    assert call("diff", "-w", "-c", "no-such-command").error == (
        "orchestra: 'no-such-command' can't be started: No such file or directory\n"
    )


def test_a_patch_of_the_source_makes_one_snapshot_of_the_other(
    shell: Shell, home: Path, tmp_path: Path
) -> None:
    before = {"a.py": b"a\nb\nc", "gone.py": b"x\n", "latin.txt": b"caf\xe9\r\n"}
    after = {"a.py": b"a\nB\nc\n", "deep/new.py": b"y\n", "latin.txt": b"caf\xe9s\r\n"}
    with_files(home, ended(), before)
    with_files(home, ended(), after)
    place = tmp_path / "place"
    place.mkdir()
    for name, content in before.items():
        (place / name).write_bytes(content)

    shown = subprocess.run(shell.command("diff", "-s"), env=shell.environment, stdout=subprocess.PIPE)

    subprocess.run(["patch", "--silent", "--binary", "-p1"], cwd=place, input=shown.stdout, check=True)
    found = {str(path.relative_to(place)): path for path in place.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == after


def shown(*changes: FileChange) -> list[str]:
    return list(
        difference_text.difference_lines(Differences(before="a", after="b", source=changes), colour=True)
    )


def test_a_terminal_has_colours_of_ours_alone() -> None:
    diff = f"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-{EVIL}\x1b[31mred\n+tab\tand\rreturn\n"

    lines = shown(FileChange(path=f"x{EVIL}", change="changed", diff=diff, note=EVIL))

    assert lines[1:] == [
        "\x1b[1mchanged: x\\x1b]0;EVIL\\x07 (\\x1b]0;EVIL\\x07)\x1b[0m\n",
        "\x1b[1m--- a/x\x1b[0m\n",
        "\x1b[1m+++ b/x\x1b[0m\n",
        "\x1b[36m@@ -1 +1 @@\x1b[0m\n",
        "\x1b[31m-\\x1b]0;EVIL\\x07\\x1b[31mred\x1b[0m\n",
        "\x1b[32m+tab\tand\\rreturn\x1b[0m\n",
    ]


def test_binary_files_are_said_to_be_such() -> None:
    lines = shown(FileChange(path="x", change="changed", binary=True, note="binary, 2 and 3 bytes"))

    assert lines[1] == "\x1b[1mchanged: x (binary, 2 and 3 bytes)\x1b[0m\n"


def test_values_of_flags_can_not_drive_a_terminal(call: Call, home: Path) -> None:
    for value in ("a", EVIL):
        with_files(home, ended(flags={f"x{EVIL}": value}), {})

    assert not set("\x1b\x07") & set(call("diff", "-f").output)


def test_real_runs_are_compared_from_end_to_end(shell: Shell, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("lr = 0.1\nprint('loss:', lr)\n")
    shell.run("run", "job.py", "-y")
    script.write_text("lr = 0.1\nprint('loss:', lr * 2)\n")
    shell.run("run", "job.py", "lr=0.2", "-y", LANG="C.UTF-8", TZ="UTC")

    told = shell.run("diff")

    assert told.code == 0
    assert "flags:\n  lr: 0.1 -> 0.2\n" in told.output
    assert "-print('loss:', lr)\n+print('loss:', lr * 2)\n" in told.output
    assert shell.run("diff", "-w").output.endswith("No differences.\n")
