"""Options of `run`: what they print, and which of them can't be used together."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

import pytest

from orchestra.model.batch import Batch, Choices
from tests.cli.conftest import Call
from tests.process import Shell
from tests.saved_runs import ended, saved

REQUIRED = (
    "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', required=True)\np.parse_args()\n"
)


def test_help_of_an_operation_needs_no_values_of_its_flags(call: Call, tmp_path: Path) -> None:
    (tmp_path / "req.py").write_text(REQUIRED)

    shown = call("run", "req.py", "--help-op")

    assert (shown.code, shown.error) == (0, "")
    assert "  lr  (required)" in shown.lines
    assert call("run", "req.py", "nonsense=1", "--help-op").output == shown.output
    assert call("run", "none.py", "--help-op").code == 1


def test_debug_shows_every_event_by_its_name(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('hello')\n")

    ended = shell.run("--debug", "run", "train.py", "-y", separate=True)

    (run_id,) = os.listdir(shell.home / "runs")
    lines = ended.error.splitlines()
    assert ended.output == "hello\n"
    assert f"DEBUG: [orchestra] run.created run={run_id[:8]} attempt=1" in lines
    assert all(line.startswith("DEBUG: [orchestra] ") and "hello" not in line for line in lines)
    assert shell.run("run", "train.py", "-y", separate=True).error == ""


def test_a_batch_in_the_background_writes_to_the_same_log_file(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\nprint('x is', x)\n")

    shell.run("--log-file", "events", "run", "train.py", "x=[1,2]", "-y", "--background")

    told: list[dict[str, object]] = []
    deadline = time.monotonic() + 30
    while [one["operation"] for one in told if one["event"] == "run.exited" and not one.get("batch")] != [
        "train.py+"
    ]:
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
        told = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert {"run.started", "run.output", "batch.trial"} <= {str(one["event"]) for one in told}


@pytest.mark.parametrize(
    "options",
    [("--dep", "x"), ("--optimizer", "random"), ("--opt-flag", "a=1"), ("--run-id", "z"), ("--run-dir", "z")],
)
def test_what_a_run_was_made_with_can_not_be_given_at_a_restart(
    call: Call, home: Path, options: tuple[str, ...]
) -> None:
    run = ended()
    saved(home, run)

    refused = call("run", "--restart", run.id, "-y", *options)

    assert refused.code == 2
    assert refused.error.startswith(f"orchestra: {options[0]} cannot be used with --restart\n")


def test_a_run_may_be_restarted_with_the_directory_that_it_has(call: Call, home: Path) -> None:
    run = ended()
    saved(home, run)

    same = call("run", "--restart", run.id, "-d", str(home / "runs" / run.id), "--print-cmd")

    assert same.code == 0


def test_an_id_and_a_directory_of_two_runs_are_refused(call: Call, home: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    place = str(home / "runs" / "yy")

    refused = call("run", "train.py", "-y", "--run-id", "zz", "--run-dir", place)

    assert refused.code == 2
    assert refused.error.startswith(f"orchestra: --run-id 'zz' is not the run of --run-dir '{place}'\n")
    assert call("run", "train.py", "--stage", "-y", "--run-id", "yy", "--run-dir", place).code == 0


def test_options_of_batches_are_ignored_aloud_for_one_run(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('ran')\n")
    options = ("--max-trials", "2", "--fail-on-trial-error")

    assert shell.run("run", "train.py", "-y", *options).output.splitlines() == [
        *(f"WARNING: not a batch run - ignoring {name}" for name in options if name.startswith("--")),
        "ran",
    ]


def test_options_of_batches_are_not_warned_of_for_a_batch(call: Call, home: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    saved(home, run := ended(kind="batch", batch_spec=Batch(space={"x": Choices(values=(1, 2))}, seed=1)))

    assert call("run", "train.py", "x=[1,2]", "-m", "1", "--print-cmd").error == ""
    assert call("run", "--restart", run.id, "-m", "1", "--print-cmd").error == ""


def test_a_pidfile_that_can_not_be_written_is_told_before_the_start(
    call: Call, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("")
    place = str(tmp_path / "nowhere" / "pid")

    refused = call("run", "train.py", "-y", "--background", "--pidfile", place)

    reason = f"No such file or directory: '{place}'"
    assert (refused.code, refused.error) == (1, f"orchestra: the pidfile can't be written: {reason}\n")
    assert not list((home / "runs").glob("*"))


def test_the_hint_of_an_unknown_operation_names_a_verb_that_there_is(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text('"""Train it."""\n')

    assert "\nTry 'orchestra operations' for a list" in call("run", "trian.py", "-y").error
    assert call("operations").lines == ["queue     Start staged runs.", "train.py  Train it."]
    assert call("ops").output == call("operations").output


def test_why_a_run_could_not_start_is_one_sentence(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/no/interpreter\n")
    (tmp_path / "tool").chmod(0o755)

    failed = shell.run("run", "tool", "-y").output

    assert failed.startswith("orchestra: run failed: could not start: its interpreter is missing: ")


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ((), ""),
        (("--stage-trials", "--fail-on-trial-error"), " --stage-trials --fail-on-trial-error"),
        (("-m", "2", "--random-seed", "7"), " --max-trials 2 --random-seed 7"),
        (
            ("-o", "random", "-m", "2", "--random-seed", "7"),
            " --optimizer random --max-trials 2 --random-seed 7",
        ),
    ],
)
def test_the_printed_command_of_a_batch_makes_the_same_batch(
    call: Call, tmp_path: Path, options: tuple[str, ...], printed: str
) -> None:
    (tmp_path / "train.py").write_text("x = 1\nname = 'a'\n")

    first = call("run", "train.py", "x=[1,2,3]", "name=bc", *options, "--print-cmd")

    assert first.lines[0] == f"orchestra run -y train.py name=bc 'x=[1, 2, 3]'{printed}"
    again = call(*shlex.split(first.lines[0])[1:], "--print-cmd")
    assert again.output == first.output


def test_a_sampled_batch_is_printed_with_the_seed_that_it_drew(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")

    first = call("run", "train.py", "x=[1:9]", "-m", "2", "--print-cmd")

    assert call(*shlex.split(first.lines[0])[1:], "--print-cmd").output == first.output


def test_the_printed_command_of_a_restart_restarts(call: Call, home: Path) -> None:
    saved(home, run := ended(kind="batch", batch_spec=Batch(space={"x": Choices(values=(1, 2))}, seed=1)))

    printed = call("run", "--restart", run.id, "--stage-trials", "--print-cmd").lines[0]

    assert printed == f"orchestra run -y --start {run.id} --stage-trials"


def test_a_batch_has_a_label_of_its_own(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "say.py").write_text("x = 1\nprint(x)\n")
    shell.run("run", "say.py", "x=[1,2]", "-bl", "sweep", "-l", "trial ${x}", "-y", "--run-id", "b")
    listed = json.loads(shell.run("runs", "--json").output)
    assert [run["label"] for run in listed] == ["trial 2", "trial 1", "sweep"]

    shell.run("run", "--restart", "b", "--batch-label", "again", "-y")
    listed = json.loads(shell.run("runs", "--json").output)
    assert "again" in [run["label"] for run in listed if run["id"] == "b"]

    alone = shell.run("run", "say.py", "-bl", "sweep", "-y")
    assert (alone.code, alone.output) == (0, "WARNING: not a batch run - ignoring --batch-label\n1\n")


def test_options_of_the_optimizer_are_shown_before_it_is_started(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\nprint('ran')\n")
    options = ("-o", "sobol", "-Fo", "scramble=no", "-m", "2")

    asked = shell.run("run", "train.py", "x=[1:9]", *options, stdin="n\n").output

    assert asked.splitlines()[:4] == [
        "You are about to run train.py with sobol optimizer (2 trials)",
        "  x: [1:9]",
        "Optimizer flags:",
        "  scramble: no",
    ]


def test_optimize_searches_with_the_default_optimizer_of_the_operation(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    (tmp_path / "orchestra.yml").write_text(
        "train:\n  main: train\n  flags: {x: 1}\n"
        "  optimizers: {often: {algorithm: random, default: yes}, once: random}\n"
    )

    searched = call("run", "train", "x=[1:9]", "-m", "2", "--print-cmd", "--random-seed", "1", "-O")

    assert searched.lines[0].endswith(" --optimizer random --max-trials 2 --random-seed 1")
    assert len(searched.lines) == 3
    named = call("run", "train", "x=[1:9]", "-m", "2", "--print-cmd", "--random-seed", "1", "-o", "once")
    assert named.lines == searched.lines
    assert call("run", "train", "-O", "-o", "once", "-y").code == 2


def test_options_that_have_no_meaning_for_what_is_run_are_warned_of(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")

    run = call("run", "train.py", "-y", "--stop-runs", "--pidfile", "pid")
    assert (run.code, run.error.splitlines()) == (
        0,
        [
            "WARNING: not a queue - ignoring --stop-runs",
            "WARNING: not in the background - ignoring --pidfile",
        ],
    )
    searched = ("--optimizer", "random", "--dep", "x", "--force-deps", "--random-seed", "1")
    queue = call("run", "queue", "run-once=yes", "-y", "--stop-runs", *searched)
    assert queue.code == 0
    assert [line for line in queue.error.splitlines() if line.startswith("WARNING: a queue")] == [
        f"WARNING: a queue needs nothing and searches nothing - ignoring {name}"
        for name in ("--dep", "--force-deps", "--optimizer", "--random-seed")
    ]


def test_only_one_thing_can_be_printed(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    refused = call("run", "train.py", "x=[1,2]", "--print-cmd", "--print-trials")
    assert refused.code == 2
    assert refused.error.startswith("orchestra: --print-cmd and --print-trials cannot both be used\n")


def test_a_restart_may_go_on_without_what_is_missing_and_has_a_seed(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('ran')\n")
    assert call("run", "train.py", "--dep", "missing", "-y", "--run-id", "r").code == 1

    again = call("run", "--restart", "r", "-y", "--force-deps", "--random-seed", "7")

    assert (again.code, again.output) == (0, "Restarting r\nran\n")
    assert "a dependency was not met" in again.error
    assert call("select", "r", "--attr", "random_seed").output == "7\n"
    assert call("run", "--restart", "r", "-y").code == 0


def test_a_step_that_is_no_batch_tells_which_options_it_ignores(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\nprint('ran')\n")
    (tmp_path / "orchestra.yml").write_text("a: train\np: {steps: ['a --stage-trials --max-trials 3']}\n")

    ended = call("run", "p", "-y")

    assert ended.code == 0
    assert "WARNING: [orchestra] not a batch run - ignoring --stage-trials\n" in ended.error
    assert "WARNING: [orchestra] not a batch run - ignoring --max-trials\n" in ended.error


def test_an_empty_list_is_a_batch_without_trials_and_a_warning(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")

    ran = shell.run("run", "train.py", "x=[]", "-y")

    assert (ran.code, ran.output) == (0, "WARNING: the batch has no trials: the list of flag 'x' is empty\n")
    assert "no trials" not in shell.run("run", "train.py", "x=[1]", "-y").output


def test_a_float_that_is_searched_over_whole_numbers_is_warned_of(call: Call, tmp_path: Path) -> None:
    (tmp_path / "scan.py").write_text("x = 1.0\ndepth = 3\nprint(x, depth)\n")

    whole = call("run", "scan.py", "x=[0:1]", "depth=[1:9]", "-m", "2", "--print-trials")
    real = call("run", "scan.py", "x=[0.0:1]", "depth=[1:9]", "-m", "2", "--print-trials")

    assert whole.error == (
        "WARNING: 'x' is searched over whole numbers, for its bounds are: "
        "write 0.0 for 0 to search it over all numbers\n"
    )
    assert real.error == ""


def test_what_goes_on_in_the_background_imports_nothing_of_the_project(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    for name in ("logging", "queue", "heapq"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")

    # As the installed command is: without the current directory in its path.
    orchestra = f"{sys.executable} -P -m orchestra"
    assert shell.bash(f"{orchestra} run train.py 'x=[1,2]' -y -b --run-id b").code == 0

    assert last_state(shell, "b") == "completed"
    assert not (tmp_path / "imported").exists()


def test_a_background_process_that_dies_at_once_is_an_error(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import sys\nif 'execute-claimed' in sys.orig_argv:\n    print('no room', flush=True)\n"
        "    __import__('os')._exit(3)\n"
    )

    refused = shell.run(
        "run", "train.py", "x=[1,2]", "-y", "-b", "--run-id", "b", PYTHONPATH=str(tmp_path / "site")
    )

    assert refused.code == 1
    assert refused.output == (
        "orchestra: could not start run b in the background: no room\nTry it without --background.\n"
    )
    assert shell.run("select", "b", "-a", "status").output == "aborted\n"


def last_state(shell: Shell, run: str) -> str:
    """The state of a run once it has ended."""
    deadline = time.monotonic() + 30
    while (state := shell.run("select", run, "-a", "status", cwd=shell.home).output.strip()) in (
        "pending",
        "running",
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return state


def test_a_label_that_is_too_long_is_refused_before_anything_is_made(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")

    refused = call("run", "train.py", "-y", "--stage", "--label", "l" * 5000)

    assert (refused.code, refused.error) == (
        1,
        "orchestra: --label is too long: 5000 characters\nGive at most 4096 bytes.\n",
    )
    assert call("runs", "--json").json == []
