"""``import --from-guild``: what Guild has kept of runs is here afterwards, and nothing of it is believed."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestra.model.marks import MARK
from orchestra.testing.builders import a_batch
from orchestra.workspace.guild_runs import start_time
from tests.cli.conftest import Call, Called
from tests.guild_homes import LATER, OLD, SCRIPT, STARTED, GuildHome, Status, op, snapshot
from tests.saved_runs import ended, saved
from tests.workspace.event_samples import scalar_event

TREE = "builtin:guildai 0.9.0 '' +"


@pytest.fixture
def guild(tmp_path: Path) -> GuildHome:
    return GuildHome(tmp_path / "guild")


def take(call: Call, guild: GuildHome, *more: str) -> Called:
    called = call("import", "--from-guild", str(guild.path), "-y", *more)
    assert called.code == 0, called.error
    return called


def info(call: Call, run: str, *options: str) -> Any:
    called = call("runs", "info", run, "--json", *options)
    assert called.code == 0, called.error
    return called.json


def listed(call: Call) -> dict[str, Any]:
    return {run["id"]: run for run in call("runs", "--json").json}


def test_all_that_guild_knows_of_a_run_is_taken_over(call: Call, guild: GuildHome, home: Path) -> None:
    guild.run(
        "aaa",
        files={"model/weights.txt": "w"},
        flags={"x": 1.5, "name": "a b", "y": True, "none": None, "items": [1, "2"]},
        label="best",
        tags=["good", "old"],
        comments=[{"body": "look", "user": "ann", "host": "far", "time": STARTED}],
        marked=True,
        vcs_commit="git:abc*",
        sourcecode_digest="d" * 32,
        random_seed=7,
        user="ann",
        host="far",
        cmd=["python", "train.py"],
        team="blue",
        platform={"architecture": "64bit ELF", "cpus": 4, "python_version": "3.9.1 (main)"},
        pip_freeze=["numpy==1.26", "own @ https://u:pw@example.org/own.zip"],
        env={"LANG": "C", "API_TOKEN": "hush", "OTHER": "hidden"},
    )
    called = take(call, guild)
    assert called.lines == [f"Imported 1 run(s) from {guild.path}"]
    assert called.error == "Copying aaa\n"
    found = info(call, "aaa", "--comments", "--env")
    assert found["flags"] == {"x": 1.5, "name": "a b", "y": True, "none": None, "items": [1, "2"]}
    assert (found["label"], found["tags"]) == ("best", ["good", "old"])
    assert (found["operation"], found["status"], found["exit_status"]) == ("train", "completed", 0)
    assert '"marked":true' in (home / "runs/aaa/.orchestra/run.json").read_text()
    times = listed(call)["aaa"]
    assert (times["started"], times["stopped"]) == (STARTED, STARTED + 2_000_000)
    assert (found["vcs_commit"], found["sourcecode_digest"]) == ("git:abc*", "d" * 32)
    assert found["command"] == "python train.py"
    assert found["attributes"] == {"team": "blue"}
    assert found["comments"] == [{"body": "look", "user": "ann", "host": "far", "time": STARTED}]
    assert found["scalars"] == {"loss": [2.0, 0]}
    assert "hush" not in str(found) and "hidden" not in str(found) and "pw@" not in str(found)
    for name, value in (("random_seed", "7"), ("user", "ann"), ("host", "far")):
        assert call("select", "aaa", "--attr", name).output.strip() == value
    assert call("cat", "aaa", "-p", "model/weights.txt").output == "w"
    assert call("cat", "aaa", "-p", "train.py").output == SCRIPT
    assert call("cat", "aaa", "--output").output == "loss: 2.000000\n"


def test_a_guild_home_is_never_changed_and_a_second_import_changes_nothing(
    call: Call, guild: GuildHome, home: Path
) -> None:
    guild.run("aaa")
    guild.batch("bbb", ["aaa"], TREE)
    before = snapshot(guild.path)
    take(call, guild)
    ours = snapshot(home / "runs")
    again = take(call, guild)
    assert again.error == "2 run(s) are here already and are left as they are.\nNothing to import.\n"
    assert snapshot(guild.path) == before
    assert snapshot(home / "runs") == ours
    assert call("check", "--runs").output == "Nothing to repair.\n"


@pytest.mark.parametrize(
    ("status", "state", "exit_status"),
    [
        ("completed", "completed", 0),
        ("error", "error", 3),
        ("terminated", "terminated", -15),
        ("dead", "lost", None),
        ("unmet", "aborted", None),
        ("pending", "aborted", None),
        ("staged", "aborted", None),
    ],
)
def test_each_status_of_guilds_has_its_state(
    call: Call, guild: GuildHome, status: Status, state: str, exit_status: int | None
) -> None:
    guild.run("aaa", status)
    take(call, guild)
    assert (listed(call)["aaa"]["status"], listed(call)["aaa"]["exit_status"]) == (state, exit_status)


def test_a_run_that_goes_on_is_left_for_later(call: Call, guild: GuildHome) -> None:
    guild.run("far", "remote")
    near = guild.run("near", "running")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        (near / ".guild" / "LOCK").write_text(str(process.pid))
        called = take(call, guild)
        process.communicate()
    assert "run far is left out: it is running on a remote; import it once it has ended" in called.error
    assert f"run near is left out: its process {process.pid} is running" in called.error
    assert take(call, guild).lines[-1] == f"Imported 1 run(s) from {guild.path}"
    assert listed(call)["near"]["status"] == "lost"


def test_the_start_of_a_process_is_known_however_late_it_is_asked_for() -> None:
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        time.sleep(1.2)
        started = start_time(process.pid)
        process.communicate(b"\n")
    assert before - 0.5 <= started <= before + 0.5


def test_a_pid_that_is_another_process_by_now_keeps_no_run_out(call: Call, guild: GuildHome) -> None:
    lock = guild.run("aaa", "running") / ".guild" / "LOCK"
    lock.write_text(str(os.getpid()))
    os.utime(lock, (1_000_000_000, 1_000_000_000))
    assert "Copying aaa" in take(call, guild).error


def test_a_queue_starts_no_run_that_was_staged_in_guild(call: Call, guild: GuildHome) -> None:
    guild.run("aaa", "staged")
    take(call, guild)
    assert call("run", "queue", "run-once=yes", "-y").code == 0
    assert listed(call)["aaa"]["status"] == "aborted"
    started = call("run", "--start", "aaa", "-y")
    assert (started.code, "loss: 2.000000" in started.output) == (0, True)


def test_output_keeps_streams_and_times_of_its_lines(call: Call, guild: GuildHome, home: Path) -> None:
    guild.run("aaa", output=[(0, "one\n"), (1, "two\n"), (1, "three\n"), (0, "no end")])
    take(call, guild)
    index = (home / "runs/aaa/.orchestra/attempts/1/output.index").read_bytes()
    assert list(struct.iter_unpack(">QQB", index)) == [
        (0, STARTED, 0),
        (4, STARTED + 1000, 1),
        (8, STARTED + 2000, 1),
        (14, STARTED + 3000, 0),
    ]


def test_scalars_are_those_of_event_files_wherever_they_are(call: Call, guild: GuildHome) -> None:
    directory = guild.run("aaa", output=())
    for place, tag in ((".guild/events.out.tfevents.1", "loss"), ("logs/events.out.tfevents.2", "acc")):
        (directory / place).parent.mkdir(exist_ok=True)
        (directory / place).write_bytes(scalar_event(tag, 0.5, step=4))
    take(call, guild)
    assert info(call, "aaa")["scalars"] == {"loss": [0.5, 4], "logs#acc": [0.5, 4]}


def test_patterns_of_output_scalars_are_kept(call: Call, guild: GuildHome) -> None:
    guild.run(
        "aaa", output=[(0, "got 3 points\n")], op=op(**{"output-scalars": [{"points": r"got (\value)"}]})
    )
    guild.run("bbb", op=op(**{"output-scalars": False}))
    take(call, guild)
    assert info(call, "aaa")["scalars"] == {"points": [3.0, 0]}
    assert info(call, "bbb")["scalars"] == {}


@pytest.mark.parametrize("release", ["0.9", LATER, OLD])
def test_a_run_is_started_again_with_its_own_source(call: Call, guild: GuildHome, release: str) -> None:
    guild.run(
        "aaa",
        release=release,
        source={"train.py": "import inner\nx = 1.0\ninner.tell(x)\n", "inner.py": INNER},
    )
    take(call, guild)
    restarted = call("run", "--restart", "aaa", "x=4", "-y")
    assert restarted.output == "Restarting aaa\nloss: 8.000000\n", restarted.error
    assert listed(call)["aaa"]["status"] == "completed"
    assert info(call, "aaa")["flags"] == {"x": 4}


INNER = "def tell(x):\n    print('loss: %f' % (x * 2))\n"


def test_a_command_of_a_project_is_started_again(call: Call, guild: GuildHome) -> None:
    command = ["sh", "say.sh", "${x}", "__flag_args__"]
    guild.run("aaa", source={"say.sh": 'echo "$@"\n'}, op=op(command, dest="args"))
    take(call, guild)
    assert call("run", "--restart", "aaa", "-y").output == "Restarting aaa\n1.0 --x 1.0\n"


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"opref": "script:/gone '' '' train.py", "source": {}}, "its script '/gone/train.py' is missing"),
        (
            {"opref": "package:other 1 m train", "source": {}, "op": {}},
            "what operation 'm:train' executes is not recorded",
        ),
        ({"source": {}, "steps": [{"run": "a"}]}, "which defines its steps, is missing"),
    ],
)
def test_a_restart_says_what_is_missing(
    call: Call, guild: GuildHome, fields: dict[str, Any], missing: str
) -> None:
    guild.run("aaa", **fields)
    take(call, guild)
    called = call("run", "--restart", "aaa", "-y")
    assert called.code == 1
    assert missing in called.error
    assert listed(call)["aaa"]["status"] == "completed"


def test_a_batch_has_its_search_and_its_trials(call: Call, guild: GuildHome) -> None:
    script = {"opref": f"script:{guild.project} '' '' train.py"}
    guild.run("t1", initialized=STARTED, flags={"x": 1.0}, **script)
    guild.run("t2", "pending", initialized=STARTED + 1, flags={"x": 2.0}, **script)
    guild.batch("bbb", ["t2", "t1"], TREE, max_trials=5, exit_status=1)
    take(call, guild)
    found = info(call, "bbb")
    assert (found["operation"], found["proto-flags"]) == ("train.py+", {"x": [1.0, 2.0]})
    assert [(listed(call)[one]["batch"], listed(call)[one]["trial"]) for one in ("t1", "t2")] == [
        ("bbb", 1),
        ("bbb", 2),
    ]
    assert listed(call)["t2"]["status"] == "pending"
    # It goes on where Guild has stopped.
    called = call("run", "--restart", "bbb", "-y")
    assert (called.code, "Running trial t2" in called.error) == (0, True), called.error
    assert {one: run["status"] for one, run in listed(call).items()} == dict.fromkeys(
        ("t1", "t2", "bbb"), "completed"
    )


@pytest.mark.parametrize("release", ["0.9", LATER, OLD])
def test_a_batch_that_has_ended_is_started_again_with_its_own_source(
    call: Call, guild: GuildHome, release: str
) -> None:
    guild.batch("bbb", [], TREE, release=release)
    take(call, guild)
    called = call("run", "--restart", "bbb", "-y")
    assert (called.code, called.output.count("loss: ")) == (0, 2), called.error


def test_a_batch_of_this_home_gets_no_trial_from_guild(call: Call, guild: GuildHome, home: Path) -> None:
    saved(home, ended(id="bbb", kind="batch", batch_spec=a_batch(), flags={}))
    guild.run("t1", "pending")
    guild.batch("bbb", ["t1"], TREE)
    take(call, guild)
    assert listed(call)["t1"]["batch"] is None


def test_no_mark_of_guilds_stands_for_a_secret_of_this_home(call: Call, guild: GuildHome) -> None:
    guild.run("aaa", flags={"key": f"{MARK}0123456789ab"})
    take(call, guild)
    assert info(call, "aaa")["flags"] == {"key": f"{MARK}{'0' * 12}"}


@pytest.mark.parametrize("words", [("--move",), ("--new-id",)])
def test_options_that_mean_nothing_here_are_refused(
    call: Call, guild: GuildHome, words: tuple[str, ...]
) -> None:
    assert call("import", "--from-guild", str(guild.path), *words).code == 2
    assert call("import", str(guild.path), "--deleted").code == 2


def test_a_batch_that_is_named_brings_its_trials(call: Call, guild: GuildHome) -> None:
    for trial in ("t1", "t2", "other"):
        guild.run(trial)
    guild.batch("bbb", ["t1", "t2"], TREE)
    take(call, guild, "bbb")
    assert set(listed(call)) == {"bbb", "t1", "t2"}


def test_who_forgets_to_say_that_it_is_guilds_is_told(call: Call, guild: GuildHome) -> None:
    guild.run("aaa")
    called = call("import", str(guild.path), "-y")
    assert (called.code, "is a Guild home" in called.error, "--from-guild" in called.error) == (1, True, True)


def test_an_optimizers_search_is_kept(call: Call, guild: GuildHome, home: Path) -> None:
    directory = guild.batch("bbb", [], "builtin:guildai 0.9.0 skopt random", objective={"maximize": "acc"})
    guild.attributes(directory / ".guild/proto", {"flags": {"x": "loguniform[0.1:10]", "text": "a:b]"}})
    take(call, guild)
    assert info(call, "bbb")["operation"] == "train.py+random"
    record_ = (home / "runs/bbb/.orchestra/run.json").read_text()
    assert '"space":{"x":{"type":"interval","low":0.1,"high":10,"log":true}}' in record_
    assert '"objective":"-acc"' in record_


def test_runs_of_a_pipeline_are_its_steps(call: Call, guild: GuildHome) -> None:
    guild.run("step")
    pipeline = guild.run("pipe", source={}, steps=["train x=2", {"run": "train", "flags": {"x": 3}}])
    (pipeline / "train").symlink_to("../step")
    take(call, guild)
    assert call("select", "step", "--attr", "parent").output.strip() == "pipe"
    assert info(call, "pipe")["scalars"] == {"train#loss": [2.0, 0]}
    assert call("cat", "pipe", "-p", "train/train.py").output == SCRIPT


def test_dependencies_keep_their_origin_and_their_links(call: Call, guild: GuildHome, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2")
    guild.run("first", files={"model.bin": "m"})
    directory = guild.run(
        "aaa",
        deps={"data": {"file:data.csv": {"paths": [str(tmp_path / "data.csv")], "uri": "file:data.csv"}}},
    )
    (directory / "data.csv").symlink_to(tmp_path / "data.csv")
    (directory / "model.bin").symlink_to(guild.runs / "first" / "model.bin")
    with open(directory / ".guild" / "manifest", "a") as manifest:
        manifest.write("d data.csv - file:data.csv\nd model.bin - operation:first\n")
    called = take(call, guild)
    assert "WARNING" not in called.error
    assert [call("cat", "aaa", "-p", name).output for name in ("data.csv", "model.bin")] == ["1,2", "m"]
    resolved = info(call, "aaa", "-d")["dependencies"]
    assert str(tmp_path / "data.csv") in str(resolved)


def test_a_dependency_of_an_older_release_is_not_resolved_again(
    call: Call, guild: GuildHome, tmp_path: Path
) -> None:
    given = {"data": {"file:data.csv": {"paths": ["../../../data.csv"], "uri": "file:data.csv"}}}
    needs = [{"name": "data", "location": str(tmp_path), "sources": [{"file": "data.csv"}]}]
    (tmp_path / "data.csv").write_text("1,2")
    directory = guild.run("aaa", release=OLD, deps=given, op=op(deps=needs))
    (directory / "data.csv").symlink_to("../../../data.csv")
    take(call, guild)
    assert call("cat", "aaa", "-p", "data.csv").output == "1,2"
    called = call("run", "--restart", "aaa", "-y")
    assert (
        "Skipping resolution of file:data.csv because it's already resolved" in called.output + called.error
    )
    assert (called.code, listed(call)["aaa"]["status"]) == (0, "completed")


def test_runs_are_chosen_by_name_and_filter_and_asked_for(
    call: Call, guild: GuildHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run, status in (("aaa", "completed"), ("abb", "error"), ("ccc", "error")):
        guild.run(run, status)  # type: ignore[arg-type]
    unanswered = call("import", "--from-guild", str(guild.path), "ab", "-Se")
    assert unanswered.code == 2
    assert f"import the following runs from '{guild.path}':\n  [abb]  train" in unanswered.error
    assert "Continue? (Y/n)" in unanswered.error
    assert listed(call) == {}
    take(call, guild, "-Se")
    assert set(listed(call)) == {"abb", "ccc"}
    unknown = call("import", "--from-guild", str(guild.path), "zz", "-y")
    assert (unknown.code, "could not find a run matching 'zz'" in unknown.error) == (1, True)


def test_deleted_runs_are_taken_over_when_asked_for(call: Call, guild: GuildHome) -> None:
    guild.run("aaa")
    guild.run("bbb", deleted=True)
    take(call, guild, "--deleted")
    assert set(listed(call)) == {"bbb"}


def test_a_run_that_was_deleted_here_is_not_taken_over_again(call: Call, guild: GuildHome) -> None:
    guild.run("aaa")
    guild.run("bbb")
    take(call, guild)
    call("runs", "rm", "aaa", "-y")

    again = call("import", "--from-guild", str(guild.path), "-y")

    assert (
        "1 run(s) are in the trash of this home: 'orchestra runs restore' brings them back.\n" in again.error
    )
    assert set(listed(call)) == {"bbb"}


def test_the_folder_of_runs_is_a_home_too_and_no_other_folder(
    call: Call, guild: GuildHome, tmp_path: Path
) -> None:
    guild.run("aaa")
    assert call("import", "--from-guild", str(guild.runs), "-y").code == 0
    (tmp_path / "empty").mkdir()
    called = call("import", "--from-guild", "empty", "-y")
    assert (called.code, "is not a Guild home" in called.error) == (1, True)
    ours = call("import", "--from-guild", str(tmp_path / "home"), "-y")
    assert (ours.code, "same home" in ours.error) == (1, True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flags", "!!python/object/apply:os.system ['touch hacked']"),
        (
            "flags",
            "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
            + "".join(f"c{n}: &c{n} [{', '.join([f'*c{n - 1}' if n else '*b'] * 9)}]\n" for n in range(9)),
        ),
        ("flags", "[" * 5000),
        ("flags", "x: \x00"),
        ("flags", "- a list\n"),
        ("flags", "&a [*a]"),
        ("comments", "[{body: b, time: [1]}, 7]"),
        ("comments", "[{body: b, time: .inf}]"),
        ("started", "99999999999999999999999"),
        ("exit_status", "zero"),
        ("label", "{a: b}"),
        ("op", "[]"),
    ],
)
def test_a_damaged_or_hostile_attribute_is_told_of_and_the_rest_is_taken_over(
    call: Call, guild: GuildHome, tmp_path: Path, name: str, text: str
) -> None:
    directory = guild.run("aaa", tags=["kept"])
    (directory / ".guild/attrs" / name).write_text(text)
    called = take(call, guild)
    assert f"WARNING: run aaa: the attribute '{name}'" in called.error or name == "op"
    assert info(call, "aaa")["tags"] == ["kept"]
    assert not (tmp_path / "hacked").exists()
    assert call("runs").code == 0


def test_what_leads_out_of_a_run_is_neither_followed_nor_kept(
    call: Call, guild: GuildHome, tmp_path: Path, home: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("hush")
    directory = guild.run("aaa", tags=None)
    (directory / "out").symlink_to(secret)
    (directory / "inner").mkdir()
    (directory / "inner" / "up").symlink_to("../../../../secret/file")
    (directory / "inner" / "fine").symlink_to("../train.py")
    (directory / "own").symlink_to(".guild/attrs/flags")
    (directory / ".guild/attrs/label").symlink_to(secret / "file")
    guild.batch("other", [], TREE).rename(secret / "batch")
    (directory / ".guild/proto").symlink_to(secret / "batch/.guild/proto")
    os.mkfifo(directory / "pipe")
    (directory / ".orchestra").mkdir()
    (directory / ".orchestra" / "run.json").write_text("{}")
    (guild.runs / "link").symlink_to(directory)
    (guild.runs / ".hidden").mkdir()
    called = take(call, guild)
    for name in ("out", "inner/up", "own", "pipe", ".orchestra"):
        assert f"'{name}'" in called.error, called.error
    there = {os.path.relpath(path, home / "runs/aaa") for path in (home / "runs/aaa").rglob("*")}
    assert {"inner/fine", "train.py"} <= there
    assert there.isdisjoint({"out", "inner/up", "own", "pipe"})
    assert os.readlink(home / "runs/aaa/inner/fine") == "../train.py"
    assert set(listed(call)) == {"aaa"}
    assert info(call, "aaa")["operation"] == "train"
    assert not any("hush" in path.read_text(errors="replace") for path in home.rglob("*") if path.is_file())


def test_source_that_is_not_what_guild_has_recorded_is_told_of(call: Call, guild: GuildHome) -> None:
    (guild.run("aaa") / "train.py").write_text("print('other')\n")
    assert "run aaa: source file 'train.py' has changed since the run was made" in take(call, guild).error


def test_a_run_without_an_operation_is_taken_over(call: Call, guild: GuildHome) -> None:
    (guild.run("aaa") / ".guild/opref").unlink()
    (guild.run("bbb") / ".guild/opref").write_text("what 'is")
    called = take(call, guild)
    assert "run aaa: its operation is not known: there is no 'opref'" in called.error
    assert "run bbb: its operation is not known: 'opref' can't be read" in called.error
    assert set(listed(call)) == {"aaa", "bbb"}


def test_terminal_escapes_in_what_guild_kept_are_harmless(call: Call, guild: GuildHome) -> None:
    custom = {"\x1b]0;EVIL\x07\x1b[2Jkey\nstatus: forged": 1}
    guild.run("aaa", label="\x1b]0;title\x07", source={"\x1b[2Jx.py": "1"}, custom=custom)
    (guild.runs / "aaa" / "\x1b[2Jx.py").write_text("changed")
    called = take(call, guild)
    shown = call("runs").output + call("runs", "info", "aaa").output
    assert "\x1b[2J" not in called.error + called.output + shown
    assert "\x1b]" not in shown
    assert "\nstatus: forged" not in shown


def test_what_was_recorded_of_the_machine_is_checked(call: Call, guild: GuildHome) -> None:
    guild.run("aaa", platform={"cpus": True, "system": "Linux"})
    take(call, guild)
    assert call("runs", "info", "aaa", "--env").code == 0
