"""`runs info` tells why a run ended, and what became of each attempt; `cat` shows what each has printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs

from orchestra.model.encoding import encode
from orchestra.testing.builders import a_fence, a_run, a_worker, an_exit
from orchestra.workspace import records
from orchestra.workspace.layout import Layout, attempt_directory
from orchestra.workspace.output import OutputWriter
from tests.cli.conftest import Call
from tests.process import Shell
from tests.saved_runs import ended, saved

FAILS = """
import os
print("try", os.environ["RUN_ATTEMPT"])
if os.environ["RUN_ATTEMPT"] == "2": raise ValueError("no \\x1b[31m good")
raise SystemExit(75)
"""


def test_a_run_that_fails_tells_its_attempts_and_its_traceback(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(FAILS)
    assert shell.run("run", "train.py", "-y", "--retries", "1").code == 1

    info = shell.run("runs", "info").output

    reason, cause, head, first, place, *_ = info.partition("retry:\n  max: 1\n")[2].splitlines()
    assert (reason, cause, head) == ("reason: it exited with code 1", "cause: exit", "traceback:")
    assert first == "  Traceback (most recent call last):"
    assert place.startswith('    File "') and "train.py" in place
    assert "  ValueError: no \\x1b[31m good\nattempts:\n  1: error (it exited with code 75), 2" in info
    assert "\n  2: error (it exited with code 1), 2" in info
    assert "\x1b" not in info
    assert shell.run("cat", "--output", "--attempt", "1").output == "try 1\n"
    assert shell.run("cat", "--output").output.startswith("try 2\nTraceback")


@pytest.mark.parametrize(
    ("program", "options", "told"),
    [
        ("import os; os.kill(os.getpid(), 11)", (), ("signal", "SIGSEGV", "SIGSEGV ended it")),
        (
            "import time; time.sleep(60)",
            ("--time-limit", "0.3s"),
            ("timeout", "SIGTERM", "its time limit of 0.3 s was over"),
        ),
        ("", ("--dep", "nosuch"), ("not_started", None, "run failed because a dependency was not met")),
    ],
)
def test_programs_are_told_the_cause_the_signal_and_the_reason(
    shell: Shell, tmp_path: Path, program: str, options: tuple[str, ...], told: tuple[str, str | None, str]
) -> None:
    (tmp_path / "train.py").write_text(program)
    ran = shell.run("run", "train.py", "-y", *options)

    info = json.loads(shell.run("runs", "info", "--json").output)

    assert (f"orchestra: run ended: {told[2]}\n" in ran.output) == (told[1] is not None)
    assert (info["cause"], info.get("signal")) == told[:2]
    assert info["reason"].startswith(told[2])
    assert "traceback" not in info
    assert [(one["attempt"], one["cause"]) for one in info["attempts"]] == [(1, told[0])]


def test_what_can_not_be_executed_was_not_started(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "orchestra.yml").write_text("a: {exec: no-such-program}\n")
    assert shell.run("run", "a", "-y").code == 127

    assert (
        "\nreason: could not start: No such file or directory: 'no-such-program'\ncause: not_started\n"
        in (shell.run("runs", "info").output)
    )


def test_the_attempts_are_those_of_the_records(call: Call, home: Path) -> None:
    run = ended(attempt=5, state="error", exit_code=3, executions=3)
    saved(home, run)
    directory = Layout(home).run_directory(run)
    for number in range(1, 6):
        attempt_directory(directory, number).mkdir(parents=True)
    started, revoked = a_fence(), structs.replace(a_fence(), fence="revoked")
    for number, fence in ((1, started), (2, revoked), (3, started), (5, started)):
        (attempt_directory(directory, number) / "fence").write_bytes(encode(fence))
    (attempt_directory(directory, 4) / "exit").write_bytes(b"{torn")
    for number, code in ((3, 0), (5, 3)):
        records.write_exit(attempt_directory(directory, number), an_exit(code=code), fsync=False)

    told = call("runs", "info", "--json").json["attempts"]

    assert [(one["attempt"], one["status"], one["exit_status"]) for one in told] == [
        (1, "lost", None),
        (2, "aborted", None),
        (3, "completed", 0),
        (4, "broken", None),
        (5, "error", 3),
    ]
    assert [one.get("cause") for one in told] == ["lost", "not_started", None, None, "exit"]
    assert told[0]["reason"] == "how it ended was not recorded"
    assert "attempts/4/exit" in told[3]["reason"]


def test_what_a_run_has_left_running_is_told(call: Call, home: Path) -> None:
    run = ended(attempt=1, executions=1)
    saved(home, run)
    directory = attempt_directory(Layout(home).run_directory(run), 1)
    directory.mkdir(parents=True)
    records.write_exit(directory, an_exit(leftovers=tuple(range(101, 108))), fsync=False)

    info = call("runs", "info", "--json").json

    assert info["leftovers"] == info["attempts"][0]["leftovers"] == list(range(101, 108))
    told = "\nleftovers: it left 7 processes running, now ended (pid 101 102 103 104 105 ...)\n"
    assert told in call("runs", "info").output


def test_attempts_that_were_lost_tell_why_and_until_when(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("print('done')\n")
    assert shell.run("run", "job.py", "-y", "--stage", "--retries", "1", "--retry-on", "lost").code == 0
    (run,) = json.loads(shell.run("runs", "list", "--json").output)
    shell.run("queue", "run-once=yes", ORCHESTRA_FAILPOINT="supervisor.exited:kill9")

    attempts = json.loads(shell.run("runs", "info", run["id"], "--json").output)["attempts"]

    assert [(one["attempt"], one["status"]) for one in attempts] == [(1, "lost"), (2, "lost")]
    assert [one.get("reason", "").partition(";")[0] for one in attempts] == ["its supervisor died"] * 2
    assert all(one["started"] <= one["stopped"] for one in attempts)


def test_a_run_that_goes_on_has_an_attempt_and_no_reason(call: Call, home: Path) -> None:
    worker = a_worker()
    run = a_run(state="running", attempt=1, executions=1, worker=worker, lease=2**60)
    saved(home, run)
    directory = attempt_directory(Layout(home).run_directory(run), 1)
    directory.mkdir(parents=True)
    elsewhere = structs.replace(worker.identity, host="far-away/1")
    (directory / "fence").write_bytes(encode(a_fence(identity=elsewhere)))

    told = call("runs", "info", "--json").json

    assert [(one["status"], one["stopped"]) for one in told["attempts"]] == [("running", None)]
    assert not {"reason", "cause", "signal", "traceback"} & set(told)


def test_attempts_that_there_are_not_are_refused(call: Call, home: Path) -> None:
    run = ended()
    saved(home, run)
    directory = attempt_directory(Layout(home).run_directory(run), 1)
    directory.mkdir(parents=True)
    with OutputWriter(directory) as writer:
        writer.write(0, b"hello\n")

    assert call("cat", "--output", "--attempt", "1").output == "hello\n"
    refused = call("cat", "--output", "--attempt", "2")
    assert (refused.code, refused.error) == (
        1,
        f"orchestra: run {run.short_id} has no attempt 2\nThere are: 1.\n",
    )
    assert call("cat", "--path", "x", "--attempt", "1").code == 2
