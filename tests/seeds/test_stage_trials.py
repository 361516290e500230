"""The first seed, line by line: trials are staged, a queue runs them, listings show what became of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestra.api import Project
from tests.process import Shell

SAMPLES = Path(__file__).parent.parent / "samples"
STAGED_TRIALS = r"""INFO: \[orchestra\] Staging trial (?P<a>[0-9a-f]{32}): say\.py \(loud=no, msg=a\)
say\.py staged as (?P=a)
To start the operation, use 'orchestra run --start (?P=a)'
INFO: \[orchestra\] Staging trial (?P<b>[0-9a-f]{32}): say\.py \(loud=no, msg=b\)
say\.py staged as (?P=b)
To start the operation, use 'orchestra run --start (?P=b)'
INFO: \[orchestra\] Staging trial (?P<c>[0-9a-f]{32}): say\.py \(loud=no, msg=c\)
say\.py staged as (?P=c)
To start the operation, use 'orchestra run --start (?P=c)'
"""
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
QUEUE_OUTPUT = rf"""INFO: \[queue\] {STAMP} Processing staged runs
INFO: \[queue\] {STAMP} Starting staged run [0-9a-f]{{32}}
a
INFO: \[queue\] {STAMP} Starting staged run [0-9a-f]{{32}}
b
INFO: \[queue\] {STAMP} Starting staged run [0-9a-f]{{32}}
c
"""
TRIALS = {"msg": ["a", "b", "c"]}


@pytest.fixture
def project(home: Path) -> Project:
    return Project(SAMPLES / "batch", home)


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_trials_are_staged_while_the_batch_completes(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("say.py", flags=TRIALS, stage_trials=True)

    assert re.fullmatch(STAGED_TRIALS, shown(capsys))
    project.print_runs(status=True, flags=True)
    assert shown(capsys) == (
        "say.py   loud=no msg=c  staged\n"
        "say.py   loud=no msg=b  staged\n"
        "say.py   loud=no msg=a  staged\n"
        "say.py+                 completed\n"
    )


def test_a_queue_runs_the_staged_trials_in_the_order_of_their_staging(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("say.py", flags=TRIALS, stage_trials=True)
    shown(capsys)

    project.run("queue", flags={"run-once": True})

    assert re.fullmatch(QUEUE_OUTPUT, shown(capsys))
    project.print_runs(status=True, flags=True)
    assert shown(capsys) == (
        "say.py   loud=no msg=c                                              completed\n"
        "say.py   loud=no msg=b                                              completed\n"
        "say.py   loud=no msg=a                                              completed\n"
        "queue    gpus=null ignore-running=no poll-interval=10 run-once=yes  completed\n"
        "say.py+                                                             completed\n"
    )
    project.delete_runs()
    assert shown(capsys) == "Deleted 5 run(s)\n"
    project.print_runs()
    assert shown(capsys) == ""


def test_a_batch_that_stages_trials_can_itself_be_staged_and_started(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    batch, out = project.run_capture("say.py", flags=TRIALS, stage=True, stage_trials=True)

    assert re.fullmatch(
        r"say\.py\+ staged in '(?P<dir>[^']+)'\n"
        r"To start the operation, use \"\(cd '(?P=dir)' && source \.orchestra/ENV && .+\)\"\n",
        out,
    )
    project.print_runs(status=True)
    assert shown(capsys) == "say.py+  staged\n"

    project.run(start=batch.id)

    assert re.fullmatch(STAGED_TRIALS, shown(capsys))
    project.print_runs(status=True, flags=True)
    assert shown(capsys) == (
        "say.py   loud=no msg=c  staged\n"
        "say.py   loud=no msg=b  staged\n"
        "say.py   loud=no msg=a  staged\n"
        "say.py+                 completed\n"
    )


def test_one_pipe_for_both_streams_keeps_the_order_of_the_lines(shell: Shell) -> None:
    staged = shell.run("run", "-y", "say.py", "msg=[a,b,c]", "--stage-trials", cwd=SAMPLES / "batch")

    assert re.fullmatch(STAGED_TRIALS, staged.output)
    assert re.fullmatch(QUEUE_OUTPUT, shell.run("run", "-y", "queue", "run-once=yes").output)
    listed = shell.run("runs", "-s", cwd=SAMPLES / "batch").output
    assert listed.splitlines() == [
        "[1]  say.py   completed  loud=no msg=c",
        "[2]  say.py   completed  loud=no msg=b",
        "[3]  say.py   completed  loud=no msg=a",
        "[4]  queue    completed  ignore-running=no poll-interval=10 run-once=yes",
        "[5]  say.py+  completed",
    ]
    assert shell.run("runs", "delete", "-y").output == "Deleted 5 run(s)\n"
    assert shell.run("runs").output == ""


def test_results_go_to_stdout_and_log_lines_to_stderr(shell: Shell) -> None:
    staged = shell.run(
        "run", "-y", "say.py", "msg=[a,b]", "--stage-trials", cwd=SAMPLES / "batch", separate=True
    )

    assert all(line.startswith("INFO: [orchestra] Staging trial ") for line in staged.error.splitlines())
    assert len(staged.error.splitlines()) == 2
    assert [line.split(" as ")[0] for line in staged.output.splitlines()[::2]] == ["say.py staged"] * 2


def test_the_printed_command_of_a_run_staged_in_a_directory_works_when_pasted(
    shell: Shell, tmp_path: Path
) -> None:
    directory = tmp_path / "it's here"
    staged = shell.run(
        "run", "-y", "say.py", "msg=hi there", "--stage", "--run-dir", str(directory), cwd=SAMPLES / "batch"
    )
    pasted = re.search(r'use "(.+)"$', staged.output.strip())
    assert pasted is not None

    ran = shell.bash(pasted[1])

    assert (ran.code, ran.output) == (0, "hi there\n")
    environment = (directory / ".orchestra" / "ENV").read_text()
    for name in ("RUN_DIR", "RUN_ID", "FLAG_MSG", "ORCHESTRA_HOME"):
        assert f"export {name}=" in environment
