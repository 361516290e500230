"""`label`, `tag`, `comment` and `mark`: words, questions, defaults, and what comes of them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from msgspec import structs

from orchestra import api
from orchestra.testing.builders import a_run
from tests.cli.conftest import Call
from tests.process import Shell
from tests.saved_runs import ended, saved


def labels(call: Call) -> list[str]:
    return [run["label"] for run in call("runs", "--json").json]


def tags(call: Call) -> list[list[str]]:
    return [run["tags"] for run in call("runs", "--json").json]


@pytest.fixture
def three(home: Path) -> None:
    saved(
        home,
        *(structs.replace(ended(label=f"n={n}", flags={"n": n}), started=n, created=n) for n in (1, 2, 3)),
    )


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("group", [(), ("runs",)])
def test_labels_are_set_extended_shortened_and_cleared(call: Call, group: tuple[str, ...]) -> None:
    label = (*group, "label", "-y")

    assert call(*label, "-s", "is ${n}") == (0, "Labeled 1 run(s)\n", "")
    assert call(*label, ":2", "--append", "end", "-p", "-begin-") == (0, "Labeled 2 run(s)\n", "")
    assert labels(call) == ["-begin- is 3 end", "-begin- n=2 end", "n=1"]
    assert call(*label, "-rm", "is 3", "-rm", "end", "1").code == 0
    assert labels(call)[0] == "-begin-"
    assert call(*label, "-c", ":") == (0, "Cleared label for 3 run(s)\n", "")
    assert labels(call) == ["", "", ""]
    assert call(*label, "-s", "${default_label}", ":").code == 0
    assert labels(call) == ["n=3", "n=2", "n=1"]


def no_flag(name: str) -> str:
    return f"WARNING: there is no flag '{name}' for the label: nothing stands in the place of ${{{name}}}\n"


@pytest.mark.usefixtures("three")
def test_a_name_in_a_label_that_is_no_flag_is_told(call: Call) -> None:
    assert call("label", "-y", "-s", "${label} ${tyop}") == (0, "Labeled 1 run(s)\n", no_flag("tyop"))
    assert call("label", "-y", "-s", "${n} ${label} ${tags} ${x|default:1}").error == ""


def test_a_name_in_the_label_of_a_new_run_that_is_no_flag_is_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "fit.py").write_text("lr = 1\n")

    for flag in ("lr=2", "lr=[2,3]"):
        staged = call(
            "run", "fit.py", flag, "-l", "${lr} ${tyop}", "--stage", "-y", "--run-id", f"x{len(flag)}"
        )
        assert (staged.code, staged.error) == (0, no_flag("tyop"))
    again = call("run", "--restart", "x4", "-l", "${lrr}", "--stage", "-y")
    assert (again.code, again.error) == (0, no_flag("lrr"))


@pytest.mark.usefixtures("three")
def test_tags_are_added_taken_away_cleared_and_listed(call: Call) -> None:
    assert call("tag", "-y", "-a", "b", "-a", "a") == (0, "Modified tags for 1 run(s)\n", "")
    assert call("runs", "tag", ":", "-y", "--add", "c", "--delete", "b").code == 0
    assert tags(call) == [["a", "c"], ["c"], ["c"]]
    assert call("tag", "-l").output == "a\nc\n"
    assert call("tag", "--list-all", "2", "--json").json == ["c"]
    assert call("tag", "-y", "1", "--clear", "-a", "new").code == 0
    assert tags(call)[0] == ["new"]
    assert labels(call)[0] == "n=3"
    assert call("tag", "-y", "1", "-s", "-a", "best", "-d", "new").code == 0
    assert labels(call)[0] == "best n=3"


@pytest.mark.parametrize(
    ("words", "printed", "warned"),
    [
        (("label", "--remove", "no"), "Labeled 1 run(s)\n", "none of the runs has a label with 'no'"),
        (("tag", "--delete", "no"), "Modified tags for 1 run(s)\n", "none of the runs has the tag 'no'"),
        (("label", "--remove", "good"), "Labeled 1 run(s)\n", ""),
        (("tag", "--delete", "yes"), "Modified tags for 1 run(s)\n", ""),
    ],
)
def test_what_could_not_be_taken_away_is_told(
    call: Call, home: Path, words: tuple[str, ...], printed: str, warned: str
) -> None:
    saved(home, ended(id="aaa", label="good one", label_template="good one", tags=("yes",)))

    told = call(*words, "-y")

    assert told == (0, printed, f"WARNING: nothing has changed: {warned}\n" if warned else "")


@pytest.mark.usefixtures("three")
def test_comments_are_added_listed_and_deleted(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")
    host = os.uname().nodename
    assert call("comment", "-l").lines[1:] == ["  <no comments>"]

    assert call("comment", "-y", "-a", "one\ntwo", ":2") == (0, "Added comment to 2 run(s)\n", "")
    assert call("runs", "comment", "-y", "-a", "-x", "-u", "bob@far", "1").code == 0

    head, first, *body, second, last = call("comment", "--list", "1").lines
    assert head.startswith("[") and "completed" in head
    assert first.startswith(f"  [1] ada@{host} 20") and body == ["    one", "    two"]
    assert second.startswith("  [2] bob@far 20") and last == "    -x"
    (listed,) = call("comment", "-l", "--json", "2").json
    assert [each["body"] for each in listed["comments"]] == ["one\ntwo"]

    assert call("comment", "-d", "1", "-y", "1") == (0, "Deleted comment for 1 run(s)\n", "")
    assert [each["body"] for each in call("comment", "-l", "--json").json[0]["comments"]] == ["-x"]
    refused = call("comment", "-d", "2", "-y", "1")
    assert refused.code == 1
    assert refused.error.splitlines()[0].endswith(" has no comment 2: it has 1 comment")
    assert call("comment", "-c", "-y", ":") == (0, "Deleted all comments for 3 run(s)\n", "")
    assert all(run["comments"] == [] for run in call("runs", "--json").json)


@pytest.mark.usefixtures("three")
def test_a_comment_is_written_in_an_editor(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/draft/edited/" "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))

    assert call("comment", "-y", "-e", "-a", "draft").code == 0
    assert call("comment", "-l").lines[-1] == "    edited"
    monkeypatch.setenv("VISUAL", "true")
    assert call("comment", "-y", "-e").error.startswith("orchestra: the comment is empty: nothing was done\n")


@pytest.mark.usefixtures("three")
def test_marked_runs_are_shown_so_and_found(call: Call) -> None:
    assert call("mark", "2", "-y") == (0, "Marked 1 run(s)\n", "")

    assert [" [marked]  " in line for line in call("runs").lines] == [False, True, False]
    assert [run["marked"] for run in call("runs", "--json").json] == [False, True, False]
    assert "marked: yes" in call("runs", "info", "2").lines
    assert len(call("runs", "-Fm").lines) == 1
    assert call("runs", "mark", "--clear", "-Fm", ":", "-y") == (0, "Unmarked 1 run(s)\n", "")
    assert call("runs", "-Fm").output == ""


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("verb", "intro"),
    [
        (("label", "-s", "new"), "You are about to label the following runs with 'new':"),
        (("label", "-c"), "You are about to clear the labels of the following runs:"),
        (
            ("label", "-a", "x", "-rm", "y"),
            "You are about to remove 'y' from and append 'x' to the labels of the following runs:",
        ),
        (("tag", "-a", "x"), "You are about to modify the tags of the following runs:"),
        (("comment", "-a", "x"), "You are about to add a comment to the following runs:"),
        (("comment", "-c"), "You are about to delete all comments of the following runs:"),
        (("mark",), "You are about to mark the following runs:"),
        (("mark", "-c"), "You are about to unmark the following runs:"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_who_changes_runs_is_asked_and_a_no_changes_nothing(
    shell: Shell, home: Path, verb: tuple[str, ...], intro: str
) -> None:
    before = api.runs_list(home=home)

    refused = shell.run(*verb, ":2", stdin="n\n", separate=True)

    assert (refused.code, refused.output) == (4, "")
    first, *rows, question = refused.error.splitlines()
    assert (first, question) == (intro, "Continue? (Y/n) ")
    assert [row.strip()[:10] for row in rows] == [f"[{run.short_id}]" for run in before[:2]]
    assert api.runs_list(home=home) == before
    assert shell.run(*verb, ":2", stdin="\n").code == 0


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("label",), "nothing to do: give --set, --clear or --append, --prepend, --remove"),
        (("label", "-s", "x", "-c"), "--set and --clear cannot both be used"),
        (("tag",), "nothing to do: give --add, --delete, --clear or --list-all"),
        (
            ("tag", "-l", "-a", "x"),
            "--list-all lists tags: it can't be used with an option that changes them",
        ),
        (("tag", "-a", "x", "--json"), "--json is for --list-all"),
        (("comment",), "nothing to do: give --add, --list, --delete or --clear"),
        (("comment", "-a", "x", "-c"), "--add and --clear cannot both be used"),
        (("comment", "-c", "-u", "bob"), "--user says whose comment is added: it needs --add or --edit"),
        (("comment", "-a", "x", "--json"), "--json is for --list"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_refused(call: Call, arguments: tuple[str, ...], message: str) -> None:
    refused = call(*arguments, "-y")

    assert refused.code == 2
    assert refused.error.splitlines()[0] == f"orchestra: {message}"


def test_without_runs_there_is_nothing_to_annotate(call: Call) -> None:
    for verb in (("label", "-s", "x"), ("tag", "-a", "x"), ("comment", "-l"), ("mark",)):
        assert call(*verb, "-y" if "-l" not in verb else "1").code == 1


def test_what_others_wrote_can_not_drive_the_terminal(call: Call, home: Path) -> None:
    saved(home, a_run(tags=("\x1b[2Jtag",), label="\x1b[2Jlabel"))
    call("comment", "-y", "-a", "\x1b[2Jcomment")

    for shown in (call("tag", "-l"), call("comment", "-l")):
        assert "\x1b" not in shown.output and "\\x1b[2J" in shown.output


def test_a_restart_with_other_flags_fills_in_the_label_again(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    assert call("run", "train.py", "-y").code == 0
    assert call("label", "-y", "-a", "try ${x}").code == 0
    assert labels(call) == ["x=1 try 1"]

    assert call("run", "--restart", "1", "x=2", "-y").code == 0

    assert labels(call) == ["x=2 try 2"]


def test_a_run_is_annotated_while_it_runs(call: Call, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, time\nprint('up', flush=True)\n"
        "while not os.path.exists('../../../go'): time.sleep(0.01)\n"
    )
    running = threading.Thread(
        target=lambda: api.run("slow.py", home=tmp_path / "home", cwd=tmp_path, quiet=True)
    )
    running.start()
    while [run["status"] for run in call("runs", "--json").json] != ["running"]:
        pass
    assert call("label", "-y", "-s", "slow one").code == 0
    assert call("tag", "-y", "-a", "t").code == 0
    assert call("mark", "-y").code == 0
    (tmp_path / "go").touch()
    running.join()

    (run,) = call("runs", "--json").json
    assert (run["status"], run["label"], run["tags"], run["marked"]) == ("completed", "slow one", ["t"], True)
    assert call("check", "--runs") == (0, "Nothing to repair.\n", "")


def test_an_operation_uses_the_marked_run_of_what_it_needs(call: Call, tmp_path: Path) -> None:
    (tmp_path / "make.py").write_text("x = 1\nopen('model', 'w').write(str(x))\n")
    (tmp_path / "use.py").write_text("print(open('model').read())\n")
    (tmp_path / "orchestra.yml").write_text(
        "make: {main: make, flags-import: all}\nuse: {main: use, requires: [{operation: make}]}\n"
    )
    for value in (1, 2, 3):
        assert call("run", "make", f"x={value}", "-y").code == 0
    assert call("run", "use", "-y").output.splitlines()[-1] == "3"

    assert call("mark", "-y", "3").code == 0
    assert call("run", "use", "-y").output.splitlines()[-1] == "2"
    assert call("mark", "-y", "-c", "-Fm").code == 0
    assert call("run", "use", "-y").output.splitlines()[-1] == "3"
