"""``orchestra queue VERB`` and the options that say when a queue starts a run: with real commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from orchestra.model.encoding import encode
from orchestra.testing.builders import a_fence, a_run, a_worker
from orchestra.workspace.layout import Layout, attempt_directory
from tests.cli.conftest import Call
from tests.process import Shell
from tests.saved_runs import saved

SHOWS = """
import os, sys
x = 1
print("ran", x, os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["RUN_ATTEMPT"], os.environ.get("OMP_NUM_THREADS"))
sys.exit(75 if x == 9 and os.environ["RUN_ATTEMPT"] == "1" else 0)
"""


@pytest.fixture
def staged(call: Call, tmp_path: Path) -> Call:
    """Stages ``train.py`` with options."""
    (tmp_path / "train.py").write_text(SHOWS)

    def stage(name: str, *options: str) -> object:
        return call("run", "train.py", f"x={name}", "-y", "--stage", "--run-id", f"r{name}", *options)

    return stage  # type: ignore[return-value]


def order(call: Call) -> list[str]:
    return [run["id"] for run in call("queue", "status", "--json").json["staged"]]


def reasons(call: Call) -> list[str]:
    return [run["waits_for"] for run in call("queue", "status", "--json").json["staged"]]


def test_staged_runs_are_listed_in_their_turn_with_what_they_wait_for(call: Call, staged: Call) -> None:
    staged("1")
    staged("2", "--priority", "5")
    staged("3", "--after", "r1")

    shown = call("queue", "status")

    assert order(call) == ["r2", "r1", "r3"]
    assert reasons(call) == ["a queue", "a queue", "run(s) to end: r1"]
    assert shown.output.splitlines() == [
        "no queue(s) at work",
        "no running",
        "3 staged",
        "  [r2]  train.py  priority 5  waits for a queue            x=2",
        "  [r1]  train.py              waits for a queue            x=1",
        "  [r3]  train.py              waits for run(s) to end: r1  x=3",
    ]


def test_staged_batches_are_told_apart_by_what_they_go_over(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)
    for given in (
        ("x=[5,6]",),
        ("x=[1:3]", "-o", "random"),
        ("x=[1,2,3,4,5,6,7]",),
        ("x=[8,9]", "-bl", "mine"),
    ):
        assert call("run", "train.py", *given, "--stage", "-y").code == 0

    rows = call("queue", "status").lines[3:]

    assert [row.rpartition("  ")[2] for row in rows] == [
        "x=[5, 6]",
        "x=[1:3]",
        "x=[1, 2, 3, 4, 5, … 7 values]",
        "mine",
    ]


def test_where_nothing_is_at_work_or_waits_one_sentence_says_so(call: Call, home: Path) -> None:
    home.mkdir(exist_ok=True)

    assert call("queue", "status").lines == ["No queue is at work, and no run is running or staged."]


def test_a_pipeline_has_its_turn_as_other_runs_have_and_leaves_what_is_taken_to_its_steps(
    call: Call, staged: Call, tmp_path: Path
) -> None:
    (tmp_path / "orchestra.yml").write_text("train: {main: train}\nall: {steps: [train]}\n")
    staged("1")
    for name, *options in (("after", "--after", "r1", "--group", "few"), ("first", "--priority", "1")):
        assert call("run", "all", "--stage", "-y", "--run-id", name, *options).code == 0

    assert order(call) == ["first", "r1", "after"]
    assert reasons(call)[-1] == "run(s) to end: r1"
    assert call("queue", "status", "--json").json["staged"][-1]["group"] == "few"
    refused = call("run", "all", "--stage", "-y", "--resources", "cpus=1")
    assert (refused.code, "--resources can't be used with a pipeline" in refused.error) == (1, True)


def test_the_turn_of_runs_is_changed(call: Call, staged: Call) -> None:
    for name in "1234":
        staged(name)

    assert call("queue", "move", "r3", "r4", "--first").error == "Moved 2 run(s)\n"
    assert order(call) == ["r3", "r4", "r1", "r2"]
    call("queue", "move", "r3", "--before", "r2")
    assert order(call) == ["r4", "r1", "r3", "r2"]
    call("queue", "move", "r4", "--last")
    assert order(call) == ["r1", "r3", "r2", "r4"]
    assert call("queue", "priority", "r4", "r2", "2").error == "Priority 2 for 2 run(s)\n"
    assert order(call) == ["r2", "r4", "r1", "r3"]
    call("queue", "priority", "r2", "-1")
    assert order(call) == ["r4", "r1", "r3", "r2"]


def test_a_pause_a_limit_and_their_end_are_told(call: Call, staged: Call) -> None:
    staged("1", "--group", "db")
    assert call("queue", "pause").error == "Paused all queues\n"
    assert reasons(call) == ["the queue to be resumed"]
    call("queue", "resume")
    call("queue", "pause", "--group", "db")
    assert reasons(call) == ["group db to be resumed"]
    call("queue", "resume", "--group", "db")
    assert call("queue", "parallel", "2", "--group", "db").error == "At most 2 run(s) at once of group db\n"

    status = call("queue", "status", "--json").json
    assert (status["paused"], status["parallel"], status["groups"]) == (
        False,
        None,
        {"db": {"limit": 2, "paused": False}},
    )
    assert call("queue", "parallel", "-3").code == 1


def test_a_group_that_no_run_is_of_is_told_of(call: Call, staged: Call) -> None:
    staged("1", "--group", "gpus")

    said = call("queue", "pause", "--group", "gpu")

    assert said.error.splitlines() == [
        "No run of group 'gpu' is staged or running. Did you mean 'gpus'?",
        "Paused group gpu",
    ]
    # From now on something is set of it.
    assert call("queue", "resume", "--group", "gpu").error == "Resumed group gpu\n"
    told = call("queue", "pause", "--group", "quite another").error
    assert (
        told.splitlines()[0] == "No run of group 'quite another' is staged or running. Groups in use: gpus."
    )
    call("queue", "resume", "--group", "quite another")
    assert "quite another" not in call("queue", "status", "--json").json["groups"]


def test_what_stays_paused_is_said_when_something_is_resumed(call: Call, staged: Call) -> None:
    for number, group in enumerate(("db", "my gpus")):
        staged(str(number), "--group", group)
        call("queue", "pause", "--group", group)
    call("queue", "pause")

    assert (
        call("queue", "resume", "--group", "my gpus").error
        == "Resumed group my gpus, but all queues are paused: use 'orchestra queue resume', too\n"
    )
    assert (
        call("queue", "resume").error
        == "Resumed all queues, but group db stays paused: use 'orchestra queue resume --group db'\n"
    )
    assert call("queue", "resume", "--group", "db").error == "Resumed group db\n"
    assert call("queue", "resume").error == "Resumed all queues\n"


def test_a_limit_can_be_set_ahead_of_the_runs_that_it_is_for(call: Call, staged: Call) -> None:
    staged("1", "--group", "gpus")

    assert (
        call("queue", "parallel", "2", "--group", "other").error
        == "At most 2 run(s) at once of group other\n"
    )
    told = call("queue", "parallel", "2", "--group", "gpu").error
    assert told.splitlines()[0] == "No run of group 'gpu' is staged or running. Did you mean 'gpus'?"


def test_a_batch_stands_for_its_staged_trials(call: Call, staged: Call) -> None:
    staged("0")
    call("run", "train.py", "x=[1,2]", "--stage-trials", "-y", "--run-id", "b")
    one, two = order(call)[1:]

    assert call("queue", "move", "b", "--first").error == "Moved 2 run(s)\n"
    assert order(call) == [one, two, "r0"]
    assert call("queue", "move", "b", "r0", "--last").error == "Moved 3 run(s)\n"
    call("queue", "move", "r0", "--before", "b")
    assert order(call) == ["r0", one, two]
    assert call("queue", "priority", "b", "4").error == "Priority 4 for 2 run(s)\n"
    assert order(call) == [one, two, "r0"]
    assert call("queue", "wait", "b", "--timeout", "0.1s").error == "2 run(s) have not ended yet\n"
    call("run", "-y", "queue", "run-once=yes")
    assert call("queue", "wait", "b").code == 0
    refused = call("queue", "priority", "b", "4")
    assert (refused.code, "no trial of batch b waits for a queue" in refused.error) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("move",), 2, "give the runs that are to be moved"),
        (("move", "r1"), 2, "say where they are to be"),
        (("move", "r1", "--first", "--last"), 2, "say where they are to be"),
        (("move", "nosuch", "--first"), 1, "could not find a run matching 'nosuch'"),
        (("priority", "r1"), 2, "give runs and their priority"),
        (("priority", "r1", "x"), 2, "give runs and their priority"),
        (("priority", "r1", "99999999999999999999"), 1, "invalid priority 99999999999999999999"),
        (("move", "r1", "--before", "r1"), 1, "can't be moved before r1: it is one of them"),
        (("parallel",), 2, "N is missing"),
        (("parallel", "x"), 2, "invalid value 'x' for N: it is a whole number"),
        (("parallel", "1.5"), 2, "invalid value '1.5' for N: it is a whole number"),
        (("parallel", "9999"), 1, "invalid number of runs 9999"),
        (("paus",), 2, "no such command 'queue paus' - did you mean 'pause'?"),
        (("wait", "--timeout", "5"), 2, "--timeout: invalid time '5'"),
        (("run-once",), 2, "flag 'run-once' of queue needs a value: orchestra queue run-once=yes"),
        (("executor=wram", "run-once=yes"), 1, "wram"),
        (("stop", "r1"), 2, "is no queue"),
        (("pause", "-g", ""), 1, "invalid name '' of a group"),
        (("parallel", "2", "-g", " "), 1, "invalid name ' ' of a group"),
    ],
)
def test_what_a_queue_can_not_be_told_is_refused(
    call: Call, staged: Call, words: tuple[str, ...], code: int, says: str
) -> None:
    staged("1")

    refused = call("queue", *words)

    assert (refused.code, says in refused.error) == (code, True)


def test_waiting_tells_how_the_runs_ended(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)
    shell.run("run", "train.py", "x=1", "--stage", "-y", "--run-id", "good")
    shell.run("run", "train.py", "x=9", "--stage", "-y", "--run-id", "bad")
    assert shell.run("queue", "wait", "--timeout", "0s").code == 75
    shell.run("queue", "run-once=yes")

    assert shell.run("queue", "wait", "good").code == 0
    waited = shell.run("queue", "wait", "good", "bad")
    assert (waited.code, waited.output) == (1, "bad ended as error\n")
    assert shell.run("queue", "wait").code == 0


def test_the_terms_of_a_run_are_kept_by_a_queue(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)
    for name, options in (
        ("1", ("--resources", "gpus=1 cpus=2")),
        ("9", ("--retries", "1", "--retry-on", "exit:75", "--retry-delay", "0.1s")),
    ):
        assert shell.run("run", "train.py", f"x={name}", "--stage", "-y", *options).code == 0

    ran = shell.run("queue", "run-once=yes", ORCHESTRA_GPUS="5,6", OMP_NUM_THREADS="")

    assert "ran 1 5 1 " in ran.output
    assert "ran 9 None 1 " in ran.output
    assert "ran 9 None 2 " in ran.output


def test_a_run_in_the_foreground_is_tried_again(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)

    ran = shell.run("run", "train.py", "x=9", "-y", "--retries", "2", "--retry-on", "exit:75,oom")

    assert ran.code == 0
    assert "failed with exit code 75 and is tried again (try 2 of 3)" in ran.output
    assert "ran 9 None 2" in ran.output


def test_a_run_is_warned_and_ended_at_its_time_limit(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import signal, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('warned', flush=True))\n"
        "print('ready', flush=True)\n"
        "end = time.monotonic() + 30\n"
        "while time.monotonic() < end: time.sleep(0.02)\n"
    )

    ran = shell.run("run", "slow.py", "-y", "--time-limit", "0.8s", "--warn", "USR1@0.2", "--run-id", "slow")

    assert ran.code == 241
    assert ran.output.splitlines()[:2] == ["ready", "warned"]
    assert "orchestra: run ended: its time limit of 0.8 s was over" in ran.output
    assert "reason: its time limit of 0.8 s was over" in shell.run("runs", "info", "slow").output


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--resources", "gpu=1"), 1, "invalid resource 'gpu=1'"),
        (("--resources", "memory=8X"), 1, "invalid size of memory '8X'"),
        (("--retry-on", "oom"), 2, "--retry-on needs --retries"),
        (("--retries", "1", "--retry-on", "never"), 1, "invalid cause 'never'"),
        (("--retries", "1", "--retry-on", "signal:NOPE"), 1, "invalid cause 'signal:NOPE'"),
        (("--retries", "-1"), 1, "invalid number of retries"),
        (
            ("--resources", "cpus=1", "--retries", "1", "--retry-scale", "memory=2"),
            1,
            "of memory nothing is asked for, and so nothing can grow",
        ),
        (("--time-limit", "90"), 1, "invalid time '90'"),
        (("--time-limit", "-5s"), 1, "invalid time '-5s'"),
        (("--retries", "1", "--retry-delay", "-5s"), 1, "invalid time '-5s'"),
        (("--resources", "memory=8"), 1, "invalid size of memory '8'"),
        (("--warn", "USR1@5"), 1, "a warning needs a time limit"),
        (("--after", "nosuch"), 1, "could not find a run matching 'nosuch'"),
        (("--after", "r1:ever"), 1, "invalid condition 'r1:ever' of --after"),
    ],
)
def test_terms_without_a_meaning_are_refused_in_a_sentence(
    call: Call, staged: Call, options: tuple[str, ...], code: int, says: str
) -> None:
    staged("1")

    refused = call("run", "train.py", "--stage", "-y", *options)

    assert (refused.code, says in refused.error) == (code, True)
    assert order(call) == ["r1"]


def test_a_queue_that_can_not_be_stopped_fails_the_stop_also_when_its_runs_were(
    call: Call, home: Path
) -> None:
    worker = a_worker()
    worker = structs.replace(worker, identity=structs.replace(worker.identity, host="far-away/1"))
    queue = a_run(
        kind="queue", flags={}, state="running", attempt=1, executions=1, worker=worker, lease=2**60
    )
    saved(home, queue)
    attempt = attempt_directory(Layout(home).run_directory(queue), 1)
    attempt.mkdir(parents=True)
    (attempt / "fence").write_bytes(encode(a_fence(identity=worker.identity)))

    for options in ((), ("--stop-runs",)):
        stopped = call("queue", "stop", *options)
        assert (stopped.code, "far-away and can't be stopped from here" in stopped.error) == (1, True)


def test_without_staging_a_turn_is_refused_or_ignored_aloud(call: Call, staged: Call) -> None:
    staged("1")

    refused = call("run", "train.py", "-y", "--after", "r1")
    ignored = call("run", "train.py", "-y", "--priority", "5", "--group", "db")
    trials = call("run", "train.py", "x=[2,3]", "-y", "--stage-trials", "--priority", "5", "--after", "r1")

    assert (refused.code, "--after needs --stage" in refused.error) == (2, True)
    assert ignored.code == 0
    assert "WARNING: not staged - ignoring --priority\n" in ignored.error
    assert "WARNING: not staged - not waiting for a place in group db\n" in ignored.error
    assert (trials.code, "not staged" in trials.error) == (0, False)
    assert order(call)[-1] == "r1"


def test_a_queue_that_is_stopped_with_its_runs_leaves_those_of_others_alone(
    shell: Shell, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text("import time\nx = 1\ntime.sleep(60)\n")
    queues: list[str] = []
    for name in ("a", "b"):
        shell.run("run", "slow.py", "--stage", "-y", "--run-id", name)
        started = shell.run("run", "queue", "ignore-running=yes", "-b", "-y", "--run-id", f"queue-{name}")
        assert started.code == 0
        queues.append(f"queue-{name}")
        wait_until(lambda name=name: states(call)[name] == "running")

    assert shell.run("queue", "stop", queues[0], "--stop-runs").code == 0
    assert states(call) == {"a": "terminated", "b": "running"}
    assert shell.run("queue", "stop", "--stop-runs").code == 0
    assert states(call) == {"a": "terminated", "b": "terminated"}


def test_a_queue_stops_its_runs_itself_and_those_that_it_took_over(
    shell: Shell, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text("import time\nx = 1\ntime.sleep(60)\n")
    shell.run("run", "slow.py", "--stage", "-y", "--run-id", "old")
    first = shell.start("queue", "ignore-running=yes")
    wait_until(lambda: states(call).get("old") == "running")
    first.terminate()
    first.communicate()
    shell.run("run", "slow.py", "--stage", "-y", "--run-id", "new")
    second = shell.start("queue", "--jobs", "2", "ignore-running=yes")
    wait_until(lambda: states(call).get("new") == "running")

    stopped = shell.run("queue", "stop", "--stop-runs")
    told, _ = second.communicate(timeout=30)

    assert (stopped.code, second.returncode) == (0, 0)
    assert states(call) == {"old": "terminated", "new": "terminated"}
    assert "Leaving runs running" not in told
    assert "Stopping queue" in told


def test_an_executor_that_is_not_there_makes_no_error_of_staged_runs(call: Call, staged: Call) -> None:
    staged("1")
    kept = call("run", "queue", "run-once=yes", "--stage", "-y", "--run-id", "q")
    assert kept.code == 0

    refused = [
        call("queue", "executor=wram", "run-once=yes"),
        call("run", "--start", "q", "executor=wram", "-y"),
    ]

    assert [(one.code, "wram" in one.error) for one in refused] == [(1, True), (1, True)]
    assert {run["id"]: run["status"] for run in call("runs", "--json").json} == {
        "r1": "staged",
        "q": "staged",
    }


def test_how_many_runs_each_queue_has_at_once_is_told_alike(shell: Shell, call: Call) -> None:
    shell.run("run", "queue", "-y", "-b", "--run-id", "q")
    wait_until(lambda: bool(call("queue", "status", "--json").json["queues"]))
    (queue,) = call("queue", "status", "--json").json["queues"]
    assert f"pid {queue['pid']} on {queue['host']}" in call("queue", "status").output

    assert call("queue", "parallel", "2").error == "2 run(s) at once in each queue\n"
    set_ = call("queue", "status").output
    assert call("queue", "parallel", "0").error == "As many runs at once as each queue was told\n"

    assert "2 job(s)" in set_
    assert "2 run(s) at once in each queue, as 'orchestra queue parallel' has set." in set_
    assert "1 job(s)" in call("queue", "status").output
    call("queue", "stop")


def test_quietly_staged_trials_are_not_told_of(call: Call, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("x = 1\n")

    told = call("run", "job.py", "x=[1,2]", "--stage-trials", "-y", "-q")

    assert (told, len(order(call))) == ((0, "", ""), 2)
    (batch,) = call("select", "-Sc").lines
    assert "Staging trial" in call("cat", batch, "--output").output


def test_where_trials_are_to_be_staged_one_run_is(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)

    told = call("run", "train.py", "x=3", "--stage-trials", "-y", "--run-id", "one", "--priority", "4")

    assert (told.code, told.error) == (0, "")
    assert told.output == "train.py staged as one\nTo start the operation, use 'orchestra run --start one'\n"
    assert order(call) == ["one"]


def test_a_run_by_hand_that_holds_staged_ones_back_is_named(
    shell: Shell, call: Call, staged: Call, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text("import time\nx = 1\ntime.sleep(60)\n")
    shell.run("run", "slow.py", "-y", "-b", "--run-id", "byhand")
    staged("1")
    assert reasons(call) == ["a queue"]
    shell.run("run", "queue", "-y", "-b", "--run-id", "q")
    wait_until(lambda: bool(call("queue", "status", "--json").json["queues"]))

    assert reasons(call) == ["run(s) to end that no queue started: byhand"]
    call("queue", "stop")
    call("stop", "byhand", "-y")


def states(call: Call) -> dict[str, str]:
    return {run["id"]: run["status"] for run in call("runs", "--json").json if run["kind"] == "run"}


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_runs_are_named_by_filters_too(call: Call, staged: Call) -> None:
    for name in "1234":
        staged(name)
    call("run", "train.py", "x=5", "-y", "--run-id", "done")

    assert call("queue", "priority", "-F", "x > 2", "7").error == "Priority 7 for 2 run(s)\n"
    assert order(call) == ["r3", "r4", "r1", "r2"]
    assert call("queue", "move", "--filter", "x = 2", "--first").error == "Moved 1 run(s)\n"
    assert order(call) == ["r2", "r3", "r4", "r1"]
    assert call("queue", "wait", "-F", "x > 1", "--timeout", "0.1s").error == "3 run(s) have not ended yet\n"
    assert call("queue", "wait", "-F", "x = 5").code == 0
    assert call("queue", "priority", "-F", "x = 9", "7").error == "Priority 7 for 0 run(s)\n"
