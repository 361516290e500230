"""What is told of an operation's flags: `run --help-op`, `run --test-flags`, `explain`."""

from pathlib import Path

import pytest

from orchestra.cli.operation_help import describe_flags, help_operation
from orchestra.model.operation import Choice, FlagDef, Operation
from tests.cli.conftest import Call

SCRIPT = """\
import argparse
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.1, help="rate")
p.add_argument("--opt", choices=["adam", "sgd"], default="sgd")
p.add_argument("-v", "--verbose", action="count", default=0)
p.add_argument("src", nargs="?")
p.parse_args()
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)


def operation(*flags: FlagDef) -> Operation:
    return Operation(name="op", kind="script", flags=flags, flags_dest="args", description="Train it.")


def test_help_tells_defaults_types_ranges_and_choices() -> None:
    shown = help_operation(
        operation(
            FlagDef(name="lr", default=0.1, type="float", min=0, max=1, description="rate"),
            FlagDef(name="n", type="int", required=True, min=1, alias="count"),
            FlagDef(
                name="net",
                choices=(
                    Choice(value="s", description="small"),
                    Choice(value="l", alias="large", flags={"n": 5}),
                ),
            ),
        )
    )
    assert shown == (
        "Usage: orchestra run [OPTIONS] op [FLAG]...\n\nTrain it.\n\nFlags:\n"
        "  lr   rate (default is 0.1) [float, 0 to 1]\n"
        "  n    (required) [int, at least 1] (or count)\n"
        "  net\n"
        "         Choices:\n"
        "           s  small\n"
        "           l (or large)  sets n=5"
    )


def test_the_help_of_flags_that_take_several_values_says_how_they_are_written() -> None:
    shown = help_operation(operation(FlagDef(name="x"), FlagDef(name="tag", arg_repeat=True)))
    assert shown.endswith(
        "  tag  [several values]\n\n"
        "Several values of a flag are written as one text: tag='A B'.\n"
        "A list makes a batch: tag=[A,B] are two trials."
    )
    shown = help_operation(operation(FlagDef(name="tag", arg_split=",", type="string")))
    assert "[string, several values, separated by ',']" in shown and "tag='A,B'" in shown
    assert "everal values" not in help_operation(operation(FlagDef(name="x")))


def test_all_that_is_known_of_flags_is_shown_in_the_words_of_a_project_file() -> None:
    shown = describe_flags(
        operation(FlagDef(name="x", default="1", arg_split=",", env_name="X", origin="a.py:1"))
    )
    assert shown.splitlines() == [
        "flags-dest: args",
        "flags-found-by: none",
        "flags:",
        "  x:",
        "    default: '1'",
        "    required: no",
        "    arg-split: ,",
        "    env-name: X",
        "    origin: a.py:1",
    ]
    assert describe_flags(operation()).splitlines()[-1] == "flags: {}"


def test_the_flags_of_a_script_can_be_tested(call: Call) -> None:
    shown = call("run", "train.py", "--test-flags")
    assert (shown.code, shown.error) == (0, "")
    assert shown.lines[:4] == ["flags-dest: args", "flags-found-by: argparse", "flags:", "  lr:"]
    assert "    origin: train.py:3" in shown.lines


def test_explain_tells_where_flags_come_from_where_they_go_and_what_is_none(call: Call) -> None:
    shown = call("explain", "train.py")
    assert (shown.code, shown.error) == (0, "")
    lines = [" ".join(line.split()) for line in shown.lines]
    assert lines[0] == "train.py: script, found by its path"
    assert "flags: passed to args, found by the parser of argparse" in lines
    assert "lr 0.1 float --lr FLAG_LR train.py:3" in lines
    assert "opt sgd one of adam, sgd --opt FLAG_OPT train.py:4" in lines
    assert "src null any argument FLAG_SRC train.py:6" in lines
    assert "verbose it counts how often it is given" in lines
    assert any(line.endswith("by default") for line in lines)


def test_explain_as_json_has_the_same(call: Call) -> None:
    found = call("explain", "train.py", "--json").json
    assert [flag["name"] for flag in found["flags"]] == ["lr", "opt", "src"]
    assert found["flags"][0] == {
        "name": "lr",
        "default": 0.1,
        "type": "float",
        "required": False,
        "description": "rate",
        "origin": "train.py:3",
        "rule": "float",
        "passed_as": "--lr",
        "variable": "FLAG_LR",
    }
    assert found["no_flags"] == [{"name": "verbose", "reason": "it counts how often it is given"}]


def test_explain_tells_what_is_built_in_and_what_is_not_there(call: Call) -> None:
    assert call("explain", "queue").lines[0] == "queue: queue, built in"
    missing = call("explain", "none.py")
    assert missing.code == 1
    assert missing.error.startswith("orchestra: operation 'none.py' is not defined for this project")
