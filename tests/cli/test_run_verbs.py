"""`runs info`, `select`, `cat`, `runs delete`, `stop`, `plugins`, `check`: what they print and return."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from orchestra.cli.told_terms import TERMS
from orchestra.engine import search
from orchestra.model.batch import Batch, Choices
from orchestra.model.encoding import encode
from orchestra.model.execution import Fence
from orchestra.model.filters import RunQuery
from orchestra.testing.builders import a_run, a_worker, an_operation, some_runs
from orchestra.workspace.output import OutputWriter
from tests.cli.conftest import Call
from tests.process import Shell
from tests.saved_runs import ended, saved

INFO_ORDER = [
    *("id", "operation", "from", "status", "started", "stopped", "marked", "label", "sourcecode_digest"),
    *("vcs_commit", "run_dir", "command", "exit_status", "pid", "tags", "flags", "scalars"),
]


# runs info


def test_info_has_its_lines_in_order(call: Call, home: Path) -> None:
    run = ended(
        operation=an_operation(source="/p"),
        label="best",
        tags=("a", "b"),
        flags={"x10": 1.0, "x9": None, "name": "a b", "on": True, "path": "1"},
        command=("python", "-u", "train.py", "--name", "a b"),
    )
    saved(home, run)

    called = call("runs", "info")

    assert [line.partition(":")[0] for line in called.lines if not line.startswith(" ")] == INFO_ORDER
    assert "command: python -u train.py --name 'a b'" in called.lines
    assert "from: /p" in called.lines
    assert called.output.partition("tags:\n")[2].startswith("  - a\n  - b\nflags:\n")
    flags = called.output.partition("flags:\n")[2].partition("scalars")[0]
    assert [line.partition(":")[0].strip() for line in flags.splitlines()] == [
        "name",
        "on",
        "path",
        "x9",
        "x10",
    ]


def test_info_as_json_has_the_same_keys(call: Call, home: Path) -> None:
    run = ended(flags={"lr": 0.5})
    saved(home, run)

    told = call("runs", "info", run.id[:6], "--json").json

    assert list(told) == [*INFO_ORDER, *TERMS]
    assert (told["id"], told["flags"], told["exit_status"]) == (run.id, {"lr": 0.5}, 0)


def test_info_of_a_batch_shows_what_it_searches(call: Call, home: Path) -> None:
    batch = Batch(space={"lr": Choices(values=(0.1, 0.2))}, fixed={"depth": 3}, seed=1)
    saved(home, ended(kind="batch", batch_spec=batch, flags={}, reason="told so"))

    lines = call("runs", "info").lines
    assert "proto-flags:" in lines and "  depth: 3" in lines and "  lr: [0.1, 0.2]" in lines
    assert "reason: told so" in lines


@pytest.mark.parametrize(
    ("seconds", "status"), [(30, "running"), (450, "running (not seen for 7 minutes on far-away)")]
)
def test_a_run_on_another_host_that_was_not_seen_for_long_shows_so(
    call: Call, home: Path, seconds: int, status: str
) -> None:
    worker = a_worker()
    run = a_run(state="running", attempt=1, executions=1, worker=worker, lease=2**60)
    identity = structs.replace(worker.identity, host="far-away/1")
    saved(home, run)
    path = home / "runs" / run.id / ".orchestra" / "attempts" / "1" / "fence"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(Fence(fence="started", nonce="1", identity=identity, time=1)))
    seen = time.time() - seconds
    os.utime(path, (seen, seen))

    assert f"status: {status}" in call("runs", "info").lines
    assert call("runs", "info", "--json").json["status"] == "running"
    assert call("runs").lines[0].split()[-1] == "running"


def test_info_without_runs_is_an_error(call: Call) -> None:
    assert call("runs", "info") == (1, "", "orchestra: no matching runs\n")


def test_info_shows_no_control_characters(call: Call, home: Path) -> None:
    saved(home, ended(label="\x1b[2Jgone", flags={"x": "a\nb\x07"}))

    assert not set("\x1b\x07") & set(call("runs", "info").output)


# select


def test_select_prints_ids_for_scripts(call: Call, home: Path) -> None:
    first, second, third = some_runs(3)
    saved(home, first, second, third)

    assert call("select").lines == [third.id]
    assert call("select", "--all").lines == [third.id, second.id, first.id]
    assert call("select", "2:", "-s").lines == [second.id[:8], first.id[:8]]
    assert call("select", first.id, "--dir").lines == [str(home / "runs" / first.id)]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("status", "completed"),
        ("operation", "train.py"),
        ("exit_status", "0"),
        ("label", "l"),
        ("flags", "lr: 0.5\nnames:\n- a\n- b"),
        ("executor", "local"),
        ("batch", "null"),
        ("executions", "1"),
    ],
)
def test_select_prints_any_attribute(call: Call, home: Path, name: str, shown: str) -> None:
    saved(home, ended(label="l", flags={"lr": 0.5, "names": ["a", "b"]}))

    assert call("select", "--attr", name) == (0, shown + "\n", "")


def test_an_attribute_that_there_is_not_is_an_error(call: Call, home: Path) -> None:
    saved(home, ended())

    refused = call("select", "-a", "colour")

    assert (refused.code, refused.output) == (1, "")
    assert refused.error.splitlines() == [
        "orchestra: no such run attribute 'colour'",
        "Flags are written '=lr' here, scalars '#loss'.",
    ]


def test_select_prints_flags_and_json(call: Call, home: Path) -> None:
    saved(home, ended(id="one", flags={"lr": 0.5}))

    assert call("select", "-a", "=lr") == (0, "0.5\n", "")
    assert msgspec.json.decode(call("select", "--json").output) == [{"id": "one"}]
    shown = msgspec.json.decode(call("select", "--json", "-a", "=lr").output)
    assert shown == [{"id": "one", "=lr": 0.5}]


# cat


def with_output(home: Path, *chunks: bytes) -> Path:
    run = ended()
    saved(home, run)
    directory = home / "runs" / run.id
    attempt = directory / ".orchestra" / "attempts" / "1"
    attempt.mkdir(parents=True)
    with OutputWriter(attempt) as output:
        for chunk in chunks:
            output.write(0, chunk)
    return directory


def test_cat_shows_what_a_run_printed_byte_by_byte(home: Path, shell: Shell) -> None:
    with_output(home, b"one\n", b"\xff\x00\xfe")

    assert shell.run("cat", "--output").output == "one\n\udcff\x00\udcfe"


def test_cat_shows_a_file_of_the_run(call: Call, home: Path) -> None:
    directory = with_output(home)
    (directory / "sub").mkdir()
    (directory / "sub" / "file").write_text("content")
    (directory / "inner").symlink_to("sub/file")

    assert call("cat", "-p", "sub/file").output == "content"
    assert call("cat", "1", "--path", "inner").output == "content"


def test_cat_never_leaves_the_run_or_opens_what_is_no_file(call: Call, home: Path, tmp_path: Path) -> None:
    directory = with_output(home)
    (tmp_path / "secret").write_text("secret")
    (directory / "link").symlink_to(tmp_path / "secret")
    (directory / "zero").symlink_to("/dev/zero")
    os.mkfifo(directory / "fifo")
    outside = "is outside of the run's directory\n"

    for path in ("../../../secret", str(tmp_path / "secret"), "link", "zero", "/etc/passwd"):
        assert call("cat", "-p", path) == (1, "", f"orchestra: '{path}' {outside}")
    assert call("cat", "-p", "fifo") == (1, "", "orchestra: 'fifo' is not a regular file\n")
    assert call("cat", "-p", "nope") == (1, "", "orchestra: nope does not exist\n")
    assert stat.S_ISFIFO((directory / "fifo").stat().st_mode)


def test_cat_of_a_directory_names_what_it_holds(call: Call, home: Path) -> None:
    directory = with_output(home)
    (directory / "sub").mkdir()
    empty = call("cat", "-p", "sub")
    (directory / "sub" / "b").touch()
    (directory / "sub" / "a").touch()

    assert empty == (1, "", "orchestra: 'sub' is a directory\nIt is empty.\n")
    assert call("cat", "-p", "sub").error == "orchestra: 'sub' is a directory\nName a file in it: a, b.\n"


def test_cat_follows_the_links_to_what_the_run_needed(call: Call, tmp_path: Path) -> None:
    (tmp_path / "make.py").write_text("x = 1\nopen('model', 'w').write('made')\n")
    (tmp_path / "use.py").write_text(
        "x = 1\nimport os\nos.symlink('/etc/passwd', 'own')\nos.symlink('../..', 'up')\n"
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "part").write_bytes(b"\0given")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "orchestra.yml").write_text(
        "make: make\nuse:\n  main: use\n  requires:\n    - operation: make\n"
        "    - {file: data, target-type: link}\n"
    )
    assert call("run", "make", "-y").code == call("run", "use", "-y").code == 0

    assert call("cat", "-p", "model").output == "made"
    assert call("cat", "-p", "data/part").output == "\0given"
    for path in ("own", "data/../../secret", "up/runs/../../secret"):
        assert "is outside of the run's directory" in call("cat", "-p", path).error, path


def test_cat_has_to_be_told_what_to_show(call: Call) -> None:
    assert call("cat").code == 2
    assert call("cat", "--output", "-p", "x").code == 2


# runs delete


def test_delete_counts_what_it_deleted(call: Call, home: Path) -> None:
    saved(home, *some_runs(4))

    assert call("runs", "rm", "1", "-y") == (0, "Deleted 1 run(s)\n", "")
    assert call("runs", "delete", "-p", "--yes", ":2") == (0, "Permanently deleted 2 run(s)\n", "")
    assert call("rm", "-y") == (0, "Deleted 1 run(s)\n", "")
    assert call("rm", "-y") == (0, "", "Nothing to delete.\n")


def test_a_number_that_is_no_index_but_begins_an_id_is_told(call: Call, home: Path) -> None:
    saved(home, ended(id="412"), ended(id="99288a90" + 24 * "0"), ended(id="2024" + 28 * "1"))
    warning = "WARNING: there is no run 99 among the 3 listed: run 99288a90 is meant\n"

    assert call("runs", "delete", "99", "-y") == (0, "Deleted 1 run(s)\n", warning)
    assert call("runs", "purge", "99", "-y").error == warning.replace("the 3", "the 1")
    # An index, whole ids, and what is too long for an index.
    for spec in ("2", "412", "2024"):
        assert call("runs", "info", spec).error == ""


def test_what_runs_came_to_is_looked_up_once_where_a_number_may_be_an_index(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(home, ended(id="99288a90" + 24 * "0"))
    searched: list[RunQuery] = []

    class Counted(search._Search):
        async def in_other_words(self, index: Any) -> RunQuery:
            searched.append(self._query)
            return await super().in_other_words(index)

    monkeypatch.setattr(search, "_Search", Counted)
    found = call("runs", "delete", "99", "-y", "-F", "#loss is undefined")

    assert found.error.startswith("WARNING: there is no run 99 among the 1 listed")
    assert len(searched) == 1


def test_delete_tells_of_files_that_it_keeps(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\nopen('result', 'w').close()\n")
    for number in (1, 2):
        assert call("run", "train.py", "-y", "--run-dir", f"out{number}").code == 0
    assert call("run", "train.py", "-y").code == 0

    assert call("runs", "delete", "1", "-y") == (0, "Deleted 1 run(s)\n", "")
    assert call("runs", "delete", "1", "-y") == (0, "Deleted 1 run(s)\n", "")
    deleted = call("runs", "delete", "-p", "-y")
    assert (deleted.code, deleted.output) == (0, "Permanently deleted 1 run(s)\n")
    purged = call("runs", "purge", "-y")

    assert (purged.code, purged.output) == (0, "Permanently deleted 2 run(s)\n")
    assert deleted.error + purged.error.split("\n", 1)[1] == (
        "The files in directories that were chosen with --run-dir are kept:\n"
        f"  {tmp_path / 'out1'}\n  {tmp_path / 'out2'}\n"
    )
    assert (tmp_path / "out1" / "result").exists()


def test_delete_asks_first_and_a_no_changes_nothing(home: Path, shell: Shell) -> None:
    saved(home, *(ended(label=f"n={n}") for n in range(12)))

    refused = shell.run("runs", "rm", stdin="n\n")
    assert refused.code == 4
    lines = refused.output.splitlines()
    assert lines[0] == "You are about to delete the following runs:"
    assert lines[1].startswith("  [") and lines[1].endswith("completed  n=11")
    assert lines[-2:] == ["  ... and 2 more", "Delete 12 run(s)? (Y/n) "]
    silent = shell.run("runs", "rm")
    assert silent.code == 2 and "--yes" in silent.output
    assert len(shell.run("runs", "-a").output.splitlines()) == 12
    assert shell.run("runs", "rm", stdin="\n").output.endswith("Deleted 12 run(s)\n")


def test_delete_refuses_what_runs_and_deletes_it_after_a_stop(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    process = shell.start("run", "sleeper.py", "-y")
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        refused = shell.run("runs", "rm", "-y")
        assert (refused.code, "running runs are not deleted" in refused.output) == (1, True)
        assert shell.run("runs", "rm", "-y", "--stop").output == "Deleted 1 run(s)\n"
    finally:
        process.kill()
        process.communicate()


# stop


def test_stop_ends_a_run_and_says_so(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    process = shell.start("run", "sleeper.py", "-y")
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        (run_id,) = os.listdir(shell.home / "runs")
        stopped = shell.run("stop", run_id[:5])
        assert (stopped.code, stopped.output.startswith(f"Stopping {run_id} (pid ")) == (0, True)
        assert process.wait(20) == 256 - 15
        assert shell.run("select", "-a", "status").output == "terminated\n"
        assert shell.run("stop", run_id).output == f"Run {run_id} is not running\n"
    finally:
        process.kill()
        process.communicate()


def test_stop_tells_a_queue_which_leaves_its_runs_running(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    shell.run("run", "sleeper.py", "-y", "--stage")
    queue = shell.start("queue")
    try:
        assert queue.stdout is not None
        while queue.stdout.readline() != "up\n":
            pass
        assert shell.run("stop", "queue", "-y").code == 1
        told = shell.run("stop", "1", "2", "--timeout", "0", "-y")
        assert told.output.count("Stopping ") == 2
        assert queue.wait(20) == 0
    finally:
        queue.kill()
        queue.communicate()
        shell.run("stop", "-y")


def test_stop_without_running_runs_has_nothing_to_do(call: Call, home: Path) -> None:
    saved(home, ended(), a_run())

    assert call("stop") == (0, "", "Nothing to stop.\n")
    assert call("stop", "--timeout", "-1").code == 2


# plugins and check


def test_the_built_in_plugins_are_listed_and_can_be_used(call: Call) -> None:
    listed = call("plugins", "list", "--json").json
    assert {(one["kind"], one["name"]) for one in listed} >= {
        ("executor", "local"),
        ("expander", "grid"),
        ("store", "sqlite"),
        ("resolver", "file"),
    }
    assert call("plugins").lines[0].split()[:2] == [listed[0]["kind"], listed[0]["name"]]
    checked = call("plugins", "check", "sqlite", "grid")
    assert checked.code == 0
    assert "ok  store sqlite" in checked.output and "local" not in checked.output


def test_a_plugin_that_there_is_not_can_not_be_checked(call: Call) -> None:
    called = call("plugins", "check", "nonsense")

    assert called.code == 1
    assert called.error.startswith("orchestra: no plugin 'nonsense' is installed\nInstalled plugins: ")


def test_check_ends_with_3_until_all_is_repaired(call: Call, home: Path) -> None:
    run, other = some_runs(2)
    saved(home, run, other)
    assert call("check", "--runs") == (0, "Nothing to repair.\n", "")
    os.rename(home / "runs" / run.id, home / run.id)

    found = call("check", "--runs")
    assert found.code == 3
    assert found.output == f"found  ghost  run {run.id} has no directory\n"
    assert call("check", "--runs", "--json").code == 3
    assert call("check", "--runs", "--json").json[0]["fixed"] is False
    fixed = call("check", "--runs", "--fix")
    assert (fixed.code, fixed.lines[0].split()[0]) == (0, "fixed")
    os.rename(home / run.id, home / "runs" / run.id)
    assert call("check", "--fix", "--json").json[0]["kind"] == "orphan"
    assert call("check", "--runs") == (0, "Nothing to repair.\n", "")


def test_a_source_file_is_shown_by_its_path_in_the_source(call: Call, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("print(1)\n")
    (tmp_path / "orchestra.yml").write_text("job:\n  main: job\n  sourcecode: {dest: src}\n")
    assert call("run", "job", "--stage", "-y").code == 0

    assert call("cat", "-p", "job.py").error.startswith("orchestra: job.py does not exist")
    assert call("cat", "-s", "-p", "job.py").output == call("cat", "-p", "src/job.py").output == "print(1)\n"
    assert call("cat", "--sourcecode", "--output").code == 2


def test_info_shows_what_else_is_in_the_record_only_where_it_is_asked_for(call: Call, home: Path) -> None:
    run = ended(user="ada", command=("true",))
    saved(home, run)

    assert "private_attributes" not in call("runs", "info", "--json").json
    private = call("runs", "info", "--json", "--private-attrs").json["private_attributes"]
    assert (private["user"], private["attempt"]) == ("ada", 1)
    assert not {"id", "state", "command", "flags"} & set(private)
    assert "  user: ada" in call("runs", "info", "--private-attrs").lines
