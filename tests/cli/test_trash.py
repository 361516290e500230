"""`runs delete`, `restore` and `purge`, the listing of what was deleted, and the room that runs take."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from msgspec import structs

from orchestra import api
from orchestra.cli.completing import candidates
from orchestra.model.resources import format_memory
from orchestra.workspace.usage import Usage
from tests.cli.conftest import Call
from tests.process import Shell
from tests.saved_runs import ended, saved


@pytest.fixture
def three(home: Path) -> list[str]:
    """Ids, the newest run first."""
    runs = [structs.replace(ended(label=f"n={n}", tags=(f"t{n}",)), started=n, created=n) for n in (1, 2, 3)]
    saved(home, *runs)
    return [run.id for run in reversed(runs)]


def ids(call: Call, *arguments: str) -> list[str]:
    return [run["id"] for run in call("runs", "list", "--json", *arguments).json]


def test_deleted_runs_are_listed_restored_and_purged(call: Call, three: list[str]) -> None:
    assert call("runs", "delete", "1:2", "-y") == (0, "Deleted 2 run(s)\n", "")
    assert ids(call) == three[2:]
    assert ids(call, "--deleted") == three[:2]
    assert [line[:3] for line in call("runs", "-d").lines] == ["[1:", "[2:"]

    assert call("runs", "restore", "2", "-y") == (0, "Restored 1 run(s)\n", "")
    assert ids(call) == three[1:]
    assert call("runs", "restore", "-y") == (0, "Restored 1 run(s)\n", "")
    assert call("runs", "restore", "-y") == (0, "", "Nothing to restore.\n")

    assert call("rm", "-y", "1").code == 0
    assert call("runs", "purge", "-y") == (0, "Permanently deleted 1 run(s)\n", "")
    assert call("runs", "purge", "-y") == (0, "", "Nothing to purge.\n")
    assert ids(call) == three[1:] and ids(call, "-d") == []


def test_deleted_runs_are_filtered_and_shown_as_others_are(call: Call, three: list[str], home: Path) -> None:
    assert call("rm", "-y").code == 0

    assert ids(call, "-d", "-Ft", "t2") == [three[1]]
    assert ids(call, "-d", "-n", "1") == three[:1]
    assert ids(call, "-d", "-F", "label contains 'n=1'") == [three[2]]
    assert "n=3" in call("runs", "-d", "-v").output
    assert [run["label"] for run in call("api", "runs", "-d", "2:").json] == ["n=2", "n=1"]
    (shown,) = call("runs", "-d", "-Ft", "t1", "--json").json
    assert Path(shown["run_dir"]).parent == home / "trash" / "runs" and Path(shown["run_dir"]).is_dir()
    assert shown["deleted"] > 10**15
    assert call("runs", "restore", "-Ft", "t1", "-y").output == "Restored 1 run(s)\n"
    assert call("runs", "purge", "1", "-Sc", "-y").output == "Permanently deleted 1 run(s)\n"
    assert ids(call, "-d") == three[1:2]


def test_who_names_a_deleted_run_is_told_that_it_is_one(call: Call, three: list[str]) -> None:
    assert call("rm", "-y", "1").code == 0

    for verb in (
        ("runs", "info", three[0]),
        ("run", "-y", "--restart", three[0][:8]),
        ("mark", "-y", three[0]),
    ):
        refused = call(*verb)
        assert refused.code == 1
        assert refused.error.splitlines()[1] == (
            f"It was deleted: use 'orchestra runs restore {verb[-1]}' to bring it back."
        )
    assert call("runs", "restore", "nothing", "-y").error.splitlines() == [
        "orchestra: could not find a run matching 'nothing'",
        "Try 'orchestra runs list --deleted' for a list of deleted runs.",
    ]


def test_deleted_runs_are_found_by_what_they_came_to(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\nprint('loss:', x * 2)\n")
    assert call("run", "train.py", "x=[1,2,3]", "-y").code == 0
    assert call("rm", "-y").code == 0

    assert [run["flags"] for run in call("runs", "-d", "-F", "loss > 2", "--json").json] == [
        {"x": 3},
        {"x": 2},
    ]
    assert call("runs", "-d", "-F", "loss > 2 and not x = 3").output.count("x=2") == 1
    assert call("runs", "restore", "-F", "#loss = 4", "-y").output == "Restored 1 run(s)\n"
    assert [run["flags"] for run in call("runs", "--json").json] == [{"x": 2}]


def test_what_is_deleted_for_good_is_not_in_the_trash(call: Call, three: list[str]) -> None:
    assert call("rm", "-p", "-y", "1") == (0, "Permanently deleted 1 run(s)\n", "")

    assert ids(call) == three[1:] and ids(call, "-d") == []


def test_purge_spares_what_was_deleted_lately(call: Call, three: list[str]) -> None:
    assert call("rm", "-y").code == 0

    assert call("runs", "purge", "--older-than", "30d", "-y") == (0, "", "Nothing to purge.\n")
    assert call("runs", "purge", "--older-than", "0s", "-y").output == "Permanently deleted 3 run(s)\n"
    assert call("runs", "purge", "--older-than", "30").code == 1


def test_deleting_for_good_is_not_what_a_mere_enter_does(shell: Shell, three: list[str], home: Path) -> None:
    refused = shell.run("runs", "rm", "-p", "1", stdin="\n", separate=True)
    freed = format_memory(Usage().add(str(home / "runs" / three[0])))
    assert refused.code == 4
    assert refused.error.splitlines() == [
        f"You are about to permanently delete the following runs, which frees {freed}:",
        f"  [{three[0][:8]}]  {refused.error.splitlines()[1].split('  ', 2)[2]}",
        "Permanently delete 1 run(s)? (y/N) ",
    ]
    assert shell.run("runs", "rm", "1", stdin="\n").code == 0

    asked = shell.run("runs", "restore", stdin="n\n", separate=True)
    assert asked.code == 4 and asked.error.startswith("You are about to restore the following runs:\n")
    assert asked.error.splitlines()[-1] == "Restore 1 run(s)? (Y/n) "
    assert shell.run("runs", "purge", stdin="\n").code == 4
    assert shell.run("runs", "purge", stdin="y\n").code == 0
    assert os.listdir(home / "trash" / "runs") == []


def test_an_id_that_is_there_again_is_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    assert call("run", "train.py", "-y", "--run-id", "mine").code == 0
    assert call("rm", "-y").code == 0
    assert call("run", "train.py", "-y", "--run-id", "mine").code == 0

    refused = call("runs", "restore", "mine", "-y")

    assert (refused.code, refused.error) == (
        1,
        "orchestra: run mine can't be restored: there is a run with this id\n"
        "Delete that one first, or purge the one in the trash.\n",
    )


def test_staged_runs_and_batches_come_back_ready_to_run(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\nprint('x is', x)\n")
    assert call("run", "train.py", "x=[1,2]", "-y", "--stage-trials").code == 0
    assert call("run", "train.py", "x=3", "-y", "--stage").code == 0
    before = call("runs", "--json").json

    assert call("rm", "-y").output == "Deleted 4 run(s)\n"
    assert call("queue", "run-once=yes").output.count("x is") == 0
    assert call("rm", "1", "-p", "-y").code == 0
    assert call("runs", "restore", "-y").output == "Restored 4 run(s)\n"

    assert call("runs", "--json").json == before
    ended = call("queue", "run-once=yes")
    assert sorted(re.findall("x is .", ended.output)) == ["x is 1", "x is 2", "x is 3"]
    assert call("check", "--runs").output == "Nothing to repair.\n"


def test_a_run_with_a_secret_can_be_restarted_once_it_is_restored(call: Call, tmp_path: Path) -> None:
    (tmp_path / "login.py").write_text("password = 'x'\nprint(len(password))\n")
    assert call("run", "login.py", "password=correct-horse-battery", "-y").code == 0

    assert call("rm", "-y").code == call("runs", "restore", "-y").code == 0

    assert call("run", "--restart", "1", "-y").output.splitlines()[-1] == "21"


def test_the_room_that_runs_take_is_shown(call: Call, three: list[str], home: Path) -> None:
    (home / "runs" / three[0] / "big").write_bytes(b"x" * 5_000_000)
    room = [Usage().add(str(home / "runs" / run_id)) for run_id in three]

    assert [run["size"] for run in call("runs", "--size", "--json").json] == room
    for line, size in zip(call("runs", "--size").lines, room, strict=True):
        assert line.split()[-2] == format_memory(size)
    assert call("runs", "--size", "-s").lines[0].split()[-2] == "4.7M"
    assert f"size: {format_memory(room[0])}" in call("runs", "info", "--size").lines
    assert call("runs", "info", "--size", "--json").json["size"] == room[0]
    assert "size" not in json.loads(call("runs", "info", "--json").output)


def test_programs_delete_restore_and_purge(home: Path, three: list[str]) -> None:
    assert api.runs_delete(three[:2], home=home) == 2
    assert [run.id for run in api.runs_list(home=home, deleted=True)] == three[:2]
    assert [run.id for run in api.runs_list(home=home, deleted=True, tags="t2", limit=3)] == three[1:2]
    assert [run.id for run in api.runs_restore(three[:1], home=home)] == three[:1]
    assert api.runs_purge(home=home) == 1
    assert api.runs_delete(home=home, permanent=True) == 2
    assert api.runs_list(home=home, deleted=True) == api.runs_list(home=home) == []


def test_verbs_options_and_deleted_runs_are_completed(call: Call, three: list[str]) -> None:
    assert call("rm", "-y", "2").code == 0
    for verb in ("restore", "purge"):
        assert [one.word for one in candidates(["runs", verb, ""])] == [three[1][:8]]
    assert [one.word for one in candidates(["label", ""])] == [three[0][:8], three[2][:8]]
    assert {"restore", "purge", "label"} <= {one.word for one in candidates(["runs", ""])}
    assert [one.word for one in candidates(["runs", "purge", "--older"])] == ["--older-than"]
    assert "--sync-labels" in {one.word for one in candidates(["tag", "--s"])}
