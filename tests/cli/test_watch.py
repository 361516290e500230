"""`orchestra watch` and `orchestra queue follow`: what runs print, live, with their end; and nothing is disturbed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestra.cli.context import drive
from orchestra.cli.prefixing import prefix_of
from orchestra.model.batch import Choices
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch
from tests.cli.conftest import Call
from tests.process import Shell
from tests.saved_runs import ended, opened, save

GATED = """
import os, sys, time
x = 1
print("begun", x, flush=True)
while not os.path.exists("GATE"): time.sleep(0.01)
print("done", x)
"""


def with_output(home: Path, *runs: tuple[Run, bytes]) -> None:
    """Runs that are there and have printed something."""

    async def work() -> None:
        async with opened(home) as session:
            await save(session, *(run for run, _ in runs))
            for run, data in runs:
                directory = session.attempt_directory(run)
                directory.mkdir(parents=True)
                (directory / "output").write_bytes(data)

    drive(work())


def a_trial(batch: Run, number: int, **fields: Any) -> Run:
    trial = ended(
        id=f"trial{number}", batch=batch.id, trial=number, generation=1, label=f"x={number}", **fields
    )
    return structs.replace(trial, started=number, created=number)


@pytest.fixture
def batch() -> Run:
    return ended(id="batch1", kind="batch", batch_spec=a_batch(), flags={})


@pytest.fixture
def gated(tmp_path: Path) -> Path:
    """``job.py`` runs until the file that is returned exists."""
    gate = tmp_path / "gate"
    (tmp_path / "job.py").write_text(GATED.replace("GATE", str(gate)))
    return gate


def test_a_run_that_has_ended_is_shown_byte_by_byte_with_its_end(
    call: Call, home: Path, tmp_path: Path
) -> None:
    with_output(
        home, (ended(id="one", state="error", exit_code=3), b"a\r50%\r100%\n\x1b[31mred\x1b]0;T\x07 no end")
    )

    watched = call("watch", "on")

    assert watched.output == "a\r50%\r100%\n\x1b[31mred\x1b]0;T\x07 no end"
    assert watched.error == "Watching run one\n\nRun one stopped with a status of 'error'\n"
    assert watched.code == 0


def test_a_run_that_has_ended_can_not_drive_the_terminal_by_being_looked_at(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_output(home, (ended(id="one"), b"50%\r100%\n\x1b[31mred\x1b]0;T\x07\x1b[2J\xff\n"))
    monkeypatch.setattr(os, "isatty", lambda fd: fd in (1, 2))

    assert call("watch", "one").output == "50%\r100%\n\x1b[31mred\\x1b]0;T\\x07\\x1b[2J\ufffd\n"


def test_of_a_batch_that_has_ended_the_last_lines_of_each_trial_are_shown(
    call: Call, home: Path, batch: Run
) -> None:
    with_output(home, (batch, b""), (a_trial(batch, 1), b"1\n2\n"), (a_trial(batch, 2), b"3\n4\n"))

    assert call("watch", "batch1", "-n", "1").lines == ["[trial1 x=1] 2", "[trial2 x=2] 4"]


def test_which_attempt_it_is_is_told_of_one_that_was_tried_before(call: Call, home: Path, batch: Run) -> None:
    with_output(home, (batch, b""), (a_trial(batch, 1, attempt=2), b"again\n"))

    assert call("watch", "trial1").error.splitlines()[0] == "Watching run trial1, attempt 2"
    assert "Watching run trial1, attempt 2: train.py (x=1)" in call("watch", "batch1").error.splitlines()


def test_each_further_attempt_is_told_of_while_one_watches(shell: Shell, gated: Path) -> None:
    gated.with_name("job.py").write_text(
        GATED.replace("GATE", str(gated)) + "sys.exit(os.environ['RUN_ATTEMPT'] == '1')"
    )
    shell.run("run", "job.py", "-y", "--stage", "--run-id", "job", "--retries", "1")
    watching = shell.start("watch", "job")
    read_until(watching, "not started yet\n")
    gated.touch()
    assert shell.run("queue", "run-once=yes").code == 0

    seen = watching.communicate(timeout=20)[0].splitlines()
    # Whether it is seen staged between its tries is a matter of chance.
    told = [line for line in seen if line.startswith("Run job") and "not started yet" not in line]
    assert told == [
        "Run job stopped with a status of 'error'",
        "Run job, attempt 2",
        "Run job stopped with a status of 'completed'",
    ]


@pytest.mark.parametrize(("lines", "shown"), [("1", "3\n"), ("2", "2\n3\n"), ("0", ""), ("9", "1\n2\n3\n")])
def test_only_the_last_lines_are_shown_where_that_is_asked_for(
    call: Call, home: Path, lines: str, shown: str
) -> None:
    with_output(home, (ended(id="one"), b"1\n2\n3\n"))

    assert call("watch", "one", "-n", lines).output == shown


def test_trials_are_told_apart_and_can_not_drive_the_terminal(call: Call, home: Path, batch: Run) -> None:
    bar = b" 0%|  \r 50%|# \r100%|##\n\x1b]0;TITLE\x07plain \x1b[31mred\n\xff"
    label = "a\x1b[2Jb" + "c" * 100
    with_output(
        home,
        (batch, b"all of it once more\n"),
        (a_trial(batch, 1), bar),
        (structs.replace(a_trial(batch, 2, state="error"), label=label), b"two\n"),
    )

    watched = call("watch", "batch1")

    assert watched.lines == [
        "[trial1 x=1] 100%|##",
        "[trial1 x=1] plain red",
        "[trial1 x=1] \\xff",
        f"[trial2 a\\x1b[2Jb{'c' * 30}…] two",
    ]
    assert watched.error.splitlines()[-2:] == [
        "2 trial(s): 1 completed, 1 error",
        "Run batch1 stopped with a status of 'completed'",
    ]
    assert "\x1b" not in watched.error


def test_trials_of_a_batch_are_told_apart_by_the_flags_that_vary_in_it(
    call: Call, home: Path, batch: Run
) -> None:
    spec = a_batch(space={"lr": Choices(values=(0.1, 0.2))}, fixed={"epochs": 3})
    trials = [
        structs.replace(a_trial(batch, number), label=label, label_template=template)
        for number, label, template in ((1, "epochs=3 lr=0.1", None), (2, "mine", "mine"))
    ]
    with_output(home, (structs.replace(batch, batch_spec=spec), b""), *((one, b"hello\n") for one in trials))

    assert call("watch", "batch1").lines == ["[trial1 lr=0.1] hello", "[trial2 mine] hello"]


@pytest.mark.parametrize(("width", "room"), [(None, 40), (20, 12), (60, 20), (300, 40)])
def test_what_stands_before_a_line_leaves_room_for_the_line(width: int | None, room: int) -> None:
    run = ended(id="one", label="x" * 100)

    assert prefix_of(run, width) == f"[one {'x' * (room - 1)}…] "


@pytest.mark.parametrize(
    ("flags", "label", "shown"),
    [
        ({"epochs": 3, "lr": 0.5}, "epochs=3 lr=0.5", "[one lr=0.5] "),
        ({"epochs": 3, "lr": 0.1}, "epochs=3 lr=0.1", "[one] "),
        ({"epochs": 3, "lr": 0.5}, "a new try", "[one a new try] "),
    ],
)
def test_before_a_line_of_a_run_stand_the_flags_that_are_not_as_by_default(
    flags: dict[str, Any], label: str, shown: str
) -> None:
    assert prefix_of(ended(id="one", flags=flags, label=label)) == shown


def test_in_json_what_runs_print_comes_as_events(call: Call, home: Path, batch: Run) -> None:
    with_output(home, (batch, b""), (a_trial(batch, 1), b"hello\n"))

    watched = call("--log-format", "json", "watch", "batch1")

    events = [json.loads(line) for line in watched.error.splitlines()]
    printed = [(event["run"], event["data"]["text"]) for event in events if event["event"] == "run.output"]
    assert (watched.output, printed) == ("", [("trial1", "hello\n")])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("watch",), 1, "no run is running"),
        (("watch", "nosuch"), 1, "could not find a run matching 'nosuch'"),
        (("watch", ":"), 1, "':' stands for 2 runs"),
        (("watch", "a", "b"), 2, "unexpected argument 'b'"),
        (("watch", "a", "--pid", "1"), 2, "not both"),
        (("watch", "a", "-n", "-1"), 2, "invalid value -1 for --lines"),
        (("watch", "a", "-n", "1", "--from-start"), 2, "cannot both be used"),
        (("watch", "--pid", "1"), 1, "process 1 belongs to no running run"),
        (("watch", "--pid", "missing"), 1, "pid file 'missing' can't be read"),
        (("watch", "--pid", "empty"), 1, "pid file 'empty' has no pid in it"),
        (("queue", "follow", "a"), 2, "is no queue: use 'orchestra watch a'"),
        (("queue", "follow", "-n", "-1"), 2, "invalid value -1 for --lines"),
        (("queue", "follow"), 0, "No queue is at work."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_can_not_be_watched_is_refused_in_a_sentence(
    call: Call, home: Path, tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    with_output(home, (ended(id="a"), b""), (ended(id="b"), b""))
    (tmp_path / "empty").touch()

    refused = call(*words)

    assert (refused.code, says in refused.error) == (code, True), refused.error


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    seen = ""
    while text not in seen:
        chunk = os.read(process.stdout.fileno(), 4096)
        assert chunk, seen
        seen += chunk.decode()
    return seen


def test_a_run_of_another_process_is_followed_to_its_end(shell: Shell, gated: Path) -> None:
    shell.run("run", "job.py", "-y", "--background", "--run-id", "job", "--pidfile", "job.pid")
    latest, by_pid = shell.start("watch"), shell.start("watch", "-p", "job.pid")
    for process in (latest, by_pid):
        assert read_until(process, "begun 1\n") == "Watching run job\nbegun 1\n"
    gated.touch()

    for process in (latest, by_pid):
        assert process.communicate(timeout=20)[0] == "done 1\nRun job stopped with a status of 'completed'\n"
        assert process.returncode == 0


def test_ctrl_c_ends_the_watching_alone(shell: Shell, gated: Path) -> None:
    shell.run("run", "job.py", "-y", "--background", "--run-id", "job")
    watching = shell.start("watch", "job")
    read_until(watching, "begun 1\n")

    watching.send_signal(signal.SIGINT)

    assert watching.communicate(timeout=20)[0] == "\nStopped watching run job, which goes on\n"
    assert watching.returncode == 130
    assert shell.run("select", "job", "--attr", "status").output == "running\n"
    gated.touch()
    assert shell.run("queue", "wait", "job", "--timeout", "20s").code == 0


def test_a_queue_is_followed_run_by_run_until_it_ends(shell: Shell, gated: Path) -> None:
    for x in ("1", "2"):
        shell.run("run", "job.py", f"x={x}", "-y", "--stage", "--run-id", f"job{x}")
    queue = shell.start("queue", "run-once=yes", "--jobs", "2", stdout=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while (
        len(shell.run("queue", "status", "--json").output.split('"running"')) < 4 and time.monotonic() < end
    ):
        time.sleep(0.05)
    following = shell.start("queue", "follow")
    seen = read_until(following, "[job1] begun 1\n")
    if "[job2 x=2] begun 2\n" not in seen:
        seen += read_until(following, "[job2 x=2] begun 2\n")
    gated.touch()

    rest = seen + following.communicate(timeout=20)[0]

    assert queue.wait(20) == 0
    assert re.match(r"Watching queue \w{32} for the runs that it starts\n", seen)
    assert {"[job1] done 1", "[job2 x=2] done 2"} <= set(rest.splitlines())
    assert "Run job2 stopped with a status of 'completed'" in rest
    assert rest.splitlines()[-1].endswith("stopped with a status of 'completed'")
    assert following.returncode == 0


def test_a_reader_that_has_seen_enough_ends_the_watching(shell: Shell, gated: Path) -> None:
    (gated.parent / "job.py").write_text(
        "import time\nfor n in range(3000): print(n, flush=True); time.sleep(0.01)\n"
    )
    shell.run("run", "job.py", "-y", "--background", "--run-id", "job")

    ran = shell.bash(f"timeout 20 {shlex.join(shell.command('watch', 'job'))} 2>/dev/null | head -n 2")

    shell.run("stop", "job", "-y")
    assert (ran.code, ran.output) == (0, "0\n1\n")
