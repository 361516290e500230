"""`orchestra runs`: what is listed, in which words."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from msgspec import structs

from orchestra.cli import run_text
from orchestra.cli.context import drive
from orchestra.model.batch import Batch, Choices, Interval
from orchestra.model.run import Comment
from orchestra.testing.builders import a_run, an_operation, some_runs
from orchestra.workspace import records
from tests.cli.conftest import Call
from tests.saved_runs import ended, opened, save, saved

# 2025-01-02 10:11:12 UTC
MOMENT = 1_735_812_672_000_000


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_an_empty_home_lists_nothing(call: Call) -> None:
    assert call("runs") == (0, "", "")
    assert call("runs", "--json") == (0, "[]\n", "")


def test_a_line_has_index_and_id_operation_time_status_and_label(call: Call, home: Path) -> None:
    batch = Batch(space={"lr": Choices(values=(1, 2))}, seed=1)
    saved(
        home,
        ended(id="a0b1c2d3" * 4, started=MOMENT - 1, state="error", label="seed=3"),
        ended(id="77ab01ee" * 4, started=MOMENT, batch_spec=batch, kind="batch"),
        ended(id="3fa9c1d2" * 4, started=MOMENT + 1, label="lr=0.1"),
    )

    assert call("runs").lines == [
        "[1:3fa9c1d2]  train.py   2025-01-02 10:11:12  completed  lr=0.1",
        "[2:77ab01ee]  train.py+  2025-01-02 10:11:12  completed",
        "[3:a0b1c2d3]  train.py   2025-01-02 10:11:11  error      seed=3",
    ]
    assert call("runs", "list", "-s").lines == [
        "[1]  train.py   completed  lr=0.1",
        "[2]  train.py+  completed",
        "[3]  train.py   error      seed=3",
    ]


def test_a_staged_run_is_listed_by_when_it_was_staged_and_a_waiting_trial_without_a_time(
    call: Call, home: Path
) -> None:
    saved(
        home,
        a_run(id="waits", state="pending", batch="b", created=MOMENT),
        a_run(id="staged", staged=MOMENT + 1_000_000),
    )

    assert call("runs").lines == [
        "[1:staged]  train.py  2025-01-02 10:11:13  staged",
        "[2:waits]   train.py                       pending",
    ]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (".", "train.py"),
        ("a", "train.py (a)"),
        ("a/b", "train.py (a/b)"),
        ("..", "train.py (../)"),
        ("../a", "train.py (../a)"),
        ("/usr/share", "train.py (/usr/share)"),
        ("/usr/share/something/quite/far/away", "train.py (/usr/…/away)"),
        ("~/work", "train.py (~/work)"),
        ("..a", "train.py (..a)"),
        (None, "train.py"),
    ],
)
def test_the_directory_of_another_project_is_shown_as_seen_from_here(
    source: str | None, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/people/ann")
    where = (
        None if source is None else os.path.normpath(os.path.join("/x/y/here", os.path.expanduser(source)))
    )

    assert run_text.operation(ended(operation=an_operation(source=where)), "/x/y/here") == shown


def test_a_project_that_is_reached_by_a_link_is_the_same(call: Call, home: Path, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "link").symlink_to("project")
    saved(home, ended(operation=an_operation(source=str(tmp_path / "link"))))

    assert "(" not in call("-C", "project", "runs").output
    assert "(project)" in call("runs").output or "(link)" in call("runs").output


def test_the_newest_twenty_are_listed_unless_more_are_asked_for(call: Call, home: Path) -> None:
    saved(home, *some_runs(65))

    called = call("runs")
    assert len(called.lines) == 20
    assert called.error == "Showing the first 20 runs (65 total) - use --all to show all\n"
    for arguments, count in (
        (("-m",), 40),
        (("-mm",), 60),
        (("-m", "-m"), 60),
        (("-a",), 65),
        (("-n", "7"), 7),
    ):
        called = call("runs", *arguments)
        assert (len(called.lines), called.error) == (count, "")
    assert len(call("runs", "--json").json) == 65
    assert len(call("runs", "--json", "-n", "3").json) == 3


def test_exactly_twenty_runs_are_all(call: Call, home: Path) -> None:
    saved(home, *some_runs(20))

    assert call("runs").error == ""


def test_json_tells_all_with_times_in_microseconds(call: Call, home: Path) -> None:
    run = ended(
        started=MOMENT,
        stopped=MOMENT + 7,
        label="l",
        tags=("t",),
        flags={"lr": 1.0, "n": None},
        command=("py", "x y"),
    )
    saved(home, run)

    (told,) = call("runs", "--json").json

    assert told == {
        "id": run.id,
        "short_id": run.id[:8],
        "run_dir": str(home / "runs" / run.id),
        "operation": "train.py",
        "opref": "builtin:orchestra '' '' train.py",
        "kind": "run",
        "status": "completed",
        "reason": None,
        "exit_status": 0,
        "flags": {"lr": 1.0, "n": None},
        "label": "l",
        "tags": ["t"],
        "comments": [],
        "marked": False,
        "cmd": ["py", "x y"],
        "created": run.created,
        "staged": None,
        "started": MOMENT,
        "stopped": MOMENT + 7,
        "attempt": 1,
        "batch": None,
        "trial": None,
        "executor": "local",
        "sourcecode_digest": None,
        "vcs_commit": None,
    }
    assert call("runs", "--help").output.count("JSON") == 0
    assert all(name in " ".join(call("runs", "list", "--help").output.split()) for name in told)


def test_json_stays_json_whatever_a_run_holds(call: Call, home: Path) -> None:
    saved(home, ended(label="caf\udce9", flags={"x": float("nan"), "y": 10**400, "z": "\x00\u2028"}))

    (told,) = json.loads(call("runs", "--json").output)
    assert told["flags"]["z"] == "\x00\u2028"


def test_a_run_whose_directory_is_gone_is_listed_no_more(call: Call, home: Path) -> None:
    runs = some_runs(30, state="completed")
    saved(home, *runs)
    for run in runs[5:]:
        shutil.rmtree(home / "runs" / run.id)

    called = call("runs")
    assert len(called.lines) == 5
    assert called.error == ""


def test_a_listing_tells_the_truth_about_runs_whose_starter_died(call: Call, home: Path) -> None:
    async def prepare() -> None:
        async with opened(home) as session:
            gone = structs.replace(session.worker.identity, pid=2**22, start=1)
            worker = structs.replace(session.worker, identity=gone)
            await save(session, a_run(id="claimed", state="pending", attempt=1, rest="staged", worker=worker))

    drive(prepare())

    assert call("runs").lines[0].split()[-1] == "staged"


def test_a_claimed_run_whose_start_the_store_has_not_heard_of_is_running(call: Call, home: Path) -> None:
    async def prepare() -> records.HeldFence:
        async with opened(home) as session:
            (run,) = await save(session, a_run(state="pending", attempt=1, worker=session.worker))
            return records.hold(session.attempt_directory(run), "0", fsync=False)

    with drive(prepare()):
        assert call("runs").lines[0].split()[-1] == "running"


def test_a_broken_run_is_listed_as_such(call: Call, home: Path) -> None:
    run = ended()
    saved(home, run)
    (home / "runs" / run.id / ".orchestra" / "run.json").write_text("{")
    for file in home.glob("store.db*"):
        file.unlink()

    called = call("runs")
    assert called.lines[0].split()[-1] == "broken"
    assert "run.json" in call("runs", "--json").json[0]["reason"]


def test_what_is_known_of_each_run_is_listed_below_it(call: Call, home: Path) -> None:
    saved(home, ended(id="a" * 32, label="one"), ended(id="b" * 32, label="two"))

    shown = call("runs", "-v").lines

    details = [line for line in shown if not line.startswith("[")]
    assert [line[:3] for line in shown if line.startswith("[")] == ["[1:", "[2:"]
    assert len(details) == 28 and all(line.startswith("  ") for line in details)
    listed = [f"  {line}" for line in call("runs", "info", "1").lines]
    assert details[:14] == listed[:14]


def test_a_batch_is_told_with_what_its_trials_have_in_common(call: Call, home: Path) -> None:
    space = {"lr": Choices(values=(1, 2)), "x": Interval(low=0.0, high=1.0)}
    batch = Batch(space=space, fixed={"n": 3}, seed=1)
    saved(home, ended(id="b", batch_spec=batch, kind="batch", flags={}, tags=("own",), trial_tags=("t",)))

    (run,) = call("runs", "--json").json

    proto = run["batch_proto"]
    assert proto.keys() | {"batch_proto"} == run.keys()
    assert (proto["flags"], proto["tags"]) == ({"lr": [1, 2], "n": 3, "x": "[0.0:1.0]"}, ["t"])
    assert (proto["id"], proto["operation"], proto["status"]) == (None, "train.py", "pending")
    assert run["tags"] == ["own"]
    assert call("runs", "info", "--json").json["proto-flags"] == proto["flags"]


def test_what_is_printed_as_json_is_as_its_schema_says(call: Call, home: Path) -> None:
    import jsonschema

    import orchestra

    schema = json.loads((Path(orchestra.__file__).parent / "schemas" / "runs.schema.json").read_text())
    batch = Batch(space={"lr": Choices(values=(1, 2))}, seed=1)
    saved(
        home,
        ended(batch_spec=batch, kind="batch"),
        ended(flags={"x": [1, {"a": None}]}, tags=("a",), trial=1, batch="b", label=None),
        a_run(comments=(Comment(body="b", user="u", host="h", time=1),)),
    )

    printed = call("runs", "--json").json

    jsonschema.validate(printed, schema)
    assert list(printed[0]) == schema["$defs"]["run"]["required"]
    assert list(printed[2]) == [*schema["$defs"]["run"]["required"], "batch_proto"]


def test_on_a_narrow_terminal_start_times_are_short_so_that_the_status_can_be_read(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(
        home,
        ended(id="3fa9c1d2" * 4, started=MOMENT, label="ラベル and more of it"),
        a_run(id="77ab01ee" * 4, state="pending", created=1),
    )

    def shown(columns: int) -> list[str]:
        monkeypatch.setattr("orchestra.cli.terminal.width", lambda: columns)
        return call("runs").lines

    assert shown(40) == [
        "[1:3fa9c1d2]  train.py  01-02  complete…",
        "[2:77ab01ee]  train.py         pending",
    ]
    assert shown(60) == [
        "[1:3fa9c1d2]  train.py  2025-01-02 10:11:12  completed  ラ…",
        "[2:77ab01ee]  train.py                       pending",
    ]
    assert shown(200)[0].endswith("  completed  ラベル and more of it")
