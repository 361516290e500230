"""Tags and comments that runs, batches and their trials are given by `run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestra import api
from tests.process import Shell

SCRIPT = "x = 1\nprint(x)\n"


@pytest.fixture(autouse=True)
def a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "say.py").write_text(SCRIPT)
    monkeypatch.setenv("USER", "ada")


def listed(shell: Shell) -> dict[str, Any]:
    """By the operation and, of trials, their number."""
    runs = json.loads(shell.run("runs", "--json").output)
    return {f"{run['operation']}{run['trial'] or ''}": run for run in runs}


def bodies(run: Any) -> list[str]:
    return [comment["body"] for comment in run["comments"]]


def test_a_comment_is_kept_with_who_made_it_and_when(shell: Shell, home: Path) -> None:
    assert shell.run("run", "say.py", "-y", "-c", "as in the paper\nsecond line").code == 0

    (run,) = api.runs_list(home=home)
    (comment,) = run.get("comments")
    assert comment["body"] == "as in the paper\nsecond line"
    assert (comment["user"], comment["host"]) == ("ada", run.host)
    assert run.created <= comment["time"] <= (run.started or 0)
    shown = shell.run("runs", "info").output.splitlines()
    assert shown[shown.index("comments:") + 1].startswith(f"  - ada@{run.host} 2")
    assert shown[shown.index("comments:") + 2 :][:2] == ["    as in the paper", "    second line"]
    assert json.loads(shell.run("runs", "info", "--json").output)["comments"] == [comment]


def test_comments_are_listed_below_each_run_where_they_are_asked_for(shell: Shell) -> None:
    shell.run("run", "say.py", "-y")
    shell.run("run", "say.py", "-y", "-c", "\x1b[2Jfirst")

    plain, commented = shell.run("runs").output, shell.run("runs", "-c").output.splitlines()

    assert len(plain.splitlines()) == 2
    assert [line[:2] for line in commented] == ["[1", "  ", "  ", "[2"]
    assert commented[2] == "    \\x1b[2Jfirst"


def test_a_run_without_comments_has_the_field_only_where_it_is_asked_for(shell: Shell) -> None:
    shell.run("run", "say.py", "-y", "--comment", " ")

    assert "comments" not in json.loads(shell.run("runs", "info", "--json").output)
    assert json.loads(shell.run("runs", "info", "--json", "--comments").output)["comments"] == []


def test_a_batch_has_tags_and_comments_of_its_own(shell: Shell) -> None:
    options = ("-t", "small", "-c", "one of two", "-bt", "sweep", "-bt", "nightly", "-bc", "all of them")
    shell.run("run", "say.py", "x=[1,2]", "-y", "--run-id", "b", *options)

    runs = listed(shell)
    assert [(run["tags"], bodies(run)) for run in runs.values()] == [
        (["small"], ["one of two"]),
        (["small"], ["one of two"]),
        (["sweep", "nightly"], ["all of them"]),
    ]
    assert [run["label"] for run in runs.values()] == ["small x=2", "small x=1", "sweep nightly"]


def test_a_restart_keeps_comments_unless_it_is_given_one(shell: Shell) -> None:
    shell.run("run", "say.py", "-y", "-c", "first", "--run-id", "r")

    shell.run("run", "--restart", "r", "x=2", "-y")
    assert bodies(listed(shell)["say.py"]) == ["first"]

    shell.run("run", "--restart", "r", "-y", "-c", "second")
    assert bodies(listed(shell)["say.py"]) == ["second"]


def test_a_restart_of_a_batch_replaces_what_is_given_again(shell: Shell) -> None:
    shell.run("run", "say.py", "x=[1]", "--stage", "-y", "--run-id", "b", "-t", "a", "-bt", "b", "-bc", "c")

    shell.run("run", "--start", "b", "-y", "-t", "new", "-c", "said", "-bt", "own")

    runs = listed(shell)
    assert (runs["say.py1"]["tags"], bodies(runs["say.py1"])) == (["new"], ["said"])
    assert (runs["say.py+"]["tags"], bodies(runs["say.py+"])) == (["own"], ["c"])
    assert runs["say.py+"]["label"] == "own"


def test_a_run_of_a_run_has_its_comments(shell: Shell) -> None:
    shell.run("run", "say.py", "x=[1]", "-y", "--run-id", "b", "-c", "trial", "-bc", "batch", "-bt", "t")
    shell.run("run", "--proto", "b", "--stage", "-y", "--run-id", "copy")

    copy = next(run for run in json.loads(shell.run("runs", "--json").output) if run["id"] == "copy")
    assert (copy["tags"], bodies(copy)) == (["t"], ["batch"])
    shell.run("run", "--start", "copy", "-y")
    assert bodies(json.loads(shell.run("runs", "--json").output)[0]) == ["trial"]


def test_what_only_a_batch_can_have_is_ignored_aloud_for_one_run(shell: Shell) -> None:
    assert shell.run("run", "say.py", "-bt", "x", "-bc", "x", "-y").output.splitlines() == [
        "WARNING: operation is not a batch - ignoring batch comment",
        "WARNING: not a batch run - ignoring --batch-tag",
        "1",
    ]
    assert listed(shell)["say.py"]["comments"] == []


@pytest.mark.parametrize("arguments", [("say.py",), ("--restart", "r")])
def test_a_comment_may_be_written_in_an_editor(
    shell: Shell, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    shell.run("run", "say.py", "-y", "--run-id", "r")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\ncat "$1" > seen; echo " more" >> "$1"; echo "# no" >> "$1"\n')
    editor.chmod(0o755)

    assert shell.run("run", *arguments, "-y", "-c", "begun", "-ec", VISUAL=str(editor)).code == 0

    assert (tmp_path / "seen").read_text().splitlines()[1].startswith("# Type a comment for the run.")
    assert bodies(json.loads(shell.run("runs", "--json").output)[0]) == ["begun\n more"]


def test_an_empty_comment_in_the_editor_runs_nothing(shell: Shell) -> None:
    refused = shell.run("run", "say.py", "-y", "--edit-comment", VISUAL="true")

    assert (refused.code, refused.output.splitlines()[0]) == (
        1,
        "orchestra: the comment is empty: nothing was done",
    )
    assert shell.run("runs").output == ""


def test_the_batch_comment_is_written_in_an_editor_for_a_batch_only(shell: Shell, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho typed > "$1"\n')
    editor.chmod(0o755)

    alone = shell.run("run", "say.py", "-y", "-ebc", VISUAL=str(editor))
    assert alone.output.splitlines()[0] == "WARNING: operation is not a batch - ignoring batch comment"
    shell.run("run", "say.py", "x=[1,2]", "-y", "--edit-batch-comment", VISUAL=str(editor))

    runs = listed(shell)
    assert (bodies(runs["say.py+"]), bodies(runs["say.py1"])) == (["typed"], [])
