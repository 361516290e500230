"""Scalars and attributes as commands show and use them."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import structs

from orchestra.model.run import Run
from orchestra.testing.builders import an_exit, an_operation
from orchestra.workspace import records
from orchestra.workspace.layout import Layout, attempt_directory
from orchestra.workspace.output import OutputWriter
from tests.cli.conftest import Call
from tests.process import Shell
from tests.saved_runs import ended, saved
from tests.workspace.event_samples import scalar_event

SCRIPT = r"""
lr = 0.1
for step in range(3):
    print(f"loss: {lr * (3 - step):.2f} (step {step * 10})")
print("lr: 5")
print("model: resnet\x07")
print('{"val": 0.5, "device": "cuda:0"}')
"""


def printed(home: Path, output: str, **fields: object) -> Run:
    """A run that completed and printed that."""
    run = ended(**fields)
    saved(home, run)
    directory = attempt_directory(Layout(home).run_directory(run), run.attempt)
    directory.mkdir(parents=True)
    writer = OutputWriter(directory)
    writer.write(0, output.encode())
    writer.close()
    records.write_exit(directory, an_exit(cpu=0.5, size=len(output)), fsync=False)
    return run


def block(output: str, name: str) -> list[str]:
    """The lines of ``runs info`` that belong to ``name``."""
    lines = output.partition(f"\n{name}:\n")[2].splitlines()
    return lines[: next((index for index, line in enumerate(lines) if not line.startswith(" ")), None)]


# runs info


def test_times_are_local_for_people_and_microseconds_for_programs(call: Call, home: Path) -> None:
    run = printed(home, "", started=1_735_822_272_123_456, stopped=1_735_822_273_000_001)

    told = call("runs", "info", "--json").json
    (listed,) = call("runs", "--json").json

    assert (told["started"], told["stopped"]) == (run.started, run.stopped)
    assert (type(told["attempts"][0]["stopped"]), listed["started"]) == (int, run.started)
    assert re.search(
        r"^started: 2025-01-0[123] [0-9]{2}:[0-9]{2}:12$", call("runs", "info").output, re.MULTILINE
    )


def test_what_a_script_prints_is_shown_as_scalars_and_attributes(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    assert shell.run("run", "train.py", "-y").code == 0

    shown = shell.run("runs", "info").output

    assert block(shown, "scalars") == ["  loss: 0.100000 (step 20)", "  val: 0.500000 (step 20)"]
    assert block(shown, "attributes") == ["  device: cuda:0", r"  model: resnet\x07"]


def test_all_scalars_are_shown_with_all_that_is_known(call: Call, home: Path) -> None:
    printed(home, "loss: 3\nloss: 1\nloss: 2\n")

    lines = block(call("runs", "info", "--all-scalars").output, "scalars")

    assert lines[:7] == [
        "  loss:",
        "    first: 3.000000 (step 0)",
        "    last: 2.000000 (step 2)",
        "    min: 1.000000 (step 1)",
        "    max: 3.000000 (step 0)",
        "    avg: 2.000000 (count 3)",
        "    total: 6.000000 (count 3)",
    ]
    assert "  sys/cpu_seconds:" in lines and "    last: 0.500000 (step 0)" in lines


def test_json_has_values_with_their_steps(call: Call, home: Path) -> None:
    printed(home, "loss: 3\nloss: 1\nacc: nan\nname: x\n")

    told = call("runs", "info", "--json").json
    assert told["scalars"] == {"acc": [None, 1], "loss": [1.0, 1]}
    assert told["attributes"] == {"name": "x"}
    told = call("runs", "info", "--json", "-s").json["scalars"]
    assert told["loss"] == {
        "first": [3.0, 0],
        "last": [1.0, 1],
        "min": [1.0, 1],
        "max": [3.0, 0],
        "avg": [2.0, 2],
        "total": [4.0, 2],
    }
    assert told["sys/cpu_seconds"]["last"] == [0.5, 0]


def test_event_files_are_shown_and_damaged_ones_are_told_of(call: Call, home: Path) -> None:
    directory = Layout(home).run_directory(printed(home, ""))
    (directory / "logs").mkdir()
    (directory / "logs/events.out.tfevents.1").write_bytes(scalar_event("loss", 0.5, step=7) + b"x" * 20)

    called = call("runs", "info")

    assert block(called.output, "scalars") == ["  logs#loss: 0.500000 (step 7)"]
    assert "events.out.tfevents.1' is damaged at byte" in called.error


def test_a_pipeline_has_the_scalars_of_its_steps(call: Call, home: Path) -> None:
    step = printed(home, "loss: 1\n")
    run = ended()
    run = structs.replace(run, operation=structs.replace(run.operation, kind="steps"))
    saved(home, run)
    layout = Layout(home)
    (layout.run_directory(run) / "train").symlink_to(layout.run_directory(step))
    (layout.run_directory(run) / "gone").symlink_to(layout.runs_dir / "none")

    shown = call("runs", "info", run.id).output

    assert block(shown, "scalars") == ["  train#loss: 1.000000 (step 0)"]


# select


def test_select_finds_the_run_with_the_least_or_greatest(call: Call, home: Path) -> None:
    low = printed(home, "loss: 2\nloss: 4\nname: b\n", flags={"lr": 0.3})
    high = printed(home, "loss: 1\nloss: 5\nname: a\n", flags={"lr": 0.1})
    none = printed(home, "loss: nan\n", flags={"lr": 0.2})

    for arguments, expected in {
        ("--min", "loss"): low,
        ("--max", "loss"): high,
        ("--min", "min loss"): high,
        ("--max", "count loss"): high,
        ("--max", "=lr"): low,
        ("--min", ".name"): high,
        ("--min", "loss", "2", "1"): high,
    }.items():
        assert call("select", *arguments).lines == [expected.id], arguments
    assert call("select", "--all", "--max", "loss").lines == [high.id, low.id, none.id]
    assert call("select", "--min", "loss", "--short-id").lines == [low.short_id]
    both = call("select", "--min", "loss", "--short-id", "--attr", "label")
    assert (both.code, both.error.splitlines()[0]) == (
        2,
        "orchestra: --short-id and --attr cannot both be used",
    )


def test_select_refuses_a_column_that_no_run_has(call: Call, home: Path) -> None:
    printed(home, "loss: 2\nacc: 1\n", flags={"lr": 0.3})
    printed(home, "", flags={"lr": 0.1})

    for column, hint in {
        "lss": "Did you mean 'loss'?",
        "quality": "Scalars: acc, loss.",
        "lr": "'lr' is a flag: write it as '=lr'.",
        "created": "'created' is an attribute: write it as '.created'.",
        "=loss": "'loss' is a scalar: write it as '#loss'.",
        "=rl": "Flags: lr.",
        ".labl": "Did you mean 'label'?",
    }.items():
        refused = call("select", "--min", column)
        assert (refused.code, refused.output) == (1, ""), column
        assert refused.error == f"orchestra: no run has '{column.lstrip('=.')}'\n{hint}\n"
    assert call("select", "--all", "--max", "lss").code == 1


def test_select_refuses_columns_that_are_none(call: Call, home: Path) -> None:
    printed(home, "")

    assert (called := call("select", "--min", "a b")).code == 1
    assert called.error.startswith("orchestra: invalid column 'a b': unexpected 'b'\n")
    assert call("select", "--max", "").code == 1
    assert (called := call("select", "--min", "a", "--max", "b")).code == 2
    assert "--min and --max cannot both be used" in called.error


# run --test-output-scalars, --test-output-attrs


def test_the_rules_for_output_can_be_tried(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("lr = 0.1\n")
    (tmp_path / "log").write_bytes(
        b'loss: 0.5 (step 3)\r\nlr: 1\n{"acc": 1, "who": "me"}\nmodel: x\x1b[2J\xff'
    )

    called = call("run", "train.py", "--test-output-scalars", "log")

    first, second = (
        r"'^\key:\s+\value\s+\((?:step\s+)?(?P<step>\step)\)$'",
        r"'^(\key):\s+(\value)(?:\s+\(.*\))?$'",
    )
    assert called.lines == [
        "loss: 0.5 (step 3)",
        f"  {first}: [('3',)] (step=3)",
        f"  {second}: [('loss', '0.5')] (loss=0.5)",
        "lr: 1",
        f"  {first}: <no matches>",
        f"  {second}: [('lr', '1')] ()",
        '{"acc": 1, "who": "me"}',
        "  JSON: (acc=1.0)",
        "model: x\\x1b[2J\ufffd",
        f"  {first}: <no matches>",
        f"  {second}: <no matches>",
    ]
    called = call("run", "train.py", "--test-output-attrs", "log")
    assert called.code == 0 and "  JSON: (who=me)" in called.lines
    assert not (tmp_path / "home" / "runs").exists() or not list((tmp_path / "home" / "runs").iterdir())


def test_the_rules_can_be_tried_on_what_comes_in(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("lr = 0.1\n")
    ran = shell.run("run", "train.py", "--test-output-scalars", "-", stdin="loss: 2\n")
    assert ran.code == 0 and "(loss=2.0)" in ran.output


def test_trying_them_on_no_file_or_no_operation_is_an_error(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    called = call("run", "train.py", "--test-output-scalars", "none")
    assert called.code == 1
    assert "orchestra: the output can't be read: No such file or directory: 'none'" in called.error
    assert call("run", "nothing.py", "--test-output-attrs", "-").code == 1


# run --minimize, --maximize


def test_the_objective_of_a_search_is_shown_kept_and_replaced(
    shell: Shell, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("x = 1\nprint('loss:', x)\n")
    asked = shell.run("run", "train.py", "x=[1,2]", "--minimize", "min loss", stdin="n\n")
    assert "train.py as a batch (2 trials, minimize min loss)" in asked.output

    assert call("run", "train.py", "x=[1,2]", "-X", "loss", "--stage", "-y").code == 0
    batch = call("select", "1").lines[0]
    assert "objective: -loss" in call("select", batch, "--attr", "batch_spec").lines
    assert call("run", "--restart", batch, "-N", "=x", "--stage", "-y").code == 0
    assert "objective: =x" in call("select", batch, "--attr", "batch_spec").lines


def test_an_objective_that_no_trial_has_is_told_once(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\nprint('loss:', x)\n")

    searched = shell.run("run", "train.py", "x=[1,2]", "-N", "lss", "-y")

    told = "WARNING: [orchestra] no trial has 'lss' to minimize so far\nDid you mean 'loss'?\n"
    assert (searched.code, searched.output.count(told)) == (0, 1)
    assert "no trial has" not in shell.run("run", "train.py", "x=[1,2]", "-X", "loss", "-y").output


def test_an_objective_is_refused_or_ignored_where_it_makes_no_sense(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    assert call("run", "train.py", "x=[1,2]", "-N", "a b", "-y").code == 1
    assert call("run", "train.py", "x=[1,2]", "-N", "a", "-X", "b", "-y").code == 2
    assert not call("runs", "--json").json
    ignored = call("run", "train.py", "-N", "loss", "-y")
    assert (ignored.code, "not a batch run - ignoring --minimize" in ignored.error) == (0, True)


def test_an_operation_has_the_same_names_for_select_and_filters(call: Call, home: Path) -> None:
    saved(
        home,
        ended(operation=an_operation(name="m:train", model="m")),
        ended(operation=an_operation(name="m")),
    )

    for name, value in {"op": "train", "operation": "m:train", "op_model": "m"}.items():
        assert call("select", "-a", name, "-F", f"{name} = {value}").lines == [value]
