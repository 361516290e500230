"""Pipelines: operations whose steps are runs of other operations."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call
from tests.process import Shell

PROJECT = """\
prep: {main: say, flags-import: all}
train:
  main: say
  flags-import: all
pipeline:
  flags: {word: hi, none: null}
  steps:
    - prep msg=${word} times=2
    - run: train
      flags: {msg: 'a ${word}', times: '${none}'}
      expect: [{output: 'a hi'}, {file: say.py, contains: msg}]
"""
SAY = """\
import sys
msg = 'hello'
times = 1
for _ in range(times):
    print(msg)
if msg == 'fail':
    sys.exit(7)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "orchestra.yml").write_text(PROJECT)
    (tmp_path / "say.py").write_text(SAY)
    return tmp_path


def directory(shell: Shell, run_id: str = "p") -> Path:
    return shell.home / "runs" / run_id


def step_id(shell: Shell, name: str, run_id: str = "p") -> str:
    return Path(os.readlink(directory(shell, run_id) / name)).name


def record(shell: Shell, run_id: str) -> dict[str, Any]:
    return json.loads((directory(shell, run_id) / ".orchestra" / "run.json").read_text())


def listed(shell: Shell) -> list[dict[str, Any]]:
    return json.loads(shell.run("runs", "--json").output)


def test_steps_are_runs_of_their_own_one_after_the_other(shell: Shell, project: Path) -> None:
    ended = shell.run("run", "pipeline", "--run-id", "p", "-y")

    prep, train = step_id(shell, "prep"), step_id(shell, "train")
    assert ended.output.splitlines() == [
        "INFO: [orchestra] running prep: prep msg=hi times=2",
        "hi",
        "hi",
        "INFO: [orchestra] running train: train msg='a hi'",
        "a hi",
        f"INFO: [orchestra] checking run {train} output for 'a hi'",
        f"INFO: [orchestra] checking run {train} files 'say.py'",
        f"INFO: [orchestra] checking run {train} file say.py for 'msg'",
        "INFO: [orchestra] 2 of 2 checks passed",
    ]
    assert ended.code == 0
    assert (record(shell, prep)["parent"], record(shell, train)["parent"]) == ("p", "p")
    assert (directory(shell) / "train" / "say.py").exists()
    assert not (directory(shell) / "say.py").exists()
    assert shell.run("cat", "p", "--output").output == ended.output
    assert "\nparent: p\n" in shell.run("runs", "info", prep).output
    assert [run["operation"] for run in listed(shell)] == ["train", "prep", "pipeline"]


def test_label_and_tags_of_a_pipeline_are_its_steps_unless_they_have_their_own(
    shell: Shell, project: Path
) -> None:
    text = PROJECT.replace("times=2", "times=2 --label mine --tag b")
    (project / "orchestra.yml").write_text(text)
    ended = shell.run("run", "pipeline", "--run-id", "p", "-l", "of p", "-t", "a", "-y")
    assert "running prep: prep --label mine --tag b msg=hi times=2\n" in ended.output
    assert "running train: train --label 'of p' --tag a msg='a hi'\n" in ended.output
    assert [(run["label"], run["tags"]) for run in listed(shell)] == [
        ("of p", ["a"]),
        ("mine", ["b"]),
        ("of p", ["a"]),
    ]


def test_a_pipeline_ends_with_the_first_step_that_fails(shell: Shell, project: Path) -> None:
    ended = shell.run("run", "pipeline", "word=fail", "--run-id", "p", "-y")
    assert ended.code == 7
    assert (
        ended.output.splitlines()[-1]
        == f"orchestra: step 'prep' failed: run {step_id(shell, 'prep')} ended as error"
    )
    assert not os.path.lexists(directory(shell) / "train")
    assert [run["status"] for run in listed(shell)] == ["error", "error"]


def test_a_check_that_fails_ends_with_code_3(shell: Shell, project: Path) -> None:
    ended = shell.run("run", "pipeline", "word=other", "--run-id", "p", "-y")
    assert ended.code == 3
    train = step_id(shell, "train")
    assert ended.output.splitlines()[-5:] == [
        f"ERROR: [orchestra] check failed: could not find pattern 'a hi' in run {train} output",
        f"INFO: [orchestra] checking run {train} files 'say.py'",
        f"INFO: [orchestra] checking run {train} file say.py for 'msg'",
        "INFO: [orchestra] 1 of 2 checks passed",
        "orchestra: stopping because a check failed - see above for details",
    ]


def test_files_are_compared_to_those_of_the_project(shell: Shell, project: Path) -> None:
    (project / "orchestra.yml").write_text(
        "a: {main: say}\n"
        "p:\n  steps:\n    - run: a\n      expect: [{file: '*.py', compare-to: good}, {file: none*}]\n"
    )
    (project / "good").write_text(SAY)
    ended = shell.run("run", "p", "--run-id", "p", "-y")
    assert f"comparing run {step_id(shell, 'a')} file say.py to good\n" in ended.output
    assert "check failed: could not find any files matching 'none*'\n" in ended.output
    (project / "good").write_text("other")
    assert "check failed: say.py differs from good\n" in shell.run("run", "p", "-y").output


def test_a_restarted_pipeline_starts_its_runs_again(shell: Shell, project: Path) -> None:
    shell.run("run", "pipeline", "word=fail", "--run-id", "p", "-y")
    prep = step_id(shell, "prep")

    ended = shell.run("run", "--restart", "p", "word=hi", "-y")

    assert ended.code == 0
    assert ended.output.splitlines()[:6] == [
        "Restarting p",
        f"INFO: [orchestra] restarting prep: {prep} msg=hi times=2",
        f"Restarting {prep}",
        "hi",
        "hi",
        "INFO: [orchestra] running train: train msg='a hi'",
    ]
    assert step_id(shell, "prep") == prep
    assert len(listed(shell)) == 3


def test_needed_starts_only_steps_that_have_not_completed_or_have_other_flags(
    shell: Shell, project: Path
) -> None:
    shell.run("run", "pipeline", "--run-id", "p", "-y")
    train = step_id(shell, "train")
    same = shell.run("run", "--restart", "p", "--needed", "-y")
    assert same.output.splitlines()[-1] == "Skipping run because flags have not changed (--needed specified)"

    (project / "orchestra.yml").write_text(PROJECT)
    ended = shell.run("run", "--restart", "p", "none=3", "--needed", "-y")
    lines = ended.output.splitlines()
    assert f"INFO: [orchestra] restarting prep: {step_id(shell, 'prep')} --needed msg=hi times=2" in lines
    assert "Skipping run because flags have not changed (--needed specified)" in lines
    assert f"INFO: [orchestra] restarting train: {train} --needed msg='a hi' times=3" in lines
    assert lines.count("a hi") == 3
    plain = shell.run("run", "--restart", "p", "-y")
    assert "--needed" not in plain.output


def test_a_link_that_leads_nowhere_is_made_anew_and_anything_else_is_no_link(
    shell: Shell, project: Path
) -> None:
    shell.run("run", "pipeline", "--run-id", "p", "-y")
    prep = step_id(shell, "prep")
    shell.run("runs", "delete", prep, "-y")
    ended = shell.run("run", "--restart", "p", "-y")
    assert "running prep: prep msg=hi times=2\n" in ended.output
    assert step_id(shell, "prep") != prep

    link = directory(shell) / "prep"
    link.unlink()
    link.write_text("")
    ended = shell.run("run", "--restart", "p", "-y")
    assert (ended.code, ended.output.splitlines()[-1]) == (
        1,
        f"orchestra: unexpected step run link {link}: expected symlink",
    )


def test_steps_may_be_batches_and_pipelines_and_pipelines_trials(shell: Shell, project: Path) -> None:
    with (project / "orchestra.yml").open("a") as file:
        file.write("outer:\n  flags: {w: x}\n  steps:\n    - 'prep times=[1,2] msg=${w}'\n    - pipeline\n")
    ended = shell.run("run", "outer", "w=[x,y]", "-y")
    assert ended.code == 0, ended.output
    kinds = [(run["operation"], run["kind"], run["status"]) for run in listed(shell)]
    assert kinds.count(("outer", "steps", "completed")) == 2
    assert kinds.count(("prep+", "batch", "completed")) == 2
    assert kinds.count(("prep", "run", "completed")) == 6
    assert kinds.count(("pipeline", "steps", "completed")) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("steps: [b]", "the steps of operation 'p' come to the operation itself: p -> b -> p"),
        ("steps: [say, c]", "the steps of operation 'p' come to the operation itself: p -> c -> b -> p"),
        ("steps: [say, mising]", "step 'mising' can't be run: operation 'mising' is not defined"),
        ("steps: [mising]", "step 'mising' can't be run: operation 'mising' is not defined"),
        ("steps: [in]", "step 'mising' of 'in' can't be run: operation 'mising' is not defined"),
        ("steps: [say mg=1]", "step 'say' can't be run: unsupported flag 'mg'"),
        ("{flags: {x: [1, 2]}, steps: [in]}", "step 'mising' of 'in' can't be run: operation 'mising'"),
    ],
)
def test_a_pipeline_that_can_not_be_run_is_refused_before_anything_is_made(
    call: Call, project: Path, text: str, reason: str
) -> None:
    body = text if text.startswith("{") else f"{{{text}}}"
    (project / "orchestra.yml").write_text(
        "say: {main: say, flags-import: all}\nmissing: {main: say}\n"
        f"p: {body}\nb: {{steps: [p]}}\nc: {{steps: [b]}}\nin: {{steps: [say, mising]}}\n"
    )

    ran = call("run", "p", "-y")

    assert ran.code == 1
    assert f"orchestra: {reason}" in ran.error
    assert ("Did you mean 'missing'" in ran.error) is ("mising" in reason)
    assert call("runs").output == ""


def test_pipelines_that_run_pipelines_too_deep_are_refused(call: Call, project: Path) -> None:
    chain = "".join(f"p{n}: {{steps: [p{n + 1}]}}\n" for n in range(1, 33))
    (project / "orchestra.yml").write_text(f"p33: {{main: say}}\n{chain}p0: {{steps: [p1]}}\n")

    assert "pipelines more than 32 deep: p29 -> p30 -> p31 -> p32" in call("run", "p0", "-y").error
    assert call("run", "p1", "--stage", "-y").code == 0


def test_a_staged_pipeline_that_comes_to_itself_by_now_ends_as_error(call: Call, project: Path) -> None:
    (project / "orchestra.yml").write_text("p: {steps: [b]}\nb: {main: say}\n")
    call("run", "p", "--stage", "--run-id", "p", "-y")
    (project / "orchestra.yml").write_text("p: {steps: [b]}\nb: {steps: [p]}\n")

    ended = call("run", "--start", "p", "-y")

    assert ended.code == 1
    assert "the steps of operation 'p' come to the operation itself: p -> b -> p" in ended.error


def test_flags_of_a_pipeline_that_name_a_step_are_the_step_s(shell: Shell, project: Path) -> None:
    ended = shell.run("run", "pipeline", "prep:msg=forced", "-f", "-y")
    assert "running prep: prep msg=forced times=2\n" in ended.output
    assert shell.run("run", "pipeline", "prep:msg=forced", "-y").code == 1


def test_options_that_have_no_meaning_in_a_step_are_warned_of(shell: Shell, project: Path) -> None:
    (project / "orchestra.yml").write_text("a: {main: say}\np: {steps: [a --run-dir x]}\n")
    ended = shell.run("run", "p", "-y")
    assert "WARNING: [orchestra] run parameter run-dir used in 'a' ignored\n" in ended.output
    assert ended.code == 0


def test_a_step_that_can_not_be_run_by_now_ends_the_pipeline_with_its_reason(
    call: Call, project: Path
) -> None:
    (project / "orchestra.yml").write_text("p: {steps: [none]}\nnone: {main: say}\n")
    call("run", "p", "--stage", "--run-id", "p", "-y")
    (project / "orchestra.yml").write_text("p: {steps: [none]}\n")
    ended = call("run", "--start", "p", "-y")
    assert ended.code == 1
    assert "orchestra: operation 'none' is not defined for this project\n" in ended.error


def test_a_staged_pipeline_is_run_by_a_queue(shell: Shell, project: Path) -> None:
    shell.run("run", "pipeline", "--stage", "--run-id", "p", "-y")
    ended = shell.run("run", "queue", "run-once=yes", "-y")
    assert "INFO: [orchestra] running prep: prep msg=hi times=2\nhi\nhi\n" in ended.output
    assert [run["status"] for run in listed(shell)] == ["completed"] * 4


def test_a_pipeline_in_the_background_runs_on_by_itself(shell: Shell, project: Path) -> None:
    shell.run("run", "pipeline", "--run-id", "p", "--background", "-y")
    deadline = time.monotonic() + 30
    while [run["status"] for run in listed(shell)] != ["completed"] * 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stopped_pipeline_is_terminated_with_its_step(shell: Shell, project: Path) -> None:
    (project / "orchestra.yml").write_text("a: sleep\nb: sleep\np: {steps: [a, b]}\n")
    (project / "sleep.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    process = shell.start("run", "p", "--run-id", "p", "-y")
    assert process.stdout is not None
    for line in process.stdout:
        if line == "up\n":
            break
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert "INFO: [orchestra] Stopping steps" in output
    assert process.returncode == 256 - 15
    assert [(run["operation"], run["status"]) for run in listed(shell)] == [
        ("a", "terminated"),
        ("p", "terminated"),
    ]


def test_a_step_that_a_killed_pipeline_left_running_is_waited_for(shell: Shell, project: Path) -> None:
    (project / "orchestra.yml").write_text("a: wait\np: {steps: [a]}\n")
    (project / "wait.py").write_text(
        "import os, time\nprint('up', flush=True)\n"
        f"while not os.path.exists({str(project / 'go')!r}):\n    time.sleep(0.02)\nprint('done')\n"
    )
    process = shell.start("run", "p", "--run-id", "p", "-y")
    assert process.stdout is not None
    for line in process.stdout:
        if line == "up\n":
            break
    process.kill()
    process.communicate(timeout=30)

    again = shell.start("run", "--restart", "p", "-y")
    assert again.stdout is not None
    seen: list[str] = []
    for line in again.stdout:
        seen.append(line)
        if "going on with a" in line:
            break
    (project / "go").write_text("")
    output, _ = again.communicate(timeout=30)
    assert again.returncode == 0, (seen, output)
    assert len(listed(shell)) == 2


def test_dependencies_of_a_step_are_met_by_runs_of_its_pipeline_unless_it_says_otherwise(
    shell: Shell, project: Path
) -> None:
    (project / "make.py").write_text("value = 1\nopen('made', 'w').write(str(value))\n")
    (project / "use.py").write_text("print('used', open('made').read())\n")
    (project / "orchestra.yml").write_text(
        "make: {main: make, flags-import: all}\n"
        "use: {main: use, requires: [{operation: make}]}\n"
        "own: {steps: [make value=2, use]}\n"
        "alone: {steps: [use]}\n"
        "shared: {steps: [{run: use, isolate-runs: no}]}\n"
    )
    shell.run("run", "own", "-y")
    shell.run("run", "make", "value=3", "-y")

    own = shell.run("run", "own", "-y")
    assert (own.code, "used 2\n" in own.output) == (0, True)
    shell.run("run", "make", "value=4", "-y")
    assert "used 4\n" in shell.run("run", "shared", "-y").output
    alone = shell.run("run", "alone", "-y")
    assert (alone.code, "no suitable run for make" in alone.output) == (1, True), alone.output


def test_a_step_has_devices_and_a_time_of_its_own(project: Path, shell: Shell) -> None:
    (project / "orchestra.yml").write_text(
        "prep: {main: say, flags-import: all}\n"
        "pipeline:\n  steps:\n"
        "    - {run: prep, name: a, gpus: 1, stop-after: 30}\n"
        "    - prep --no-gpus --stop-after 0.5\n"
        "bad:\n  steps:\n    - prep --stop-after soon\n"
    )
    ended = shell.run("run", "pipeline", "-y", "--run-id", "p", "--gpus", "7")

    assert ended.code == 0, ended.output
    first, second = record(shell, step_id(shell, "a")), record(shell, step_id(shell, "prep"))
    assert (first["gpus"], first["stop_after"]) == ("1", 30.0)
    assert (second["gpus"], second["stop_after"]) == ("", 0.5)
    refused = shell.run("run", "bad", "-y")
    assert refused.code == 1
    assert "--stop-after of a step has to be a number of minutes, not soon" in refused.output


def test_a_pipeline_is_an_operation_that_others_may_depend_on(shell: Shell, project: Path) -> None:
    (project / "make.py").write_text("open('made', 'w').write('by a step')\n")
    (project / "use.py").write_text("print('used', open('m/made').read())\n")
    (project / "orchestra.yml").write_text(
        "make: {main: make}\n"
        "all: {steps: [{run: make, name: m}]}\n"
        "use: {main: use, requires: [{operation: all}]}\n"
    )
    assert shell.run("run", "all", "-y").code == 0

    used = shell.run("run", "use", "-y")

    assert (used.code, "used by a step\n" in used.output) == (0, True), used.output


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("nothing", "operation 'nothing' is not defined for this project"),
        ("b wrong=1", "unsupported flag 'wrong'"),
        ("b x=text", "invalid value text for x"),
        ("gone", "operation 'gone' can't be run: there is no module 'removed'"),
    ],
)
def test_a_wrong_step_is_told_before_the_first_one_runs(
    call: Call, project: Path, last: str, reason: str
) -> None:
    (project / "a.py").write_text("print('ran')\n")
    (project / "orchestra.yml").write_text(
        "a: a\nb: {main: a, flags: {x: {default: 1, type: int}}}\ngone: {main: removed}\n"
        f"p: {{steps: [a, {{run: {last}, name: end}}]}}\n"
    )

    ran = call("run", "p", "-y")

    assert ran.code == 1
    assert "ran\n" not in ran.output
    assert f"orchestra: step 'end' can't be run: {reason}" in ran.error


def test_a_step_may_need_what_an_earlier_one_makes(call: Call, project: Path) -> None:
    (project / "a.py").write_text(f"open({str(project / 'made')!r}, 'w').write('new')\n")
    (project / "b.py").write_text("path = ''\nprint(open(path).read())\n")
    (project / "orchestra.yml").write_text(
        "a: a\nb: {main: b, flags: {path: {type: existing-path}}, requires: {file: made}}\n"
        "p: {steps: [a, b path=made]}\n"
    )

    ran = call("run", "p", "-y")

    assert (ran.code, ran.output) == (0, "new\n")
