"""`run --gpus` and `--no-gpus`: which devices an operation sees, and which queue starts it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Call
from tests.process import Shell

SHOWS = "import os\nx = 1\nprint('sees', repr(os.environ.get('CUDA_VISIBLE_DEVICES')))\n"


def test_an_operation_sees_the_devices_that_it_is_given(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)

    assert shell.run("run", "train.py", "-y", "--gpus", "0,2").output == "sees '0,2'\n"
    assert shell.run("run", "train.py", "-y", "--no-gpus", CUDA_VISIBLE_DEVICES="1").output == "sees ''\n"
    assert shell.run("run", "train.py", "-y", CUDA_VISIBLE_DEVICES="1").output == "sees '1'\n"
    assert shell.run("run", "train.py", "x=[1,2]", "-y", "--gpus", "3").output.count("sees '3'\n") == 2


def test_a_staged_run_keeps_its_devices_until_others_are_given(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)
    shell.run("run", "train.py", "-y", "--stage", "--gpus", "2", "--run-id", "mine")

    assert shell.run("run", "--start", "mine", "-y").output == "sees '2'\n"
    assert "sees ''\n" in shell.run("run", "--restart", "mine", "-y", "--no-gpus").output


def test_a_queue_leaves_runs_for_other_devices_to_other_queues(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)
    for name, options in (("other", ("--gpus", "2")), ("mine", ("--gpus", "1")), ("any", ())):
        shell.run("run", "train.py", "-y", "--stage", "--run-id", name, *options)

    told = shell.run("run", "queue", "run-once=yes", "gpus=1", "-y").output

    assert told.count("Ignorning staged run other (GPU spec mismatch: run is 2, queue is 1)") == 1
    assert told.count("sees '1'\n") == 2
    assert "sees '2'\n" not in told
    assert "sees '2'\n" in shell.run("run", "queue", "run-once=yes", "-y").output


def test_devices_and_none_can_not_both_be_given(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHOWS)

    refused = call("run", "train.py", "-y", "--gpus", "1", "--no-gpus")

    assert refused.code == 2
    assert refused.error.startswith("orchestra: --gpus and --no-gpus cannot both be used\n")


def test_a_queue_is_given_devices_by_its_flag(call: Call) -> None:
    refused = call("run", "queue", "-y", "--gpus", "1")

    assert (refused.code, refused.error) == (
        1,
        "orchestra: --gpus and --no-gpus can't be used with a queue\nGive the queue a flag, gpus=IDS.\n",
    )
